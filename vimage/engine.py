"""Carries steps out and undoes them; no vimage waits for another without need.

The engine is the one place that decides who may act on a vimage: one task at a time for
each name, in one process at a time (the lock of the journal).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from vimage import plan
from vimage.configuration.render import as_dict
from vimage.journal import BEGUN, DONE, READY, STARTING, STOPPING, Entry, Record
from vimage.messages import Problem, VimageError
from vimage.model import Configuration, Vimage
from vimage.steps import Rank, Step
from vimage.steps.work import Tools, Work

#: Undoing these runs commands, which must not run twice: the journal is written after each.
_COMMAND_RANKS = frozenset({Rank.PRESTOP, Rank.COMMAND, Rank.SERVICE, Rank.EXEC_STOP,
                            Rank.POSTSTOP, Rank.RELEASE})


#: What a reboot undoes by itself.
_LEFT_TO_REBOOT = frozenset({Rank.EIFACE, Rank.VNETS, Rank.JAIL, Rank.BRIDGE})


class Outcome(Enum):
    """What became of a vimage."""

    READY = "ready"
    ALREADY_READY = "already ready"
    STOPPED = "stopped"
    NOT_RUNNING = "not running"
    FAILED = "failed"
    LEFT_OUT = "left out"


class Result(NamedTuple):
    """The end of one start or stop."""

    name: str
    outcome: Outcome
    problems: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        return self.outcome not in (Outcome.FAILED, Outcome.LEFT_OUT) and not self.problems


Report = Callable[[Result], None]


def silent(_: Result) -> None:
    """Report to nobody."""


#: What can be known to fail before a vimage is touched.
Preflight = Callable[[str], Sequence[Problem]]


def clear(_: str) -> Sequence[Problem]:
    """Nothing stands against it."""
    return ()


class Engine:
    """Starts, stops and recovers vimages."""

    def __init__(self, tools: Tools, parallel: int = 4) -> None:
        self.tools = tools
        #: The host goes down: what it takes with it is not undone.
        self.going_down = False
        self._slots = asyncio.Semaphore(max(1, parallel))
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._starting: dict[str, asyncio.Task[None]] = {}
        #: How often each vimage, and how often every one, was to be stopped.
        self._stops: defaultdict[str, int] = defaultdict(int)
        self._stops_of_all = 0

    @property
    def records(self) -> dict[str, Record]:
        return self.tools.journal.records

    def set_parallel(self, parallel: int) -> None:
        """How many vimages may be under way at once from now on."""
        self._slots = asyncio.Semaphore(max(1, parallel))

    def busy(self, name: str) -> bool:
        """Whether a start or stop of this vimage is under way."""
        return self._locks[name].locked()

    # -- several vimages -------------------------------------------------------------------

    async def start(self, names: Sequence[str], configuration: Configuration,
                    report: Report = silent, preflight: Preflight = clear) -> list[Result]:
        """Start vimages of the configuration and, before them, what they depend on.

        What ``preflight`` finds keeps a vimage from being touched.
        """
        wanted = with_dependencies(names, configuration.vimages)
        needs = {name: configuration.vimages[name].depend for name in wanted}
        asked = {name: self._stops_of(name) for name in wanted}

        async def one(name: str) -> Result:
            if self._stops_of(name) != asked[name]:
                return _overtaken(name, Outcome.LEFT_OUT)
            problems = preflight(name)
            if problems:
                return Result(name, Outcome.LEFT_OUT, tuple(problems))
            return await self.start_one(configuration.vimages[name], configuration)

        return await self._in_order(wanted, needs, report, one)

    async def stop(self, names: Iterable[str], report: Report = silent, *,
                   every: bool = False) -> list[Result]:
        """Stop vimages and, before them, those that depend on them.

        A start of one of them that is under way is cut short and undone, and one that has yet
        to begin does not.  With ``every`` that holds for all vimages.
        """
        wanted = self.with_dependents(names)
        self._overtake(wanted, every=every)
        after: defaultdict[str, list[str]] = defaultdict(list)
        for other in wanted:
            for name in self._depend(other):
                after[name].append(other)
        return await self._in_order(wanted, after, report, self.stop_one, need_ok=False)

    def _stops_of(self, name: str) -> tuple[int, int]:
        return self._stops[name], self._stops_of_all

    def _overtake(self, names: Iterable[str], *, every: bool) -> None:
        self._stops_of_all += every
        for name in names:
            self._stops[name] += 1
        for name in list(self._starting) if every else names:
            if name in self._starting:
                self._starting[name].cancel()

    async def recover(self, report: Report = silent) -> list[Result]:
        """Undo what an earlier process left half done.  What is ready is left alone."""
        names = [name for name, record in self.records.items() if record.state != READY]
        return await self._in_order(names, {}, report, self.stop_one, need_ok=False)

    async def _in_order(self, names: Sequence[str], needs: Mapping[str, Sequence[str]],
                        report: Report, act: Callable[[str], Awaitable[Result]], *,
                        need_ok: bool = True) -> list[Result]:
        tasks: dict[str, asyncio.Task[Result]] = {}

        async def one(name: str) -> Result:
            for other in needs.get(name, ()):
                if other in tasks:
                    before = await asyncio.shield(tasks[other])
                    if need_ok and not before.ok:
                        result = Result(name, Outcome.LEFT_OUT, (Problem.of(
                            "depend_failed", vimage=name, name=name, other=other),))
                        report(result)
                        return result
            async with self._slots:
                result = await act(name)
            report(result)
            return result

        for name in names:
            tasks[name] = asyncio.create_task(one(name), name=f"vimage {name}")
        try:
            return [await tasks[name] for name in names]
        except asyncio.CancelledError:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
            raise

    def _depend(self, name: str) -> Sequence[str]:
        return self.records[name].configuration.get("depend", ()) if name in self.records else ()

    def with_dependents(self, names: Iterable[str]) -> list[str]:
        """Names and, before each, the running vimages that depend on it."""
        users: defaultdict[str, list[str]] = defaultdict(list)
        for name in self.records:
            for other in self._depend(name):
                users[other].append(name)
        return _closure(names, lambda name: users.get(name, ()))

    # -- one vimage --------------------------------------------------------------------------

    async def start_one(self, vimage: Vimage, configuration: Configuration) -> Result:
        """From nothing to ready, or back to nothing."""
        async with self._locks[vimage.name]:
            record = self.records.get(vimage.name)
            if record is not None:
                if record.state == READY:
                    return Result(vimage.name, Outcome.ALREADY_READY)
                left = await self._undo(record)
                if left:
                    return Result(vimage.name, Outcome.FAILED, tuple(left))
            record = Record(vimage.name, STARTING, configuration=as_dict(vimage))
            asked = self._stops_of(vimage.name)
            self._starting[vimage.name] = asyncio.ensure_future(
                self._do_all(record, plan.start(vimage, configuration)))
            try:
                await self._starting[vimage.name]
                record.state = READY
                self.tools.journal.write(record)
            except VimageError as error:
                return Result(vimage.name, Outcome.FAILED,
                              (error.problem, *await self._undo(record)))
            except asyncio.CancelledError:
                problems = await self._undo(record)
                if self._stops_of(vimage.name) == asked:
                    raise
                return _overtaken(vimage.name, Outcome.FAILED, problems)
            finally:
                del self._starting[vimage.name]
            return Result(vimage.name, Outcome.READY)

    async def stop_one(self, name: str) -> Result:
        """Undo all that the record of a vimage holds."""
        async with self._locks[name]:
            record = self.records.get(name)
            if record is None:
                return Result(name, Outcome.NOT_RUNNING)
            problems = await self._undo(record)
            return Result(name, Outcome.FAILED if record.entries else Outcome.STOPPED,
                          tuple(problems))

    async def change(self, name: str, steps: Sequence[Step], entries: Sequence[Entry],
                     configuration: Mapping[str, Any]) -> list[Problem]:
        """Change a vimage that is ready: undo some entries, do some steps.

        A step that fails is undone and leaves the others as they are.
        """
        async with self._locks[name]:
            record = self.records[name]
            try:
                problems = await self._undo_some(record, lambda entry: any(
                    entry is other for other in entries))
                try:
                    await self._do_all(record, steps)
                    record.configuration = dict(configuration)
                except VimageError as failed:
                    problems.append(failed.problem)
                    problems += await self._undo_some(record, lambda e: e.state == BEGUN)
            finally:
                self.tools.release(name)
            self._save(record)
            return problems

    async def _undo_some(self, record: Record,
                         wanted: Callable[[Entry], bool]) -> list[Problem]:
        problems = []
        for entry, step in plan.stop(record):
            if wanted(entry):
                problems += await self._undo_entry(record, entry, step)
        return problems

    async def _do_all(self, record: Record, steps: Sequence[Step]) -> None:
        left = deque(steps)
        foreseen: deque[Entry] = deque()
        while left:
            foreseen = foreseen or self._foresee(record, left)
            step = left.popleft()
            entry = foreseen.popleft() if foreseen else Entry(step.kind, step.arguments())
            try:
                left.extendleft(reversed(await self._do(record, step, entry)))
            except StepFailed as failed:
                if step.mandatory:
                    raise
                self.tools.log.warning("%s", failed.problem)

    def _foresee(self, record: Record, steps: Iterable[Step]) -> deque[Entry]:
        """One write for the intents of the next steps, as far as they are known already."""
        entries: deque[Entry] = deque()
        for step in steps:
            entry = Entry(step.kind, step.arguments())
            if not step.foresee(Work(self.tools, record, entry)):
                break
            entries.append(entry)
        if entries:
            self.tools.journal.write(record)
        return entries

    async def _do(self, record: Record, step: Step, entry: Entry) -> list[Step]:
        try:
            more = await step.do(Work(self.tools, record, entry))
        except VimageError as error:
            raise StepFailed(record.name, str(error)) from error
        except OSError as error:
            why = f"{step.describe() or step.kind}: {error.strerror or error}"
            raise StepFailed(record.name, why) from error
        except Exception as error:
            self.tools.log.exception("%s: %s", record.name, step.kind)
            raise StepFailed(record.name, f"{step.kind}: internal error: {error!r}") from error
        entry.state = DONE
        return more or []

    async def _undo(self, record: Record) -> list[Problem]:
        """Undo every entry, by rank.  What fails stays in the record for the next try."""
        record.state = STOPPING
        problems = self._save(record) if record.name in self.records else []
        try:
            for entry, step in plan.stop(record):
                problems += await self._undo_entry(record, entry, step)
        finally:
            self.tools.release(record.name)
        if record.entries:
            problems += self._save(record)
        else:
            self.tools.journal.remove(record.name)
        return problems

    async def _undo_entry(self, record: Record, entry: Entry, step: Step) -> list[Problem]:
        """Undo one entry.  What fails stays in the record, but no command is run twice."""
        commands = step.rank in _COMMAND_RANKS
        problems: list[Problem] = []
        if self.going_down and step.rank in _LEFT_TO_REBOOT:
            record.entries.remove(entry)
            return problems
        try:
            await step.undo(Work(self.tools, record, entry, undoing=True))
        except (VimageError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            problems.append(Problem.of("undo_failed", vimage=record.name, name=record.name,
                                       step=step.describe_undo() or step.kind, why=why))
            if not commands:
                return problems
        except Exception as error:
            self.tools.log.exception("%s: undoing %s", record.name, step.kind)
            return [Problem.of("undo_failed", vimage=record.name, name=record.name,
                               step=step.kind, why=f"internal error: {error!r}")]
        record.entries.remove(entry)
        return problems + (self._save(record) if commands else [])

    def _save(self, record: Record) -> list[Problem]:
        """Write while undoing.  A full disk must not keep anything from being undone:
        the older record says more than there is, and undo copes with that."""
        try:
            self.tools.journal.write(record)
        except VimageError as error:
            self.tools.log.info("%s", error)
        return []


def _overtaken(name: str, outcome: Outcome, problems: Sequence[Problem] = ()) -> Result:
    """The end of a start that a later stop has made pointless."""
    return Result(name, outcome, (Problem.of("overtaken", vimage=name, name=name), *problems))


class StepFailed(VimageError):
    """A step of a vimage failed: which vimage, which step, why."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(Problem.of("step_failed", vimage=name, name=name, why=why))


def with_dependencies(names: Iterable[str], vimages: Mapping[str, Vimage]) -> list[str]:
    """Names and, before each, what it depends on."""
    return _closure(names, lambda name: vimages[name].depend)


def _closure(names: Iterable[str], before: Callable[[str], Iterable[str]]) -> list[str]:
    """Depth first, each name once, after everything ``before`` gives for it."""
    found: dict[str, None] = {}

    def visit(name: str, path: frozenset[str]) -> None:
        if name in found or name in path:
            return
        for other in before(name):
            visit(other, path | {name})
        found[name] = None

    for name in names:
        visit(name, frozenset())
    return list(found)
