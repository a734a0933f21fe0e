"""The memory of the simulated kernel: one file, to which every operation adds a line.

Several processes may have the file open.  Each takes the lock for one operation, reads
what the others have added since, works on its copy in memory, and adds what it changed
with one write.  A process that dies between two operations has lost nothing; of one that
dies while it writes, the unfinished line is cut off by the next.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable

Change = tuple[str, int | str, dict[str, object] | None]

#: A file smaller than this is never compacted.
SMALL = 1 << 20


class SimulationError(RuntimeError):
    """The simulation itself cannot go on (a full disk, a damaged state file)."""


class Log:
    """The state file of one simulated host, as one process sees it."""

    def __init__(self, directory: str, apply: Callable[[Change], None],
                 forget: Callable[[], None]) -> None:
        self._path = os.path.join(directory, "state")
        self._apply = apply
        self._forget = forget
        self._lock = os.open(os.path.join(directory, "lock"),
                             os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._file = -1
        self._inode = 0
        self._offset = 0

    def acquire(self) -> None:
        """Keep other processes out, and learn what they did."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self._follow()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def append(self, changes: list[Change]) -> None:
        """Remember the changes of one operation."""
        line = json.dumps(changes, separators=(",", ":")).encode() + b"\n"
        try:
            done = os.write(self._file, line)
        except OSError as error:
            raise SimulationError(f"{self._path}: {error.strerror}") from error
        if done != len(line):
            os.ftruncate(self._file, self._offset)
            raise SimulationError(f"{self._path}: written in part")
        self._offset += done

    def worth_compacting(self, records: int) -> bool:
        return self._offset > max(SMALL, 2000 * records)

    def compact(self, changes: Iterable[Change]) -> None:
        """Replace the file by one that holds only what is there now."""
        fresh = self._path + ".new"
        with open(fresh, "wb") as file:
            for change in changes:
                file.write(json.dumps([change], separators=(",", ":")).encode() + b"\n")
        os.rename(fresh, self._path)
        self._reopen()
        self._offset = os.fstat(self._file).st_size

    @property
    def closed(self) -> bool:
        return self._lock < 0

    def close(self) -> None:
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1

    def _follow(self) -> None:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            found = os.stat(self._path)
        if found.st_ino != self._inode:
            self._reopen()
            self._forget()
            self._offset = 0
        if found.st_size != self._offset:
            self._read(found.st_size)

    def _reopen(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        self._inode = os.fstat(self._file).st_ino

    def _read(self, size: int) -> None:
        data = os.pread(self._file, size - self._offset, self._offset)
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            os.ftruncate(self._file, self._offset + whole)
        try:
            for line in data[:whole].splitlines():
                for table, key, value in json.loads(line):
                    self._apply((table, key, value))
        except ValueError as error:
            raise SimulationError(f"{self._path}: damaged: {error}") from error
        self._offset += whole
