"""A thread for calls that sleep in the kernel, so that the event loop goes on meanwhile.

Making a jail, moving an interface and taking both away mostly wait for the kernel's own
clock.  A ``KernelThread`` makes such calls one after another, in the order in which they
were asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds that a thread which is back from the kernel waits for Python's lock.
SWITCH_INTERVAL = 0.0005


def give_way_to_threads() -> None:
    """Let a busy loop give way to a ``KernelThread`` after SWITCH_INTERVAL.

    Called once when a process starts; this is a setting of the whole process.  With Python's
    own 5 ms, 200 calls that sleep 1 ms each beside a busy loop took 1.26 s; with this 0.35 s
    (Linux, 2 CPUs).
    """
    sys.setswitchinterval(SWITCH_INTERVAL)


class _Call:
    """One call for the thread, and the future of the task that waits for it.

    What the call returns is handed over to that task, or closed when the task was cancelled.
    """

    __slots__ = ("_function", "_guard", "_loop", "_state", "error", "future", "value")

    WAITING, AT_WORK, DONE, WITHDRAWN = range(4)

    def __init__(self, function: Callable[[], Any],
                 loop: asyncio.AbstractEventLoop) -> None:
        self._function = function
        self._loop = loop
        self._guard = threading.Lock()
        self._state = self.WAITING
        self.future: asyncio.Future[None] = loop.create_future()
        self.value: Any = None
        self.error: BaseException | None = None

    def run(self, log: logging.Logger) -> None:
        """Make the call.  In the thread."""
        with self._guard:
            if self._state == self.WITHDRAWN:
                return
            self._state = self.AT_WORK
        try:
            self.value = self._function()
        except BaseException as error:
            self.error = error
        with self._guard:
            self._state = self.DONE
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop has been closed
            self.discard(log)

    def _wake(self) -> None:
        if not self.future.done():
            self.future.set_result(None)

    def withdraw(self) -> bool:
        """Cancel the call.  False when it has begun, and goes on."""
        with self._guard:
            if self._state == self.WAITING:
                self._state = self.WITHDRAWN
            return self._state == self.WITHDRAWN

    @property
    def done(self) -> bool:
        """Whether the call has ended."""
        return self._state == self.DONE

    async def end(self) -> None:
        """Wait until the call has ended, even if the task is cancelled again."""
        while not self.done:
            self.future = self._loop.create_future()
            with contextlib.suppress(asyncio.CancelledError):
                await self.future

    def discard(self, log: logging.Logger) -> None:
        """Close what the call returned, or log its error: the task was cancelled."""
        if self.error is not None:
            log.error("a call that was cancelled failed: %r", self.error, exc_info=self.error)
        _close(self.value, log)


def _close(value: Any, log: logging.Logger) -> None:
    """Close what a call returned: whatever has a close(), alone or in a sequence."""
    if isinstance(value, tuple | list):
        for part in value:
            _close(part, log)
        return
    close = getattr(value, "close", None)
    if callable(close):
        try:
            close()
        except Exception:
            log.exception("the result of a call that was cancelled: %r", value)


class KernelThread:
    """One thread, started with the first call.  With ``thread=False`` there is none, and each
    call is made by the caller.

    When a task is cancelled, a call of its that has not begun is dropped.  One that has begun is
    waited for, so that it does not change the host while the task undoes its work.  Its result
    is closed (anything with a close(), such as ``Vnet`` and ``Hold``), its error is logged, and
    then the task is cancelled.
    """

    def __init__(self, *, thread: bool, log: logging.Logger | None = None) -> None:
        self._has_thread = thread
        self._thread: threading.Thread | None = None
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._log = log or logging.getLogger("vimage")

    async def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make the call, and return what it returns."""
        if not self._has_thread:
            return call(*args, **kwargs)
        if self._thread is None:
            self._start()
        loop = asyncio.get_running_loop()
        pending = _Call(partial(call, *args, **kwargs), loop)
        # A loop in virtual time stands still while a thread works for it.
        count = getattr(loop, "count_thread_work", None)
        if count is not None:
            count(1)
        self._calls.put(pending)
        try:
            await self._wait(pending)
        finally:
            if count is not None:
                count(-1)
        if pending.error is not None:
            raise pending.error
        value: T = pending.value
        return value

    async def _wait(self, pending: _Call) -> None:
        try:
            await pending.future
        except asyncio.CancelledError:
            if not pending.withdraw():
                await pending.end()
                pending.discard(self._log)
            raise
        except GeneratorExit:  # the loop was closed with the task in it
            if not pending.withdraw() and pending.done:
                pending.discard(self._log)
            raise

    def close(self) -> None:
        """End the thread, after the calls that were asked for."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join()
            self._thread = None

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="vimage kernel calls", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (pending := self._calls.get()) is not None:
            pending.run(self._log)
            del pending
