"""The steps from which the life of a vimage is made.

A step is a frozen dataclass: its fields are what the plan prints and what the journal
keeps as ``arguments``, so that another process can make the same step again from the
record and undo it.  ``do`` writes its intent before it acts.  ``undo`` must cope with a step
that was only begun: what it is about to take away it first looks for, and verifies.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar

from vimage.journal import Entry, Facts
from vimage.steps.work import Work


class Rank(enum.IntEnum):
    """When a step is undone: the order of stop.  Within a rank, last done first undone."""

    PRESTOP = 0
    COMMAND = 1
    SERVICE = 2
    EXEC_STOP = 3
    OCCUPANTS = 4
    EIFACE = 5  # before the jail: FreeBSD bug 238326
    VNETS = 6
    JAIL = 7
    POSTSTOP = 8
    MOUNT = 9
    BRIDGE = 10
    RELEASE = 11
    NOTHING = 12  # goes with another step


_KINDS: dict[str, type[Step]] = {}


class Step:
    """One reversible step."""

    kind: ClassVar[str]
    order: ClassVar[Rank] = Rank.NOTHING
    __match_args__: ClassVar[tuple[str, ...]] = ()  # the fields, as dataclass sets it

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        _KINDS[cls.kind] = cls

    @property
    def rank(self) -> Rank:
        """When it is undone."""
        return self.order

    def describe(self) -> str:
        """The line of ``vimage plan start``."""
        raise NotImplementedError

    def describe_undo(self) -> str:
        """The line of ``vimage plan stop``; empty when there is nothing to undo."""
        return ""

    def foresee(self, work: Work) -> bool:
        """Note the intent ahead of the step's turn, if all that an undo needs is known.

        The intents of several steps so travel in one write of the journal.  Of a step that
        was foreseen and never begun there is nothing to undo, and its undo finds that out.
        """
        return False

    async def do(self, work: Work) -> list[Step] | None:
        """Carry it out.  May return steps to be done right after it.

        Raises VimageError or OSError; what was begun is then undone by the caller.
        """
        raise NotImplementedError

    async def undo(self, work: Work) -> None:
        """Take back what ``work.entry`` records.  Nothing to do is no error."""

    @property
    def mandatory(self) -> bool:
        """Whether a failure fails the vimage."""
        return True

    def arguments(self) -> Facts:
        """The fields, as the journal keeps them."""
        return {name: getattr(self, name) for name in self.__match_args__}


def from_entry(entry: Entry) -> Step:
    """The step that an entry of the journal records."""
    cls = _KINDS[entry.kind]
    values = {name: tuple(value) if isinstance(value, list) else value
              for name, value in entry.arguments.items() if name in cls.__match_args__}
    return cls(**values)
