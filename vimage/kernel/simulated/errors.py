"""Raising the kernel's errors."""

from __future__ import annotations

import errno
import os
from typing import NoReturn

from vimage.kernel import JailError


def fail(number: int, what: str | None = None) -> NoReturn:
    """Raise the ``OSError`` of an errno (its subclass, such as FileNotFoundError)."""
    raise OSError(number, os.strerror(number), what)


def fail_in_words(number: int, message: str = "") -> NoReturn:
    """Raise a ``JailError`` with the kernel's own message, where it has one."""
    raise JailError.of(number, message or os.strerror(number))


def no_such_jail(jid: int | str) -> NoReturn:
    fail(errno.ENOENT, f"jail {jid}")
