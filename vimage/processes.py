"""Waiting for a process that was started, and saying how it ended."""

from __future__ import annotations

import asyncio
import signal

from vimage.kernel import Process

#: Seconds between TERM and KILL for a process that outlives its timeout.
GRACE = 2.0


async def wait_or_end(process: Process, timeout: float) -> int | None:
    """Wait for a process.  Returns its exit status, or None when it took longer than
    ``timeout`` seconds and its process group was ended.  Ends it, too, when cancelled.

    Raises HelperGone when the exit status cannot be known.
    """
    try:
        async with asyncio.timeout(timeout):
            return await process.wait()
    except TimeoutError:
        await process.end(GRACE)
        return None
    except asyncio.CancelledError:
        await process.end(GRACE)
        raise


def describe_status(status: int) -> str:
    """An exit status as text: ``exit status 1``, ``killed by SIGTERM``."""
    if status > 128:
        try:
            return f"killed by {signal.Signals(status - 128).name}"
        except ValueError:
            pass
    return f"exit status {status}"
