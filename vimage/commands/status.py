"""status: a table of the vimages."""

from __future__ import annotations

from vimage import events
from vimage.commands.context import Context
from vimage.commands.line import Line
from vimage.session import unknown_name
from vimage.states import row


def run(context: Context, line: Line) -> int:
    """Print the table.  1 when the service that should have done it does not run."""
    printer = context.printer
    records = context.journal().records
    loaded = context.loaded
    known = dict.fromkeys([*loaded.names, *records])
    unknown = [name for name in line.names if name not in known]
    if unknown:
        for name in unknown:
            printer.send(events.problem(unknown_name(name, known)))
        status = 2
    else:
        names = line.names or dict.fromkeys([*loaded.configuration.list, *records])
        living = context.kernel.jail_list()
        printer.send(events.status([
            row(context.kernel, living, name, records.get(name)) for name in names]))
        status = 0 if context.alone else 1  # the service would have answered
    printer.send(events.end(status))
    return status
