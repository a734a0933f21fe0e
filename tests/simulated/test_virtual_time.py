"""The event loop in which waiting costs nothing."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from vimage.kernel.simulated.virtual_time import run


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
