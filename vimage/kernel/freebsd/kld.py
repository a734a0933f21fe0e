"""Kernel modules (kldload(2), modfind(2)) and the kernel's environment (kenv(2))."""

from __future__ import annotations

import ctypes
import errno
import os

from vimage.kernel.freebsd.libc import libc

KENV_GET, KENV_SET = 0, 1
BOOT_ID = b"vimage.boot"


def load(module: str) -> None:
    """Load a kernel module unless the kernel has it.

    Errors: ENOENT no such module; EPERM the securelevel forbids it.
    """
    call = libc()
    try:
        call.modfind(os.fsencode(module))
        return
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
    try:
        call.kldload(os.fsencode(module))
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise OSError(error.errno, f"{module}: {error.strerror}") from error


def boot_id() -> str:
    """``vimage.boot`` of the kernel's environment, made on first use."""
    call = libc().kenv
    buffer = ctypes.create_string_buffer(128)
    try:
        call(KENV_GET, BOOT_ID, buffer, len(buffer))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        new = os.urandom(16).hex().encode() + b"\0"
        call(KENV_SET, BOOT_ID, new, len(new))
        call(KENV_GET, BOOT_ID, buffer, len(buffer))
    return os.fsdecode(buffer.value)
