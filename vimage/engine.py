"""Starts, stops, changes and settles one vimage, step by step.

The engine does one thing to one vimage at a time.  ``vimage.jobs`` decides the order, and never
lets it do two things to one vimage at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

from vimage import plan
from vimage.journal import (
    AMENDED,
    BEGUN,
    CHANGING,
    DONE,
    NEW,
    OLD,
    READY,
    STARTING,
    STOPPING,
    UNDOING,
    UNDONE,
    Entry,
    Record,
)
from vimage.messages import Problem, VimageError
from vimage.model import Configuration, Vimage
from vimage.plan import Difference
from vimage.steps.context import Host, StepContext
from vimage.steps.kinds import before_amendment, from_entry, steps_of
from vimage.steps.step import Rank, Step

T = TypeVar("T")

#: The ranks of steps that a reboot undoes by itself.
_LEFT_TO_REBOOT = frozenset({Rank.EIFACE, Rank.VNETS, Rank.JAIL, Rank.BRIDGE})


class Outcome(Enum):
    """What became of a vimage."""

    READY = "ready"
    ALREADY_READY = "already ready"
    STOPPED = "stopped"
    NOT_RUNNING = "not running"
    CHANGED = "changed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """The end of one start, stop or change."""

    name: str
    outcome: Outcome
    problems: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        return self.outcome not in (Outcome.FAILED, Outcome.SKIPPED) and not self.problems


class Observer(Protocol):
    """Is called when a vimage becomes ready, and before it ceases to be.

    Both calls name the record; a vimage that is started again has another one.
    """

    def ready(self, record: Record) -> None:
        """The vimage is ready: after a start, a change, or the start of this process."""

    def leaving(self, record: Record) -> None:
        """The vimage is about to be stopped or changed."""

    def failed(self, vimage: Vimage, file: str, result: Result) -> None:
        """The start of a vimage has failed and was undone."""


class NoObserver:
    """For the command that acts itself: nothing is watched."""

    def ready(self, record: Record) -> None:
        """Do nothing."""

    def leaving(self, record: Record) -> None:
        """Do nothing."""

    def failed(self, vimage: Vimage, file: str, result: Result) -> None:
        """Do nothing."""


class StepFailed(VimageError):
    """A step of a vimage failed: which vimage, which step, why."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(Problem.of("step_failed", vimage=name, name=name, why=why))


