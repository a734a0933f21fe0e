"""One process at work on one host: its kernel, its journal, its engine.

The verbs of the command line and the service both act through a session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from vimage import check
from vimage.configuration.load import Loaded
from vimage.engine import Engine, Outcome, Report, Result, silent, with_dependencies
from vimage.holders import Holders
from vimage.journal import READY, Journal
from vimage.kernel import Kernel, Processes
from vimage.messages import Problem, VimageError
from vimage.steps.work import Tools

#: Seconds of rcshutdown_timeout kept for what comes after vimage.
RESERVE = 10.0

#: Exit status, as the manual gives it.
DONE, FAILED, NOTHING_TOUCHED = 0, 1, 2


class Answer(NamedTuple):
    """What an operation came to."""

    status: int
    results: tuple[Result, ...] = ()
    problems: tuple[Problem, ...] = ()  # those that belong to no result


@dataclass(slots=True)
class Session:
    """The journal is open for writing; nobody else acts on this host's vimages."""

    kernel: Kernel
    processes: Processes
    journal: Journal
    log: logging.Logger
    privileged: bool = True
    parallel: int = 4
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        tools = Tools(self.kernel, self.processes, self.journal,
                      Holders(self.journal.records.values()), self.log)
        self.engine = Engine(tools, self.parallel)

    def close(self) -> None:
        """Let another process act."""
        self.engine.tools.close()
        self.journal.close()

    def how_many(self, verb: str, loaded: Loaded | None, names: Sequence[str]) -> int:
        """How many vimages an operation is about."""
        if names:
            return len(names)
        if verb == "stop" or loaded is None:
            return len(self.journal.records)
        return len(loaded.configuration.list)

    def set_parallel(self, parallel: int) -> None:
        """How many vimages may be under way at once from now on."""
        if parallel != self.parallel:
            self.parallel = parallel
            self.engine.set_parallel(parallel)

    async def recover(self) -> None:
        """Undo what an earlier process left half done, and say so."""
        for result in await self.engine.recover():
            self.log.warning("%s: an earlier process left it half done; undone", result.name)
            for problem in result.problems:
                self.log.error("%s", problem)

    # -- operations ---------------------------------------------------------------------------

    async def start(self, loaded: Loaded, names: Sequence[str],
                    report: Report = silent) -> Answer:
        """Start the vimages named, or all of vimage_list.

        An error in one that was asked for by name touches nothing; without names the
        ones with errors are left out.
        """
        problems = check.host(self.kernel, privileged=self.privileged)
        if problems:
            return Answer(NOTHING_TOUCHED, (), tuple(problems))
        check.load_modules(self.kernel)
        general = tuple(p for p in loaded.errors if not p.vimage)
        wanted, bad = self._sort(loaded, names or loaded.configuration.list)
        if names and bad:
            return Answer(NOTHING_TOUCHED, (), general + tuple(_flat(bad)))
        taken = self._taken(loaded, wanted)
        if names:  # asked for by name: all or none
            bad = {name: problems for name in wanted
                   if (problems := self._preflight(loaded, name, taken))}
            if bad:
                return Answer(NOTHING_TOUCHED, (), general + tuple(_flat(bad)))
        left_out = self._leave_out(loaded, wanted, bad)
        for result in left_out:
            report(result)
        out = {result.name for result in left_out}
        results = await self.engine.start([n for n in wanted if n not in out],
                                          loaded.configuration, report,
                                          lambda name: self._preflight(loaded, name, taken))
        every = (*left_out, *results)
        good = all(result.ok for result in every) and not general
        return Answer(DONE if good else FAILED, every, general)

    async def stop(self, loaded: Loaded | None, names: Sequence[str],
                   report: Report = silent) -> Answer:
        """Stop the vimages named, or all that the journal knows."""
        problems = check.host(self.kernel, privileged=self.privileged)
        if problems:
            return Answer(NOTHING_TOUCHED, (), tuple(problems))
        running = list(self.journal.records)
        known = {*running, *(loaded.names if loaded is not None else names)}
        unknown = [name for name in names if name not in known]
        if unknown:
            return Answer(NOTHING_TOUCHED, (), tuple(
                unknown_name(name, known) for name in unknown))
        wanted = names or self._stop_order(running, loaded)
        results = await self.engine.stop(wanted, report, every=not names)
        return Answer(DONE if all(r.ok for r in results) else FAILED, tuple(results))

    async def restart(self, loaded: Loaded, names: Sequence[str],
                      report: Report = silent) -> Answer:
        """Stop, then start; what cannot start again is not stopped."""
        _, bad = self._sort(loaded, names or loaded.configuration.list)
        if names and bad:
            return Answer(NOTHING_TOUCHED, (), tuple(_flat(bad)))
        stopped = await self.stop(loaded, names, report)
        if stopped.status == NOTHING_TOUCHED:
            return stopped
        again = [r.name for r in stopped.results if r.outcome is Outcome.STOPPED
                 and r.name in loaded.configuration.vimages] if names else []
        started = await self.start(loaded, list(dict.fromkeys([*names, *again])), report)
        return Answer(max(stopped.status, started.status),
                      stopped.results + started.results, stopped.problems + started.problems)

    async def shut_down(self, report: Report, timeout: float) -> Answer:
        """Stop everything because the host goes down, within ``timeout`` (rcshutdown_timeout,
        seconds) less RESERVE.

        Hooks, services, processes and mounts are seen to; nodes, VNETs and the parents'
        flags are left to the reboot.
        """
        self.engine.going_down = True
        wanted = self._stop_order(list(self.journal.records), None)
        seconds = max(timeout - RESERVE, 1.0)
        try:
            async with asyncio.timeout(seconds):
                results = await self.engine.stop(wanted, report, every=True)
        except TimeoutError:
            late = Problem.of("shutdown_late", seconds=f"{seconds:g}",
                              names=" ".join(self.journal.records))
            return Answer(FAILED, (), (late,))
        return Answer(DONE if all(r.ok for r in results) else FAILED, tuple(results))

    # -- before anything is touched ---------------------------------------------------------------

    def _sort(self, loaded: Loaded,
              names: Iterable[str]) -> tuple[list[str], dict[str, list[Problem]]]:
        """Names that can be tried, with what they depend on; and the problems of the others."""
        good, bad = [], {}
        for name in names:
            if name in loaded.configuration.vimages:
                good.append(name)
            else:
                bad[name] = (loaded.problems_of(name)
                             or [unknown_name(name, loaded.names)])
        return with_dependencies(good, loaded.configuration.vimages), bad

    def _taken(self, loaded: Loaded, names: Iterable[str]) -> set[str]:
        """Those whose jail is there already though they are not ready.

        All at once and before the first start: the kernel locks its list of jails while it
        makes one.  A jail that is made meanwhile keeps its own from being made.
        """
        return {name for name in names if not self._ready(name)
                and check.jail(self.kernel, loaded.configuration.vimages[name])}

    def _ready(self, name: str) -> bool:
        record = self.journal.records.get(name)
        return record is not None and record.state == READY

    def _preflight(self, loaded: Loaded, name: str, taken: Container[str]) -> list[Problem]:
        if self._ready(name):
            return []
        vimage = loaded.configuration.vimages[name]
        problems = check.jail(self.kernel, vimage) if name in taken else []
        problems += check.vimage(self.kernel, vimage, loaded.configuration, self.journal.shared)
        return [problem for problem in problems if not problem.warning]

    def _leave_out(self, loaded: Loaded, wanted: Sequence[str],
                   bad: dict[str, list[Problem]]) -> list[Result]:
        """Those with errors, and those that depend on them."""
        results = {name: Result(name, Outcome.LEFT_OUT, tuple(problems))
                   for name, problems in bad.items()}
        for name in wanted:  # dependencies come first
            if name in results:
                continue
            for other in loaded.configuration.vimages[name].depend:
                if other in results:
                    results[name] = Result(name, Outcome.LEFT_OUT, (Problem.of(
                        "depend_failed", vimage=name, name=name, other=other),))
                    break
        return list(results.values())

    def _stop_order(self, running: Sequence[str], loaded: Loaded | None) -> list[str]:
        """The reverse of vimage_list; what is no longer listed first."""
        listed = loaded.configuration.list if loaded is not None else ()
        order = {name: index for index, name in enumerate(listed)}
        return sorted(running, key=lambda name: -order.get(name, len(order)))


def open_session(kernel: Kernel, processes: Processes, log: logging.Logger, *,
                 privileged: bool, parallel: int) -> Session:
    """Take the journal for this process.  Raises VimageError: state_busy, state_unwritable."""
    journal = open_journal(kernel, write=True)
    for problem in journal.set_aside:
        log.error("%s", problem)
    return Session(kernel, processes, journal, log, privileged, parallel)


def open_journal(kernel: Kernel, *, write: bool = False) -> Journal:
    """The journal of this host, for reading or as the one who may write."""
    from vimage.journal import DIRECTORY

    journal = Journal(kernel.path(DIRECTORY), kernel.boot_id())
    try:
        journal.open(write=write)
    except PermissionError as error:
        raise VimageError("not_root") from error
    return journal


def unknown_name(name: str, have: Iterable[str]) -> Problem:
    """Nobody knows a vimage of that name; ``have`` are those that are known."""
    return Problem.of("unknown_name", vimage=name, name=name,
                      have=" ".join(sorted(have)) or "none")


def _flat(problems: dict[str, list[Problem]]) -> Iterable[Problem]:
    return [problem for group in problems.values() for problem in group]
