"""What is known of each vimage: the rows that status prints."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from vimage.journal import READY, Record
from vimage.kernel import Kernel


def row(kernel: Kernel, living: Set[int], name: str, record: Record | None) -> dict[str, Any]:
    """What is known of one vimage; ``living`` are the jails that the kernel has now."""
    if record is None:
        return {"name": name, "state": "stopped", "jid": None, "root": None, "interfaces": []}
    interfaces = [entry.arguments["name"] for entry in record.entries
                  if entry.kind in ("eiface", "vnet")]
    return {"name": name, "state": _state(kernel, living, record), "jid": record.jid,
            "root": record.configuration.get("rootdir"), "interfaces": interfaces}


def _state(kernel: Kernel, living: Set[int], record: Record) -> str:
    """The recorded state, held against the kernel."""
    if record.jid in living:
        return record.state
    try:
        jail = kernel.jail_get(record.jid or record.name)
    except OSError:
        return "gone" if record.state == READY else record.state
    return "dying" if jail.dying else record.state
