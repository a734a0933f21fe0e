"""Cleans up vimages that have lost something, and starts them again where that is configured.

The journal records that a vimage is to be started again before anything is done about it, since
the service may die or be replaced while it waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from vimage.configuration.load import Loaded
from vimage.engine import Outcome, Result
from vimage.jobs import Action, Job, ended
from vimage.journal import READY, Record
from vimage.messages import Problem, VimageError
from vimage.model import Vimage
from vimage.service.policy import Backoff
from vimage.session import RESTART, Session

_TOO_MANY = "left alone after too many failures"


class Restarts:
    """One task for each vimage that is being cleaned up or waits to be started again."""

    def __init__(self, session: Session, load: Callable[[str], Awaitable[Loaded]],
                 log: logging.Logger) -> None:
        self._session = session
        self._load = load
        self._log = log
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._backoff: dict[str, Backoff] = {}
        self._depend: dict[str, tuple[str, ...]] = {}  # of those that wait
        self._missed: dict[str, tuple[Record, str, bool]] = {}
        #: What status says of a vimage besides its state.
        self.notes: dict[str, str] = {}

    # -- what has happened -------------------------------------------------------------------

    def lost(self, record: Record, what: str, *, broken: bool = True) -> None:
        """A vimage that is ready has lost something.

        One that is ``broken`` is cleaned up in any case.  Any other is stopped and started again
        if vimage_NAME_restart says so, and else only noted.
        """
        name = record.name
        if name in self._tasks:  # it was started again just now
            self._missed[name] = record, what, broken
            return
        if self._session.jobs.busy(name):  # what is being done to it comes first
            self._missed[name] = record, what, broken
            self._begin(name, self._jobs_of(name))
            return
        self._depend[name] = tuple(record.configuration.get("depend", ()))
        again = record.configuration.get("restart") == "on-failure"
        if not broken and not again:
            if self.notes.get(name) != what:
                self.notes[name] = what
                self._log.warning("%s: %s", name, what)
            return
        delay = self._after_failure(name, record.file) if again else None
        then = ("cleaned up" if not again else _TOO_MANY if delay is None
                else f"restarted in {delay:g} s")
        self._log.warning("%s: %s; %s", name, what, then)
        stop = self._clean_up(name)
        self._begin_task(name, record.file, stop, delay, _TOO_MANY if again else "")

    def recovered(self, record: Record) -> None:
        """A vimage that was unhealthy is healthy again."""
        if self.notes.pop(record.name, None) is not None:
            self._log.info("%s: healthy again", record.name)

    def failed(self, vimage: Vimage, file: str, result: Result) -> None:
        """A start that was asked for has failed."""
        name = vimage.name
        if vimage.restart != "on-failure" or name in self._tasks:
            return
        self._depend[name] = vimage.depend
        delay = self._after_failure(name, file)
        if delay is None:
            self.notes[name] = _TOO_MANY
            self._log.warning("%s: %s", name, _TOO_MANY)
        else:
            self._log.warning("%s: restarted in %g s", name, delay)
            self._begin_task(name, file, None, delay, _TOO_MANY)

    def resume(self) -> None:
        """Start the vimages again that an earlier service was to start again."""
        for key, known in list(self._session.journal.remembered.items()):
            name = key.removeprefix(RESTART)
            if name == key or name in self._tasks:
                continue
            record = self._session.records.get(name)
            if record is not None and record.state == READY:
                self._forget(name)
                continue
            file = str(known.get("file", ""))
            self._depend[name] = tuple(known.get("depend", ()))
            delay = self._after_failure(name, file)
            if delay is not None:
                self._log.info("%s: restarted in %g s, as an earlier service was to", name, delay)
                self._begin_task(name, file, None, delay, _TOO_MANY)

    def cancel(self, name: str) -> None:
        """Do not start a vimage again: another operation on it was accepted."""
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
        self._backoff.pop(name, None)
        self._forget(name)
        self.notes.pop(name, None)

    def depending_on(self, names: Iterable[str]) -> list[str]:
        """These vimages, and those that wait for a restart and depend on one of them."""
        found = dict.fromkeys(names)
        added = True
        while added:
            more = [name for name in self._tasks if name not in found
                    and not found.keys().isdisjoint(self._depend.get(name, ()))]
            found.update(dict.fromkeys(more))
            added = bool(more)
        return list(found)

    def waiting(self) -> list[str]:
        """The vimages that are being cleaned up or wait to be started again."""
        return list(self._tasks)

    async def close(self) -> None:
        """End all tasks; the next service goes on with what the journal records."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- one vimage --------------------------------------------------------------------------

    def _after_failure(self, name: str, file: str) -> float | None:
        """Count and record a failure.  Seconds until the next try, None when there is none."""
        key = RESTART + name
        backoff = self._backoff.get(name)
        now = asyncio.get_running_loop().time()
        if backoff is None:
            known = self._session.journal.remembered.get(key, {})
            backoff = self._backoff[name] = Backoff(int(known.get("failures", 0)), now)
        delay = backoff.failed(now)
        if delay is None:
            self._forget(name)
            return None
        try:
            self._session.journal.remember(key, {
                "failures": backoff.failures, "file": file,
                "depend": list(self._depend.get(name, ()))})
        except VimageError as error:  # a full disk must not keep it from being cleaned up
            self._log.error("%s", error)
        return delay

    def _forget(self, name: str) -> None:
        try:
            self._session.journal.forget(RESTART + name)
        except VimageError as error:
            self._log.error("%s", error)

    def _clean_up(self, name: str) -> Job:
        """Put the job that undoes what is left of a vimage into its queue."""
        async def act(job: Job) -> Result:
            return await self._session.engine.stop(job.name)

        job = Job(name, Action.STOP, act, self._log_problems)
        self._session.jobs.add([job])
        return job

    def _log_problems(self, result: Result) -> None:
        for problem in result.problems:
            self._log.error("%s", problem)

    def _begin_task(self, name: str, file: str, stop: Job | None, delay: float | None,
               at_last: str) -> None:
        """Begin the task of a vimage.  ``at_last`` is what status shows when it gives up."""
        self._begin(name, self._restart(name, file, stop, delay, at_last))

    def _begin(self, name: str, what: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(what, name=f"restart {name}")
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))

    async def _jobs_of(self, name: str) -> None:
        """Wait until nothing more is to be done to a vimage."""
        while (job := self._session.jobs.last(name)) is not None:
            await ended([job])

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
            self._depend.pop(name, None)
        if not task.cancelled() and task.exception() is not None:
            self._log.error("%s: its restart: internal error", name, exc_info=task.exception())
        record, what, broken = self._missed.pop(name, (None, "", False))
        if record is not None and record.state == READY \
                and self._session.records.get(name) is record:
            self.lost(record, what, broken=broken)

    async def _restart(self, name: str, file: str, stop: Job | None, delay: float | None,
                       at_last: str) -> None:
        left = False
        if stop is not None:
            left = any(result.problems for result in await ended([stop]))
        while delay is not None:
            self.notes[name] = "to be restarted"
            await asyncio.sleep(delay)
            if await self._started(name, file):
                self._forget(name)
                return
            delay = self._after_failure(name, file)
            if delay is None:
                self._log.warning("%s: %s", name, at_last)
        self.notes[name] = "not cleaned up" if left else at_last

    async def _started(self, name: str, file: str) -> bool:
        """Start it once.  Returns False when another try is needed."""
        problems = []
        try:
            async with self._session.admission:
                loaded = await self._load(file)
                vimage = loaded.configuration.vimages.get(name)
                if name not in loaded.names or vimage is not None and vimage.restart == "no":
                    self.notes.pop(name, None)
                    self._log.info("%s: not restarted: the configuration says so no longer", name)
                    return True
                operation = self._session.accept_start(loaded, [name], file=file)
            answer = await operation.answer()
            problems = [*answer.problems, *(p for r in answer.results for p in r.problems)]
            if answer.status == 0 or any(
                    result.name == name and result.outcome in (Outcome.READY,
                                                               Outcome.ALREADY_READY)
                    for result in answer.results):
                self.notes.pop(name, None)
                self._log.info("%s: ready again", name)
                return True
        except VimageError as error:
            problems = [error.problem]
        except OSError as error:
            problems = [Problem.of("host_look_failed", why=error.strerror or error)]
        for problem in problems:
            self._log.error("%s", problem)
        return False

