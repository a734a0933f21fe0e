"""status: a table of the vimages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vimage import events, status
from vimage.commands.context import Context

if TYPE_CHECKING:
    import argparse


def add(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of the verb."""
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.set_defaults(run=run)


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Print the table.  1 when the service that should have done it does not run."""
    journal = context.journal()
    newer = journal.newer["vimages"]
    known = dict.fromkeys([*context.loaded.configuration.list, *journal.records, *newer])
    rows = status.rows(context.kernel, arguments.names or known, journal.records, newer)
    exit_status = 0 if context.alone else 1  # the service would have answered
    printer = context.printer("status")
    printer.send(events.status(rows))
    printer.send(events.end(exit_status))
    return exit_status
