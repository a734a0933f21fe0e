"""The verbs of the command line, one module each.

Only the module of the verb that was asked for is imported: starting up is most of what a
short command costs.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from vimage import __version__
from vimage.messages import VimageError

if TYPE_CHECKING:
    import argparse

#: Verb to module and one-line description.
VERBS = {
    "start": ("lifecycle", "start vimages, without NAME all of vimage_list"),
    "stop": ("lifecycle", "stop vimages, without NAME all that run"),
    "restart": ("lifecycle", "stop vimages and start them again"),
    "status": ("status", "show the vimages and how they are"),
    "reload": ("service", "read rc.conf again and apply what can be applied live"),
    "reexec": ("service", "put the installed version in place of the running service"),
    "plan": ("plan", "print every step of a start or stop, in order; nothing is touched"),
    "check": ("check", "print every error of the configuration and of this host"),
    "graph": ("graph", "draw the network: DOT, SVG (no Graphviz needed) or Mermaid"),
    "exec": ("enter", "run a command in a vimage; its exit status is the command's"),
    "console": ("enter", "log in to a vimage on a terminal of its own"),
    "show": ("show", "print the configuration of a vimage as resolved"),
    "import": ("import_", "print vimage_* lines for what other tools are configured with"),
    "service": ("service", "run the service in the foreground (rc(8) starts it)"),
    "demo": ("demo", "play the life of two vimages on a simulated host"),
}


def options() -> argparse.ArgumentParser:
    """The options that every verb takes, before or after it."""
    import argparse

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


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The whole command line, or that of one verb (the others are named only)."""
    import argparse

    common = options()
    top = argparse.ArgumentParser(
        prog="vimage", parents=[common],
        description="Boot service for VNET jails wired with netgraph(4).")
    top.add_argument("--version", action="version", version=f"vimage {__version__}")
    verbs = top.add_subparsers(metavar="VERB", required=True, dest="verb")
    for verb, (module, text) in VERBS.items():
        sub = verbs.add_parser(verb, parents=[common], help=text, description=text)
        if only in (None, verb):
            loaded: Any = importlib.import_module(f"vimage.commands.{module}")
            loaded.add(sub, verb)
    return top


def _verb(argv: Sequence[str]) -> str:
    """The verb of a command line, "" when it has none."""
    return next((word for word in argv if word in VERBS), "")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = parser(_verb(argv)).parse_args(argv)
    from vimage.commands.context import Context

    return attempt(lambda: arguments.run(Context.of(arguments), arguments))


def attempt(act: Callable[[], int]) -> int:
    """Run a verb; its failure becomes a line on stderr and an exit status."""
    try:
        status = act()
        sys.stdout.flush()
        return status
    except VimageError as error:
        print(f"vimage: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        print("vimage: interrupted", file=sys.stderr)
        return 1
