"""reload and reexec: what only a service can do, when none has answered."""

from __future__ import annotations

from vimage.commands.context import Context
from vimage.commands.line import Line
from vimage.messages import VimageError


def run(context: Context, line: Line) -> int:
    """Say that there is no service.  Raises VimageError("no_service")."""
    raise VimageError("no_service")
