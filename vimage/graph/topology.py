"""What there is to draw: bridges, vimages, and the interfaces between them."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: What XML 1.0 cannot hold, and terminals and editors should not get.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Bridge:
    """An ng_bridge: of an interface of the host, or host-only."""

    parent: str  # the interface of the host on it
    node: str
    host_only: bool = False
    mac: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cable:
    """An interface of a vimage and the bridge it is on."""

    name: str
    parent: str  # of a Bridge
    mac: str  # or where it comes from, in words
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Guest:
    """A vimage."""

    name: str
    hostname: str
    state: str = ""  # "running", "stopped", "failed"; "" is not known
    cables: tuple[Cable, ...] = ()
    vnets: tuple[str, ...] = ()  # whole interfaces moved in


@dataclass(frozen=True, slots=True)
class Topology:
    """The whole picture, everything in the order in which it is drawn."""

    bridges: tuple[Bridge, ...] = ()
    guests: tuple[Guest, ...] = ()


def printable(text: str) -> str:
    """``text`` on one line, without what no format can hold."""
    return " ".join(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text).splitlines())


def details(*lines: str) -> str:
    """Lines of a tooltip, empty ones left out."""
    return "\n".join(printable(line) for line in lines if line)


def count(number: int, one: str) -> str:
    """``1 vimage``, ``2 vimages``."""
    return f"{number} {one}" + ("" if number == 1 else "s")
