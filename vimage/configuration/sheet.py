"""The sheet on which a configuration is worked out from its variables."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from vimage.configuration import variables as table
from vimage.messages import Problem
from vimage.model import Boot, HostBridge, Link

_NUMBERED = re.compile(f"({'|'.join(table.NUMBERED)})(0|[1-9][0-9]{{0,8}})", re.ASCII)
_NO_UUID = re.compile(r"[0-]*")


@dataclass(slots=True)
class Draft:
    """A vimage while it is being resolved."""

    name: str
    listed: bool
    own: dict[str, str] = field(default_factory=dict)  # part -> variable
    numbered: dict[str, dict[int, str]] = field(default_factory=dict)  # part -> N -> variable
    values: dict[str, Any] = field(default_factory=dict)  # part -> value, of those that are set
    broken: set[str] = field(default_factory=set)  # parts whose value is bad
    links: list[Link] = field(default_factory=list)
    bad: bool = False


class Sheet:
    """What is given, what is known by now of every vimage, and what is wrong."""

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
        self.drafts: dict[str, Draft] = {}
        self.by_variable: dict[str, list[Draft]] = defaultdict(list)
        self.defaults: dict[str, dict[int, str]] = defaultdict(dict)  # part -> N -> variable
        self.shared: dict[str, tuple[Any, str]] = {}  # variable -> value, reason
        self.unknown: list[str] = []
        self.misnamed: tuple[str, ...] = ()  # how variables of names that are none begin
        self.bridges: dict[str, HostBridge] = {}
        self.bridge_trouble: list[tuple[str, str, dict[str, Any]]] = []  # bridge, key, fields
        self.globals: dict[str, Any] = {}
        self.resolved: dict[str, str] = {}
        self.stopped = False  # by an error that belongs to no vimage

    def error(self, draft: Draft | None, key: str, /, **fields: Any) -> None:
        """An error of one vimage, or of all (None)."""
        if draft is None:
            self.stopped = True
            self.problems.append(Problem.of(key, **fields))
        else:
            draft.bad = True
            self.problems.append(Problem.of(key, vimage=draft.name, **fields))

    def warn(self, key: str, vimage: str = "", /, **fields: Any) -> None:
        """A warning, about one vimage or about none."""
        self.problems.append(Problem.of(key, vimage=vimage, warning=True, **fields))

    def error_of(self, drafts: Iterable[Draft], key: str, /, **fields: Any) -> None:
        """An error in which several vimages have a part.

        One that is not listed yields to those that are: it may be there as a spare.
        """
        parties = list({draft.name: draft for draft in drafts}.values())
        listed = [draft for draft in parties if draft.listed]
        if len(listed) == 1 and len(parties) > 1:
            parties.remove(listed[0])
        for draft in parties:
            self.error(draft, key, **fields)
        if not parties:
            self.error(None, key, **fields)

    def bad_value(self, draft: Draft | None, variable: str, reason: str, allowed: str) -> None:
        """An error in the value of a variable."""
        self.error(draft, "value", variable=variable, reason=reason, allowed=allowed,
                   value=shown(self.settings[variable]))

    def source(self, draft: Draft, part: str) -> str:
        """The variable that gives ``part``; "" if none does."""
        variable = draft.own.get(part) or f"vimage_{part}"
        return variable if variable in self.settings else ""

    def named(self, draft: Draft, part: str) -> str:
        """The variable that gives ``part``, with the name of the vimage if it does not tell."""
        variable = self.source(draft, part)
        return variable if part in draft.own else f"{variable} (for {draft.name})"

    def bridge_users(self) -> dict[str, list[Draft]]:
        """The vimages on each host-only bridge."""
        users: dict[str, list[Draft]] = defaultdict(list)
        for draft in self.drafts.values():
            for parent in dict.fromkeys(link.parent for link in draft.links if link.host_only):
                users[parent].append(draft)
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


def boot_of(draft: Draft) -> Boot:
    """``boot``, or its default."""
    return Boot(draft.values.get("boot", "network"))


def devfs(draft: Draft) -> bool:
    """``devfs_enable``, or its default."""
    default = draft.values.get("rootdir") != "/" and boot_of(draft) is not Boot.NONE
    return bool(draft.values.get("devfs_enable", default))


def ruleset(draft: Draft) -> int:
    """``devfs_ruleset``, or its default."""
    return int(draft.values.get("devfs_ruleset", 5))
