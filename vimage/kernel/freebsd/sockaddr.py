"""Socket addresses as the kernel lays them out: length, family, then the address.

The length is one byte, the family one byte, ports and addresses are in network
byte order, scope ids in that of the host (sys/socket.h, netinet/in.h, net/if_dl.h).
"""

from __future__ import annotations

import errno
import os
import socket
import struct

AF_INET = 2
AF_ROUTE = 17
AF_LINK = 18
AF_INET6 = 28
AF_NETGRAPH = 32

_V4 = struct.Struct("!BBH4s8x")
_V6 = struct.Struct("!BBHI16s")
_LINK = struct.Struct("<BBHBBBB")


def inet(address: bytes, port: int = 0) -> bytes:
    """struct sockaddr_in, 16 bytes."""
    return _V4.pack(16, AF_INET, port, address)


def inet6(address: bytes, port: int = 0, scope: int = 0) -> bytes:
    """struct sockaddr_in6, 28 bytes."""
    return _V6.pack(28, AF_INET6, port, 0, address) + struct.pack("<I", scope)


def link(address: bytes) -> bytes:
    """A struct sockaddr (16 bytes) that carries a MAC address, as SIOCSIFLLADDR wants it."""
    return struct.pack("<BB14s", len(address), AF_LINK, address)


def netgraph(path: str) -> bytes:
    """struct sockaddr_ng; the path without NUL.  Raises OSError ENAMETOOLONG (more than
    NG_NODESIZ bytes are refused by ng_socket(4))."""
    data = os.fsencode(path)
    if len(data) > 32:
        raise OSError(errno.ENAMETOOLONG, f"netgraph path too long: {path}")
    return bytes((len(data) + 2, AF_NETGRAPH)) + data


def parse_link(data: bytes) -> tuple[str, str]:
    """(interface name, MAC) of a struct sockaddr_dl; MAC is "" without an Ethernet address.

    sdl_len, sdl_family, sdl_index (2), sdl_type, sdl_nlen, sdl_alen, sdl_slen, sdl_data.
    """
    _, _, _, _, name_length, address_length, _ = _LINK.unpack_from(data)
    name = os.fsdecode(data[8:8 + name_length])
    mac = data[8 + name_length:8 + name_length + address_length]
    return name, ":".join(f"{byte:02x}" for byte in mac) if len(mac) == 6 else ""


def parse_inet(data: bytes) -> str | None:
    """The address of a sockaddr as text; None for other families.  The scope that the
    kernel keeps in the second half-word of a link-local address is taken out."""
    if data[1] == AF_INET:
        return socket.inet_ntop(socket.AF_INET, data[4:8])
    if data[1] == AF_INET6:
        address = data[8:24]
        if is_link_local(address):
            address = address[:2] + b"\0\0" + address[4:]
        return socket.inet_ntop(socket.AF_INET6, address)
    return None


def is_link_local(address: bytes) -> bool:
    """Whether 16 bytes are an address of fe80::/10."""
    return address[0] == 0xfe and address[1] & 0xc0 == 0x80


def mac_bytes(mac: str) -> bytes:
    """The six bytes of "02:00:00:00:00:01".  Raises OSError EINVAL."""
    try:
        address = bytes.fromhex(mac.replace(":", ""))
    except ValueError:
        address = b""
    if len(address) != 6 or mac.count(":") != 5:
        raise OSError(errno.EINVAL, f"not a MAC address: {mac}")
    return address


def prefix(text: str) -> tuple[int, bytes, int]:
    """(family, address, prefix length) of "192.0.2.2/24".  Raises OSError EINVAL."""
    address, _, length = text.partition("/")
    family, size = (AF_INET6, 128) if ":" in address else (AF_INET, 32)
    try:
        packed = socket.inet_pton(socket.AF_INET6 if size == 128 else socket.AF_INET, address)
        bits = int(length) if length else size
        if not 0 <= bits <= size:
            raise ValueError(bits)
    except (ValueError, OSError) as error:
        raise OSError(errno.EINVAL, f"not an address: {text}") from error
    return family, packed, bits


def mask(family: int, length: int) -> bytes:
    """The netmask of a prefix length, packed."""
    size = 128 if family == AF_INET6 else 32
    return (((1 << length) - 1) << (size - length)).to_bytes(size // 8, "big")
