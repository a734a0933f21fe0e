"""Steps that make the jail and end what lives in it."""

from __future__ import annotations

import asyncio
import errno
import signal
from dataclasses import dataclass, field
from typing import ClassVar

from vimage.kernel import JailId, JailInfo
from vimage.messages import VimageError
from vimage.steps import Rank, Step
from vimage.steps.commands import jail_lives
from vimage.steps.work import FREED_WITHIN, Work

Parameters = dict[str, str | int | bool | None]


@dataclass(frozen=True)
class Jail(Step):
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

    async def do(self, work: Work) -> None:
        if not work.intended:
            work.intend()
        try:
            jid = await work.apart(work.kernel.jail_create, {
                "name": self.name, "path": self.path,
                "host.hostname": self.hostname, "vnet": "new", "persist": True,
                **self.parameters})
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            work.forget()  # it is not ours
            raise VimageError("jail_exists", name=self.name) from error
        work.note(jid=jid)

    def foresee(self, work: Work) -> bool:
        work.foresee()
        return True

    async def undo(self, work: Work) -> None:
        work.release()
        jail = self._find(work)
        if jail is None:
            return
        if not jail.dying:
            await work.apart(work.kernel.jail_remove, jail.jid)
        await freed(work, jail.jid)

    def _find(self, work: Work) -> JailInfo | None:
        """Our jail, also when only the intent to make it is known."""
        try:
            jail = work.kernel.jail_get(work.record.jid or self.name)
        except FileNotFoundError:
            return None
        return jail if jail.name == self.name else None

async def freed(work: Work, jail: JailId) -> None:
    """Wait until the kernel has freed the jail: only then are its interfaces and root free.

    Raises VimageError("jail_dying").
    """
    pause, waited = 0.005, 0.0
    while waited < FREED_WITHIN:
        try:
            if work.kernel.jail_get(jail).name != work.name:
                return
        except FileNotFoundError:
            return
        await asyncio.sleep(pause)
        waited += pause
        pause = min(2 * pause, 0.5)
    raise VimageError("jail_dying", name=work.name, jid=jail, seconds=f"{FREED_WITHIN:g}")


@dataclass(frozen=True)
class Occupants(Step):
    """Whatever will run in the jail.  At stop: TERM, then KILL, then its connections dropped.

    A TCP connection that its peer holds would keep the jail dying for ten minutes.
    """

    kind: ClassVar[str] = "occupants"
    order: ClassVar[Rank] = Rank.OCCUPANTS
    stop_timeout: float

    def describe(self) -> str:
        return ""

    def describe_undo(self) -> str:
        return "end the processes of the jail (TERM, then KILL), drop its TCP connections"

    def foresee(self, work: Work) -> bool:
        work.foresee()
        return True

    async def do(self, work: Work) -> None:
        if not work.intended:
            work.foresee()

    async def undo(self, work: Work) -> None:
        if work.record.jid is None:
            return
        try:
            if not await _cleared(work, signal.SIGTERM, self.stop_timeout):
                await _cleared(work, signal.SIGKILL, 5.0)
        except FileNotFoundError:  # removed behind our back
            await freed(work, work.jail)


async def _cleared(work: Work, number: int, timeout: float) -> bool:
    """Signal every process of the jail; False when some are left after ``timeout`` seconds.

    From then on the VNET is held: see ``Eiface.undo``.
    """
    pause, waited = 0.01, 0.0
    hold = await work.visit(work.kernel.jail_clear, work.jail, number)
    while hold is None and waited < timeout:
        await asyncio.sleep(pause)
        waited += pause
        pause = min(2 * pause, 0.5)
        hold = await work.visit(work.kernel.jail_clear, work.jail, 0)
    work.hold(hold)
    return hold is not None


@dataclass(frozen=True)
class Limits(Step):
    """Resource rules (rctl(8)) and CPUs (cpuset(1)) of the jail."""

    kind: ClassVar[str] = "limits"
    order: ClassVar[Rank] = Rank.JAIL
    name: str
    rctl: tuple[str, ...]  # "vmemoryuse:deny=512m"
    cpus: str  # "0-3,6"

    def describe(self) -> str:
        return "limits: " + " ".join((*self.rctl, *((f"cpus={self.cpus}",) if self.cpus else ())))

    def describe_undo(self) -> str:
        return f"remove the resource rules of jail {self.name}" if self.rctl else ""

    async def do(self, work: Work) -> None:
        work.intend()
        for rule in self.rctl:
            work.kernel.rctl_add(f"jail:{self.name}:{rule}")
        if self.cpus:
            work.kernel.jail_cpus(work.jail, cpu_numbers(self.cpus))

    async def undo(self, work: Work) -> None:
        if self.rctl:
            try:
                work.kernel.rctl_remove(f"jail:{self.name}:")
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ESRCH, errno.ENOSYS):
                    raise  # there are none, or the kernel keeps no account
        if self.cpus and jail_lives(work):
            every = range(int(work.kernel.sysctl("hw.ncpu")))
            work.kernel.jail_cpus(work.jail, frozenset(every))


def cpu_numbers(text: str) -> frozenset[int]:
    """"0-3,6" as the numbers it stands for."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


@dataclass(frozen=True)
class Securelevel(Step):
    """The jail's securelevel, raised after its boot command."""

    kind: ClassVar[str] = "securelevel"
    order: ClassVar[Rank] = Rank.NOTHING
    level: int

    def describe(self) -> str:
        return f"securelevel={self.level}"

    async def do(self, work: Work) -> None:
        work.intend()
        work.kernel.jail_update(work.jail, {"securelevel": self.level})
