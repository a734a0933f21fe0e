"""One line of fstab(5).  Pure."""

from __future__ import annotations

import os
import posixpath
import re
from typing import NamedTuple

#: What strunvis(3) makes of a backslash and what follows it, as far as it is of use in a path.
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|([\\s]))")
_SHORT = {b"\\": b"\\", b"s": b" "}

#: Options that are for whoever reads the file, and not for nmount(2).
_OF_THE_READER = ("rw", "auto", "failok", "late", "")


class MountLine(NamedTuple):
    """What a line asks for."""

    source: str
    directory: str  # as the host sees it, without . and .. where it is mounted
    fstype: str
    options: dict[str, str | None]
    failok: bool = False  # it may fail
    skipped: bool = False  # it is not mounted with the others


def parse(line: str) -> MountLine:
    """Read a line.  Raises ValueError with what is wrong with it."""
    words = line.split()
    if len(words) < 4:
        raise ValueError("it needs device, directory, type, options")
    source, directory, fstype, text = (_decoded(word) for word in words[:4])
    options: dict[str, str | None] = {}
    for option in text.split(","):
        name, equals, value = option.partition("=")
        options[name] = value if equals else None
    skipped = "noauto" in options or fstype in ("ignore", "swap")
    failok = "failok" in options
    for word in _OF_THE_READER:
        options.pop(word, None)
    if not skipped:
        if not directory.startswith("/"):
            raise ValueError(f"{directory} is not an absolute path")
        directory = "/" + posixpath.normpath(directory).lstrip("/")
    return MountLine(source, directory, fstype, options, failok, skipped)


def below(root: str, directory: str) -> str:
    """The path of a directory in the root of a jail.  Raises ValueError when it is not there."""
    base = root.rstrip("/")
    if directory != base and not directory.startswith(base + "/"):
        raise ValueError(f"{directory} is not below {root}")
    return directory[len(base):] or "/"


def _decoded(word: str) -> str:
    """The escapes of a word: a space is \\040 or \\s."""
    octets = _ESCAPE.sub(lambda match: bytes((int(match[1], 8) & 0xff,)) if match[1]
                         else _SHORT[match[2]], os.fsencode(word))
    if b"\0" in octets:
        raise ValueError("contains a NUL character")
    return os.fsdecode(octets)