class Engine:
    """Acts on vimages, one call for each thing done to one vimage."""

    def __init__(self, host: Host, observer: Observer) -> None:
        self.host = host
        self.observer = observer
        #: The host goes down: what the reboot undoes by itself is left to it.
        self.going_down = False
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._interrupted: set[str] = set()
        self._changing: dict[str, asyncio.Task[list[Problem]]] = {}

    @property
    def records(self) -> dict[str, Record]:
        return self.host.journal.records

    # -- start ---------------------------------------------------------------------------------

    async def start(self, vimage: Vimage, configuration: Configuration,
                    file: str = "") -> Result:
        """Start a vimage.  If that fails or is interrupted, undo what was done."""
        try:
            return await self._start(vimage, configuration, file)
        finally:
            self._interrupted.discard(vimage.name)

    async def _start(self, vimage: Vimage, configuration: Configuration, file: str) -> Result:
        record = self.records.get(vimage.name)
        if record is not None:
            was = record.state
            problems = await self._settle(record)
            if record.state == READY and was != READY:
                self.observer.ready(record)
            if record.name in self.records:
                return Result(vimage.name, Outcome.ALREADY_READY if record.state == READY
                              else Outcome.FAILED, tuple(problems))
            for problem in problems:
                self.host.log.warning("%s", problem)
        if vimage.name in self._interrupted:
            return interrupted(vimage.name)
        record = Record(vimage.name, STARTING, configuration=vimage.to_dict(), file=file)
        task = asyncio.ensure_future(self._do_all(record, plan.start(vimage, configuration)))
        self._starting[vimage.name] = task
        try:
            await task
            record.state = READY
            self.host.journal.write(record)
        except VimageError as error:
            return Result(vimage.name, Outcome.FAILED, (error.problem, *await self._undo(record)))
        except asyncio.CancelledError:
            problems = await self._undo(record)
            if task.cancelled() and not _cancelling():
                return interrupted(vimage.name, problems)
            raise
        finally:
            del self._starting[vimage.name]
            self.host.release_vnet(vimage.name)
        self.observer.ready(record)
        return Result(vimage.name, Outcome.READY)

    def interrupt(self, name: str) -> None:
        """Cancel a start that is under way, so that it is undone."""
        self._interrupted.add(name)
        if name in self._starting:
            self._starting[name].cancel()

    def go_down(self) -> None:
        """The host goes down: leave to the reboot what it undoes by itself, and cut short the
        changes that are under way."""
        self.going_down = True
        for task in self._changing.values():
            task.cancel()

    # -- stop ----------------------------------------------------------------------------------

    async def stop(self, name: str) -> Result:
        """Stop a vimage: undo every entry of its record."""
        record = self.records.get(name)
        if record is None:
            return Result(name, Outcome.NOT_RUNNING)
        problems = await self._undo(record)
        return Result(name, Outcome.FAILED if record.entries else Outcome.STOPPED,
                      tuple(problems))

    async def settle(self, name: str) -> Result:
        """Undo what an earlier process left half done.  A vimage that is ready is left alone."""
        record = self.records.get(name)
        if record is None:
            return Result(name, Outcome.NOT_RUNNING)
        problems = await self._settle(record)
        if name not in self.records:
            return Result(name, Outcome.STOPPED, tuple(problems))
        if record.state == READY:
            self.observer.ready(record)
            return Result(name, Outcome.READY, tuple(problems))
        return Result(name, Outcome.FAILED, tuple(problems))

    async def _settle(self, record: Record) -> list[Problem]:
        if record.state == READY:
            return []
        if record.state == CHANGING:
            return await self._roll_back(record)
        return await self._undo(record)

    async def _undo(self, record: Record) -> list[Problem]:
        """Undo every entry, by rank.  An entry that fails stays in the record for the next stop."""
        if record.state in (READY, CHANGING):
            self.observer.leaving(record)
        record.state = STOPPING
        if record.name in self.records:
            self._save(record)
        try:
            problems, left = await self._undo_by_rank(record)
            if record.jid is None and any(step.rank is Rank.PROCESSES
                                          for _, step in steps_of(record)):
                # The jail let nobody in, and has gone.
                for problem in left:
                    self.host.log.warning("%s; tried again without the jail", problem)
                again, left = await self._undo_by_rank(record)
                problems += again
            problems += left
        finally:
            self.host.release_vnet(record.name)
        if record.entries:
            self._save(record)
        else:
            self._forget(record)
        return problems

    async def _undo_by_rank(self, record: Record) -> tuple[list[Problem], list[Problem]]:
        """The problems of entries that are undone all the same, and of those that are left."""
        problems: list[Problem] = []
        left: list[Problem] = []
        for entry, step in plan.stop(record):
            found = await self._undo_entry(record, entry, step)
            if entry.state == UNDONE:
                record.entries.remove(entry)
                problems += found
            else:
                left += found
            if step.undo_runs_commands:
                self._save(record)
        return problems, left

    async def _undo_entry(self, record: Record, entry: Entry, step: Step) -> list[Problem]:
        """Undo one entry; afterwards its state is UNDONE if it was.

        An entry whose undo runs commands counts as undone even if they fail, since none is run
        twice.
        """
        if entry.state == UNDONE or self.going_down and step.rank in _LEFT_TO_REBOOT:
            entry.state = UNDONE
            return []
        problems: list[Problem] = []
        try:
            await step.undo(StepContext(self.host, record, entry, undoing=True))
        except (VimageError, OSError) as error:
            problems.append(self._undo_failed(record, step, reason(error)))
            if not step.undo_runs_commands:
                return problems
        except Exception as error:
            self.host.log.exception("%s: undoing %s", record.name, step.kind)
            return [self._undo_failed(record, step, f"internal error: {error!r}")]
        entry.state = UNDONE
        return problems

    @staticmethod
    def _undo_failed(record: Record, step: Step, why: str) -> Problem:
        return Problem.of("undo_failed", vimage=record.name, name=record.name,
                          step=step.describe_undo() or step.describe() or step.kind, why=why)

    # -- change --------------------------------------------------------------------------------

    async def change(self, name: str, vimage: Vimage, configuration: Configuration,
                     difference: Difference) -> Result:
        """Make a vimage that is ready match ``vimage``; if that fails, take the change back.

        The record says how far the change has come; the write of ``_commit`` completes it.
        """
        record = self.records[name]
        self.observer.leaving(record)
        before = record.configuration
        try:
            if difference:
                record.state, record.target, record.note = CHANGING, vimage.to_dict(), ""
                task = asyncio.ensure_future(self._change(record, difference))
                self._changing[name] = task
                problems = await task
                if problems:
                    record.note = f"reload failed: {problems[0]}"
                    return Result(name, Outcome.FAILED,
                                  (*problems, *await self._roll_back(record)))
            else:
                record.configuration, record.note = vimage.to_dict(), ""
                self.host.journal.write(record)
        except VimageError as error:  # nothing but the record was touched
            for entry in record.entries:
                entry.change, entry.before = "", None
            record.state, record.target, record.configuration = READY, None, before
            record.note = f"reload failed: {error}"
            return Result(name, Outcome.FAILED, (error.problem,))
        except asyncio.CancelledError:
            if self.going_down and not _cancelling():  # a stop comes next
                return Result(name, Outcome.FAILED, (Problem.of("service_stopping"),))
            await self._roll_back(record)
            raise
        finally:
            self._changing.pop(name, None)
            self.host.release_vnet(name)
            self.observer.ready(record)  # also one that could not be taken back
        return Result(name, Outcome.CHANGED)

    async def _change(self, record: Record, difference: Difference) -> list[Problem]:
        """Do the change and commit it.  Returns the problems, none on success."""
        steps = steps_of(record)
        replaced = [pair for pair in steps if pair[1].identity in difference.replaced]
        removed = [pair for pair in steps if pair[1].identity in difference.removed]
        for entry, _ in (*replaced, *removed):
            entry.change = OLD
        amended = {step.identity for _, step in difference.amended}
        for entry, step in steps:
            if step.identity in amended:  # also if nothing but its interface is a new one
                entry.change, entry.before = AMENDED, entry.arguments
        self.host.journal.write(record)
        try:
            problems = await self._undo_old(record, replaced)
            if not problems:
                await self._do_all(record, difference.added, change=NEW)
                for was, step in difference.amended:
                    await self._amend(record, was, step)
                problems = await self._undo_old(record, removed)
            if not problems:
                self._commit(record)
        except VimageError as error:
            return [error.problem]
        return problems

    async def _undo_old(self, record: Record,
                        old: Sequence[tuple[Entry, Step]]) -> list[Problem]:
        going = {step.makes for _, step in old if step.makes}
        for entry, step in plan.undo_order(old):
            for other, user in old:
                if step.makes in user.uses and going.issuperset(user.uses):
                    other.state = UNDONE  # what was done to an interface goes with it
            if entry.state != UNDONE and not step.undo_runs_commands:
                entry.state = UNDOING  # those with commands record it themselves
                self.host.journal.write(record)
            problems = await self._undo_entry(record, entry, step)
            if problems:
                return problems
        return []

    async def _amend(self, record: Record, was: Step, step: Step) -> None:
        entry = next((e for e, s in steps_of(record) if s.identity == step.identity
                      and e.change == AMENDED), None)
        if entry is None:
            await self._do_all(record, [step], change=NEW)
            return
        entry.arguments = step.arguments()
        self.host.journal.write(record)
        await self._guarded(record, step, step.amend(StepContext(self.host, record, entry), was))

    def _commit(self, record: Record) -> None:
        """Complete the change with one write.  Raises VimageError, with the record as it was."""
        assert record.target is not None
        entries, configuration, target = record.entries, record.configuration, record.target
        changes = [(entry, entry.change, entry.before) for entry in entries]
        record.entries = [entry for entry in entries if entry.change != OLD]
        for entry in record.entries:
            entry.change, entry.before = "", None
        record.state, record.configuration, record.target = READY, record.target, None
        try:
            self.host.journal.write(record)
        except VimageError:
            for entry, change, before in changes:
                entry.change, entry.before = change, before
            record.entries, record.state = entries, CHANGING
            record.configuration, record.target = configuration, target
            raise

    async def _roll_back(self, record: Record) -> list[Problem]:
        """Take back a change that failed, or that an earlier process did not complete.

        If that fails, the record stays CHANGING, for the next try.
        """
        problems: list[Problem] = []
        try:
            problems = await self._take_back_new(record)
            if not problems:
                problems = [*await self._do_old_again(record), *await self._amend_back(record)]
        finally:
            self.host.release_vnet(record.name)
        if problems:
            self._save(record)
            return problems
        record.state, record.target = READY, None
        record.note = record.note or "reload failed: it was interrupted"
        self._save(record)
        return []

    async def _take_back_new(self, record: Record) -> list[Problem]:
        """Undo the new entries.  A command that fails is logged, and not run again."""
        left: list[Problem] = []
        new = [pair for pair in steps_of(record) if pair[0].change == NEW]
        for entry, step in plan.undo_order(new):
            problems = await self._undo_entry(record, entry, step)
            if entry.state == UNDONE:
                record.entries.remove(entry)
                for problem in problems:
                    self.host.log.error("%s", problem)
            else:
                left += problems
            self._save(record)
        return left

    async def _do_old_again(self, record: Record) -> list[Problem]:
        """Do the old entries again that the change has undone, in their first order."""
        for entry, step in steps_of(record):
            if entry.change != OLD:
                continue
            problems = await self._do_again(record, entry, step)
            if problems:
                return problems
            entry.state, entry.change = DONE, ""
            self._save(record)
        return []

    async def _do_again(self, record: Record, entry: Entry, step: Step) -> list[Problem]:
        if entry.state == DONE:
            return []  # its turn to be undone had not come
        if step.undo_runs_commands:
            if entry.state == BEGUN:  # by an earlier process, which was taking this change back
                self.host.log.warning("%s: %s: begun earlier, not run again",
                                      record.name, step.describe())
                return []
        elif entry.state in (UNDOING, BEGUN):
            problems = await self._undo_entry(record, entry, step)
            if problems:
                return problems
        place = record.entries.index(entry)
        record.entries.remove(entry)  # the step records its intent anew
        entry.state, entry.results = BEGUN, {}
        try:
            await self._guarded(record, step, step.do(StepContext(self.host, record, entry)))
        except VimageError as error:
            if entry not in record.entries:
                entry.state = UNDONE
                record.entries.append(entry)
            return [error.problem]
        finally:  # services are stopped in the reverse order of their first start
            record.entries.remove(entry)
            record.entries.insert(place, entry)
        return []

    async def _amend_back(self, record: Record) -> list[Problem]:
        problems: list[Problem] = []
        for entry in record.entries:
            if entry.change != AMENDED:
                continue
            step, now = before_amendment(entry), from_entry(entry)
            try:
                await self._guarded(record, step, step.amend(
                    StepContext(self.host, record, entry, undoing=True), now))
            except VimageError as error:
                problems.append(error.problem)
            else:
                entry.arguments, entry.change, entry.before = step.arguments(), "", None
        return problems

    # -- steps -----------------------------------------------------------------------------------

    async def _do_all(self, record: Record, steps: Iterable[Step], change: str = "") -> None:
        left = deque(steps)
        ahead: deque[Entry] = deque()
        while left:
            ahead = ahead or self._record_ahead(record, left, change)
            step = left.popleft()
            entry = ahead.popleft() if ahead else _entry(step, change)
            try:
                more = await self._guarded(record, step,
                                           step.do(StepContext(self.host, record, entry)))
                entry.state = DONE
                left.extendleft(reversed(more or []))
            except StepFailed as failed:
                if step.mandatory:
                    raise
                self.host.log.warning("%s", failed.problem)

    def _record_ahead(self, record: Record, steps: Iterable[Step],
                      change: str) -> deque[Entry]:
        """Record the intents of the next steps, as far as they are known, in one write."""
        entries: deque[Entry] = deque()
        for step in steps:
            entry = _entry(step, change)
            try:
                known = step.record_ahead(StepContext(self.host, record, entry))
            except OSError as error:
                raise StepFailed(record.name, _why(step, error)) from error
            if not known:
                break
            entries.append(entry)
        if entries:
            self.host.journal.write(record)
        return entries

    async def _guarded(self, record: Record, step: Step, act: Awaitable[T]) -> T:
        """Await a step; every error of it is raised as StepFailed."""
        try:
            return await act
        except (VimageError, OSError) as error:
            raise StepFailed(record.name, _why(step, error)) from error
        except Exception as error:
            self.host.log.exception("%s: %s", record.name, step.kind)
            raise StepFailed(record.name, f"{step.kind}: internal error: {error!r}") from error

    # -- the journal -----------------------------------------------------------------------------

    def _save(self, record: Record) -> None:
        """Write the record while undoing.  An error is only logged: the older record on disk has
        entries that are undone already, and undoing them again is harmless."""
        try:
            self.host.journal.write(record)
        except VimageError as error:
            self.host.log.error("%s", error)

    def _forget(self, record: Record) -> None:
        try:
            self.host.journal.remove(record.name)
        except VimageError as error:
            self.host.log.error("%s", error)


def interrupted(name: str, problems: Sequence[Problem] = (),
                outcome: Outcome = Outcome.FAILED) -> Result:
    """The result of a start that a later stop has interrupted."""
    return Result(name, outcome,
                  (Problem.of("start_interrupted", vimage=name, name=name), *problems))


def reason(error: VimageError | OSError) -> str:
    """The text of an error, without the errno."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)


def _why(step: Step, error: VimageError | OSError) -> str:
    if isinstance(error, VimageError):
        return str(error)
    return f"{step.describe() or step.kind}: {reason(error)}"


def _entry(step: Step, change: str) -> Entry:
    return Entry(step.kind, step.arguments(), change=change)


def _cancelling() -> int:
    """How often the present task itself was cancelled."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
