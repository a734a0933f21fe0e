"""Steps that run commands: hooks on the host, the boot, services and the program of a vimage."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import dataclass
from typing import ClassVar

from vimage.kernel import ProcessId
from vimage.messages import VimageError
from vimage.steps import Rank, Step
from vimage.steps.work import Work, finished

SHELL = ("/bin/sh", "-c")
SERVICE = "/usr/sbin/service"

#: When the counterpart of a hook runs on the way down.
_UNDO_RANK = {
    "exec_release": Rank.RELEASE,
    "exec_poststop": Rank.POSTSTOP,
    "exec_prestop": Rank.PRESTOP,
    "": Rank.NOTHING,
}


@dataclass(frozen=True)
class Hook(Step):
    """Commands of jail(8)'s moments, on the host, and those of the counterpart at stop.

    The counterpart runs once the first was begun, also when it failed: what it prepared
    halfway is to be released.
    """

    kind: ClassVar[str] = "hook"
    moment: str  # exec_prepare
    commands: tuple[str, ...]
    undo_moment: str  # exec_release
    undo_commands: tuple[str, ...]
    start_timeout: float
    stop_timeout: float

    @property
    def rank(self) -> Rank:
        return _UNDO_RANK[self.undo_moment]

    def describe(self) -> str:
        return "; ".join(f"{self.moment}: {command}" for command in self.commands)

    def describe_undo(self) -> str:
        return "; ".join(f"{self.undo_moment}: {command}" for command in self.undo_commands)

    async def do(self, work: Work) -> None:
        work.intend()
        for command in self.commands:
            await work.run_on_host((*SHELL, command), self.moment, self.start_timeout,
                                   environment=_names(work))

    async def undo(self, work: Work) -> None:
        for command in self.undo_commands:
            await work.run_on_host((*SHELL, command), self.undo_moment, self.stop_timeout,
                                   environment=_names(work))


@dataclass(frozen=True)
class Boot(Step):
    """The boot command, in the jail; ``exec_stop`` takes it down."""

    kind: ClassVar[str] = "boot"
    order: ClassVar[Rank] = Rank.EXEC_STOP
    exec_start: str
    exec_stop: str
    start_timeout: float
    stop_timeout: float

    def describe(self) -> str:
        return f"in the jail: {self.exec_start}" if self.exec_start else ""

    def describe_undo(self) -> str:
        return f"in the jail: {self.exec_stop}" if self.exec_stop else ""

    async def do(self, work: Work) -> None:
        work.intend()
        if self.exec_start:
            await work.run_in_jail((*SHELL, self.exec_start), "exec_start", self.start_timeout)

    async def undo(self, work: Work) -> None:
        if self.exec_stop and jail_lives(work):
            await work.run_in_jail((*SHELL, self.exec_stop), "exec_stop", self.stop_timeout)


@dataclass(frozen=True)
class AfterStart(Step):
    """One ``exec_afterstart`` command, in the jail."""

    kind: ClassVar[str] = "afterstart"
    order: ClassVar[Rank] = Rank.NOTHING
    command: str
    start_timeout: float

    def describe(self) -> str:
        return f"in the jail: {self.command}"

    async def do(self, work: Work) -> None:
        work.intend()
        await work.run_in_jail((*SHELL, self.command), "exec_afterstart", self.start_timeout)


@dataclass(frozen=True)
class Service(Step):
    """One rc.d script of the jail: ``onestart``, and ``onestop`` on the way down."""

    kind: ClassVar[str] = "service"
    order: ClassVar[Rank] = Rank.SERVICE
    service: str
    start_timeout: float
    stop_timeout: float

    def describe(self) -> str:
        return f"in the jail: service {self.service} onestart"

    def describe_undo(self) -> str:
        return f"in the jail: service {self.service} onestop"

    async def do(self, work: Work) -> None:
        work.intend()
        await work.run_in_jail((SERVICE, self.service, "onestart"),
                               f"service {self.service}", self.start_timeout)

    async def undo(self, work: Work) -> None:
        if jail_lives(work):
            await work.run_in_jail((SERVICE, self.service, "onestop"),
                                   f"service {self.service} onestop", self.stop_timeout)


@dataclass(frozen=True)
class Program(Step):
    """``command``: a program of the jail that is kept running; TERM, then KILL."""

    kind: ClassVar[str] = "command"
    order: ClassVar[Rank] = Rank.COMMAND
    argv: tuple[str, ...]
    stop_timeout: float

    def describe(self) -> str:
        return f"in the jail, kept running: {' '.join(self.argv)}"

    def describe_undo(self) -> str:
        return f"TERM, then KILL: {self.argv[0]}"

    async def do(self, work: Work) -> None:
        work.intend()
        try:
            process = await work.start_in_jail(self.argv)
        except OSError as error:
            raise VimageError("command_not_started", what="command", command=self.argv[0],
                              why=error.strerror) from error
        work.tools.started[work.name] = process
        work.note(pid=process.id.pid, start=process.id.start)

    async def undo(self, work: Work) -> None:
        process = work.tools.started.pop(work.name, None)
        if "pid" not in work.facts:
            return  # it ends with the other processes of the jail
        known = ProcessId(work.facts["pid"], work.facts["start"])
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                work.kernel.process_signal(known, number)
            except ProcessLookupError:
                return
            if process is not None:
                if await finished(process, self.stop_timeout) is not None:
                    return
            else:
                await _gone(work, known, self.stop_timeout)


@dataclass(frozen=True)
class Healthy(Step):
    """The health command has to succeed before the vimage is ready."""

    kind: ClassVar[str] = "healthy"
    command: str
    health_timeout: float
    start_timeout: float

    def describe(self) -> str:
        return f"in the jail, until it succeeds: {self.command}"

    async def do(self, work: Work) -> None:
        work.intend()
        why = "it did not end"
        try:
            async with asyncio.timeout(self.start_timeout):
                while True:
                    try:
                        await work.run_in_jail((*SHELL, self.command), "health",
                                               self.health_timeout)
                        return
                    except VimageError as error:
                        why = str(error)
                    await asyncio.sleep(1.0)
        except TimeoutError as error:
            raise VimageError("not_healthy", seconds=f"{self.start_timeout:g}",
                              why=why) from error


async def _gone(work: Work, process: ProcessId, timeout: float) -> None:
    """Wait for the end of a process that an earlier vimage process started."""
    pause = 0.01
    with contextlib.suppress(TimeoutError, ProcessLookupError):
        async with asyncio.timeout(timeout):
            while work.kernel.process(process.pid) == process:
                await asyncio.sleep(pause)
                pause = min(2 * pause, 0.25)


def jail_lives(work: Work) -> bool:
    """Whether the vimage's jail is there to run a command in."""
    try:
        jail = work.kernel.jail_get(work.jail)
    except FileNotFoundError:
        return False
    return not jail.dying and jail.name == work.name


def _names(work: Work) -> dict[str, str]:
    """What a hook on the host may want to know."""
    names = {"VIMAGE_NAME": work.name, "JNAME": work.name,
             "VIMAGE_ROOTDIR": str(work.record.configuration.get("rootdir", ""))}
    if work.record.jid is not None:
        names["JID"] = str(work.record.jid)
    return names
