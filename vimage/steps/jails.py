"""Steps that make the jail and end what lives in it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
from dataclasses import dataclass, field
from typing import ClassVar, Self

from vimage.kernel import Hold, JailId, JailInfo
from vimage.messages import VimageError
from vimage.steps.context import Host, StepContext
from vimage.steps.step import Rank, Step

Parameters = dict[str, str | int | bool | None]

#: Seconds that a removed jail may take until the kernel has freed it, before it is reported.
FREED_WITHIN = 15.0

#: Seconds that the processes of a jail may take to end after KILL.
KILLED_WITHIN = 5.0

#: Seconds that they may take after TERM where no vimage_NAME_stop_timeout is known.
TERM_WITHIN = 30.0


@dataclass(frozen=True)
class JailStep(Step):
    """The jail itself: VNET, persistent.  Known by jid, name and path."""

    kind: ClassVar[str] = "jail"
    order: ClassVar[Rank] = Rank.JAIL
    name: str
    path: str
    hostname: str
    parameters: Parameters = field(default_factory=dict)

    def describe(self) -> str:
        return f"jail {self.name}: vnet, persist, path={self.path}, host.hostname={self.hostname}"

    def describe_undo(self) -> str:
        return f"remove jail {self.name}, wait until it is freed"

    async def do(self, context: StepContext) -> None:
        if not context.recorded:
            context.record_intent()
        context.host.jails_ahead.discard(self.name)
        try:
            jail = await context.sleeping(context.kernel.jail_create, {
                "name": self.name, "path": self.path,
                "host.hostname": self.hostname, "vnet": "new", "persist": True,
                **self.parameters})
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            context.forget()  # it is not ours
            raise VimageError("jail_exists", name=self.name) from error
        context.note(jid=jail)

    def record_ahead(self, context: StepContext) -> bool:
        context.host.jails_ahead.add(self.name)
        context.record_ahead()
        return True

    async def undo(self, context: StepContext) -> None:
        context.release_vnet()
        if self.name in context.host.jails_ahead:
            context.host.jails_ahead.discard(self.name)
            return  # it was not begun
        jail = self._find(context)
        if jail is None:
            return
        if not jail.dying:
            try:
                await context.sleeping(context.kernel.jail_remove, jail.jid)
            except FileNotFoundError:
                return  # somebody else was faster
        await freed(context, jail.jid)

    def _find(self, context: StepContext) -> JailInfo | None:
        """Our jail, also when only the intent to make it is known."""
        try:
            jail = context.kernel.jail_get(context.record.jid or self.name)
        except FileNotFoundError:
            return None
        same = jail.name == self.name and (
            "jid" in context.results or os.path.realpath(jail.path) == os.path.realpath(self.path))
        return jail if same else None


async def freed(context: StepContext, jail: JailId) -> None:
    """Wait until the kernel has freed the jail, and with it its interfaces and root directory.

    Raises VimageError("jail_dying"), OSError.
    """
    pause, waited = 0.005, 0.0
    while waited < FREED_WITHIN:
        try:
            if context.kernel.jail_get(jail).name != context.name:
                return
        except FileNotFoundError:
            return
        await asyncio.sleep(pause)
        waited += pause
        pause = min(2 * pause, 0.5)
    raise VimageError("jail_dying", name=context.name, jid=jail, seconds=f"{FREED_WITHIN:g}")


def jail_lives(context: StepContext) -> bool:
    """Whether the jail of the vimage exists and is not dying.  The number alone does not tell:
    it may have been given again.  Raises OSError when that cannot be known."""
    if context.record.jid is None:
        return False
    try:
        jail = context.kernel.jail_get(context.jail)
    except FileNotFoundError:
        return False
    return not jail.dying and jail.name == context.name


@dataclass(frozen=True)
class JailProcessesStep(Step):
    """Ends the processes of the jail at stop: TERM, then KILL; then drops its TCP connections.

    A TCP connection that its peer keeps open would keep the jail dying for ten minutes.
    """

    kind: ClassVar[str] = "occupants"
    order: ClassVar[Rank] = Rank.PROCESSES
    stop_timeout: float

    def describe(self) -> str:
        return ""

    def describe_undo(self) -> str:
        return "end the processes of the jail (TERM, then KILL), drop its TCP connections"

    def record_ahead(self, context: StepContext) -> bool:
        context.record_ahead()
        return True

    async def do(self, context: StepContext) -> None:
        if not context.recorded:
            context.record_ahead()

    async def undo(self, context: StepContext) -> None:
        if context.record.jid is None:
            return
        if jail_lives(context):
            with contextlib.suppress(FileNotFoundError):  # removed just now
                await end_processes(context, context.jail, self.stop_timeout)
                return
        await freed(context, context.jail)  # removed behind our back


async def end_processes(context: StepContext, jail: JailId, timeout: float) -> None:
    """End the processes of a jail: TERM, after ``timeout`` seconds KILL.

    After that the VNET is held, see ``EifaceStep.undo``.  Processes that are left get KILL again
    when the jail is removed.  Raises OSError.
    """
    hold = await _ended(context.host, jail, signal.SIGTERM, timeout) \
        or await _ended(context.host, jail, signal.SIGKILL, KILLED_WITHIN)
    if hold is None:
        context.host.log.warning("%s: processes of jail %d did not end", context.name, jail)
    else:
        context.hold_vnet(hold)


async def end_processes_of(host: Host, name: str, jail: JailId) -> None:
    """The same at shutdown, for a jail whose record this version cannot read."""
    hold = await _ended(host, jail, signal.SIGTERM, TERM_WITHIN) \
        or await _ended(host, jail, signal.SIGKILL, KILLED_WITHIN)
    if hold is None:
        host.log.warning("%s: processes of jail %d did not end", name, jail)
    else:
        hold.close()


async def _ended(host: Host, jail: JailId, number: int, timeout: float) -> Hold | None:
    """Signal every process of the jail; None when some are left after ``timeout`` seconds.

    KILL is sent again to what was forked meanwhile.
    """
    pause, waited = 0.01, 0.0
    hold = await host.entering(host.kernel.jail_clear, jail, number)
    while hold is None and waited < timeout:
        await asyncio.sleep(pause)
        waited += pause
        pause = min(2 * pause, 0.5)
        hold = await host.entering(host.kernel.jail_clear, jail,
                                   number if number == signal.SIGKILL else 0)
    return hold


@dataclass(frozen=True)
class LimitsStep(Step):
    """Resource rules (rctl(8)) and CPUs (cpuset(1)) of the jail."""

    kind: ClassVar[str] = "limits"
    order: ClassVar[Rank] = Rank.JAIL
    amendable: ClassVar[bool] = True
    live: ClassVar[bool] = True
    name: str
    rctl: tuple[str, ...]  # "vmemoryuse:deny=512m"
    cpus: str  # "0-3,6"

    def describe(self) -> str:
        return "limits: " + " ".join((*self.rctl, *((f"cpus={self.cpus}",) if self.cpus else ())))

    def describe_undo(self) -> str:
        return f"remove the resource rules of jail {self.name}" if self.rctl else ""

    async def do(self, context: StepContext) -> None:
        if not context.recorded:
            context.record_intent()
        self._set(context)

    async def undo(self, context: StepContext) -> None:
        self._remove(context, *self.rctl, *(context.entry.before or {}).get("rctl", ()))
        if self.cpus and jail_lives(context):
            self._set_cpus(context, "")

    async def amend(self, context: StepContext, before: Self) -> None:
        self._remove(context, *before.rctl, *self.rctl)
        if before.cpus and not self.cpus:
            self._set_cpus(context, "")
        self._set(context)

    def _set(self, context: StepContext) -> None:
        for rule in self.rctl:
            context.kernel.rctl_add(f"jail:{self.name}:{rule}")
        if self.cpus:
            self._set_cpus(context, self.cpus)

    def _remove(self, context: StepContext, *rules: str) -> None:
        """Those that somebody else has added stay."""
        for rule in sorted({rule.partition("=")[0] for rule in rules}):  # whatever the amount
            try:
                context.kernel.rctl_remove(f"jail:{self.name}:{rule}")
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ESRCH, errno.ENOSYS):
                    raise  # there is none, or the kernel keeps no account

    @staticmethod
    def _set_cpus(context: StepContext, cpus: str) -> None:
        """Give the jail these CPUs; "" is all that the host has."""
        numbers = cpu_numbers(cpus) if cpus else frozenset(
            range(int(context.kernel.sysctl("hw.ncpu"))))
        context.kernel.jail_cpus(context.jail, numbers)


def cpu_numbers(text: str) -> frozenset[int]:
    """"0-3,6" as the numbers it stands for."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


@dataclass(frozen=True)
class SecurelevelStep(Step):
    """The jail's securelevel, raised after its boot command."""

    kind: ClassVar[str] = "securelevel"
    order: ClassVar[Rank] = Rank.NOTHING
    level: int

    def describe(self) -> str:
        return f"securelevel={self.level}"

    async def do(self, context: StepContext) -> None:
        context.record_intent()
        context.kernel.jail_update(context.jail, {"securelevel": self.level})
