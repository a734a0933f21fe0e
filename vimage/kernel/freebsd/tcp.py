"""Dropping the TCP connections of the VNET that the calling process is in (tcpdrop(8)).

The list is sysctl(3) net.inet.tcp.pcblist: a struct xinpgen, then one struct xtcpcb per
connection, then a struct xinpgen again; each begins with its length (8 bytes).  Of struct
xtcpcb (netinet/tcp_var.h): inc_flags at 256 (1: IPv6), ports in network byte order at 260
(theirs) and 262 (ours), addresses of 16 bytes at 264 and 280 (the last 4 for IPv4), inp_gencnt
at 304.
"""

from __future__ import annotations

import errno
import struct

from vimage.kernel.freebsd import sockaddr, sysctl

_MINIMUM = 312
_INC_ISIPV6 = 1


def connections(raw: bytes) -> list[tuple[bytes, bytes]]:
    """(theirs, ours) of each connection as sockaddrs; sockets that only listen are left out."""
    found, offset = [], _length(raw, 0)
    while 0 < offset < len(raw) and _length(raw, offset) >= _MINIMUM:
        pair = _connection(raw, offset)
        if pair is not None:
            found.append(pair)
        offset += _length(raw, offset)
    return found


def _length(raw: bytes, offset: int) -> int:
    return int(struct.unpack_from("<Q", raw, offset)[0]) if offset + 8 <= len(raw) else 0


def _connection(raw: bytes, offset: int) -> tuple[bytes, bytes] | None:
    flags = raw[offset + 256]
    theirs, ours = struct.unpack_from("!HH", raw, offset + 260)
    if theirs == 0:
        return None
    their_address, our_address = struct.unpack_from("16s16s", raw, offset + 264)
    if flags & _INC_ISIPV6:
        return _inet6(their_address, theirs), _inet6(our_address, ours)
    return sockaddr.inet(their_address[12:], theirs), sockaddr.inet(our_address[12:], ours)


def _inet6(address: bytes, port: int) -> bytes:
    """The kernel keeps the scope of a link-local address in its second half-word."""
    if not sockaddr.is_link_local(address):
        return sockaddr.inet6(address, port)
    scope, = struct.unpack_from("!H", address, 2)
    return sockaddr.inet6(address[:2] + b"\0\0" + address[4:], port, scope)


def drop_all() -> int:
    """Drop every connection; returns how many there were."""
    dropped = 0
    oid = sysctl.oid("net.inet.tcp.drop")
    for pair in connections(sysctl.read(sysctl.oid("net.inet.tcp.pcblist"), 65536)):
        try:
            sysctl.write(oid, b"".join(address.ljust(128, b"\0") for address in pair))
            dropped += 1
        except OSError as error:
            if error.errno != errno.ESRCH:  # it ended by itself
                raise
    return dropped


def resolve() -> None:
    """Look up beforehand what ``drop_all`` needs."""
    sysctl.oid("net.inet.tcp.drop")
    sysctl.oid("net.inet.tcp.pcblist")
