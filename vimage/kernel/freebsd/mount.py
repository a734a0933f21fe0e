"""Mounts through open directories (nmount(2), unmount(2), getfsstat(2)) and devfs rulesets.

A directory is opened one component after another without following a link, and mounted
on as "." of that directory, so that nothing renamed meanwhile changes where the mount goes.
The working directory of the process is elsewhere for that moment.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from vimage.kernel import JailError, MountInfo
from vimage.kernel.freebsd import ifreq
from vimage.kernel.freebsd.libc import Vector, cut, libc, text

MNT_NOWAIT = 2
MNT_FORCE, MNT_BYFSID = 0x80000, 0x8000000

#: struct statfs, 2344 bytes: f_version at 0, f_fsid (two int32_t) at 192, f_fstypename at
#: 280, f_mntfromname at 296, f_mntonname at 1320.
_STATFS = 2344
_STATFS_VERSION = 0x20140518

#: Options that mount(8) keeps to itself.
_OF_MOUNT8 = frozenset(("auto", "noauto", "late", "failok"))

_DEVFSIO_RGETNEXT = ifreq.iowr(236, 4, "D")
_DEVFS_MAGIC = 0xdb0a087a
#: One thread at a time has the working directory of the process.
_WORKING_DIRECTORY = threading.Lock()
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_directory(root: str, path: str) -> int:
    """Errors: ENOENT; ENOTDIR; EMLINK or ELOOP a component is a symbolic link; EINVAL a
    component is "..".  With O_DIRECTORY the kernel says ENOTDIR of a link."""
    descriptor = os.open(root, _OPEN)
    try:
        for component in path.split("/"):
            if component in ("", "."):
                continue
            if component == "..":
                raise OSError(errno.EINVAL, f'".." in {path}')
            inner = _open_component(descriptor, component, path)
            os.close(descriptor)
            descriptor = inner
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _open_component(directory: int, component: str, path: str) -> int:
    try:
        return os.open(component, _OPEN | os.O_NOFOLLOW, dir_fd=directory)
    except OSError as error:
        number = error.errno or errno.EIO
        if number == errno.ENOTDIR and _is_link(directory, component):
            number = errno.ELOOP
        raise OSError(number, f"{path}: {component}: {os.strerror(number)}") from None


def _is_link(directory: int, component: str) -> bool:
    try:
        os.readlink(component, dir_fd=directory)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
        return False
    return True


@contextmanager
def _inside(directory: int) -> Iterator[None]:
    """The working directory of this process, all its threads included, is ``directory`` for
    a while: nmount(2) takes a path and nothing else."""
    with _WORKING_DIRECTORY:
        try:
            before = os.open(".", _OPEN)
        except FileNotFoundError:  # the working directory is gone
            before = os.open("/", _OPEN)
        try:
            os.fchdir(directory)
            yield
        finally:
            os.fchdir(before)
            os.close(before)


def mount(fstype: str, directory: int, options: Mapping[str, str | None]) -> str:
    """nmount(2) on "." of ``directory``; returns the fsid of what is now on top there."""
    buffers: list[Any] = [text("fstype"), text(fstype), text("fspath"), text(".")]
    for name, value in options.items():
        if name not in _OF_MOUNT8:
            buffers += [text(name), None if value is None else text(value)]
    message = ctypes.create_string_buffer(255)
    vector = Vector([*buffers, text("errmsg"), message])
    with _inside(directory):
        try:
            libc().nmount(vector.array, len(vector), 0)
        except OSError as error:
            words = os.fsdecode(message.value)
            raise JailError.of(error.errno, words or f"{fstype}: {error.strerror}") from None
        top = os.open(".", _OPEN)  # leads to what covers the directory last
    try:
        return filesystem_of(top).fsid
    finally:
        os.close(top)


def filesystem_of(directory: int) -> MountInfo:
    """fstatfs(2)."""
    buffer = ctypes.create_string_buffer(_STATFS)
    libc().fstatfs(directory, buffer)
    return parse_statfs(buffer.raw)


def parse_statfs(raw: bytes, offset: int = 0) -> MountInfo:
    """struct statfs."""
    version, = struct.unpack_from("<I", raw, offset)
    if version != _STATFS_VERSION:
        raise OSError(errno.ENOSYS, "struct statfs of this kernel is unknown")
    first, second = struct.unpack_from("<ii", raw, offset + 192)
    return MountInfo(f"{first}:{second}", cut(raw[offset + 280:offset + 296]),
                 cut(raw[offset + 296:offset + 1320]), cut(raw[offset + 1320:offset + 2344]))


def unmount(fsid: str, force: bool) -> None:
    """Errors: ENOENT not mounted; EBUSY in use."""
    flags = MNT_BYFSID | (MNT_FORCE if force else 0)
    try:
        libc().unmount(os.fsencode(f"FSID:{fsid}"), flags)
    except OSError as error:
        raise OSError(error.errno, f"file system {fsid}: {error.strerror}") from None


def mounts() -> list[MountInfo]:
    """Every mounted file system, oldest first."""
    call = libc().getfsstat
    while True:
        room = int(call(None, 0, MNT_NOWAIT)) + 8
        buffer = ctypes.create_string_buffer(room * _STATFS)
        count = int(call(buffer, len(buffer), MNT_NOWAIT))
        if count < room:
            return [parse_statfs(buffer.raw, index * _STATFS) for index in range(count)]


def devfs_rules(ruleset: int) -> int:
    """How many rules a ruleset has.

    DEVFSIO_RGETNEXT with struct devfs_rule { uint32_t dr_magic; uint32_t dr_id; ... }, 236
    bytes; dr_id is ruleset << 16 | rule, and the answer is the next rule after it.
    """
    if not 0 < ruleset < 65536:
        return 0
    descriptor = os.open("/dev", os.O_RDONLY | os.O_CLOEXEC)
    try:
        count, rule = 0, ruleset << 16
        while True:
            request = struct.pack("<II228x", _DEVFS_MAGIC, rule)
            try:
                answer = ifreq.call(descriptor, _DEVFSIO_RGETNEXT, request)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
                return count
            rule, = struct.unpack_from("<I", answer, 4)
            count += 1
    finally:
        os.close(descriptor)
