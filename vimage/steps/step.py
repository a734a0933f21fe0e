"""What a step is.

A step is a frozen dataclass: its fields are what the plan prints and what the journal
keeps as ``arguments``, so that another process can make the same step again from the
record and undo it.  ``do`` records its intent before it acts.  ``undo`` must cope with a step
that was only begun: it looks for what it is about to remove, and checks that it is ours.

Steps also say what others want to know about a vimage: the netgraph nodes to watch, the
interfaces to show, what a change of the configuration adds, removes and amends.
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
    NOTHING = 12  # undone with another step


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
        """What the step acts on.  Steps of two plans with the same identity are the same step,
        possibly with other arguments."""
        return (self.kind,)

    @property
    def makes(self) -> str:
        """The interface that it makes, "" for none."""
        return ""

    @property
    def uses(self) -> tuple[str, ...]:
        """The interfaces, made by other steps, that it acts on."""
        return ()

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The interfaces that it gives the vimage, for ``status``."""
        return ()

    @property
    def change(self) -> str:
        """What ``reload`` says was applied when it was amended, where no variable of the vimage
        has changed."""
        return ""

    @property
    def mandatory(self) -> bool:
        """Whether a failure fails the vimage."""
        return True

    def describe(self) -> str:
        """The line of ``vimage plan start``; empty when there is nothing to print."""
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
        """The process that should run while the vimage is ready, None for none."""
        return None

    def record_ahead(self, context: StepContext) -> bool:
        """Record the intent before the step's turn, if all that an undo needs is known by then.

        So the intents of several steps take one write of the journal.  Such a step may never
        begin: its undo must find that there is nothing to undo.  Returns whether the intent was
        recorded.  Raises OSError, VimageError.
        """
        return False

    async def do(self, context: StepContext) -> list[Step] | None:
        """Carry it out.  May return steps to be done right after it.

        Raises VimageError or OSError; what was begun is then undone by the caller.
        """
        raise NotImplementedError

    async def undo(self, context: StepContext) -> None:
        """Undo what ``context.entry`` records.  It is not an error when nothing is left to undo.

        Raises VimageError or OSError; the entry then stays in the record.
        """

    def can_amend(self, before: Step) -> bool:
        """Whether ``amend`` can make it of ``before``, which has the same identity."""
        return self.amendable

    async def amend(self, context: StepContext, before: Self) -> None:
        """Change what was done with the arguments of ``before`` to those of this step.

        It is not an error when part of it has been changed already.  Raises VimageError or
        OSError.
        """
        raise NotImplementedError

    def arguments(self) -> JsonObject:
        """The fields, as the journal keeps them."""
        return {name: getattr(self, name) for name in self.__match_args__}
