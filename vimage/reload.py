"""What reload means: applies the changes of rc.conf to vimages that run, where that is possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vimage import events, plan
from vimage.configuration.changes import changes, merged
from vimage.configuration.load import Loaded
from vimage.engine import Outcome, Result
from vimage.events import Sink
from vimage.jobs import Action, Job
from vimage.journal import CHANGING, READY, Record
from vimage.messages import VimageError
from vimage.model import Vimage
from vimage.operation import DONE, FAILED, Operation
from vimage.session import Session
from vimage.steps.kinds import steps_of


class ChangedVimages:
    """Finds the vimages that run with another configuration than rc.conf gives.

    A comparison is kept until one of the two configurations is another object.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Vimage, dict[str, object], bool]] = {}

    def of(self, loaded: Loaded, records: dict[str, Record], file: str = "") -> list[str]:
        """The names of those that were started from ``file``."""
        vimages, before = loaded.configuration.vimages, self._known
        self._known = {name: self._compared(before.get(name), vimages[name], record.configuration)
                       for name, record in records.items()
                       if record.state == READY and name in vimages and record.file == file}
        return [name for name, (_, _, differ) in self._known.items() if differ]

    @staticmethod
    def _compared(known: tuple[Vimage, dict[str, object], bool] | None, vimage: Vimage,
                  running: dict[str, object]) -> tuple[Vimage, dict[str, object], bool]:
        if known is not None and known[0] is vimage and known[1] is running:
            return known
        return vimage, running, vimage_of(running) != vimage


def vimage_of(configuration: dict[str, object]) -> Vimage | None:
    """The vimage that a record describes; None when it cannot be read as one."""
    try:
        return Vimage.from_dict(configuration)
    except ValueError:
        return None


class Reload:
    """One reload.  The caller holds ``Session.admission``, and no job is under way."""

    def __init__(self, session: Session, loaded: Loaded, sink: Sink, file: str,
                 forget: Callable[[Sequence[str]], None]) -> None:
        """``forget`` hears of the vimages that have left the list: they are not to be started
        again either."""
        self.forget = forget
        self.session = session
        self.loaded = loaded
        self.sink = sink
        self.file = file
        self.status = DONE

    async def apply(self) -> int:
        """Apply what can be applied live, and report what needs a restart.

        Returns the exit status.  Raises VimageError.
        """
        for problem in self.loaded.problems:
            if not problem.warning:
                self.sink.send(events.problem(problem))
                self.status = FAILED
        self.session.set_parallel(self.loaded.configuration.parallel)
        before = self.session.applied_list
        await self._change_all()
        listed = self.loaded.configuration.list
        if before is not None and not self.file:
            self.forget([name for name in before if name not in listed])
            await self._stop([name for name in before if name not in listed])
            await self._start([name for name in listed if name not in before])
        # One that could not be started is new to the next reload, too.
        known = before if before is not None else listed
        if self.file:
            return self.status  # the list is that of rc.conf
        self.session.apply_list(name for name in listed
                                if name in known or name in self.session.records)
        return self.status

    async def _change_all(self) -> None:
        names = [name for name, record in self.session.records.items()
                 if name in self.loaded.configuration.vimages and record.file == self.file
                 and record.state in (READY, CHANGING)]
        jobs = [Job(name, Action.CHANGE, self._change, self._report_change) for name in names]
        self.session.jobs.add(jobs)
        await Operation(jobs=jobs).answer()

    async def _change(self, job: Job) -> Result | None:
        """Bring one vimage to what its configuration says now."""
        session, new = self.session, self.loaded.configuration.vimages[job.name]
        if session.engine.going_down:
            return None
        if session.records[job.name].state != READY:
            settled = await session.engine.settle(job.name)
            if not settled.ok:
                return settled
        record = session.records[job.name]
        old = vimage_of(record.configuration)
        if old is None:
            return None
        found = changes(old, new)
        applied, restart = [*found["live"], *found["noted"]], found["restart"]
        goal = merged(old, new)
        difference = plan.difference([step for _, step in steps_of(record)],
                                     plan.start(goal, self.loaded.configuration))
        applied += [step.change for _, step in difference.amended if step.change]
        result = None
        if applied:
            result = await session.engine.change(
                job.name, goal, self.loaded.configuration, difference)
        elif record.note:
            record.note = ""  # what could not be applied is no longer asked for
            session.save(record)
        if result is not None and result.outcome is not Outcome.CHANGED:
            applied = []
        if applied or restart:
            self.sink.send(events.applied(job.name, sorted(applied), restart))
        return result if result is not None and not result.ok else None

    async def _stop(self, names: Sequence[str]) -> None:
        """Stop what has left vimage_list, unless it was started from another file."""
        records = self.session.records
        gone = [name for name in names if name in records and records[name].file == self.file]
        if gone:
            await self._carry_out(self.session.accept_stop(None, gone, self._report))

    async def _start(self, names: Sequence[str]) -> None:
        new = [name for name in names
               if name not in self.session.records and name not in self.session.newer
               and name in self.loaded.configuration.vimages]
        if new:
            await self._carry_out(self.session.accept_start(
                self.loaded, new, self._report, self.file, all_or_none=False))

    async def _carry_out(self, operation: Operation) -> None:
        answer = await operation.answer()
        for problem in answer.problems:
            self.sink.send(events.problem(problem))
        if answer.status:
            self.status = FAILED

    def _report_change(self, result: Result) -> None:
        """Report what went wrong; what was applied has been reported by ``_change``."""
        self.status = FAILED
        for problem in result.problems:
            self.sink.send(events.problem(problem))

    def _report(self, result: Result) -> None:
        if not result.ok:
            self.status = FAILED
        self.sink.send(events.result(result))


async def reload(session: Session, loaded: Loaded, sink: Sink, file: str = "",
                 forget: Callable[[Sequence[str]], None] = lambda names: None) -> int:
    """One reload from beginning to end; returns the exit status."""
    try:
        return await Reload(session, loaded, sink, file, forget).apply()
    except VimageError as error:
        sink.send(events.problem(error.problem))
        return FAILED
