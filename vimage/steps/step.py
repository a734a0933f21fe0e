"""What a step is.

A step is a frozen dataclass: its fields are what the plan prints and what the journal
keeps as ``arguments``, so that another process can make the same step again from the
record and undo it.  ``do`` records its intent before it acts.  ``undo`` must cope with a step
that was only begun: what it is about to take away it first looks for, and verifies.

Whoever wants to know something of a vimage asks its steps: which netgraph nodes to watch,
which interfaces to show, what a change of the configuration adds, removes and amends.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from vimage.kernel import Kernel, ProcessId

if TYPE_CHECKING:
    from vimage.steps.context import StepContext

JsonObject = dict[str, Any]


class Rank(enum.IntEnum):
    """When a step is undone: the order of stop.  Within a rank, last done first undone."""

    PRESTOP = 0
    COMMAND = 1
    SERVICE = 2
    EXEC_STOP = 3
    PROCESSES = 4
    EIFACE = 5  # before the jail: FreeBSD bug 238326
    VNETS = 6
    JAIL = 7
    POSTSTOP = 8
    MOUNT = 9
    BRIDGE = 10
    RELEASE = 11
    NOTHING = 12  # goes with another step


class Step:
    """One reversible step."""

    kind: ClassVar[str]
    order: ClassVar[Rank] = Rank.NOTHING
    #: Whether ``undo`` runs commands of the user, which must not run twice.
    undo_runs_commands: ClassVar[bool] = False
    #: Whether ``amend`` can change it in place, whatever differs.
    amendable: ClassVar[bool] = False
    #: Whether it can be done and undone while the vimage runs, by a reload.
    live: ClassVar[bool] = False
    __match_args__: ClassVar[tuple[str, ...]] = ()  # the fields, as dataclass sets it

    @property
    def rank(self) -> Rank:
        """When it is undone."""
        return self.order

    @property
    def identity(self) -> tuple[str, ...]:
        """What it is about.  Of two plans, steps with one identity are the same step, with
        other arguments perhaps."""
        return (self.kind,)

    @property
    def makes(self) -> str:
        """The interface that it makes."""
        return ""

    @property
    def uses(self) -> tuple[str, ...]:
        """The interfaces, made by other steps, that it is done to."""
        return ()

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The interfaces of the vimage that it brings, for ``status``."""
        return ()

    @property
    def mandatory(self) -> bool:
        """Whether a failure fails the vimage."""
        return True

    def describe(self) -> str:
        """The line of ``vimage plan start``."""
        raise NotImplementedError

    def describe_undo(self) -> str:
        """The line of ``vimage plan stop``; empty when there is nothing to undo."""
        return ""

    def expanded(self, kernel: Kernel) -> list[Step]:
        """The steps that stand for it, where it only gives others when it is done.

        Raises VimageError.
        """
        return [self]

    def nodes(self, results: Mapping[str, Any]) -> Mapping[int, str]:
        """The netgraph nodes that it needs while the vimage is ready: id and name."""
        return {}

    def process(self, results: Mapping[str, Any]) -> ProcessId | None:
        """The process that should run while the vimage is ready."""
        return None

    def record_ahead(self, context: StepContext) -> bool:
        """Record the intent ahead of the step's turn, if all that an undo needs is known.

        The intents of several steps so travel in one write of the journal.  Of a step that
        was recorded and never begun there is nothing to undo, and its undo finds that out.
        """
        return False

    async def do(self, context: StepContext) -> list[Step] | None:
        """Carry it out.  May return steps to be done right after it.

        Raises VimageError or OSError; what was begun is then undone by the caller.
        """
        raise NotImplementedError

    async def undo(self, context: StepContext) -> None:
        """Take back what ``context.entry`` records.  Nothing to do is no error."""

    def can_amend(self, before: Step) -> bool:
        """Whether ``amend`` can make it of ``before``, which has the same identity."""
        return self.amendable

    async def amend(self, context: StepContext, before: Self) -> None:
        """Change what was done with the arguments of ``before`` to those of this step.

        Whatever of it is already so is no error.  Raises VimageError or OSError.
        """
        raise NotImplementedError

    def arguments(self) -> JsonObject:
        """The fields, as the journal keeps them."""
        return {name: getattr(self, name) for name in self.__match_args__}
