"""The real machine below the simulated host: which of its processes still run.

A socket lives as long as the process that opened it.  The simulated host notes with
everything of that sort the process that owns it, and lets it go when that has ended.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import sys

_series = itertools.count(1)


def start_of(pid: int) -> str:
    """When a real process started ("" if there is none), in a text of no further meaning."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        return f"{ticks // 100}.{ticks % 100:02d}0000"
    except (FileNotFoundError, ProcessLookupError):
        pass
    if os.path.exists("/proc/self/stat"):
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "0.000000"


def owner() -> str:
    """A name for one opening of the simulated host by this process."""
    pid = os.getpid()
    return f"{pid} {start_of(pid)} {next(_series)}"


def alive(name: str) -> bool:
    """Whether the process of an ``owner()`` still runs."""
    pid, start, _ = name.split(" ")
    return start_of(int(pid)) == start


#: Above every pid that a real machine gives out.
FIRST_SIMULATED_PID = 100_000_000


def peer(descriptor: int) -> tuple[int, int]:
    """(pid, uid) of the other end of a connected unix socket; this user counts as root."""
    option = getattr(socket, "SO_PEERCRED", None)
    with socket.socket(fileno=os.dup(descriptor)) as connected:
        if option is not None:  # Linux
            pid, uid, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, option, 12))
        elif sys.platform.startswith("freebsd"):  # LOCAL_PEERCRED: struct xucred
            credentials = connected.getsockopt(0, 1, 88)
            uid, = struct.unpack_from("I", credentials, 4)
            pid, = struct.unpack_from("i", credentials, 80)
        else:
            pid, uid = os.getpid(), os.geteuid()
    return pid, 0 if uid == os.geteuid() else uid
