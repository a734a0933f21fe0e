"""Files that are the old one or the new one, never something between."""

from __future__ import annotations

import contextlib
import os


def replace(path: str, body: bytes, *, sync: bool = False) -> None:
    """Write ``body`` to a temporary file (mode 0600) and rename it to ``path``.

    That holds over the death of the process.  With ``sync`` (fsync(2)) it holds over that of
    the host too.  Raises OSError; then ``path`` is as it was.
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
