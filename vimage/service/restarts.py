"""Vimages that have lost something: cleaned up, and started again where that is configured.

That a vimage is to be started again is in the journal before anything is done about it: the
service may die, or be replaced, while it waits for its time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from vimage.configuration.load import Loaded
from vimage.journal import READY, Record
from vimage.messages import VimageError
from vimage.service.policy import Backoff
from vimage.session import Answer, Session

#: How the journal calls it that a vimage is to be started again.
_KEY = "restart.{}"

_TOO_MANY = "left alone after too many failures"


class Restarts:
    """One task for each vimage that is being cleaned up or waits to be started again."""

    def __init__(self, session: Session, load: Callable[[], Awaitable[Loaded]],
                 follow: Callable[[Record], None], unfollow: Callable[[str], None],
                 log: logging.Logger) -> None:
        self._session = session
        self._load = load
        self._follow = follow
        self._unfollow = unfollow
        self._log = log
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._backoff: dict[str, Backoff] = {}
        #: What status says of a vimage besides its state.
        self.notes: dict[str, str] = {}

    def gone(self, name: str, what: str, *, broken: bool = True) -> None:
        """A vimage has lost something.  One that is ``broken`` cannot go on and is cleaned
        up; otherwise it is for ``restart`` to say."""
        record = self._session.journal.records.get(name)
        if name in self._tasks or record is None or self._session.engine.busy(name):
            return
        again = record.configuration.get("restart") == "on-failure"
        if not broken and not again:
            if self.notes.get(name) != what:
                self.notes[name] = what
                self._log.warning("%s: %s", name, what)
            return
        self._unfollow(name)
        delay = self._after_failure(name) if again else None
        then = ("cleaned up" if not again else _TOO_MANY if delay is None
                else f"restarted in {delay:g} s")
        self._log.warning("%s: %s; %s", name, what, then)
        self._go_on(name, delay, _TOO_MANY if again else "")

    def resume(self) -> None:
        """Go on with those that an earlier service was to start again."""
        for key in list(self._session.journal.remembered):
            name = key.removeprefix(_KEY.format(""))
            if name == key or name in self._tasks:
                continue
            record = self._session.journal.records.get(name)
            if record is not None and record.state == READY:
                self._session.journal.forget(key)
                continue
            delay = self._after_failure(name)
            if delay is not None:
                self._log.info("%s: restarted in %g s, as an earlier service was to", name, delay)
                self._go_on(name, delay, _TOO_MANY)

    def cancel(self, name: str) -> None:
        """Somebody has said what is to become of this vimage."""
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
        self._session.journal.forget(_KEY.format(name))
        self.notes.pop(name, None)

    def waiting(self) -> list[str]:
        """Those that are being cleaned up or wait to be started again."""
        return list(self._tasks)

    async def close(self) -> None:
        """Leave the rest to the next service."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- one vimage --------------------------------------------------------------------------

    def _after_failure(self, name: str) -> float | None:
        """Seconds until the next try, None when there is none; the journal knows it."""
        key = _KEY.format(name)
        backoff = self._backoff.get(name)
        now = asyncio.get_running_loop().time()
        if backoff is None:
            known = self._session.journal.remembered.get(key, {})
            backoff = self._backoff[name] = Backoff(int(known.get("failures", 0)), now)
        delay = backoff.failed(now)
        if delay is None:
            self._session.journal.forget(key)
        else:
            try:
                self._session.journal.remember(key, {"failures": backoff.failures})
            except VimageError as error:  # a full disk must not keep it from being cleaned up
                self._log.error("%s", error)
        return delay

    def _go_on(self, name: str, delay: float | None, at_last: str) -> None:
        """``at_last`` is what status says of one that is not started again."""
        task = asyncio.create_task(self._clean_up(name, delay, at_last), name=f"clean up {name}")
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]

    async def _clean_up(self, name: str, delay: float | None, at_last: str) -> None:
        result = await self._session.engine.stop_one(name)
        for problem in result.problems:
            self._log.error("%s", problem)
        while delay is not None:
            self.notes[name] = "to be restarted"
            await asyncio.sleep(delay)
            if await self._started(name):
                self._session.journal.forget(_KEY.format(name))
                return
            delay = self._after_failure(name)
            if delay is None:
                self._log.warning("%s: %s", name, at_last)
        self.notes[name] = "not cleaned up" if result.problems else at_last

    async def _started(self, name: str) -> bool:
        """Whether there is no need to try again."""
        try:
            loaded = await self._load()
            vimage = loaded.configuration.vimages.get(name)
            if name not in loaded.names or vimage is not None and vimage.restart == "no":
                self.notes.pop(name, None)
                self._log.info("%s: not restarted: rc.conf says so no longer", name)
                return True
            answer = await self._session.start(loaded, [name])
        except VimageError as error:
            answer = Answer(1, (), (error.problem,))
        if answer.status == 0:
            self.notes.pop(name, None)
            self._follow(self._session.journal.records[name])
            self._log.info("%s: ready again", name)
            return True
        for problem in (*answer.problems, *(p for r in answer.results for p in r.problems)):
            self._log.error("%s", problem)
        return False
