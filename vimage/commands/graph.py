"""graph: the network of the vimages as a picture."""

from __future__ import annotations

import argparse
from typing import Any

from vimage.commands.context import Context
from vimage.messages import VimageError


def add(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of the verb."""
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.add_argument("--format", choices=("dot", "svg", "mermaid"), default="dot")
    parser.set_defaults(run=run)


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Print the picture."""
    from vimage import graph

    records = context.journal().records if context.privileged else {}
    print(graph.render(topology(context, arguments.names, set(records)), arguments.format))
    return 0


def topology(context: Context, names: list[str], running: set[str]) -> Any:
    """What is to be drawn."""
    from vimage import graph

    configuration = context.loaded.configuration
    for name in names:
        if name not in configuration.vimages:
            raise VimageError("unknown_name", name=name,
                              have=" ".join(configuration.vimages) or "none")
    return graph.topology(configuration, only=names or None, running=running)
