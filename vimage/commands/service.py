"""service: the long-running service itself, in the foreground.  rc(8) starts it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from vimage import check
from vimage.commands.context import Context
from vimage.commands.line import Line
from vimage.messages import VimageError
from vimage.threads import give_way_to_threads


def run(context: Context, line: Line) -> int:
    """Serve."""
    return serve(context, supervised=line.has("supervised"))


def serve(context: Context, *, supervised: bool) -> int:
    """Serve until told to end."""
    from vimage.service.daemon import Daemon, execute_again, open_daemon
    from vimage.service.logs import to_syslog
    from vimage.service.reading import Reader

    context.log.setLevel(logging.INFO)
    if not context.simulate:
        to_syslog(context.log)
    kernel = context.kernel
    for problem in check.host(kernel, privileged=context.privileged):
        raise VimageError(problem)
    check.load_modules(kernel)
    processes = context.processes

    give_way_to_threads()
    supervisor = os.getppid() if supervised else None

    async def live() -> bool:
        # On a simulated host only the shell that reads rc.conf is real.
        reader = Reader(kernel, None if context.simulate else processes, context.file)
        daemon = await open_daemon(lambda: Daemon(kernel, processes, context.log, reader=reader,
                                                  supervisor=supervisor))
        return await daemon.run()

    again = asyncio.run(live())
    processes.close()
    if again:
        execute_again(sys.orig_argv[1:])
    return 0
