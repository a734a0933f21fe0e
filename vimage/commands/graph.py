"""graph: the network of the vimages as a picture."""

from __future__ import annotations

from typing import Any

from vimage.commands.context import Context
from vimage.commands.line import Line
from vimage.messages import VimageError


def run(context: Context, line: Line) -> int:
    """Print the picture."""
    from vimage import graph

    records = context.journal().records if context.privileged else {}
    print(graph.render(topology(context, line.names, set(records)), line.value("format") or "dot"))
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
