"""graph: the network of the vimages as a picture."""

from __future__ import annotations

from vimage import graph
from vimage.commands.context import Context
from vimage.commands.line import Line
from vimage.messages import VimageError
from vimage.status import unknown_name


def run(context: Context, line: Line) -> int:
    """Print the picture."""
    records = context.journal().records if context.privileged else {}
    print(graph.render(topology(context, line.names, set(records)), line.value("format") or "dot"))
    return 0


def topology(context: Context, names: list[str], running: set[str]) -> graph.Topology:
    """What to draw: the vimages named, or all.  Raises VimageError("unknown_name")."""
    configuration = context.loaded.configuration
    for name in names:
        if name not in configuration.vimages:
            raise VimageError(unknown_name(name, configuration.vimages))
    return graph.topology(configuration, only=names or None, running=running)
