"""Open directories of the simulated host: opened without links, known by their place."""

from __future__ import annotations

import errno
import os

from vimage.kernel.simulated.errors import fail
from vimage.kernel.simulated.records import Mounted

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_below(root: str, path: str) -> int:
    """Open ``path`` component by component below ``root``, following no link."""
    here = os.open(root, _FLAGS)
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            os.close(here)
            fail(errno.EINVAL, path)
        try:
            step = os.open(part, _FLAGS | os.O_NOFOLLOW, dir_fd=here)
        except NotADirectoryError:
            _complain_of_link(part, here)
            raise
        finally:
            os.close(here)
        here = step
    return here


def _complain_of_link(part: str, directory: int) -> None:
    """Where the machine says ENOTDIR of a link, FreeBSD says that it is one."""
    os.close(os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                     dir_fd=directory))


def name_of(descriptor: int) -> str:
    """Where an open directory is now."""
    if os.fstat(descriptor).st_nlink == 0:
        fail(errno.ENOENT)
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:  # a machine without it
        return _name_by_chdir(descriptor)


def _name_by_chdir(descriptor: int) -> str:
    before = os.open(".", _FLAGS)
    try:
        os.fchdir(descriptor)
        return os.getcwd()
    finally:
        os.fchdir(before)
        os.close(before)


class Opened:
    """Which mount each directory was on when it was opened."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, int, int]] = {}

    def note(self, descriptor: int, mounted: Mounted | None) -> int:
        found = os.fstat(descriptor)
        self._known[descriptor] = (found.st_dev, found.st_ino, mounted.number if mounted else 0)
        return descriptor

    def filesystem(self, descriptor: int) -> int:
        """The mount's number; 0 when the directory was not opened through here."""
        found = os.fstat(descriptor)
        device, inode, number = self._known.get(descriptor, (0, 0, 0))
        return number if (device, inode) == (found.st_dev, found.st_ino) else 0
