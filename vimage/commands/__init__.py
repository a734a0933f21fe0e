"""The verbs of the command line, one module each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from vimage import __version__
from vimage.commands import (
    check,
    demo,
    enter,
    graph,
    lifecycle,
    plan,
    service,
    show,
    status,
)
from vimage.commands.context import Context
from vimage.messages import VimageError
from vimage.session import NOTHING_TOUCHED

VERBS = (lifecycle, status, plan, check, graph, enter, show, service, demo)


def options() -> argparse.ArgumentParser:
    """The options that every verb takes, before or after it."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("-f", metavar="FILE", dest="file", help="read FILE in place of rc.conf")
    parser.add_argument("--simulate", action="store_true",
                        help="act on a simulated FreeBSD host; needs neither FreeBSD nor root")
    parser.add_argument("--simulated-host", metavar="DIR",
                        help="the directory that holds the simulated host (with --simulate)")
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    parser.add_argument("--without-service", action="store_true",
                        help="act in this process; start no service to watch over the vimages")
    parser.add_argument("--rc", action="store_true", help=argparse.SUPPRESS)
    return parser


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    common = options()
    top = argparse.ArgumentParser(
        prog="vimage", parents=[common],
        description="Boot service for VNET jails wired with netgraph(4).")
    top.add_argument("--version", action="version", version=f"vimage {__version__}")
    verbs = top.add_subparsers(metavar="VERB", required=True, dest="verb")
    for module in VERBS:
        module.add(verbs, common)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status."""
    arguments = parser().parse_args(argv)
    try:
        status: int = arguments.run(Context.of(arguments), arguments)
        sys.stdout.flush()
        return status
    except VimageError as error:
        print(f"vimage: {error}", file=sys.stderr)
        return NOTHING_TOUCHED
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        print("vimage: interrupted", file=sys.stderr)
        return 1
