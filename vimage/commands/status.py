"""status: a table of the vimages."""

from __future__ import annotations

from vimage import events, status
from vimage.commands.context import Context
from vimage.commands.line import Line


def run(context: Context, line: Line) -> int:
    """Print the table.

    Exit status 0 on a simulated host or with --without-service, 1 when no service runs, 2 for
    an unknown name.
    """
    printer = context.printer
    journal, loaded = context.journal(), context.loaded
    newer = journal.newer["vimages"]
    names, unknown = status.select(line.names, loaded, journal.records, newer)
    if unknown:
        for problem in unknown:
            printer.send(events.problem(problem))
        exit_status = 2
    else:
        printer.send(events.status(status.rows(
            context.kernel, names, journal.records, newer)))
        exit_status = 0 if context.alone else 1  # the service would have answered
    printer.send(events.end(exit_status))
    return exit_status
