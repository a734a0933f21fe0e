"""An asyncio event loop in which waiting costs nothing.

When nothing can run but timers, the clock jumps to the next of them.  It does not jump
while a thread of ``run_in_executor`` is at work: that takes real time.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timeout, tells how long the wait would have been."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0
        self.real_work = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if self.real_work:
            before = time.monotonic()
            ready = super().select(timeout)
            self.skipped += min(time.monotonic() - before, timeout)
            return ready
        ready = super().select(0)
        if not ready:
            self.skipped += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """``loop.time()`` starts at 0 and is the sum of what would have been waited for."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.skipped

    def run_in_executor(self, executor: Any, func: Callable[..., T],  # type: ignore[override]
                        *args: Any) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._jumping.real_work += 1
        future.add_done_callback(self._real_work_done)
        return future

    def _real_work_done(self, _: asyncio.Future[Any]) -> None:
        self._jumping.real_work -= 1


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
