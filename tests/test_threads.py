"""Calls that sleep in the kernel, in a thread beside the loop."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from typing import Any

import pytest

from vimage import threads
from vimage.threads import SWITCH_INTERVAL, KernelThread, give_way_to_threads


async def until(event: threading.Event) -> None:
    while not event.is_set():
        await asyncio.sleep(0.001)


class Held:
    """Something that has to be closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture(params=[False, True], ids=["in place", "thread"])
def thread(request: pytest.FixtureRequest):
    thread = KernelThread(thread=request.param)
    yield thread
    thread.close()


def test_a_value_comes_back(thread: KernelThread) -> None:
    async def main() -> tuple[int, int]:
        return await thread(divmod, 7, 2)

    assert asyncio.run(main()) == (3, 1)


def test_an_error_comes_back(thread: KernelThread) -> None:
    async def main() -> None:
        await thread(int, "x")

    with pytest.raises(ValueError, match="x"):
        asyncio.run(main())


def test_calls_are_made_one_after_another_in_order(thread: KernelThread) -> None:
    made: list[int] = []

    async def main() -> None:
        await asyncio.gather(*(thread(made.append, number) for number in range(50)))

    asyncio.run(main())
    assert made == list(range(50))


def test_it_serves_one_loop_after_another(thread: KernelThread) -> None:
    async def main() -> int:
        return await thread(int, "5")

    assert [asyncio.run(main()), asyncio.run(main())] == [5, 5]


def test_the_loop_goes_on_meanwhile() -> None:
    thread, done = KernelThread(thread=True), threading.Event()

    async def main() -> bool:
        waiting = asyncio.create_task(thread(done.wait, 60))
        await asyncio.sleep(0)
        done.set()
        return await waiting

    assert asyncio.run(main())
    thread.close()


def test_a_cancelled_task_waits_for_what_it_began() -> None:
    thread, go, made = KernelThread(thread=True), threading.Event(), []
    begun = threading.Event()

    def slow() -> None:
        begun.set()
        go.wait(60)
        made.append("made")

    async def main() -> None:
        task = asyncio.create_task(thread(slow))
        await until(begun)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert made == ["made"]

    asyncio.run(main())
    thread.close()


def test_close_twice() -> None:
    thread = KernelThread(thread=True)
    asyncio.run(_one(thread))
    thread.close()
    thread.close()


async def _one(thread: KernelThread) -> None:
    await thread(int, "1")


def cancelled(call: Any) -> KernelThread:
    """Begin ``call(go)``, cancel the task that waits for it, let it go on."""
    thread, go, begun = KernelThread(thread=True), threading.Event(), threading.Event()

    def begin() -> Any:
        begun.set()
        go.wait(60)
        return call()

    async def main() -> None:
        task = asyncio.create_task(thread(begin))
        await until(begun)
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    return thread


def test_what_a_cancelled_call_still_returns_is_closed() -> None:
    held = Held()
    cancelled(lambda: held).close()
    assert held.closed


def test_so_is_each_of_several() -> None:
    several = [Held(), Held()]
    cancelled(lambda: (7, several)).close()
    assert [held.closed for held in several] == [True, True]


def test_the_error_of_a_cancelled_call_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        cancelled(lambda: int("x")).close()
    assert "invalid literal" in caplog.text


def test_an_error_in_closing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn:
        def close(self) -> None:
            raise OSError(5, "stuck")

    with caplog.at_level(logging.ERROR):
        cancelled(Stubborn).close()
    assert "stuck" in caplog.text


def test_a_result_that_arrives_in_the_moment_of_the_cancelling_is_closed(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The call has ended, but the task has not seen it when it is cancelled."""
    thread, held = KernelThread(thread=True), Held()
    wake = threads._Call._wake

    async def main() -> None:
        def wake_and_cancel(job: threads._Call) -> None:
            wake(job)
            task.cancel()

        monkeypatch.setattr(threads._Call, "_wake", wake_and_cancel)
        task = asyncio.create_task(thread(lambda: held))
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    thread.close()
    assert held.closed


def test_a_call_that_has_not_begun_is_not_made() -> None:
    thread, go, begun = KernelThread(thread=True), threading.Event(), threading.Event()
    made: list[int] = []

    def first() -> None:
        begun.set()
        go.wait(60)

    async def main() -> None:
        before = asyncio.create_task(thread(first))
        await until(begun)
        task = asyncio.create_task(thread(made.append, 1))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        await before
        await thread(made.append, 2)

    asyncio.run(main())
    thread.close()
    assert made == [2]


def test_what_is_not_an_exception_comes_back_too() -> None:
    """A test's simulated death must not end the thread, with everybody waiting for ever."""
    class Death(BaseException):
        pass

    def die() -> None:
        raise Death

    thread = KernelThread(thread=True)

    async def main() -> None:
        with pytest.raises(Death):
            await thread(die)
        assert await thread(int, "3") == 3

    asyncio.run(asyncio.wait_for(main(), 10))
    thread.close()


def test_what_comes_after_the_end_of_the_loop_is_closed() -> None:
    thread, held, go, begun = (KernelThread(thread=True), Held(), threading.Event(),
                               threading.Event())

    def slow() -> Held:
        begun.set()
        go.wait(60)
        return held

    loop = asyncio.new_event_loop()
    task = loop.create_task(thread(slow))
    loop.run_until_complete(until(begun))
    loop.close()
    go.set()
    thread.close()
    assert held.closed
    task.get_coro().close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_the_switch_interval_is_changed_only_when_asked_for() -> None:
    before = sys.getswitchinterval()
    thread = KernelThread(thread=True)
    asyncio.run(_one(thread))
    thread.close()
    assert sys.getswitchinterval() == before
    try:
        give_way_to_threads()
        assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL)
    finally:
        sys.setswitchinterval(before)
