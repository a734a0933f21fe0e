"""Expecting an error of the kernel."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

import pytest

from vimage.kernel import JailError, JailId, Kernel


@contextlib.contextmanager
def fails(*numbers: int) -> Iterator[None]:
    """The block raises an ``OSError`` with one of these errnos."""
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno in numbers, (
        f"{errno.errorcode.get(caught.value.errno or 0)}: {caught.value}")


@contextlib.contextmanager
def fails_in_words(number: int, words: str) -> Iterator[None]:
    """The block raises a ``JailError`` with that errno, and the kernel says these words."""
    with pytest.raises(JailError) as caught:
        yield
    assert caught.value.errno == number, caught.value
    assert words in (caught.value.strerror or ""), caught.value


def cleared(kernel: Kernel, jid: JailId, signal: int = 0) -> bool:
    """Whether no process is left in a jail; those that are get a signal."""
    hold = kernel.jail_clear(jid, signal)
    if hold is None:
        return False
    hold.close()
    return True
