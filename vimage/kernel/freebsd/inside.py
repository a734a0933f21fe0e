"""What is done by a process that has entered a jail, and is gone right after.

Each function gets an argument, and returns a plain value and descriptors.  Whatever they
need is imported and looked up with this module; inside they only make system calls.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from vimage.kernel.freebsd import interface, sysctl, tcp

Result = tuple[Any, list[int]]

_JAILED = sysctl.oid("security.jail.jailed")
tcp.resolve()


def sockets(argument: Any) -> Result:
    """``interface.sockets``: their kinds, and they."""
    found = interface.sockets()
    return list(found), list(found.values())


def interfaces(argument: Any) -> Result:
    return interface.everything(), []


def clear(signal: int) -> Result:
    """Signal every process; where there is none, drop the TCP connections and give a socket.

    Outside of a jail it would be every process of the host, so the kernel is asked once more.
    """
    if struct.unpack("<i", sysctl.read(_JAILED))[0] != 1:
        raise OSError(errno.EPERM, "not inside a jail")
    try:
        os.kill(-1, signal)
    except ProcessLookupError:
        tcp.drop_all()
        return None, [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM, 0).detach()]
    return None, []


WORK: dict[str, Callable[[Any], Result]] = {
    "sockets": sockets, "interfaces": interfaces, "clear": clear,
}
