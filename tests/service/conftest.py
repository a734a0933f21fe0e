"""A service on a simulated host, in virtual time, and clients of it."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engine.stage import Stage
from vimage.commands.output import Printer
from vimage.configuration.load import Loaded, loaded_from
from vimage.kernel.simulated import SimulatedProcesses
from vimage.kernel.simulated.virtual_time import run
from vimage.service import wire
from vimage.service.daemon import Daemon
from vimage.service.reading import Reader

KIND = "same parent twice, copied and kernel's MAC"


class StageReader(Reader):
    """Reads the configuration of the stage."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.kernel, None, None)
        self.stage = stage

    async def load(self, file: str | None = None) -> Loaded:
        self.loaded = loaded_from(self.stage.kernel, self.stage.variables)
        return self.loaded

    async def current(self) -> Loaded | None:
        return await self.load()


@dataclass
class Reply:
    """All that a client was told."""

    status: int
    out: str
    err: str
    events: tuple[dict[str, Any], ...] = ()


async def ask(stage: Stage, *words: str, file: str | None = None,
              options: Iterable[str] = (), **how: bool) -> Reply:
    """One request, as the command makes it; ``how`` it is shown is rc, json, terminal."""
    return await raw(stage, wire.request(words[0], words[1:], file, options),
                     Printer(words[0], out=io.StringIO(), err=io.StringIO(), **how))


async def raw(stage: Stage, octets: bytes, printer: Printer | None = None) -> Reply:
    """Whatever octets, and what comes back.  The status is -1 without an end."""
    while True:
        try:
            reader, writer = await asyncio.open_unix_connection(stage.kernel.path(wire.SOCKET))
            break
        except ConnectionRefusedError:  # kern.ipc.soacceptqueue of them wait already
            await asyncio.sleep(0)
    writer.write(octets)
    writer.write_eof()
    buffer = await reader.read(-1)
    writer.close()
    return reply(buffer, printer or Printer("", out=io.StringIO(), err=io.StringIO()))


def reply(buffer: bytes, printer: Printer) -> Reply:
    """The frames of an answer, as the command shows them."""
    status, old = -1, {b"e": "", b"x": ""}
    events = []
    while (found := wire.split(buffer)) is not None:
        kind, body, buffer = found
        if kind == wire.EVENT:
            events.append(wire.object_of(body))
            printer.send(events[-1])
        else:
            old[kind] += body.decode()
    assert buffer == b""
    if old[b"x"]:  # a client of version 1
        return Reply(int(old[b"x"]), "", old[b"e"])
    if printer.status is not None:
        status = printer.status
    return Reply(status, printer._out.getvalue(), printer._err.getvalue(),  # type: ignore
                 tuple(events))


class Host:
    """The stage, and services that come and go on it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.service: Daemon | None = None

    def new_service(self, kernel: Any = None, processes: Any = None) -> Daemon:
        """A new process."""
        return Daemon(kernel or self.stage.kernel,
                      processes or SimulatedProcesses(self.stage.kernel),
                       logging.getLogger("test"), reader=StageReader(self.stage))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Daemon]:
        """A service that serves within the block."""
        service = self.new_service()
        task = asyncio.create_task(service.run())
        while not Path(service.server.path).exists():
            await asyncio.sleep(0.01)
        try:
            yield service
        finally:
            service.ended.set()
            await task

    def play(self, act: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run to its end, in virtual time."""
        return run(act())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(Stage(tmp_path, KIND))
