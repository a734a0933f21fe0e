"""Processes by number: start time and jail (sysctl kern.proc.pid, sys/user.h)."""

from __future__ import annotations

import errno
import os
import socket
import struct

from vimage.kernel import JailId
from vimage.kernel.freebsd import sysctl

_KERN_PROC_PID = (1, 14, 1)
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
    if info(pid).start != start:
        raise OSError(errno.ESRCH, f"process {pid} is another one now")
    os.killpg(pid, number)


def read(pid: int) -> bytes:
    """struct kinfo_proc of a process.  Errors: ESRCH."""
    raw = sysctl.read((*_KERN_PROC_PID, pid), _SIZE) if pid > 0 else b""
    if not raw:
        raise OSError(errno.ESRCH, f"no process {pid}")
    if len(raw) < _SIZE or struct.unpack_from("<i", raw)[0] != _SIZE:
        raise OSError(errno.ENOSYS, "struct kinfo_proc of this kernel is unknown")
    return raw
