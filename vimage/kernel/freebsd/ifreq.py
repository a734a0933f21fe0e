"""struct ifreq and its ioctl(2) requests (net/if.h, sys/sockio.h, netinet6/in6_var.h).

    struct ifreq { char ifr_name[16]; union { ... } ifr_ifru; }, 32 bytes.

A request number is that of _IOW, _IOWR over the size of the structure: the same on
every 64-bit FreeBSD.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Any

from vimage.kernel.freebsd.libc import libc

_IN, _OUT = 0x80000000, 0x40000000


def _request(direction: int, size: int, group: str, number: int) -> int:
    return direction | size << 16 | ord(group) << 8 | number


def iow(size: int, number: int, group: str = "i") -> int:
    """_IOW: the kernel reads ``size`` bytes."""
    return _request(_IN, size, group, number)


def iowr(size: int, number: int, group: str = "i") -> int:
    """_IOWR: the kernel reads and writes ``size`` bytes."""
    return _request(_IN | _OUT, size, group, number)


SIZE = 32
NAME_SIZE = 16

SIOCSIFFLAGS, SIOCGIFFLAGS = iow(SIZE, 16), iowr(SIZE, 17)
SIOCDIFADDR = iow(SIZE, 25)
SIOCDIFADDR_IN6 = iow(288, 25)
SIOCSIFCAP, SIOCGIFCAP = iow(SIZE, 30), iowr(SIZE, 31)
SIOCGIFINDEX = iowr(SIZE, 32)
SIOCSIFNAME = iow(SIZE, 40)
SIOCGIFMTU, SIOCSIFMTU = iowr(SIZE, 51), iow(SIZE, 52)
SIOCGETVLAN = iowr(SIZE, 58)
SIOCSIFLLADDR = iow(SIZE, 60)
SIOCSIFVNET, SIOCSIFRVNET = iowr(SIZE, 90), iowr(SIZE, 91)
SIOCGDRVSPEC = iowr(40, 123)
SIOCGLAGGPORT = iowr(72, 140)
SIOCAIFADDR = iow(68, 43)
SIOCAIFADDR_IN6 = iow(136, 27)
SIOCGIFINFO_IN6 = iowr(72, 108)
SIOCSIFINFO_FLAGS = iowr(72, 87)


def name_bytes(name: str) -> bytes:
    """ifr_name.  Raises OSError ENXIO: no interface has a name that does not fit."""
    data = os.fsencode(name)
    if not data or len(data) >= NAME_SIZE:
        raise OSError(errno.ENXIO, f"no interface has such a name: {name}")
    return data.ljust(NAME_SIZE, b"\0")


def pointed(name: str, buffer: Any) -> bytes:
    """A struct ifreq whose ifr_data points to ``buffer``."""
    return name_bytes(name) + struct.pack("<Q8x", ctypes.addressof(buffer))


def call(descriptor: int, request: int, data: bytes, subject: str = "") -> bytes:
    """ioctl(2) with a structure; returns what the kernel made of it.  Its error names
    ``subject``."""
    buffer = ctypes.create_string_buffer(data, len(data))
    try:
        libc().ioctl(descriptor, request, buffer)
    except OSError as error:
        if subject:
            raise OSError(error.errno, f"{subject}: {error.strerror}") from error
        raise
    return buffer.raw


def named(descriptor: int, request: int, name: str, layout: str = "",
          *values: int | bytes) -> bytes:
    """ioctl(2) with a struct ifreq of ``name``; ``layout`` packs ifr_ifru.  Returns ifr_ifru."""
    union = struct.pack("<" + layout, *values)
    data = name_bytes(name) + union.ljust(SIZE - NAME_SIZE, b"\0")
    return call(descriptor, request, data, name)[NAME_SIZE:]
