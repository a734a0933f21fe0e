"""Calls that sleep in the kernel, made beside the loop.

Making a jail, moving an interface and taking both away mostly wait for the kernel's own
clock.  They are made one after another, as the kernel would have it anyway, by a thread of
their own, so that what else there is to do for other vimages is done meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds that a thread back from the kernel may wait for the interpreter.
SWITCH = 0.0005


class Apart:
    """One thread, started when first needed; or none, and calls are made in place."""

    def __init__(self, *, thread: bool) -> None:
        self._executor = ThreadPoolExecutor(1) if thread else None
        if thread:
            sys.setswitchinterval(SWITCH)

    async def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make the call.  One that was begun is waited for even by a task that is cancelled:
        nothing changes the host behind the back of its undoing."""
        if self._executor is None:
            return call(*args, **kwargs)
        future = asyncio.wrap_future(self._executor.submit(call, *args, **kwargs))
        cancelled = None
        while not future.done():
            try:
                await asyncio.shield(future)
            except asyncio.CancelledError as error:
                cancelled = error
            except Exception:
                break
        if cancelled is not None:
            future.exception()
            raise cancelled
        return future.result()

    def close(self) -> None:
        """End the thread."""
        if self._executor is not None:
            self._executor.shutdown()
