"""status: a table of the vimages."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Any

from vimage import events
from vimage.commands.context import Context
from vimage.journal import READY, Record
from vimage.kernel import Kernel

if TYPE_CHECKING:
    import argparse


def add(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of the verb."""
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.set_defaults(run=run)


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Print the table.  1 when the service that should have done it does not run."""
    records = context.journal().records
    listed = context.loaded.configuration.list
    names = arguments.names or dict.fromkeys([*listed, *records])
    living = context.kernel.jail_list()
    rows = [row(context.kernel, living, name, records.get(name)) for name in names]
    status = 0 if context.alone else 1  # the service would have answered
    printer = context.printer("status")
    printer.send(events.status(rows))
    printer.send(events.end(status))
    return status


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
