"""Calls beside the loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from vimage.apart import Apart


@pytest.fixture(params=[False, True], ids=["in place", "thread"])
def apart(request: pytest.FixtureRequest):
    apart = Apart(thread=request.param)
    yield apart
    apart.close()


def test_a_value_comes_back(apart: Apart) -> None:
    async def main() -> tuple[int, int]:
        return await apart(divmod, 7, 2)

    assert asyncio.run(main()) == (3, 1)


def test_an_error_comes_back(apart: Apart) -> None:
    async def main() -> None:
        await apart(int, "x")

    with pytest.raises(ValueError, match="x"):
        asyncio.run(main())


def test_calls_are_made_one_after_another_in_order(apart: Apart) -> None:
    made: list[int] = []

    async def main() -> None:
        await asyncio.gather(*(apart(made.append, number) for number in range(50)))

    asyncio.run(main())
    assert made == list(range(50))


def test_it_serves_one_loop_after_another(apart: Apart) -> None:
    async def main() -> int:
        return await apart(int, "5")

    assert [asyncio.run(main()), asyncio.run(main())] == [5, 5]


def test_the_loop_goes_on_meanwhile() -> None:
    apart, done = Apart(thread=True), threading.Event()

    async def main() -> bool:
        waiting = asyncio.create_task(apart(done.wait, 60))
        await asyncio.sleep(0)
        done.set()
        return await waiting

    assert asyncio.run(main())
    apart.close()


def test_a_cancelled_task_waits_for_what_it_began() -> None:
    apart, go, made = Apart(thread=True), threading.Event(), []

    def slow() -> None:
        go.wait(60)
        made.append("made")

    async def main() -> None:
        task = asyncio.create_task(apart(slow))
        await asyncio.sleep(0)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert made == ["made"]

    asyncio.run(main())
    apart.close()


def test_close_twice() -> None:
    apart = Apart(thread=True)
    asyncio.run(_one(apart))
    apart.close()
    apart.close()


async def _one(apart: Apart) -> None:
    await apart(int, "1")
