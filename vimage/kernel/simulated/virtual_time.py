"""An asyncio event loop in which waiting costs nothing.

When nothing can run but timers, the clock jumps to the next of them.  It stands still while
a thread is at work for the loop (``run_in_executor``, ``vimage.threads.KernelThread``): what
takes real time takes no virtual time, so an order of events does not depend on how fast the
machine is.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: Real seconds that the clock stands still for a thread.  One that takes longer may itself be
#: waiting for something that the loop is to do later.
PATIENCE = 10.0


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timeout, tells how long the wait would have been."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0
        self.threads_at_work = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(PATIENCE if self.threads_at_work else 0)
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

    def count_thread_work(self, change: int) -> None:
        """A thread begins (1) or has ended (-1) work whose end wakes the loop."""
        self._jumping.threads_at_work += change

    def run_in_executor(self, executor: Any, func: Callable[..., T],  # type: ignore[override]
                        *args: Any) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self.count_thread_work(1)
        future.add_done_callback(lambda _: self.count_thread_work(-1))
        return future


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
