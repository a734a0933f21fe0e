"""import: vimage_* lines for what other tools are configured with."""

from __future__ import annotations

import subprocess

from vimage import importing
from vimage.commands.context import Context
from vimage.commands.line import Line
from vimage.commands.output import complain, show_json
from vimage.configuration import render
from vimage.messages import VimageError

SYSRC = "/usr/sbin/sysrc"


def run(context: Context, line: Line) -> int:
    """Print the lines, or set them.  0 when everything was carried over as it was."""
    imported = importing.read(line.arguments)
    if context.json:
        show_json({"settings": imported.settings, "left": [str(p) for p in imported.problems]})
    elif line.has("sysrc"):
        _set(imported.settings, context.file)
    else:
        print("\n".join(render.lines(imported.settings)))
    if not context.json:
        for problem in imported.problems:
            complain(problem)
    return 1 if imported.problems else 0


def _set(settings: dict[str, str], file: str | None) -> None:
    """One sysrc(8) for all.  Raises VimageError("command_not_started" or "command_failed")."""
    argv = [SYSRC, *(("-f", file) if file else ()),
            *(f"{name}={text}" for name, text in settings.items())]
    try:
        status = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL).returncode
    except OSError as error:
        raise VimageError("command_not_started", what="import", command=SYSRC,
                          why=error.strerror) from error
    if status:
        raise VimageError("command_failed", what=SYSRC, status=f"exit status {status}")
