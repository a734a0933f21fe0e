"""sysctl(3): variables of the kernel, typed by what the kernel says of them."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Sequence
from ctypes import c_int, c_size_t

from vimage.kernel.freebsd.libc import cut, libc

#: CTLTYPE_* (sys/sysctl.h) -> struct code of an integer.
_INTEGERS = {2: "i", 4: "q", 6: "I", 7: "q", 8: "Q", 9: "Q",
             10: "B", 11: "H", 12: "b", 13: "h", 14: "i", 15: "I"}
CTLTYPE_NODE, CTLTYPE_INT, CTLTYPE_STRING, CTLTYPE_STRUCT = 1, 2, 3, 5

Oid = tuple[int, ...]


def read(oid: Oid, size: int = 256, new: bytes | None = None) -> bytes:
    """The value of a variable as bytes.  ``size`` is a guess that is right most of the
    time; a value that does not fit costs further calls.

    Errors: ENOENT no such variable.
    """
    call = libc().sysctl
    mib = (c_int * len(oid))(*oid)
    while True:
        buffer = ctypes.create_string_buffer(size)
        length = c_size_t(size)
        try:
            call(mib, len(oid), buffer, ctypes.byref(length), new, len(new or b""))
            return ctypes.string_at(buffer, length.value)
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
        length = c_size_t(0)
        call(mib, len(oid), None, ctypes.byref(length), None, 0)
        size = max(2 * size, length.value + length.value // 8)


class Large:
    """A variable of many pages that is read again and again, into memory that is kept."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._mib: ctypes.Array[c_int] | None = None
        self._length = c_size_t(0)
        self._reserve(size)

    def _reserve(self, size: int) -> None:
        self._size, self._buffer = size, bytearray(size)
        self._place = (ctypes.c_char * size).from_buffer(self._buffer)

    def read(self) -> memoryview:
        """Its value, valid until the next call.  Errors: ENOENT no such variable."""
        if self._mib is None:
            numbers = oid(self._name)
            self._mib = (c_int * len(numbers))(*numbers)
        while True:
            self._length.value = self._size
            try:
                libc().sysctl(self._mib, len(self._mib), self._place,
                              ctypes.byref(self._length), None, 0)
                return memoryview(self._buffer)[:self._length.value]
            except OSError as error:
                if error.errno != errno.ENOMEM:
                    raise
            self._reserve(2 * self._size)


def write(oid: Oid, new: bytes) -> None:
    """Set a variable from bytes."""
    mib = (c_int * len(oid))(*oid)
    libc().sysctl(mib, len(oid), None, None, new, len(new))


_oids: dict[str, Oid] = {}


def oid(name: str) -> Oid:
    """The numbers of a variable (sysctl 0.3), remembered.  Errors: ENOENT."""
    found = _oids.get(name)
    if found is None:
        raw = read((0, 3), 96, os.fsencode(name))
        found = _oids[name] = struct.unpack(f"<{len(raw) // 4}i", raw)
    return found


def kind(numbers: Sequence[int]) -> tuple[int, str]:
    """(CTLTYPE_*, format) of a variable (sysctl 0.4).  Errors: ENOENT."""
    raw = read((0, 4, *numbers), 1024)
    return struct.unpack_from("<I", raw)[0] & 0xf, cut(raw[4:])


def name(numbers: Sequence[int]) -> str:
    """The name of a variable (sysctl 0.1).  Errors: ENOENT."""
    return cut(read((0, 1, *numbers), 1024))


def value(variable: str) -> str | int:
    """An integer as int, a string as str.

    Errors: ENOENT no such variable; EINVAL neither an integer nor a string.
    """
    numbers = oid(variable)
    type_, _ = kind(numbers)
    if type_ == CTLTYPE_STRING:
        return cut(read(numbers))
    if type_ not in _INTEGERS:
        raise OSError(errno.EINVAL, f"{variable} is neither a number nor a text")
    return int(struct.unpack_from("<" + _INTEGERS[type_], read(numbers))[0])
