"""Simulated commands (see ``vimage.kernel.Processes``): no program is run."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal as signals

from vimage.kernel import ENVIRONMENT, Command, HelperGone, JailCommand, ProcessId
from vimage.kernel.simulated import jails
from vimage.kernel.simulated.errors import fail
from vimage.kernel.simulated.host import SimulatedKernel
from vimage.kernel.simulated.programs import execute
from vimage.kernel.simulated.records import Task
from vimage.kernel.simulated.running import Running


class SimulatedProcess:
    """A command that was started (see ``vimage.kernel.Process``)."""

    def __init__(self, kernel: SimulatedKernel, task: Task) -> None:
        self.id = ProcessId(task.pid, task.start)
        self._kernel = kernel
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self.work: asyncio.Task[None] | None = None

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def kill(self, signal: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._kernel.process_signal(self.id, signal)

    async def end(self, grace: float) -> int | None:
        self.kill(signals.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                return await self.wait()
        except TimeoutError:
            self.kill(signals.SIGKILL)
            return await self.wait()
        except HelperGone:
            return None

    def ended(self, status: int) -> None:
        """Called by whichever thread ended it in the kernel."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._settle, status)

    def _settle(self, status: int) -> None:
        if not self._ended.done():
            self._ended.set_result(status)
        if self.work is not None:
            self.work.cancel()

    def lost(self) -> None:
        """The helper has ended: its exit status reaches nobody."""
        if not self._ended.done():
            self._ended.set_exception(HelperGone())
            self._ended.exception()  # nobody needs to have waited


class SimulatedProcesses:
    """Starts commands on a simulated host."""

    def __init__(self, kernel: SimulatedKernel) -> None:
        self._kernel = kernel
        self._running: dict[int, SimulatedProcess] = {}
        kernel.state.ended.append(self._hear)

    def _hear(self, task: Task, status: int) -> None:
        process = self._running.pop(task.pid, None)
        if process is not None:
            process.ended(status)

    async def start(self, command: Command) -> SimulatedProcess:
        with self._kernel.state.operation():
            self._kernel.reap()
            if isinstance(command, JailCommand):
                prison = jails.living(self._kernel.state, command.jail)
                jid, root = prison.jid, prison.path
            else:
                jid, root = 0, "/"
            environment = ENVIRONMENT if command.environment is None else command.environment
            running = Running(self._kernel, 0, jid, root, environment, None)
            if not command.argv:
                fail(errno.EINVAL)
            running.find(command.argv[0])
            task = self._kernel.new_task(jid, tuple(command.argv))
            process = self._running[task.pid] = SimulatedProcess(self._kernel, task)
        running.pid = task.pid
        running.output = None if command.output is None else os.dup(command.output)
        process.work = asyncio.create_task(self._run(running, task))
        try:
            await asyncio.sleep(0)  # the answer of the helper takes a moment
        except asyncio.CancelledError:
            process.kill(signals.SIGKILL)
            raise
        return process

    async def _run(self, running: Running, task: Task) -> None:
        try:
            status = await execute(running, task.argv)
        except OSError:
            status = 1
        finally:
            if running.output is not None:
                os.close(running.output)
        with self._kernel.state.operation():
            here = self._kernel.state.task(task.pid)
            if here is not None:
                self._kernel.state.end_task(here, status)
                jails.last_task_gone(self._kernel.state, task.jid)

    def helper_dies(self) -> None:
        """What the death of the helper process would do: nobody learns how a command ends."""
        for process in self._running.values():
            process.lost()

    def close(self) -> None:
        """What was started runs on: its records stay in the kernel."""
        self.helper_dies()
        if self._hear in self._kernel.state.ended:
            self._kernel.state.ended.remove(self._hear)
