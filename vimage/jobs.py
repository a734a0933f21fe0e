"""In which order things are done to vimages, and what may be done at the same time.

A job is one thing done to one vimage.  The jobs of one vimage are done one after another, in
the order in which they were accepted.  An operation (start, stop, restart, reload) puts all
its jobs into their queues at once, and a job waits only for jobs that were accepted before it
or belong to its own operation and come before it there: so there is always one that can run.

    queue of web   [stop web]  [start web] ...
    queue of db    [start db]  ...             start web waits for start db (depend)

A stop interrupts the starts that stand before it in the queue: one that is under way is cut
short and undone, one that has yet to begin does not.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import Enum

from vimage.engine import Outcome, Result
from vimage.messages import Problem

Report = Callable[[Result], None]


def silent(_: Result) -> None:
    """Report to nobody."""


class Action(Enum):
    """What a job does to its vimage."""

    START = "start"
    STOP = "stop"
    CHANGE = "change"
    SETTLE = "settle"


class Job:
    """One thing done to one vimage."""

    __slots__ = ("_wake", "_wakes", "act", "action", "depend", "has_ended", "interrupted", "name",
                 "needs", "reports", "result", "running", "stop_before")

    def __init__(self, name: str, action: Action, act: Callable[[Job], Awaitable[Result | None]],
                 report: Report) -> None:
        self.name = name
        self.action = action
        self.act = act  # carries it out; a result of None is not reported
        self.reports = [report]
        self.needs: list[Job] = []  # they come before it, and were accepted no later
        self.depend: tuple[str, ...] = ()  # START: what the vimage depends on
        self.stop_before: Job | None = None  # START: the other half of a restart
        self.interrupted = False  # START: by a stop that was accepted later
        self.running = False
        self.has_ended = False
        self.result: Result | None = None
        self._wakes: list[Job] = []
        self._wake: asyncio.Future[None] | None = None

    async def end_of(self, other: Job) -> None:
        """Wait until another job has ended, or until ``wake`` is called."""
        if other.has_ended:
            return
        other._wakes.append(self)
        self._wake = asyncio.get_running_loop().create_future()
        try:
            await self._wake
        finally:
            self._wake = None

    def wake(self) -> None:
        """End the wait in ``end_of``."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def end(self) -> None:
        """It has ended: wake the jobs that wait for it."""
        self.running, self.has_ended = False, True
        for other in self._wakes:
            other.wake()

    @property
    def restart_in_stop(self) -> bool:
        """Whether it is the start of a restart whose stop has not ended."""
        return self.stop_before is not None and not self.stop_before.has_ended


class Slots:
    """A semaphore for the jobs that run at once; its limit can change meanwhile."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def set_limit(self, limit: int) -> None:
        """Change the limit; jobs that run already are left alone."""
        self.limit = limit
        self._wake()

    async def __aenter__(self) -> None:
        if self._taken < self.limit and not self._waiting:
            self._taken += 1
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future in self._waiting:
                self._waiting.remove(future)
            elif not future.cancelled():  # it was given the place just now
                self._taken -= 1
                self._wake()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._taken -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._taken < self.limit:
            future = self._waiting.popleft()
            if not future.done():
                self._taken += 1
                future.set_result(None)


class Jobs:
    """The queues of all vimages."""

    def __init__(self, interrupt: Callable[[str], None], log: logging.Logger) -> None:
        self.slots = Slots(1)  # until the configuration says how many
        self._interrupt = interrupt
        self._log = log
        self._queues: dict[str, deque[Job]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, jobs: Sequence[Job]) -> None:
        """Put the jobs of one operation into their queues; each comes after those it needs."""
        for job in jobs:
            queue = self._queues.setdefault(job.name, deque())
            before = queue[-1] if queue else None
            queue.append(job)
            self._idle.clear()
            task = asyncio.create_task(self._run(job, before),
                                       name=f"{job.action.value} {job.name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def busy(self, name: str) -> bool:
        """Whether a job of this vimage has not ended."""
        return name in self._queues

    def names(self) -> list[str]:
        """The vimages with a job that has not ended."""
        return list(self._queues)

    def waiting(self, name: str) -> tuple[Job, ...]:
        """The jobs of a vimage that have not ended, in their order."""
        return tuple(self._queues.get(name, ()))

    def last(self, name: str) -> Job | None:
        """The last job in the queue of a vimage, None when the queue is empty."""
        queue = self._queues.get(name)
        return queue[-1] if queue else None

    def start_of(self, name: str) -> Job | None:
        """The start of a vimage that is under way or to come, and not interrupted."""
        return next((job for job in self._queues.get(name, ())
                     if job.action is Action.START and not job.interrupted), None)

    def starts(self) -> dict[str, tuple[str, ...]]:
        """The vimages that are to be started, or are being started: name to ``depend``."""
        return {job.name: job.depend for queue in self._queues.values() for job in queue
                if job.action is Action.START and not job.interrupted}

    def interrupt_starts(self, names: Iterable[str], *, of_restarts: bool = True) -> None:
        """Interrupt the starts in these queues, for a stop that comes after them.

        Without ``of_restarts`` the start of a restart goes on.
        """
        for name in names:
            for job in self._queues.get(name, ()):
                if job.action is Action.START and not job.interrupted \
                        and (of_restarts or job.stop_before is None):
                    job.interrupted = True
                    if job.running:
                        self._interrupt(name)
                    elif self._queues[name][0] is job:
                        job.wake()  # it waits for jobs of other vimages

    async def idle(self) -> None:
        """Return when all queues are empty."""
        while self._queues:
            self._idle.clear()
            await self._idle.wait()

    async def cancel(self) -> None:
        """Cancel every job; a start that has begun is undone first."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, job: Job, before: Job | None) -> None:
        try:
            if before is not None:
                await job.end_of(before)
            for other in job.needs:
                if not job.interrupted:
                    await job.end_of(other)
            async with self.slots:
                job.running = True
                job.result = await job.act(job)
        except asyncio.CancelledError:
            job.result = Result(job.name, Outcome.FAILED, (Problem.of(
                "service_stopping", vimage=job.name),))
            raise
        except Exception as error:
            self._log.exception("%s %s", job.action.value, job.name)
            job.result = Result(job.name, Outcome.FAILED, (Problem.of(
                "step_failed", vimage=job.name, name=job.name,
                why=f"internal error: {error!r}"),))
        finally:
            self._end(job)
            self._report(job)

    def _report(self, job: Job) -> None:
        """Hand the result to each report, also after one that raised."""
        if job.result is None:
            return
        for report in job.reports:
            try:
                report(job.result)
            except Exception:
                self._log.exception("%s %s", job.action.value, job.name)

    def _end(self, job: Job) -> None:
        queue = self._queues[job.name]
        queue.remove(job)
        if not queue:
            del self._queues[job.name]
            if not self._queues:
                self._idle.set()
        job.end()


async def ended(jobs: Iterable[Job]) -> list[Result]:
    """Wait for jobs; returns the results of those that have one."""
    waiting = Job("", Action.SETTLE, _nothing, silent)
    results = []
    for job in jobs:
        await waiting.end_of(job)
        if job.result is not None:
            results.append(job.result)
    return results


async def _nothing(_: Job) -> None:
    return None
