"""A configuration while it is being read: what is given, known by now, and wrong."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from vimage.configuration import names
from vimage.configuration import variables as table
from vimage.messages import Problem
from vimage.model import HostBridge, Link

_NUMBERED = re.compile(f"({'|'.join(table.NUMBERED)})(0|[1-9][0-9]{{0,8}})", re.ASCII)
_NO_UUID = re.compile(r"[0-]*")


@dataclass(slots=True)
class VimageDraft:
    """One vimage while it is being read."""

    name: str
    listed: bool
    own: dict[str, str] = field(default_factory=dict)  # part -> variable
    numbered: dict[str, dict[int, str]] = field(default_factory=dict)  # part -> N -> variable
    values: dict[str, Any] = field(default_factory=dict)  # part -> value, by default too
    broken: set[str] = field(default_factory=set)  # parts whose value is bad
    links: list[Link] = field(default_factory=list)
    bad: bool = False

    @property
    def prefix(self) -> str:
        """How its variables begin."""
        return f"vimage_{names.variable(self.name)}_"


class Draft:
    """All of the configuration while it is being read."""

    def __init__(
        self, variables: Mapping[str, str], hostuuid: str, cpus: int, recorded: Mapping[str, str],
        host_macs: Mapping[str, str],
    ) -> None:
        self.settings = {name: value for name, value in variables.items() if value != ""}
        self.hostuuid = hostuuid
        self.cpus = cpus
        self.recorded = recorded
        self.host_macs = host_macs
        self.problems: list[Problem] = []
        self.vimages: dict[str, VimageDraft] = {}
        self.by_variable: dict[str, list[VimageDraft]] = defaultdict(list)
        self.defaults: dict[str, dict[int, str]] = defaultdict(dict)  # part -> N -> variable
        self.shared: dict[str, tuple[Any, str]] = {}  # variable -> value, reason
        self.unknown: list[str] = []
        self.misnamed: tuple[str, ...] = ()  # how variables of names that are none begin
        self.bridges: dict[str, HostBridge] = {}
        self.bridge_trouble: list[tuple[str, str, dict[str, Any]]] = []  # bridge, key, fields
        self.globals: dict[str, Any] = {}
        self.resolved: dict[str, str] = {}
        self.stopped = False  # by an error that belongs to no vimage

    def error(self, vimage: VimageDraft | None, key: str, /, **fields: Any) -> None:
        """An error of one vimage, or of all (None)."""
        if vimage is None:
            self.stopped = True
            self.problems.append(Problem.of(key, **fields))
        else:
            vimage.bad = True
            self.problems.append(Problem.of(key, vimage=vimage.name, **fields))

    def warn(self, key: str, vimage: str = "", /, **fields: Any) -> None:
        """A warning, about one vimage or about none."""
        self.problems.append(Problem.of(key, vimage=vimage, warning=True, **fields))

    def error_of(self, vimages: Iterable[VimageDraft], key: str, /, **fields: Any) -> None:
        """An error in which several vimages have a part.

        One that is not listed yields to those that are: it may be there as a spare.
        """
        parties = list({vimage.name: vimage for vimage in vimages}.values())
        listed = [vimage for vimage in parties if vimage.listed]
        if len(listed) == 1 and len(parties) > 1:
            parties.remove(listed[0])
        for vimage in parties:
            self.error(vimage, key, **fields)
        if not parties:
            self.error(None, key, **fields)

    def bad_value(self, vimage: VimageDraft | None, variable: str, reason: str,
                  row: table.Variable) -> None:
        """An error in the value of a variable."""
        if vimage is not None:
            reason = reason.replace("vimage_NAME_", vimage.prefix)
        self.error(vimage, "value", **self.about(variable, reason, row))

    def about(self, variable: str, reason: object, row: table.Variable) -> dict[str, str]:
        """What the message on a bad value says."""
        return {"variable": variable, "value": shown(self.settings[variable]),
                "reason": shown(str(reason)), "allowed": row.type.allowed}

    def source(self, vimage: VimageDraft, part: str) -> str:
        """The variable that gives ``part``; "" if none does."""
        variable = vimage.own.get(part) or f"vimage_{part}"
        return variable if variable in self.settings else ""

    def named(self, vimage: VimageDraft, part: str) -> str:
        """The variable that gives ``part``, with the name of the vimage if it does not tell."""
        variable = self.source(vimage, part)
        return variable if part in vimage.own else f"{variable} (for {vimage.name})"

    def bridge_users(self) -> dict[str, list[VimageDraft]]:
        """The vimages on each host-only bridge."""
        users: dict[str, list[VimageDraft]] = defaultdict(list)
        for vimage in self.vimages.values():
            for parent in dict.fromkeys(link.parent for link in vimage.links if link.host_only):
                users[parent].append(vimage)
        return users

    def seed(self) -> str:
        """vimage_mac_seed, else kern.hostuuid; "" if there is neither."""
        seed: str = self.globals.get("mac_seed", "")
        uuid = self.hostuuid.strip()
        return seed or ("" if _NO_UUID.fullmatch(uuid) else uuid)


@lru_cache(maxsize=4096)
def part_of(tail: str) -> tuple[str, int] | None:
    """``mac0`` as (``mac``, 0), ``rootdir`` as (``rootdir``, -1); None if it is no part."""
    if tail in table.VIMAGE:
        return tail, -1
    match = _NUMBERED.fullmatch(tail)
    return (match[1], int(match[2])) if match else None


def shown(value: str) -> str:
    """A value as it is shown in an error: one line of bounded length."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)
    return text if len(text) <= 200 else f"{text[:197]}..."
