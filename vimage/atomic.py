"""Replaces a file in one step: it is the old one or the new one at any instant."""

from __future__ import annotations

import contextlib
import os


def replace(path: str, body: bytes, *, sync: bool = False) -> None:
    """Write ``body`` to a temporary file (mode 0600) and rename it to ``path``.

    That holds when the process dies, and with ``sync`` (fsync(2)) when the host does.

    Raises OSError; then ``path`` is as it was.
    """
    temporary = f"{path}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                         | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            left = memoryview(body)
            while left:
                left = left[os.write(descriptor, left):]
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
