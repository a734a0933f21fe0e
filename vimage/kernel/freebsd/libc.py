"""The functions of the C library that Python does not have, with their prototypes.

``libc()`` resolves all of them at once, the first time it is asked; nothing is looked
up later, so a process that is about to enter a jail needs no dynamic linker any more.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from ctypes import POINTER, c_char_p, c_int, c_long, c_size_t, c_uint, c_void_p
from typing import Any

#: name -> (result, arguments); the manual page is that of the name.
PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "bind": (c_int, (c_int, c_char_p, c_uint)),
    "cpuset_setaffinity": (c_int, (c_int, c_int, ctypes.c_int64, c_size_t, c_char_p)),
    "fstatfs": (c_int, (c_int, c_void_p)),
    "getfsstat": (c_int, (c_void_p, c_long, c_int)),
    "ioctl": (c_int, (c_int, ctypes.c_ulong, c_void_p)),
    "jail_get": (c_int, (c_void_p, c_uint, c_int)),
    "jail_remove": (c_int, (c_int,)),
    "jail_set": (c_int, (c_void_p, c_uint, c_int)),
    "kenv": (c_int, (c_int, c_char_p, c_void_p, c_int)),
    "kldload": (c_int, (c_char_p,)),
    "modfind": (c_int, (c_char_p,)),
    "nmount": (c_int, (c_void_p, c_uint, c_int)),
    "rctl_add_rule": (c_int, (c_char_p, c_size_t, c_void_p, c_size_t)),
    "rctl_remove_rule": (c_int, (c_char_p, c_size_t, c_void_p, c_size_t)),
    "sendto": (c_long, (c_int, c_char_p, c_size_t, c_int, c_char_p, c_uint)),
    "sysctl": (c_int, (c_void_p, c_uint, c_void_p, POINTER(c_size_t), c_void_p, c_size_t)),
    "unmount": (c_int, (c_char_p, c_int)),
}


class Libc:
    """The functions of ``PROTOTYPES`` as attributes.  Each call raises OSError on failure."""

    def __init__(self) -> None:
        if not sys.platform.startswith("freebsd"):
            raise OSError(errno.ENOSYS, f"needs FreeBSD, this is {sys.platform}")
        if struct.calcsize("P") != 8 or sys.byteorder != "little":
            raise OSError(errno.ENOSYS, "needs a 64-bit little-endian FreeBSD (amd64, arm64)")
        library = ctypes.CDLL(None, use_errno=True)
        for name, (result, arguments) in PROTOTYPES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, list(arguments)
            function.errcheck = _check
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        """Only for the type checker: the attributes are set in ``__init__``."""
        raise AttributeError(name)


def _check(result: int, function: Any, arguments: tuple[Any, ...]) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


#: What a child process calls after it has entered a jail; see ``raw``.
CHILD = {
    "chdir": (c_int, (c_char_p,)),
    "closefrom": (None, (c_int,)),
    "execve": (c_int, (c_char_p, c_void_p, c_void_p)),
    "jail_attach": (c_int, (c_int,)),
    "procctl": (c_int, (c_int, ctypes.c_int64, c_int, c_void_p)),
    "setproctitle": (None, (c_char_p,)),  # a text without "%"
}


def raw(name: str) -> Any:
    """A function of ``CHILD`` that raises nothing: -1, then ``ctypes.get_errno()``.

    It makes no text of an error, for which the C library might open files.
    """
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    result, arguments = CHILD[name]
    function.restype, function.argtypes = result, list(arguments)
    return function


_libc: Libc | None = None


def libc() -> Libc:
    """The one ``Libc`` of this process.  Errors: ENOSYS not a FreeBSD that is served."""
    global _libc
    if _libc is None:
        _libc = Libc()
    return _libc


class Iovec(ctypes.Structure):
    """struct iovec { void *iov_base; size_t iov_len; }"""

    _fields_ = [("base", c_void_p), ("len", c_size_t)]


class Vector:
    """An array of struct iovec over buffers that it keeps alive; None is (NULL, 0)."""

    def __init__(self, buffers: list[Any]) -> None:
        self.buffers = buffers
        self.array = (Iovec * len(buffers))()
        for slot, buffer in zip(self.array, buffers, strict=True):
            if buffer is not None:
                slot.base = ctypes.addressof(buffer)
                slot.len = ctypes.sizeof(buffer)

    def __len__(self) -> int:
        return len(self.buffers)


def text(value: str) -> Any:
    """A C string in a buffer of its own."""
    return ctypes.create_string_buffer(os.fsencode(value))


def cut(data: bytes) -> str:
    """The text of a fixed C array, up to its first NUL."""
    return os.fsdecode(data.split(b"\0", 1)[0])
