"""What is known of each vimage, as rows of data: for the command and for the service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

from vimage.journal import READY, Newer, Record
from vimage.kernel import Kernel
from vimage.steps.kinds import steps_of

Row = dict[str, Any]


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
