"""How many jobs are under way at once."""

from __future__ import annotations

import asyncio

from vimage.jobs import Slots
from vimage.kernel.simulated.virtual_time import run


def most_at_once(slots: Slots, count: int, change: int | None = None) -> int:
    """Of ``count`` jobs of ten seconds each, the most that were under way at one time."""
    under_way, most = 0, 0

    async def job() -> None:
        nonlocal under_way, most
        async with slots:
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(10)
            under_way -= 1

    async def play() -> None:
        jobs = [asyncio.create_task(job()) for _ in range(count)]
        await asyncio.sleep(5)
        if change is not None:
            slots.set_limit(change)
        await asyncio.gather(*jobs)

    run(play())
    return most


def test_no_more_than_the_limit() -> None:
    assert [most_at_once(Slots(limit), 5) for limit in (1, 2, 9)] == [1, 2, 5]


def test_a_higher_limit_lets_others_in_at_once() -> None:
    assert most_at_once(Slots(1), 5, change=3) == 3


def test_a_lower_limit_holds_for_those_that_wait() -> None:
    slots = Slots(3)
    assert most_at_once(slots, 6, change=1) == 3
    assert most_at_once(slots, 3) == 1


def test_one_that_is_cancelled_gives_its_place_to_the_next() -> None:
    async def play() -> None:
        slots = Slots(1)
        order: list[str] = []

        async def job(name: str) -> None:
            async with slots:
                order.append(name)
                await asyncio.sleep(10)

        jobs = [asyncio.create_task(job(name)) for name in "abcd"]
        await asyncio.sleep(1)
        jobs[1].cancel()  # waits
        jobs[0].cancel()  # is under way
        await asyncio.sleep(1)
        assert order == ["a", "c"]
        await asyncio.gather(*jobs, return_exceptions=True)
        assert order == ["a", "c", "d"]
        async with asyncio.timeout(1), slots:
            pass

    run(play())
