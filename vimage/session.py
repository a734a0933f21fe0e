"""What start and stop mean: which jobs they make, and what they refuse.

The command and the service both act through a ``Session``.  An operation is accepted as a whole
(``accept_...``, which never waits: all its jobs are put into their queues at once), and then
waited for (``Operation.answer``).
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from vimage import check
from vimage.configuration.load import Loaded
from vimage.engine import Engine, NoObserver, Observer, Outcome, Result, interrupted, reason
from vimage.journal import CHANGING, DIRECTORY, READY, Journal, Newer, Record
from vimage.jobs import Action, Job, Jobs, Report, silent
from vimage.kernel import Kernel, Processes
from vimage.messages import Problem, VimageError
from vimage.model import Configuration, Vimage
from vimage.operation import FAILED, Answer, Operation, refusal
from vimage.order import closure
from vimage.references import References
from vimage.status import problems_of, unknown_name
from vimage.steps.context import Host
from vimage.steps.jails import end_processes_of
from vimage.steps.kinds import KINDS

#: Seconds of rcshutdown_timeout kept for what comes after vimage.
RESERVE = 10.0

#: The key in the journal of vimage_list as it was last applied.
_LIST = "list"

#: What the journal remembers it by that a vimage is to be started again: with its name.
RESTART = "restart."


@dataclass(slots=True)
class Start:
    """What a start job starts; a restart that joins another puts its own in place."""

    vimage: Vimage
    configuration: Configuration
    file: str
    checked: bool  # the host was found to allow it when it was accepted


class Session:
    """The one process that acts on the vimages of this host: it holds the journal's lock."""

    def __init__(self, kernel: Kernel, processes: Processes, journal: Journal,
                 log: logging.Logger, *, privileged: bool = True,
                 observer: Observer | None = None) -> None:
        self.kernel = kernel
        self.processes = processes
        self.journal = journal
        self.log = log
        self.privileged = privileged
        references = References(journal.records.values(), journal.newer["vimages"].values())
        self.host = Host(kernel, processes, journal, references, log)
        self.engine = Engine(self.host, observer or NoObserver())
        self.jobs = Jobs(self.engine.interrupt, log)
        #: Held from reading the configuration until the jobs are in their queues, so that
        #: operations are accepted in the order in which they were asked for.
        self.admission = asyncio.Lock()
        self.starting: dict[Job, Start] = {}

    def close(self) -> None:
        """End the threads and release the journal, so that another process can act."""
        self.host.close()
        self.journal.close()

    def set_parallel(self, parallel: int) -> None:
        """How many vimages may be under way at once from now on."""
        self.jobs.slots.set_limit(parallel)

    # -- what is known ------------------------------------------------------------------------

    @property
    def records(self) -> dict[str, Record]:
        """The records of the vimages of which something exists."""
        return self.journal.records

    @property
    def newer(self) -> Mapping[str, Newer]:
        """The vimages that a newer version has started."""
        return self.journal.newer["vimages"]

    @property
    def applied_list(self) -> Sequence[str] | None:
        """vimage_list as the last start or reload found it."""
        remembered = self.journal.remembered.get(_LIST)
        return None if remembered is None else remembered.get("names", ())

    def apply_list(self, names: Iterable[str]) -> None:
        """Remember vimage_list as what is applied now."""
        self._remember(lambda: self.journal.remember(_LIST, {"names": list(names)}))

    def forget_list(self) -> None:
        """Forget vimage_list: everything was stopped."""
        self._remember(lambda: self.journal.forget(_LIST))

    def save(self, record: Record) -> None:
        """Write a record in which nothing has changed that an undo needs."""
        self._remember(lambda: self.journal.write(record))

    def _remember(self, write: Callable[[], None]) -> None:
        try:
            write()
        except VimageError as error:  # it is written as soon as there is room
            self.log.error("%s", error)

    def depend(self, name: str) -> Sequence[str]:
        """What a vimage that runs, or is to be started, depends on."""
        starting = self.jobs.start_of(name)
        if starting is not None:
            return starting.depend
        record = self.records.get(name)
        return () if record is None else record.configuration.get("depend", ())

    def with_dependents(self, names: Iterable[str]) -> list[str]:
        """The given vimages and, before each, those that depend on it and run or are to be
        started."""
        users = self.users()
        return closure(names, lambda name: users.get(name, ()))

    def users(self) -> Mapping[str, Sequence[str]]:
        """For each vimage those that depend on it and run or are to be started."""
        users: defaultdict[str, list[str]] = defaultdict(list)
        for name in dict.fromkeys([*self.records, *self.jobs.starts()]):
            for other in self.depend(name):
                users[other].append(name)
        return users

    def will_run(self, name: str) -> bool:
        """Whether something of it exists once all jobs accepted so far have ended."""
        return self._after_jobs(name, name in self.records or name in self.newer)

    def will_be_ready(self, name: str) -> bool:
        """Whether it is ready once all jobs accepted so far have ended, if all goes well."""
        record = self.records.get(name)
        return self._after_jobs(name, record is not None and record.state in (READY, CHANGING))

    def _after_jobs(self, name: str, now: bool) -> bool:
        for job in reversed(self.jobs.waiting(name)):
            if job.action is Action.STOP:
                return False
            if job.action is Action.START and not job.interrupted:
                return True
        return now

    # -- settle -------------------------------------------------------------------------------

    def accept_settle(self, report: Report = silent) -> Operation:
        """Take back what an earlier process left half done."""
        operation = Operation(report)

        async def act(job: Job) -> Result:
            result = await self.engine.settle(job.name)
            if result.ok:
                self.log.warning("%s: an earlier process left it half done; now %s", job.name,
                                 result.outcome.value)
            for problem in result.problems:
                self.log.error("%s", problem)
            return result

        operation.jobs = [Job(name, Action.SETTLE, act, report)
                          for name, record in self.records.items() if record.state != READY]
        self.jobs.add(operation.jobs)
        return operation

    async def recover(self) -> None:
        """Take back what an earlier process left half done, and wait for it."""
        await self.accept_settle().answer()

    # -- start --------------------------------------------------------------------------------

    async def start(self, loaded: Loaded, names: Sequence[str], report: Report = silent,
                    file: str = "") -> Answer:
        """Start the vimages named, or all of vimage_list, and wait for them."""
        return await self.accept_start(loaded, names, report, file).answer()

    def accept_start(self, loaded: Loaded, names: Sequence[str], report: Report = silent,
                     file: str = "", *, all_or_none: bool = True) -> Operation:
        """Start the vimages named, or all of vimage_list.

        An error in one that was asked for by name touches nothing, if it is to be
        ``all_or_none``; without names the ones with errors are skipped.
        """
        self.set_parallel(loaded.configuration.parallel)
        all_or_none = all_or_none and bool(names)
        refused = self.refused()
        if refused is not None:
            return refused
        general = [problem for problem in loaded.errors if not problem.vimage]
        wanted, bad = self.sort(loaded, names or loaded.configuration.list)
        if all_or_none and bad:
            return refusal([*general, *_flat(bad)])
        vimages = loaded.configuration.vimages
        free = self.free(wanted)
        taken = self.taken(loaded, free)
        if all_or_none:
            bad = {name: problems for name in free
                   if (problems := self.preflight(vimages[name], loaded.configuration, taken))}
            if bad:
                return refusal([*general, *_flat(bad)])
        operation = Operation(report, problems=tuple(general))
        operation.skipped = [*self.unknown(names or loaded.configuration.list),
                             *self._skip(loaded, wanted, bad)]
        out = {result.name for result in operation.skipped}
        operation.jobs = self.start_jobs(loaded, [n for n in wanted if n not in out], report,
                                          file, checked=free if all_or_none else (), taken=taken)
        self.jobs.add(operation.jobs)
        return operation

    def start_jobs(self, loaded: Loaded, names: Sequence[str], report: Report, file: str, *,
                    checked: Container[str] = (), taken: Container[str] = (),
                    stops: Mapping[str, Job] | None = None,
                    joined: Mapping[str, Job] | None = None) -> list[Job]:
        configuration, jobs = loaded.configuration, dict[str, Job]()

        async def act(job: Job) -> Result | None:
            start = self.starting[job]
            try:
                return await self._start(job, start, taken)
            finally:
                del self.starting[job]

        for name in names:
            job = jobs[name] = Job(name, Action.START, act, report)
            vimage = configuration.vimages[name]
            job.depend = vimage.depend
            before = {**(joined or {}), **jobs}
            job.needs = [before[other] for other in vimage.depend if other in before]
            job.stop_before = (stops or {}).get(name)
            self.starting[job] = Start(vimage, configuration, file, name in checked)
        return list(jobs.values())

    async def _start(self, job: Job, start: Start, taken: Container[str]) -> Result | None:
        name = job.name
        if job.interrupted:
            return interrupted(name, outcome=Outcome.SKIPPED)
        if job.stop_before is not None and name in self.records \
                and self.records[name].state != READY:
            return None  # it could not be stopped, as its stop has reported
        if name in self.newer:
            return Result(name, Outcome.FAILED, (self.newer[name].problem,))
        for other in job.needs:
            if other.result is None or not other.result.ok:
                failed = _depend_failed(name, other.name)
                self.engine.observer.failed(start.vimage, start.file, failed)
                return failed
        if name not in self.records and not start.checked:
            problems = self.preflight(start.vimage, start.configuration, taken)
            if problems:
                return Result(name, Outcome.SKIPPED, tuple(problems))
        result = await self.engine.start(start.vimage, start.configuration, start.file)
        if result.outcome is Outcome.FAILED and not job.interrupted:
            self.engine.observer.failed(start.vimage, start.file, result)
        return result

    # -- stop ---------------------------------------------------------------------------------

    async def stop(self, loaded: Loaded | None, names: Sequence[str],
                   report: Report = silent) -> Answer:
        """Stop the vimages named, or all that run, and wait for it."""
        return await self.accept_stop(loaded, names, report).answer()

    def accept_stop(self, loaded: Loaded | None, names: Sequence[str],
                    report: Report = silent) -> Operation:
        """Stop the vimages named, or all that run or are to be started."""
        if loaded is not None:
            self.set_parallel(loaded.configuration.parallel)
        refused = self.refused()
        if refused is not None:
            return refused
        known = self._known(loaded)
        unknown = [name for name in names if known is not None and name not in known]
        if unknown:
            return refusal(unknown_name(name, known or ()) for name in unknown)
        wanted = names or self._stop_order(loaded)
        return self._accept_stop(self.with_dependents(wanted), report)

    def _accept_stop(self, names: Sequence[str], report: Report) -> Operation:
        operation = Operation(report)
        self.jobs.interrupt_starts(names)
        operation.jobs = self.stop_jobs(names, report)
        self.jobs.add(operation.jobs)
        return operation

    def stop_jobs(self, names: Sequence[str], report: Report) -> list[Job]:
        """``names`` come with their dependents before them."""
        async def act(job: Job) -> Result:
            if job.name in self.newer:
                return Result(job.name, Outcome.FAILED, (self.newer[job.name].problem,))
            return await self.engine.stop(job.name)

        jobs = {name: Job(name, Action.STOP, act, report) for name in names}
        users = self.users()
        for name, job in jobs.items():
            for user in users.get(name, ()):
                before = jobs.get(user) or self.jobs.last(user)
                if before is not None:
                    job.needs.append(before)
        return list(jobs.values())

    def _known(self, loaded: Loaded | None) -> Collection[str] | None:
        """All names that exist; None when the configuration, and so the rest, is not known."""
        if loaded is None:
            return None
        waiting = (key.removeprefix(RESTART) for key in self.journal.remembered
                   if key.startswith(RESTART))
        return {*self.records, *self.newer, *self.jobs.names(), *waiting, *loaded.names}

    def _stop_order(self, loaded: Loaded | None) -> list[str]:
        """All that run or are to be started, in reverse order of vimage_list; unlisted ones
        first."""
        running = dict.fromkeys([*self.records, *self.jobs.starts(), *self.newer])
        listed = loaded.configuration.list if loaded is not None else ()
        order = {name: index for index, name in enumerate(listed)}
        return sorted(running, key=lambda name: -order.get(name, len(order)))

    # -- shutdown -----------------------------------------------------------------------------

    async def shut_down(self, loaded: Loaded | None, report: Report) -> Answer:
        """Stop everything because the host goes down, within rcshutdown_timeout less RESERVE.

        Runs hooks, stops services, ends processes and unmounts.  Nodes, jails and the settings of
        parents are left to the reboot.
        """
        self.engine.go_down()
        configuration = loaded.configuration if loaded is not None else Configuration()
        seconds = max(configuration.shutdown_timeout - RESERVE, 1.0)
        names = self.with_dependents(name for name in self._stop_order(loaded)
                                     if name not in self.newer)
        operation = self._accept_stop(names, report)
        try:
            async with asyncio.timeout(seconds):
                _, answer = await asyncio.gather(self._end_newer(), operation.answer())
        except TimeoutError:
            late = Problem.of("shutdown_late", seconds=f"{seconds:g}",
                              names=" ".join(self.records))
            return Answer(FAILED, (), (late,))
        return answer

    async def _end_newer(self) -> None:
        """End the processes of vimages that a newer version has started."""
        for name in self.newer:
            try:
                jail = self.kernel.jail_get(name)
                await end_processes_of(self.host, name, jail.jid)
            except FileNotFoundError:
                continue
            except (OSError, VimageError) as error:
                self.log.error("%s: %s", name, reason(error))

    # -- before anything is touched ---------------------------------------------------------------

    def refused(self) -> Operation | None:
        try:
            problems = check.host(self.kernel, privileged=self.privileged)
        except OSError as error:
            problems = [Problem.of("host_look_failed", why=reason(error))]
        if problems:
            return refusal(problems)
        check.load_modules(self.kernel)
        return None

    def sort(self, loaded: Loaded,
              names: Iterable[str]) -> tuple[list[str], dict[str, list[Problem]]]:
        """The names that the configuration has, with what they depend on before each; and the
        problems of the other names."""
        good, bad = [], {}
        for name in names:
            if name in self.newer:
                continue
            if name in loaded.configuration.vimages:
                good.append(name)
            else:
                bad[name] = problems_of(loaded, name)
        vimages = loaded.configuration.vimages
        return closure(good, lambda name: vimages[name].depend), bad

    def free(self, names: Iterable[str]) -> list[str]:
        """The vimages of which nothing exists, and that have no job."""
        return [name for name in names if name not in self.records
                and not self.jobs.busy(name)]

    def taken(self, loaded: Loaded, names: Iterable[str]) -> frozenset[str]:
        """The vimages for which a jail of the same name exists already.

        Looked up at once before the first start, since the kernel locks its list of jails while
        it makes one.  A jail that is made after that makes its vimage's start fail.
        """
        return frozenset(name for name in names
                         if check.jail(self.kernel, loaded.configuration.vimages[name]))

    def preflight(self, vimage: Vimage, configuration: Configuration, taken: Container[str], *,
                   running: bool = False) -> list[Problem]:
        """The errors that would make the start of a vimage fail on this host."""
        problems = check.jail(self.kernel, vimage) if vimage.name in taken else []
        problems += check.vimage(self.kernel, vimage, configuration, self.journal.shared,
                                 running=running)
        return [problem for problem in problems if not problem.warning]

    def unknown(self, names: Iterable[str]) -> list[Result]:
        """Results for the vimages that a newer version has started: they are left alone."""
        return [Result(name, Outcome.FAILED, (self.newer[name].problem,))
                for name in names if name in self.newer]

    def _skip(self, loaded: Loaded, wanted: Sequence[str],
              bad: Mapping[str, list[Problem]]) -> list[Result]:
        """Results for the vimages with errors, and for those that depend on them."""
        results = {name: Result(name, Outcome.SKIPPED, tuple(problems))
                   for name, problems in bad.items()}
        for name in wanted:  # dependencies come first
            if name in results:
                continue
            for other in loaded.configuration.vimages[name].depend:
                if other in results:
                    results[name] = _depend_failed(name, other)
                    break
        return list(results.values())


def _depend_failed(name: str, other: str) -> Result:
    return Result(name, Outcome.SKIPPED, (Problem.of(
        "depend_failed", vimage=name, name=name, other=other),))


def open_session(kernel: Kernel, processes: Processes, log: logging.Logger, *,
                 privileged: bool, observer: Observer | None = None) -> Session:
    """Open the journal for writing.  Raises VimageError: state_busy, state_unwritable, not_root."""
    journal = open_journal(kernel, write=True)
    for problem in journal.set_aside:
        log.error("%s", problem)
    for part in journal.newer.values():
        for newer in part.values():
            log.error("%s", newer.problem)
    return Session(kernel, processes, journal, log, privileged=privileged, observer=observer)


def open_journal(kernel: Kernel, *, write: bool = False) -> Journal:
    """Open the journal of this host, for reading or for writing.

    Raises VimageError: state_busy, state_unwritable, not_root.
    """
    journal = Journal(kernel.path(DIRECTORY), kernel.boot_id(), KINDS)
    try:
        journal.open(write=write)
    except PermissionError as error:
        raise VimageError("not_root") from error
    return journal


def _flat(problems: Mapping[str, list[Problem]]) -> Iterable[Problem]:
    return [problem for group in problems.values() for problem in group]


