"""A start, stop or restart that was accepted: its jobs, and what they come to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from vimage.engine import Result
from vimage.jobs import Job, Report, ended, silent
from vimage.messages import Problem

#: Exit status, as the manual gives it.
DONE, FAILED, NOTHING_TOUCHED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of an operation."""

    status: int
    results: tuple[Result, ...] = ()
    problems: tuple[Problem, ...] = ()  # those that belong to no result


@dataclass(slots=True)
class Operation:
    """A start, stop or restart that was accepted, or refused."""

    report: Report = silent
    jobs: list[Job] = field(default_factory=list)
    skipped: list[Result] = field(default_factory=list)
    problems: tuple[Problem, ...] = ()
    reported_late: list[Result] = field(default_factory=list)  # of jobs that have ended
    refused: bool = False  # nothing was started or touched

    @property
    def count(self) -> int:
        """How many vimages it is about."""
        return len({job.name for job in self.jobs} | {each.name for each in self.skipped})

    def take_part_in(self, job: Job) -> None:
        """Make a job of another operation one of this one, too."""
        if job in self.jobs:
            return
        self.jobs.append(job)
        if not job.has_ended:
            job.reports.append(self.report)
        elif job.result is not None:
            self.reported_late.append(job.result)

    async def answer(self) -> Answer:
        """Wait for its end."""
        if self.refused:
            return Answer(NOTHING_TOUCHED, tuple(self.skipped), self.problems)
        for result in (*self.skipped, *self.reported_late):
            self.report(result)
        results = (*self.skipped, *await ended(self.jobs))
        failed = any(not result.ok for result in results) \
            or any(not problem.warning for problem in self.problems)
        return Answer(FAILED if failed else DONE, results, self.problems)


def refusal(problems: Iterable[Problem]) -> Operation:
    """An operation that does nothing, because of ``problems``."""
    return Operation(problems=tuple(dict.fromkeys(problems)), refused=True)
