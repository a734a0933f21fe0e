"""Which vimages there are and how each is, as data: for the command and for the service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

from vimage.configuration.load import Loaded
from vimage.journal import READY, Newer, Record
from vimage.kernel import Kernel
from vimage.messages import Problem
from vimage.steps.kinds import steps_of

Row = dict[str, Any]


def unknown_name(name: str, known: Iterable[str]) -> Problem:
    """The error for a name that no vimage has; ``known`` are the names that vimages have."""
    return Problem.of("unknown_name", vimage=name, name=name,
                      have=" ".join(sorted(known)) or "none")


def problems_of(loaded: Loaded, name: str) -> list[Problem]:
    """Why the configuration has no vimage of this name: its errors, or that it is unknown."""
    return loaded.problems_of(name) or [unknown_name(name, loaded.names)]


def select(names: Iterable[str], loaded: Loaded | None, records: Mapping[str, Record],
           newer: Mapping[str, Newer]) -> tuple[list[str], list[Problem]]:
    """The vimages to show: ``names``, or without names all that are listed or exist.

    Also returns a problem for each name that is unknown.
    """
    listed = () if loaded is None else loaded.configuration.list
    shown = dict.fromkeys([*listed, *records, *newer])
    known = {*shown, *(() if loaded is None else loaded.names)}
    wanted = list(names)
    return wanted or list(shown), [unknown_name(name, known)
                                   for name in wanted if name not in known]


def rows(kernel: Kernel, names: Iterable[str], records: Mapping[str, Record],
         newer: Mapping[str, Newer]) -> list[Row]:
    """One for each name, in their order.  Raises OSError."""
    living = kernel.jail_list()
    return [_newer(newer[name]) if name in newer
            else _row(kernel, living, name, records.get(name)) for name in names]


def _row(kernel: Kernel, living: Set[int], name: str, record: Record | None) -> Row:
    if record is None:
        return {"name": name, "state": "stopped", "jid": None, "root": None, "interfaces": [],
                "note": "", "changed": False}
    interfaces = [interface for _, step in steps_of(record) for interface in step.interfaces]
    return {"name": name, "state": _state(kernel, living, record), "jid": record.jid,
            "root": record.configuration.get("rootdir"), "interfaces": interfaces,
            "note": record.note, "changed": False}


def _newer(newer: Newer) -> Row:
    return {"name": newer.name, "state": "unknown to this version", "jid": newer.jid,
            "root": None, "interfaces": [], "note": "", "changed": False}


def _state(kernel: Kernel, living: Set[int], record: Record) -> str:
    """The recorded state, held against the kernel."""
    if record.jid in living:
        return record.state
    try:
        jail = kernel.jail_get(record.jid or record.name)
    except FileNotFoundError:
        return "gone" if record.state == READY else record.state
    return "dying" if jail.dying else record.state
