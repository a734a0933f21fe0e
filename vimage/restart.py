"""What restart means: what is stopped and started again, and what is left as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vimage.configuration.load import Loaded
from vimage.engine import Outcome, Result
from vimage.jobs import Job, Report, silent
from vimage.messages import Problem
from vimage.operation import Answer, Operation, refusal
from vimage.order import closure
from vimage.session import Session, Start
from vimage.status import problems_of


async def restart(session: Session, loaded: Loaded, names: Sequence[str],
                  report: Report = silent, file: str = "") -> Answer:
    """Stop, then start, and wait for it."""
    return await Restart(session, loaded, names, report, file).accept().answer()


class Restart:
    """A restart of the vimages named, or of all of vimage_list, and of what depends on them.

    A vimage that could not be started again is not stopped.  Where another restart of a vimage
    is still stopping it, that one's jobs are joined.
    """

    def __init__(self, session: Session, loaded: Loaded, names: Sequence[str],
                 report: Report = silent, file: str = "") -> None:
        self.session = session
        self.loaded = loaded
        self.vimages = loaded.configuration.vimages
        self.names = names
        self.report = report
        self.file = file
        self._users = session.users()

    def accept(self) -> Operation:
        """Put its jobs into their queues, or refuse it."""
        session, listed = self.session, self.loaded.configuration.list
        session.set_parallel(self.loaded.configuration.parallel)
        refused = session.refused()
        if refused is not None:
            return refused
        general = [problem for problem in self.loaded.errors if not problem.vimage]
        wanted, bad = session.sort(self.loaded, self.names or listed)
        asked = [name for name in wanted if not self.names or name in self.names]
        kept = self._kept(asked, {**bad, **self._not_startable(asked, wanted, bad)})
        if self.names and kept:
            return refusal([*general, *(p for problems in kept.values() for p in problems)])
        operation = Operation(self.report, problems=tuple(general))
        operation.skipped = [*session.unknown(self.names or listed),
                             *(Result(name, Outcome.SKIPPED, tuple(problems))
                               for name, problems in kept.items())]
        self._accept_jobs(operation, [name for name in asked if name not in kept])
        return operation

    def _with_dependents(self, names: Iterable[str]) -> list[str]:
        return closure(names, lambda name: self._users.get(name, ()))

    # -- what is not restarted ----------------------------------------------------------------

    def _not_startable(self, asked: Sequence[str], wanted: Sequence[str],
                       bad: Mapping[str, list[Problem]]) -> dict[str, list[Problem]]:
        """What would keep those that are restarted from starting again."""
        session, found = self.session, dict[str, list[Problem]]()
        running = [name for name in self._with_dependents(asked) if session.will_run(name)]
        free = session.free([name for name in wanted if name not in running])
        taken = session.taken(self.loaded, free)
        for name in dict.fromkeys([*running, *free]):
            if name in bad:
                continue
            problems = session.preflight(
                self.vimages[name], self.loaded.configuration, taken, running=name in running) \
                if name in self.vimages else problems_of(self.loaded, name)
            if problems:
                found[name] = problems
        return found

    def _kept(self, asked: Sequence[str],
              bad: Mapping[str, list[Problem]]) -> dict[str, list[Problem]]:
        """The vimages that are not restarted, and why: one of them, of what it depends on, or of
        what depends on it could not be started again."""
        kept = dict(bad)
        changed = True
        while changed:
            changed = False
            for name in asked:
                if name not in kept and (problem := self._keeps(name, kept)) is not None:
                    kept[name] = [problem]
                    changed = True
        return kept

    def _keeps(self, name: str, kept: Mapping[str, list[Problem]]) -> Problem | None:
        for other in self.vimages[name].depend:
            if other in kept:
                return Problem.of("depend_failed", vimage=name, name=name, other=other)
        for user in self._with_dependents([name]):
            if user != name and user in kept and self.session.will_run(user):
                return Problem.of("restart_stops", vimage=name, name=name, other=user)
        return None

    # -- its jobs -----------------------------------------------------------------------------

    def _accept_jobs(self, operation: Operation, asked: Sequence[str]) -> None:
        session = self.session
        joined = self._join(operation, asked)
        fresh = [name for name in asked if name not in joined]
        stopping = [name for name in self._with_dependents(fresh) if name not in joined
                    and (name in fresh or session.will_run(name))]
        running = [name for name in stopping if session.will_run(name)]
        needed = closure(stopping, lambda name: self.vimages[name].depend)
        starting = [name for name in needed if name in stopping
                    or name not in joined and not session.will_be_ready(name)]
        session.jobs.interrupt_starts(stopping, of_restarts=False)
        stops = {job.name: job for job in session.stop_jobs(running, self.report)}
        starts = session.start_jobs(self.loaded, starting, self.report, self.file,
                                    stops=stops, joined=joined)
        new = [*stops.values(), *starts]
        session.jobs.add(new)
        operation.jobs += new

    def _join(self, operation: Operation, asked: Sequence[str]) -> dict[str, Job]:
        """Take part in restarts that have not ended their stop, with those of their dependents;
        returns the starts that are joined.  A dependency comes before what depends on it."""
        joined: dict[str, Job] = {}
        for name in asked:
            last = self.session.jobs.last(name)
            if last is None or not self._may_join(last, asked, joined):
                continue
            joined[name] = last
            self.session.starting[last] = Start(self.vimages[name], self.loaded.configuration,
                                                self.file, checked=False)
            for user in self._with_dependents([name]):
                start = self.session.jobs.last(user)
                if start is last or start is not None and last in start.needs:
                    for job in (start.stop_before, start):
                        if job is not None:
                            operation.take_part_in(job)
        return joined

    def _may_join(self, start: Job, asked: Sequence[str], joined: Mapping[str, Job]) -> bool:
        depend = self.vimages[start.name].depend
        needed = closure(depend, lambda other: self.vimages[other].depend)
        return start.restart_in_stop and not start.interrupted \
            and set(start.depend) == set(depend) \
            and not any(other in asked and other not in joined for other in needed)
