"""Simulated commands (see ``vimage.kernel.Processes``): no program is run."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os

from vimage.kernel import Command, JailCommand, ProcessId
from vimage.kernel.simulated import jails
from vimage.kernel.simulated.errors import fail
from vimage.kernel.simulated.host import SimulatedKernel
from vimage.kernel.simulated.programs import Running, execute
from vimage.kernel.simulated.records import Task

DEFAULT_ENVIRONMENT = {"PATH": "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"}


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

    def end(self, status: int) -> None:
        """Called by whichever thread ended it in the kernel."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end, status)

    def _end(self, status: int) -> None:
        if self._ended.done():
            return
        self._ended.set_result(status)
        if self.work is not None:
            self.work.cancel()


class SimulatedProcesses:
    """Starts commands on a simulated host."""

    def __init__(self, kernel: SimulatedKernel) -> None:
        self._kernel = kernel
        self._running: dict[int, SimulatedProcess] = {}
        kernel.state.ended.append(self._hear)

    def _hear(self, task: Task, status: int) -> None:
        process = self._running.pop(task.pid, None)
        if process is not None:
            process.end(status)

    async def start(self, command: Command) -> SimulatedProcess:
        with self._kernel.state.operation():
            self._kernel.reap()
            if isinstance(command, JailCommand):
                prison = jails.living(self._kernel.state, command.jail)
                jid, root = prison.jid, prison.path
            else:
                jid, root = 0, "/"
            environment = (DEFAULT_ENVIRONMENT if command.environment is None
                           else command.environment)
            running = Running(self._kernel, 0, jid, root, environment, None)
            if not command.argv:
                fail(errno.EINVAL)
            running.find(command.argv[0])
            task = self._kernel.new_task(jid, tuple(command.argv))
        running.pid = task.pid
        running.output = None if command.output is None else os.dup(command.output)
        process = SimulatedProcess(self._kernel, task)
        self._running[task.pid] = process
        process.work = asyncio.create_task(self._run(running, task))
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

    def close(self) -> None:
        """What was started runs on: its records stay in the kernel."""
        if self._hear in self._kernel.state.ended:
            self._kernel.state.ended.remove(self._hear)
