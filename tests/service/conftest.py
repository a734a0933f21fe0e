"""A service on a simulated host, in virtual time, and clients of it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.engine.machine import ROOT, Machine
from vimage.commands.output import Printer
from vimage.configuration.load import Loaded, loaded_from
from vimage.kernel.simulated import SimulatedProcesses
from vimage.kernel.simulated.virtual_time import run
from vimage.service import wire
from vimage.service.daemon import Daemon
from vimage.service.reading import Reader

#: Real seconds after which a test is said to hang.
PATIENCE = int(os.environ.get("VIMAGE_TEST_PATIENCE", "60")) * 5

KIND = "same parent twice, copied and kernel's MAC"


class MachineReader(Reader):
    """Reads the configuration of the machine."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.kernel, None, None)
        self.machine = machine

    async def load(self, file: str | None = None) -> Loaded:
        self.loaded = loaded_from(self.machine.kernel, self.machine.variables)
        return self.loaded

    async def current(self) -> Loaded | None:
        return await self.load()


class SlowReader(MachineReader):
    """Takes half a second, as a shell does."""

    async def load(self, file: str | None = None) -> Loaded:
        await asyncio.sleep(0.5)
        return await super().load(file)


# -- clients ---------------------------------------------------------------------------------


@dataclass
class Reply:
    """All that a client was told.  ``status`` is -1 where the service gave none."""

    status: int
    out: str
    err: str
    events: tuple[dict[str, Any], ...] = ()

    @property
    def lines(self) -> list[str]:
        """The lines on stdout, sorted: vimages become ready in any order."""
        return sorted(self.out.splitlines())

    @property
    def again(self) -> bool:
        """Whether this service is ending, and the next one is to be asked."""
        return bool(self.events) and self.events[-1]["event"] == "again"


def encode(verb: str, *names: str, file: str | None = None, options: Iterable[str] = (),
           shutdown: bool = False, service_only: bool = False) -> bytes:
    """A request as the command sends it."""
    return wire.request(verb, names, file, [*options, *["shutdown"] * shutdown,
                                            *["service_only"] * service_only])


def decode(octets: bytes, printer: Printer | None = None) -> Reply:
    """The frames of an answer, as the command shows them."""
    printer = printer or Printer("", out=io.StringIO(), err=io.StringIO())
    status, old = -1, {b"e": "", b"x": ""}
    events = []
    while (found := wire.split(octets)) is not None:
        kind, body, octets = found
        if kind == wire.EVENT:
            events.append(wire.object_of(body))
            printer.send(events[-1])
        else:
            old[kind] += body.decode()
    assert octets == b""
    if old[b"x"]:  # a client of version 1
        return Reply(int(old[b"x"]), "", old[b"e"])
    if printer.status is not None:
        status = printer.status
    return Reply(status, printer._out.getvalue(), printer._err.getvalue(),  # type: ignore
                 tuple(events))


async def ask(machine: Machine, *words: str, rc: bool = False, json: bool = False,
              terminal: bool = False, **request: Any) -> Reply:
    """One request, as the command makes it: a verb, names, and options of ``encode``.

    Told that this service is ending, or hung up on, it asks the next one.
    """
    for _ in range(1000):
        reply = await raw(machine, encode(*words, **request), Printer(
            words[0], out=io.StringIO(), err=io.StringIO(), rc=rc, json=json, terminal=terminal))
        if not reply.again and (reply.events or reply.status != -1):
            return reply
        for _ in range(1000):
            if listening(machine):
                break
            await asyncio.sleep(0.05)
        else:
            return reply
    raise AssertionError("every service is ending")


def listening(machine: Machine) -> bool:
    """Whether somebody accepts connections on the control socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(machine.kernel.path(wire.SOCKET))
        except OSError:
            return False
    return True


async def connect(machine: Machine) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the service."""
    for _ in range(10_000):
        try:
            return await asyncio.open_unix_connection(machine.kernel.path(wire.SOCKET))
        except ConnectionRefusedError:  # kern.ipc.soacceptqueue of them wait already
            await asyncio.sleep(0)
    raise ConnectionRefusedError("nobody serves")


async def raw(machine: Machine, octets: bytes, printer: Printer | None = None) -> Reply:
    """Whatever octets, and what comes back.  The status is -1 without an end."""
    reader, writer = await connect(machine)
    writer.write(octets)
    writer.write_eof()
    try:
        return decode(await reader.read(-1), printer)
    except ConnectionResetError:
        return Reply(-1, "", "")
    finally:
        writer.close()


async def ask_and_die(machine: Machine, *words: str, **options: Any) -> None:
    """A request of a client that is killed as soon as it has sent it."""
    _, writer = await connect(machine)
    writer.write(encode(*words, **options))
    await writer.drain()
    writer.transport.abort()


async def rows(machine: Machine, *names: str) -> dict[str, dict[str, Any]]:
    """What status says, by name."""
    reply = await ask(machine, "status", *names, json=True)
    assert reply.status == 0, reply
    return {row["name"]: row for row in json.loads(reply.out)}


async def states(machine: Machine) -> dict[str, str]:
    """The state of each vimage, in status's words."""
    return {name: row["state"] for name, row in (await rows(machine)).items()}


async def state(machine: Machine, name: str) -> str:
    """The STATE that status shows of one vimage, with the marks beside it."""
    reply = await ask(machine, "status", name)
    line = next(line for line in reply.out.splitlines() if line.split()[:1] == [name])
    return line.split(None, 1)[1]


# -- what the service has run -----------------------------------------------------------------


class Ran(NamedTuple):
    """A command that was started."""

    jail: int | None  # None: on the host
    words: str
    when: float


