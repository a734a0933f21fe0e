"""Commands started by the helper process, awaited in an asyncio loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal as signals
from typing import Any

from vimage.kernel import Command, HelperGone, JailCommand, ProcessId
from vimage.kernel.freebsd import procs, spawner
from vimage.kernel.freebsd.channel import Channel
from vimage.kernel.freebsd.helper import Helper, Link

#: Seconds in which a group is gone that got SIGKILL, unless the kernel holds it.
KILLED_WITHIN = 2.0
#: Seconds in which the helper answers a start that was cancelled; it may itself be starting.
CANCELLED_WITHIN = spawner.START_TIMEOUT


class HelperProcess:
    """A command that was started; ``vimage.kernel.Process``."""

    def __init__(self, processes: HelperProcesses, process: ProcessId) -> None:
        self.id = process
        self._processes = processes
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)

    def kill(self, signal: int) -> None:
        if not self.ended.done():
            self._processes.ask("kill", self.id.pid, int(signal))
        elif self._lost():
            self._signal(signal)

    async def end(self, grace: float) -> int | None:
        if not self.ended.done():
            self._processes.ask("end", self.id.pid, grace)
        try:
            async with asyncio.timeout(grace + KILLED_WITHIN):
                return await self.wait()
        except TimeoutError:
            return None
        except HelperGone:
            await self._end_without_helper(grace)
            return None

    # -- after the end of the helper that started it ----------------------------------------

    def _lost(self) -> bool:
        return not self.ended.cancelled() and self.ended.exception() is not None

    def _signal(self, number: int) -> bool:
        """Signal its group; False when the process has ended."""
        try:
            procs.signal(self.id.pid, self.id.start, number)
        except ProcessLookupError:
            return False
        return True

    async def _end_without_helper(self, grace: float) -> None:
        for number, patience in ((signals.SIGTERM, grace), (signals.SIGKILL, KILLED_WITHIN)):
            if not self._signal(number):
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    while procs.group(self.id.pid):
                        await asyncio.sleep(0.05)


class _Request:
    """A command that is being started."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.started: asyncio.Future[HelperProcess] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()  # nothing of it runs (any more)
        self.process: HelperProcess | None = None

    def finish(self, *_: object) -> None:
        if not self.over.done():
            self.over.set_result(None)


class HelperProcesses:
    """Starts commands; ``vimage.kernel.Processes``.  For one loop at a time."""

    def __init__(self, helper: Helper | None = None) -> None:
        self._helper = helper or Helper()
        self._helper.start()
        self._link: Link | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: dict[int, _Request] = {}
        self._running: dict[int, HelperProcess] = {}

    async def start(self, command: Command) -> HelperProcess:
        number = self._helper.number()
        request = _Request(asyncio.get_running_loop())
        environment = None if command.environment is None else dict(command.environment)
        fds = () if command.output is None else (command.output,)
        where = (("start_in", number, int(command.jail)) if isinstance(command, JailCommand)
                 else ("start", number))
        try:
            self._ask_to_start(number, request, (*where, [*map(str, command.argv)], environment,
                                                 command.directory), fds)
            return await request.started
        except asyncio.CancelledError:
            await self._cancel(number, request)
            raise
        except OSError as error:
            self._starting.pop(number, None)
            if isinstance(error, HelperGone):
                raise
            raise OSError(error.errno, os.strerror(error.errno or 0), command.argv[0]) from None

    def _ask_to_start(self, number: int, request: _Request, message: tuple[Any, ...],
                      fds: tuple[int, ...]) -> None:
        """A helper that has ended since it was last asked is replaced."""
        for attempt in (1, 2):
            channel = self._watch().commands
            try:
                self._send(channel, message, fds)
            except ConnectionError:
                self._lost()
                if attempt == 2:
                    raise HelperGone from None
            else:
                self._starting[number] = request
                return

    async def _cancel(self, number: int, request: _Request) -> None:
        """Kill what a request has started, or is just starting, and wait until it is gone."""
        if request.over.done():
            return
        if request.process is not None:
            request.process.kill(signals.SIGKILL)
        else:
            self.ask("cancel", number)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CANCELLED_WITHIN
        while not request.over.done() and loop.time() < deadline:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((request.over,), timeout=deadline - loop.time())

    def close(self) -> None:
        """End the helper.  Whoever waits for a command gets ``HelperGone``."""
        self._forget()
        self._helper.close()

    def ask(self, *message: Any) -> None:
        """Send a request that is not answered.  Nothing to do when the helper has gone."""
        if self._link is not None:
            try:
                self._send(self._link.commands, message)
            except ConnectionError:
                self._lost()

    def _watch(self) -> Link:
        """The helper, its channel watched by the running loop."""
        loop = asyncio.get_running_loop()
        link = self._helper.running()
        if link is not self._link or loop is not self._loop:
            lost = self._forget()
            if lost is not None and lost is not link:
                self._helper.lost(lost)
            self._link, self._loop = link, loop
            link.commands_watched = True
            loop.add_reader(link.commands.fileno(), self._receive, link)
        return link

    def _send(self, channel: Channel, message: tuple[Any, ...], fds: tuple[int, ...] = ()) -> None:
        if not channel.send(message, fds) and self._loop is not None:
            self._loop.add_writer(channel.fileno(), self._flush, channel)

    def _flush(self, channel: Channel) -> None:
        try:
            if channel.flush() and self._loop is not None:
                self._loop.remove_writer(channel.fileno())
        except ConnectionError:
            self._lost()

    def _receive(self, link: Link) -> None:
        try:
            for message, _ in link.commands.receive():
                self._report(*message)
        except EOFError:
            self._lost()

    def _report(self, verb: str, number: int, *values: Any) -> None:
        if verb == "ended":
            process = self._running.pop(number, None)  # None: of an earlier loop
            if process is not None and not process.ended.done():
                process.ended.set_result(values[0])
            return
        request = self._starting.pop(number, None)
        if request is None:
            return
        if verb == "started":
            process = request.process = HelperProcess(self, ProcessId(*values))
            process.ended.add_done_callback(request.finish)
            self._running[process.id.pid] = process
            if not request.started.done():
                request.started.set_result(process)
            return
        request.finish()
        if not request.started.done():
            request.started.set_exception(OSError(values[0], os.strerror(values[0])))

    def _lost(self) -> None:
        """The helper has ended."""
        lost = self._forget()
        if lost is not None:
            self._helper.lost(lost)

    def _forget(self) -> Link | None:
        """Watch nothing any more; whoever waits gets ``HelperGone``.  What was watched."""
        link, loop = self._link, self._loop
        if link is not None and loop is not None and not loop.is_closed():
            loop.remove_reader(link.commands.fileno())
            loop.remove_writer(link.commands.fileno())
        requests, processes = [*self._starting.values()], [*self._running.values()]
        self._starting.clear()
        self._running.clear()
        self._link = self._loop = None
        if loop is not None and not loop.is_closed():
            for request in requests:
                request.finish()
            waiting: list[asyncio.Future[Any]] = [
                *(request.started for request in requests), *(p.ended for p in processes)]
            for future in waiting:
                if not future.done():
                    future.set_exception(HelperGone())
                    future.exception()  # nobody needs to have waited
        return link
