"""The console log of a vimage: the output of its commands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from vimage.kernel import Kernel


def open_for_appending(kernel: Kernel, configuration: Mapping[str, Any]) -> int:
    """A descriptor that appends to the console log of a vimage, which is made if need be.

    A symbolic link in its place is refused, and none is followed on the way to a log below
    the root of the vimage.  Raises OSError.
    """
    return _open(kernel, configuration, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def open_for_reading(kernel: Kernel, configuration: Mapping[str, Any]) -> int:
    """A descriptor that reads the console log; opened as carefully.  Raises OSError."""
    return _open(kernel, configuration, os.O_RDONLY)


def _open(kernel: Kernel, configuration: Mapping[str, Any], flags: int) -> int:
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    path, root = configuration["consolelog"], configuration.get("rootdir", "/")
    if root == "/" or not path.startswith(root + "/"):
        return os.open(kernel.path(path), flags, 0o600)
    parent = kernel.open_directory(root, os.path.dirname(path[len(root):]))
    try:
        return os.open(os.path.basename(path), flags, 0o600, dir_fd=parent)
    finally:
        os.close(parent)
