"""status: a table of the vimages."""

from __future__ import annotations

from vimage import events, status
from vimage.commands.context import Context
from vimage.commands.line import Line
from vimage.session import unknown_name


def run(context: Context, line: Line) -> int:
    """Print the table.  1 when the service that should have done it does not run."""
    printer = context.printer
    journal, loaded = context.journal(), context.loaded
    newer = journal.newer["vimages"]
    known = dict.fromkeys([*loaded.configuration.list, *journal.records, *newer])
    unknown = [name for name in line.names if name not in {*known, *loaded.names}]
    if unknown:
        for name in unknown:
            printer.send(events.problem(unknown_name(name, {*known, *loaded.names})))
        exit_status = 2
    else:
        printer.send(events.status(status.rows(
            context.kernel, line.names or known, journal.records, newer)))
        exit_status = 0 if context.alone else 1  # the service would have answered
    printer.send(events.end(exit_status))
    return exit_status
