"""What is done by a process that has entered a jail, and is gone right after.

Each function gets the jid (0: it has not entered one) and an argument, and returns a
plain value and descriptors.  Whatever they need is imported and looked up with this
module; inside they only make system calls.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from vimage.kernel.freebsd import interface, sockaddr, sysctl, tcp

Result = tuple[Any, list[int]]

_JAILED = sysctl.oid("security.jail.jailed")
tcp.resolve()


def sockets(jid: int, argument: Any) -> Result:
    """Sockets for ioctl(2) of IPv4 and IPv6 and one for routes.  The value says which
    there are: a kernel may lack IPv6."""
    kinds, fds = [], []
    for kind, family, type_ in (("inet", socket.AF_INET, socket.SOCK_DGRAM),
                                ("inet6", socket.AF_INET6, socket.SOCK_DGRAM),
                                ("route", sockaddr.AF_ROUTE, socket.SOCK_RAW)):
        try:
            fds.append(socket.socket(family, type_, 0).detach())
            kinds.append(kind)
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
                raise
    return kinds, fds


def interfaces(jid: int, argument: Any) -> Result:
    return interface.everything(), []


def clear(jid: int, signal: int) -> Result:
    """Signal every process; where there is none, drop the TCP connections and give a socket.

    Outside of a jail it would be every process of the host, so the kernel is asked once more.
    """
    if jid <= 0 or struct.unpack("<i", sysctl.read(_JAILED))[0] != 1:
        raise OSError(errno.EPERM, "not inside a jail")
    try:
        os.kill(-1, signal)
    except ProcessLookupError:
        tcp.drop_all()
        return None, [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM, 0).detach()]
    return None, []


WORK: dict[str, Callable[[int, Any], Result]] = {
    "sockets": sockets, "interfaces": interfaces, "clear": clear,
}
