"""The queues: who waits for whom, and what a stop interrupts."""

from __future__ import annotations

import asyncio
import logging

import pytest

from vimage.engine import Outcome, Result
from vimage.jobs import Action, Job, Jobs, ended, silent
from vimage.kernel.simulated.virtual_time import run


class Queues:
    """Jobs of ten seconds each, and when each began."""

    def __init__(self) -> None:
        self.interrupted: list[str] = []
        self.jobs = Jobs(self.interrupted.append, logging.getLogger("test"))
        self.jobs.slots.set_limit(10)
        self.began: list[tuple[float, str]] = []

    def job(self, action: Action, name: str, depend: tuple[str, ...] = ()) -> Job:
        async def act(job: Job) -> Result:
            self.began.append((round(asyncio.get_running_loop().time()), f"{action.value} {name}"))
            await asyncio.sleep(10)
            return Result(name, Outcome.READY)

        job = Job(name, action, act, silent)
        job.depend = depend
        return job


def test_the_jobs_of_one_vimage_are_done_one_after_another() -> None:
    async def play() -> None:
        queues = Queues()
        first, second = queues.job(Action.STOP, "a"), queues.job(Action.START, "a")
        other = queues.job(Action.START, "b")
        queues.jobs.add([first, second, other])
        assert queues.jobs.waiting("a") == (first, second)
        assert queues.jobs.last("a") is second and queues.jobs.last("c") is None
        assert queues.jobs.busy("a") and not queues.jobs.busy("c")
        assert sorted(queues.jobs.names()) == ["a", "b"]
        await queues.jobs.idle()
        assert queues.began == [(0, "stop a"), (0, "start b"), (10, "start a")]
        assert queues.jobs.names() == [] and not queues.jobs.busy("a")

    run(play())


def test_a_job_waits_for_those_it_needs() -> None:
    async def play() -> None:
        queues = Queues()
        first, second = queues.job(Action.START, "a"), queues.job(Action.START, "b")
        second.needs.append(first)
        queues.jobs.add([first, second])
        assert [result.name for result in await ended([second, first])] == ["b", "a"]
        assert queues.began == [(0, "start a"), (10, "start b")]

    run(play())


def test_only_starts_that_go_on_are_to_be_started() -> None:
    async def play() -> None:
        queues = Queues()
        queues.jobs.add([queues.job(Action.STOP, "a"), queues.job(Action.START, "b", ("c", "d")),
                         queues.job(Action.CHANGE, "e"), queues.job(Action.START, "f")])
        assert queues.jobs.starts() == {"b": ("c", "d"), "f": ()}
        queues.jobs.interrupt_starts(["b", "a", "nosuch"])
        assert queues.jobs.starts() == {"f": ()}
        await queues.jobs.idle()

    run(play())


def test_a_stop_interrupts_the_start_that_is_under_way_and_no_other() -> None:
    async def play() -> None:
        queues = Queues()
        under_way, waits = queues.job(Action.START, "a"), queues.job(Action.START, "a")
        queues.jobs.add([under_way, waits, queues.job(Action.CHANGE, "b")])
        await asyncio.sleep(1)
        queues.jobs.interrupt_starts(["a", "b"])
        assert queues.interrupted == ["a"]
        assert under_way.interrupted and waits.interrupted
        await queues.jobs.idle()

    run(play())


@pytest.mark.parametrize("of_restarts", [True, False])
def test_a_restart_lets_another_restart_go_on(of_restarts: bool) -> None:
    async def play() -> None:
        queues = Queues()
        stop, start = queues.job(Action.STOP, "a"), queues.job(Action.START, "a")
        start.stop_before = stop
        queues.jobs.add([stop, start])
        assert start.restart_in_stop
        queues.jobs.interrupt_starts(["a"], of_restarts=of_restarts)
        assert start.interrupted is of_restarts
        await queues.jobs.idle()
        assert not start.restart_in_stop

    run(play())


def test_one_that_waits_for_others_is_told_at_once() -> None:
    async def play() -> None:
        queues = Queues()
        first, second = queues.job(Action.START, "a"), queues.job(Action.START, "b")
        second.needs.append(first)
        queues.jobs.add([first, second])
        await asyncio.sleep(1)
        queues.jobs.interrupt_starts(["b"])
        await queues.jobs.idle()
        assert queues.began == [(0, "start a"), (1, "start b")]

    run(play())