class Recording:
    """Processes that remember what they were asked to start."""

    def __init__(self, wrapped: Any, log: list[Ran]) -> None:
        self.wrapped = wrapped
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)

    async def start(self, command: Any) -> Any:
        jail = getattr(command, "jail", None) or getattr(command, "jid", None) or None
        self._log.append(Ran(jail if jail is None else int(jail), " ".join(command.argv),
                             asyncio.get_running_loop().time()))
        return await self.wrapped.start(command)


# -- the host ---------------------------------------------------------------------------------


@dataclass
class Host:
    """The machine, and services that come and go on it."""

    machine: Machine
    service: Daemon | None = None
    #: What the services of this host have run, in order.
    ran: list[Ran] = field(default_factory=list)
    serving_task: asyncio.Task[bool] | None = None

    def new_service(self, kernel: Any = None, processes: Any = None,
                    reader: Reader | None = None) -> Daemon:
        """A new process."""
        return Daemon(kernel or self.machine.kernel,
                      Recording(processes or SimulatedProcesses(self.machine.kernel), self.ran),
                      logging.getLogger("test"), reader=reader or MachineReader(self.machine))

    @asynccontextmanager
    async def serving(self, kernel: Any = None, processes: Any = None,
                      reader: Reader | None = None) -> AsyncIterator[Daemon]:
        """A service that serves within the block."""
        service = self.new_service(kernel, processes, reader)
        self.serving_task = task = asyncio.create_task(service.run())
        while not self.listening() and not task.done():
            await asyncio.sleep(0.01)
        if task.done():
            await task  # the service has died
            raise AssertionError("the service has ended")
        try:
            yield service
        finally:
            service.ended.set()
            await task

    def listening(self) -> bool:
        """Whether somebody accepts connections on the control socket."""
        return listening(self.machine)

    async def until_it_ends(self, seconds: float = 5) -> None:
        """Wait for the end of the service."""
        assert self.serving_task is not None
        async with asyncio.timeout(seconds):
            await asyncio.shield(self.serving_task)

    def play(self, act: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run to its end, in virtual time."""
        return run(act())

    # -- what an administrator does beside -------------------------------------------------------

    def set(self, **variables: str | None) -> None:
        """Edit rc.conf: ``a_health="true"`` is vimage_a_health; None takes the line away."""
        for name, value in variables.items():
            if value is None:
                self.machine.variables.pop(f"vimage_{name}", None)
            else:
                self.machine.variables[f"vimage_{name}"] = value

    def unlist(self, name: str) -> None:
        """Take a vimage out of rc.conf, its variables and its place in the list."""
        for variable in [v for v in self.machine.variables if v.startswith(f"vimage_{name}_")]:
            del self.machine.variables[variable]
        words = self.machine.variables["vimage_list"].split()
        self.machine.variables["vimage_list"] = " ".join(w for w in words if w != name)

    def script(self, path: str, *lines: str) -> None:
        """Put a program into the jail's root."""
        write_script(self.machine, path, lines)

    def file(self, path: str) -> Path:
        """A file below the jail's root."""
        return Path(self.machine.kernel.path(f"{ROOT}/{path}"))

    def state_file(self, path: str) -> Path:
        """A file below the state directory."""
        return Path(self.machine.kernel.path(f"/var/run/vimage/{path}"))

    def jid(self, name: str) -> int:
        """The jail of a vimage."""
        return int(self.machine.kernel.jail_get(name).jid)

    def program(self, name: str) -> int:
        """The process of ``command``: the only one that its jail has."""
        jid = self.jid(name)
        pid, = (pid for pid, jail, _ in self.machine.control.processes() if jail == jid)
        return pid

    def interfaces(self) -> list[str]:
        """The interfaces that links have on the host; none, unless one was left there."""
        return [i.name for i in self.machine.kernel.if_list() if i.driver.startswith("ngeth")]

    def has_node(self, path: str) -> bool:
        """Whether there is such a node or hook."""
        try:
            self.machine.kernel.ng_node(path)
        except FileNotFoundError:
            return False
        return True

    def ran_with(self, word: str, after: float = -1.0) -> list[Ran]:
        """The commands that contain ``word``."""
        return [ran for ran in self.ran if word in ran.words and ran.when > after]


def write_script(machine: Machine, path: str, lines: Sequence[str]) -> None:
    """A program that the simulated host can run."""
    real = Path(machine.kernel.path(f"{ROOT}/{path}"))
    real.parent.mkdir(parents=True, exist_ok=True)
    real.write_text("\n".join(["#!simulated", *lines, ""]))
    real.chmod(0o755)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(Machine(tmp_path, KIND))


def failures_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What no log may ever contain: an exception with its traceback, an internal error, an
    exception that nobody asked for."""
    return [record.getMessage() for record in caplog.records
            if record.exc_info or "internal error" in record.getMessage()
            or record.name == "asyncio" and record.levelno >= logging.ERROR]


@pytest.fixture(autouse=True)
def nothing_unexpected(caplog: pytest.LogCaptureFixture) -> Any:
    """No test of the service ends with a traceback in the log."""
    yield
    assert failures_in(caplog) == []


@pytest.fixture(autouse=True)
def bounded(request: pytest.FixtureRequest) -> Any:
    """A test that hangs in real time fails, and the others are run.

    A module whose tests consist of lives that are bounded themselves says BOUNDED = False.
    """
    if not getattr(request.module, "BOUNDED", True):
        yield
        return

    def hangs(*_: object) -> None:
        raise TimeoutError(f"no end within {PATIENCE} s")

    was = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, was)
