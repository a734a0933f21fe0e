"""reload and reexec, when no service has answered: only a service can carry them out."""

from __future__ import annotations

from vimage.commands.context import Context
from vimage.commands.line import Line
from vimage.messages import VimageError


def run(context: Context, line: Line) -> int:
    """Raises VimageError("no_service")."""
    raise VimageError("no_service")
