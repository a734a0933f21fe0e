"""Keeps console logs from growing without bound, whatever a jail writes."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping

from vimage import consolelog
from vimage.journal import Record
from vimage.kernel import Kernel

#: Bytes at which a console log is cut back to nothing.  newsyslog(8) keeps old ones.
LIMIT = 8 * 1024 * 1024

#: The number of logs looked at in one look, while a disk fills and otherwise: so the cost of a
#: look does not grow with the number of logs.
AT_ONCE, AT_LEISURE = 100, 2

#: Only every fourth call of ``look`` looks, unless a disk fills.
EVERY = 4

#: The number of directories whose free space is looked at.
MOST_DIRECTORIES = 8


class Consoles:
    """Looks at a few console logs at a time, and at all of them when a directory with logs has
    lost LIMIT bytes of free space."""

    def __init__(self, kernel: Kernel, records: Mapping[str, Record]) -> None:
        self._kernel = kernel
        self._records = records
        self._looks = 0
        self._next = 0
        self._owed = 0  # logs still to be looked at because a disk fills
        self._free: dict[str, int] = {}  # directory: bytes free, the most since the last loss

    def look(self) -> list[str]:
        """Cut back what is too long; returns the names of the vimages whose log was."""
        self._looks += 1
        if not self._records or self._looks % EVERY and not self._owed:
            return []
        records = list(self._records.values())
        if self._disk_fills():
            self._owed = len(records)
        turns = min(len(records), max(AT_LEISURE, min(AT_ONCE, self._owed)))
        self._owed = max(0, self._owed - turns)
        cut = []
        for _ in range(turns):
            self._next = (self._next + 1) % len(records)
            if self._bound(records[self._next]):
                cut.append(records[self._next].name)
        return cut

    def _disk_fills(self) -> bool:
        """Whether a directory with logs has lost LIMIT bytes of free space."""
        fills = False
        for directory, most in self._free.items():
            free = _free(directory)
            if free > most or free <= most - LIMIT:
                self._free[directory] = free
                fills = fills or free < most
        return fills

    def _bound(self, record: Record) -> bool:
        """Cut back the log of one vimage; whether it was too long."""
        path = record.configuration.get("consolelog")
        if not path:
            return False
        path = self._kernel.path(path)
        directory = os.path.dirname(path)
        if directory not in self._free and len(self._free) < MOST_DIRECTORIES:
            self._free[directory] = _free(directory)
        try:
            return os.lstat(path).st_size > LIMIT and self._cut(record)
        except OSError:
            return False

    def _cut(self, record: Record) -> bool:
        descriptor = consolelog.open_for_appending(self._kernel, record.configuration)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return False
            os.ftruncate(descriptor, 0)  # every writer appends, so what comes next begins at 0
            return True
        finally:
            os.close(descriptor)


def _free(directory: str) -> int:
    """Bytes that are free there; 0 where that cannot be told."""
    with contextlib.suppress(OSError):
        found = os.statvfs(directory)
        return found.f_bavail * found.f_frsize
    return 0
