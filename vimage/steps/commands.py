"""Steps that run commands: hooks on the host, the boot, services and the program of a vimage."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from vimage.journal import UNDOING
from vimage.kernel import HelperGone, Process, ProcessId
from vimage.messages import VimageError
from vimage.processes import wait_or_end
from vimage.steps.context import StepContext
from vimage.steps.jails import jail_lives
from vimage.steps.step import Rank, Step

SHELL = ("/bin/sh", "-c")
SERVICE = "/usr/sbin/service"

#: When the counterpart of a hook runs at stop.
_UNDO_RANK = {
    "exec_release": Rank.RELEASE,
    "exec_poststop": Rank.POSTSTOP,
    "exec_prestop": Rank.PRESTOP,
    "": Rank.NOTHING,
}

#: Seconds between two health commands of a vimage that is not ready yet.
HEALTH_PAUSE = 1.0


async def undo_by_command(context: StepContext, argv: tuple[str, ...], what: str,
                          timeout: float) -> None:
    """Run a command in the jail that undoes something, if the jail exists.

    A command that an earlier process has begun is not run again.  Raises VimageError, OSError.
    """
    if context.entry.state == UNDOING:
        context.host.log.warning("%s: %s was begun earlier, it is not run again",
                                 context.name, what)
    elif jail_lives(context):
        context.entry.state = UNDOING
        context.save()
        await context.run_in_jail(argv, what, timeout)


@dataclass(frozen=True)
class HookStep(Step):
    """The commands of a hook of jail(8) on the host, and at stop those of its counterpart.

    The counterpart also runs when a command of the hook has failed: it releases what was
    prepared so far.
    """

    kind: ClassVar[str] = "hook"
    undo_runs_commands: ClassVar[bool] = True
    moment: str  # exec_prepare
    commands: tuple[str, ...]
    undo_moment: str  # exec_release
    undo_commands: tuple[str, ...]
    start_timeout: float
    stop_timeout: float

    @property
    def identity(self) -> tuple[str, ...]:
        return self.kind, self.moment

    @property
    def rank(self) -> Rank:
        return _UNDO_RANK[self.undo_moment]

    def describe(self) -> str:
        return "; ".join(f"{self.moment}: {command}" for command in self.commands)

    def describe_undo(self) -> str:
        return "; ".join(f"{self.undo_moment}: {command}" for command in self.undo_commands)

    async def do(self, context: StepContext) -> None:
        context.record_intent()
        for command in self.commands:
            await context.run_on_host((*SHELL, command), self.moment, self.start_timeout,
                                      environment=_hook_environment(context))

    async def undo(self, context: StepContext) -> None:
        """Run every command once, also those after one that failed."""
        first = int(context.results.get("undone", 0))  # an earlier process has begun so many
        failed: VimageError | None = None
        for number, command in enumerate(self.undo_commands[first:], first + 1):
            context.note(undone=number)
            context.save()
            try:
                await context.run_on_host((*SHELL, command), self.undo_moment, self.stop_timeout,
                                          environment=_hook_environment(context))
            except VimageError as error:
                failed = failed or error
        if failed is not None:
            raise failed


@dataclass(frozen=True)
class BootStep(Step):
    """The boot command in the jail, and at stop ``exec_stop``."""

    kind: ClassVar[str] = "boot"
    order: ClassVar[Rank] = Rank.EXEC_STOP
    undo_runs_commands: ClassVar[bool] = True
    exec_start: str
    exec_stop: str
    start_timeout: float
    stop_timeout: float

    def describe(self) -> str:
        return f"in the jail: {self.exec_start}" if self.exec_start else ""

    def describe_undo(self) -> str:
        return f"in the jail: {self.exec_stop}" if self.exec_stop else ""

    async def do(self, context: StepContext) -> None:
        context.record_intent()
        if self.exec_start:
            await context.run_in_jail((*SHELL, self.exec_start), "exec_start",
                                      self.start_timeout)

    async def undo(self, context: StepContext) -> None:
        if self.exec_stop:
            await undo_by_command(context, (*SHELL, self.exec_stop), "exec_stop",
                                  self.stop_timeout)


@dataclass(frozen=True)
class AfterStartStep(Step):
    """One ``exec_afterstart`` command, in the jail."""

    kind: ClassVar[str] = "afterstart"
    order: ClassVar[Rank] = Rank.NOTHING
    command: str
    start_timeout: float
    number: int = 0

    @property
    def identity(self) -> tuple[str, ...]:
        return self.kind, str(self.number)

    def describe(self) -> str:
        return f"in the jail: {self.command}"

    async def do(self, context: StepContext) -> None:
        context.record_intent()
        await context.run_in_jail((*SHELL, self.command), "exec_afterstart", self.start_timeout)


@dataclass(frozen=True)
class RcServiceStep(Step):
    """One rc.d script of the jail: ``onestart``, and at stop ``onestop``."""

    kind: ClassVar[str] = "service"
    order: ClassVar[Rank] = Rank.SERVICE
    undo_runs_commands: ClassVar[bool] = True
    amendable: ClassVar[bool] = True
    live: ClassVar[bool] = True
    service: str
    start_timeout: float
    stop_timeout: float

    @property
    def identity(self) -> tuple[str, ...]:
        return self.kind, self.service

    def describe(self) -> str:
        return f"in the jail: service {self.service} onestart"

    def describe_undo(self) -> str:
        return f"in the jail: service {self.service} onestop"

    async def do(self, context: StepContext) -> None:
        context.record_intent()
        await context.run_in_jail((SERVICE, self.service, "onestart"),
                                  f"service {self.service}", self.start_timeout)

    async def undo(self, context: StepContext) -> None:
        await undo_by_command(context, (SERVICE, self.service, "onestop"),
                              f"service {self.service} onestop", self.stop_timeout)

    async def amend(self, context: StepContext, before: Self) -> None:
        """Nothing to do: only the timeouts can differ."""


@dataclass(frozen=True)
class CommandStep(Step):
    """``command``: a program in the jail that is left running; ended with TERM, then KILL."""

    kind: ClassVar[str] = "command"
    order: ClassVar[Rank] = Rank.COMMAND
    argv: tuple[str, ...]
    stop_timeout: float

    def describe(self) -> str:
        return f"in the jail, kept running: {' '.join(self.argv)}"

    def describe_undo(self) -> str:
        return f"TERM, then KILL: {self.argv[0]}"

    def process(self, results: Mapping[str, Any]) -> ProcessId | None:
        return ProcessId(results["pid"], results["start"]) if "pid" in results else None

    async def do(self, context: StepContext) -> None:
        context.record_intent()
        try:
            process = await context.start_in_jail(self.argv)
        except OSError as error:
            raise VimageError("command_not_started", what="command", command=self.argv[0],
                              why=error.strerror) from error
        context.host.started[context.name] = process
        context.note(pid=process.id.pid, start=process.id.start)

    async def undo(self, context: StepContext) -> None:
        process = context.host.started.pop(context.name, None)
        known = self.process(context.results)
        if known is None:
            return  # it ends with the other processes of the jail
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                context.kernel.process_signal(known, number)
            except ProcessLookupError:
                return
            if await self._ended(context, known, process):
                return

    async def _ended(self, context: StepContext, known: ProcessId,
                     process: Process | None) -> bool:
        """Whether the program has ended within stop_timeout.

        When the helper that started it has died, only the list of processes tells.
        """
        if process is not None:
            with contextlib.suppress(HelperGone):
                return await wait_or_end(process, self.stop_timeout) is not None
        return await _gone(context, known, self.stop_timeout)


@dataclass(frozen=True)
class HealthyStep(Step):
    """The health command has to succeed before the vimage is ready."""

    kind: ClassVar[str] = "healthy"
    command: str
    health_timeout: float
    start_timeout: float

    def describe(self) -> str:
        return f"in the jail, until it succeeds: {self.command}"

    async def do(self, context: StepContext) -> None:
        context.record_intent()
        why = "it did not end"
        try:
            async with asyncio.timeout(self.start_timeout):
                while True:
                    try:
                        await context.run_in_jail((*SHELL, self.command), "health",
                                                  self.health_timeout)
                        return
                    except VimageError as error:
                        why = str(error)
                    await asyncio.sleep(HEALTH_PAUSE)
        except TimeoutError as error:
            raise VimageError("not_healthy", seconds=f"{self.start_timeout:g}",
                              why=why) from error


async def _gone(context: StepContext, process: ProcessId, timeout: float) -> bool:
    """Wait for a process that our helper has not started.  False when it outlives ``timeout``."""
    pause, waited = 0.01, 0.0
    try:
        while context.kernel.process(process.pid) == process:
            if waited >= timeout:
                return False
            await asyncio.sleep(pause)
            waited += pause
            pause = min(2 * pause, 0.25)
    except ProcessLookupError:
        pass
    return True


def _hook_environment(context: StepContext) -> dict[str, str]:
    """The variables that the commands of a hook find in their environment."""
    environment = {"VIMAGE_NAME": context.name, "JNAME": context.name,
                   "VIMAGE_ROOTDIR": str(context.record.configuration.get("rootdir", ""))}
    if context.record.jid is not None:
        environment["JID"] = str(context.record.jid)
    return environment
