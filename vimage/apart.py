"""Calls that sleep in the kernel, made beside the loop.

Making a jail, moving an interface and taking both away mostly wait for the kernel's own
clock.  They are made one after another, as the kernel would have it anyway, by a thread of
their own, so that what else there is to do for other vimages is done meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds that a thread back from the kernel may wait for the interpreter.
SWITCH = 0.0005


class _Job:
    """One call, and the future of whoever waits for it."""

    __slots__ = ("call", "done", "future", "loop")

    def __init__(self, call: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.call = call
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.done = False

    def settle(self, value: Any, error: Exception | None) -> None:
        self.done = True
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(value)


class Apart:
    """One thread, started when first needed; or none, and calls are made in place."""

    def __init__(self, *, thread: bool) -> None:
        self._has_thread = thread
        self._thread: threading.Thread | None = None
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()

    async def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make the call.  One that was begun is waited for even by a task that is cancelled:
        nothing changes the host behind the back of its undoing."""
        if not self._has_thread:
            return call(*args, **kwargs)
        if self._thread is None:
            self._start()
        job = _Job(partial(call, *args, **kwargs), asyncio.get_running_loop())
        self._jobs.put(job)
        try:
            value: T = await job.future
        except asyncio.CancelledError:
            while not job.done:
                job.future = job.loop.create_future()
                with contextlib.suppress(Exception, asyncio.CancelledError):
                    await job.future
            raise
        return value

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _start(self) -> None:
        sys.setswitchinterval(SWITCH)
        self._thread = threading.Thread(target=self._run, name="apart", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            value, error = None, None
            try:
                value = job.call()
            except Exception as raised:
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                job.loop.call_soon_threadsafe(job.settle, value, error)
            del job, value, error
