"""The event loop in which waiting costs nothing."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from vimage.kernel.simulated import virtual_time
from vimage.kernel.simulated.virtual_time import run
from vimage.threads import KernelThread


def test_time_jumps_to_the_next_timer():
    async def main():
        seen = []

        async def wake(after):
            await asyncio.sleep(after)
            seen.append(asyncio.get_running_loop().time())

        await asyncio.gather(wake(3600), wake(10), wake(86400))
        return seen

    assert run(main()) == pytest.approx([10, 3600, 86400])


def test_timeouts_are_those_of_virtual_time():
    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 60)
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(60)


def test_what_can_run_runs_before_time_passes():
    async def main():
        read, write = os.pipe()
        heard = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(read, heard.set)
        os.write(write, b".")
        await asyncio.wait_for(heard.wait(), 60)
        loop.remove_reader(read)
        os.close(read)
        os.close(write)
        return loop.time()

    assert run(main()) < 60


def test_time_does_not_jump_while_a_thread_works():
    async def main():
        loop = asyncio.get_running_loop()
        go_on = threading.Event()
        work = loop.run_in_executor(None, go_on.wait)
        loop.call_soon(go_on.set)
        return await asyncio.wait_for(work, 3600)

    assert run(main()) is True


def test_the_clock_stands_still_while_a_kernel_thread_works():
    """Not even a thread that takes long makes a timer come early, or late."""
    thread = KernelThread(thread=True)

    async def main():
        loop, happened = asyncio.get_running_loop(), list[str]()
        loop.call_later(0.001, happened.append, "timer")
        await thread(time.sleep, 0.2)
        happened.append("thread")
        assert loop.time() == 0
        await asyncio.sleep(1)
        return happened, loop.time()

    assert run(main()) == (["thread", "timer"], pytest.approx(1))
    thread.close()


def test_the_clock_goes_on_after_a_cancelled_call():
    thread, begun = KernelThread(thread=True), threading.Event()

    def slow():
        begun.set()
        time.sleep(0.1)

    async def main():
        task = asyncio.create_task(thread(slow))
        while not begun.is_set():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        before = time.monotonic()
        await asyncio.sleep(3600)
        return time.monotonic() - before

    assert run(main()) < 5
    thread.close()


def test_a_thread_that_waits_for_the_loop_does_not_hold_it_up_for_ever(monkeypatch):
    monkeypatch.setattr(virtual_time, "PATIENCE", 0.05)
    thread, later = KernelThread(thread=True), threading.Event()

    async def main():
        asyncio.get_running_loop().call_later(5, later.set)
        return await thread(later.wait, 60)

    assert run(main()) is True
    thread.close()
