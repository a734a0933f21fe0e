"""exec and console: a command or a shell inside a vimage."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from vimage.commands.context import Context
from vimage.commands.line import Line
from vimage.journal import READY
from vimage.kernel import ENVIRONMENT, JailCommand, JailId
from vimage.messages import VimageError

#: What console runs: a login of root, as jexec -l would give.
LOGIN = ("/usr/bin/login", "-f", "root")


def run(context: Context, line: Line) -> int:
    """exec with our own stdin, stdout and stderr; console on a terminal of its own."""
    name, *command = line.arguments
    return _enter(context, name, command or LOGIN, terminal=not command)


def _enter(context: Context, name: str, argv: Sequence[str], *, terminal: bool) -> int:
    jail = running_jail(context, name)
    if context.simulate:
        async def inside() -> int:
            process = await context.processes.start(JailCommand(jail, argv, 1, ENVIRONMENT))
            return await process.wait()

        try:
            return context.run(inside)
        except OSError as error:
            raise VimageError("command_not_started", what=name, command=argv[0],
                              why=error.strerror) from error
    if terminal:
        from vimage.kernel.freebsd.console import console

        return console(jail, argv, {**ENVIRONMENT, "TERM": os.environ.get("TERM", "dumb")})
    from vimage.kernel.freebsd.enter import execute

    sys.stdout.flush()
    try:
        return execute(jail, argv, ENVIRONMENT)
    except OSError as error:
        raise VimageError("command_not_started", what=name, command=argv[0],
                          why=error.strerror) from error


def running_jail(context: Context, name: str) -> JailId:
    """The jail of a vimage that runs.  Raises VimageError("not_running")."""
    record = context.journal().records.get(name)
    if record is None or record.jid is None or record.state != READY:
        raise VimageError("not_running", name=name)
    try:
        jail = context.kernel.jail_get(record.jid)
    except FileNotFoundError as error:
        raise VimageError("not_running", name=name) from error
    if jail.dying or jail.name != name:
        raise VimageError("not_running", name=name)
    return jail.jid
