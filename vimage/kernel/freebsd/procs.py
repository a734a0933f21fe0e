"""Processes by number: start time and jail (sysctl kern.proc.pid, sys/user.h).

``start_of``, ``group`` and ``signal`` also serve a machine with Linux's /proc, where the
helper process is tested too.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys

from vimage.kernel import JailId
from vimage.kernel.freebsd import sysctl

FREEBSD = sys.platform.startswith("freebsd")

_KERN_PROC_PID, _KERN_PROC_PGRP = (1, 14, 1), (1, 14, 2)
_SIZE = 1088  # sizeof(struct kinfo_proc) on LP64
_ZOMBIE = 5
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1


class Info:
    """What is used of struct kinfo_proc: ki_pid at 72, ki_start (timeval) at 336,
    ki_stat at 388, ki_jid at 592 (0 where the jail is that of the asking process)."""

    __slots__ = ("pid", "start", "jail")
    pid: int
    start: str
    jail: JailId | None

    def __init__(self, raw: bytes) -> None:
        self.pid, = struct.unpack_from("<i", raw, 72)
        self.start = "{}.{:06}".format(*struct.unpack_from("<qq", raw, 336))
        jid, = struct.unpack_from("<i", raw, 592)
        self.jail = JailId(jid) if jid else None


def info(pid: int) -> Info:
    """The process that has this pid now.

    Errors: ESRCH none, or one that has ended and is not yet waited for.
    """
    raw = read(pid)
    if raw[388] == _ZOMBIE:
        raise OSError(errno.ESRCH, f"process {pid} has ended")
    return Info(raw)


def peer(descriptor: int) -> tuple[int, JailId | None]:
    """(uid, jail) of the process at the other end of a unix socket.

    LOCAL_PEERCRED gives a struct xucred of 88 bytes: cr_version, cr_uid at 4, cr_pid at 80.
    Errors: ESRCH it has ended.
    """
    with socket.socket(fileno=os.dup(descriptor)) as end:
        raw = end.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 88)
    version, uid = struct.unpack_from("<II", raw)
    if version != 0 or len(raw) != 88:
        raise OSError(errno.ENOSYS, "struct xucred of this kernel is unknown")
    return uid, info(struct.unpack_from("<i", raw, 80)[0]).jail


def signal(pid: int, start: str, number: int) -> None:
    """Signal the process group that this very process leads.

    Errors: ESRCH it has ended, or leads none.
    """
    if start_of(pid) != start:
        raise OSError(errno.ESRCH, f"process {pid} is another one now")
    os.killpg(pid, number)


def start_of(pid: int) -> str:
    """When a process started, also one that has ended and is not yet waited for.

    Errors: ESRCH no such process.
    """
    if FREEBSD:
        return Info(read(pid)).start
    return _stat(pid)[19].decode()


def group(pgid: int) -> list[int]:
    """The processes of a group, without those that have ended and are not yet waited for."""
    if not FREEBSD:
        return [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc")))
                if _in_group(pid, pgid)]
    raw = sysctl.read((*_KERN_PROC_PGRP, pgid), 8 * _SIZE)
    return [Info(raw[at:at + _SIZE]).pid for at in range(0, len(raw), _SIZE)
            if _checked(raw, at)[at + 388] != _ZOMBIE]


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on, the state."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise OSError(errno.ESRCH, f"no process {pid}") from None


def _in_group(pid: int, pgid: int) -> bool:
    try:
        state, _, its_group, *_ = _stat(pid)
    except ProcessLookupError:
        return False
    return int(its_group) == pgid and state not in (b"Z", b"X")


def read(pid: int) -> bytes:
    """struct kinfo_proc of a process.  Errors: ESRCH."""
    raw = sysctl.read((*_KERN_PROC_PID, pid), _SIZE) if pid > 0 else b""
    if not raw:
        raise OSError(errno.ESRCH, f"no process {pid}")
    return _checked(raw)


def _checked(raw: bytes, at: int = 0) -> bytes:
    """These bytes, if there is a struct kinfo_proc of the known size."""
    if len(raw) - at < _SIZE or struct.unpack_from("<i", raw, at)[0] != _SIZE:
        raise OSError(errno.ENOSYS, "struct kinfo_proc of this kernel is unknown")
    return raw
