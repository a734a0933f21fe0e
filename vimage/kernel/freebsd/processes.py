"""Commands started by the helper process, awaited in an asyncio loop."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from vimage.kernel import Command, JailCommand, ProcessId
from vimage.kernel.freebsd.channel import Channel
from vimage.kernel.freebsd.helper import Helper, HelperGone


class HelperProcess:
    """A command that was started; ``vimage.kernel.Process``."""

    def __init__(self, processes: HelperProcesses, id: ProcessId,
                 ended: asyncio.Future[int]) -> None:
        self.id = id
        self._processes = processes
        self._ended = ended

    async def wait(self) -> int:
        """0..255, or 128 + signal.  Raises HelperGone when the helper ended before it."""
        return await asyncio.shield(self._ended)

    def kill(self, signal: int) -> None:
        if not self._ended.done():
            self._processes.kill(self.id.pid, int(signal))


class HelperProcesses:
    """Starts commands; ``vimage.kernel.Processes``.  For one loop at a time."""

    def __init__(self, helper: Helper | None = None) -> None:
        self._helper = helper or Helper()
        self._helper.start()
        self._watched: Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: dict[int, asyncio.Future[HelperProcess]] = {}
        self._running: dict[int, asyncio.Future[int]] = {}

    async def start(self, command: Command) -> HelperProcess:
        """Errors: those of the contract; ETIMEDOUT the jail held it up before the exec;
        EPIPE the helper ended (``HelperGone``)."""
        channel = self._watch()
        request = self._helper.number()
        started: asyncio.Future[HelperProcess] = asyncio.get_running_loop().create_future()
        self._starting[request] = started
        environment = None if command.environment is None else dict(command.environment)
        fds = () if command.output is None else (command.output,)
        where = (("start_in", request, int(command.jail)) if isinstance(command, JailCommand)
                 else ("start", request))
        self._send(channel, (*where, [*map(str, command.argv)], environment, command.directory),
                   fds)
        try:
            return await started
        except OSError as error:
            if isinstance(error, HelperGone):
                raise
            raise OSError(error.errno, os.strerror(error.errno or 0), command.argv[0]) from None

    def close(self) -> None:
        self._forget(None)
        self._helper.close()

    def kill(self, pid: int, signal: int) -> None:
        """Signal the process group of a command that has not ended."""
        if self._watched is not None:
            self._send(self._watched, ("kill", pid, signal))

    def _watch(self) -> Channel:
        loop = asyncio.get_running_loop()
        self._helper.start()
        channel = self._helper.commands
        assert channel is not None
        if channel is not self._watched or loop is not self._loop:
            self._forget(HelperGone())
            self._watched, self._loop = channel, loop
            loop.add_reader(channel.fileno(), self._receive, channel)
        return channel

    def _send(self, channel: Channel, message: tuple[Any, ...], fds: tuple[int, ...] = ()) -> None:
        try:
            if not channel.send(message, fds) and self._loop is not None:
                self._loop.add_writer(channel.fileno(), self._flush, channel)
        except ConnectionError:
            self._lost()

    def _flush(self, channel: Channel) -> None:
        try:
            if channel.flush() and self._loop is not None:
                self._loop.remove_writer(channel.fileno())
        except ConnectionError:
            self._lost()

    def _receive(self, channel: Channel) -> None:
        try:
            for message, _ in channel.receive():
                self._report(*message)
        except EOFError:
            self._lost()

    def _report(self, verb: str, number: int, *values: Any) -> None:
        if verb == "ended":
            ended = self._running.pop(number, None)  # None: of an earlier loop
            if ended is not None and not ended.done():
                ended.set_result(values[0])
            return
        started = self._starting.pop(number, None)
        if started is None:
            return
        if verb == "started":
            ended = self._running[values[0]] = started.get_loop().create_future()
            if not started.done():
                started.set_result(HelperProcess(self, ProcessId(*values), ended))
        elif not started.done():
            started.set_exception(OSError(values[0], os.strerror(values[0])))

    def _lost(self) -> None:
        self._forget(HelperGone())
        self._helper.close()

    def _forget(self, error: OSError | None) -> None:
        """Watch nothing any more; whoever waits gets ``error``, or is cancelled."""
        if self._watched is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._watched.fileno())
            self._loop.remove_writer(self._watched.fileno())
        waiting: list[asyncio.Future[Any]] = [*self._starting.values(), *self._running.values()]
        self._starting.clear()
        self._running.clear()
        self._watched = self._loop = None
        for future in waiting:
            if future.done() or future.get_loop().is_closed():
                continue
            if error is None:
                future.cancel()
            else:
                future.set_exception(error)
                future.exception()  # nobody needs to have waited
