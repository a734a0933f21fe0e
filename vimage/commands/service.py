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
from vimage.service.daemon import Daemon, execute_installed_version, open_daemon
from vimage.service.logs import to_syslog
from vimage.service.reading import Reader
from vimage.threads import give_way_to_threads


def run(context: Context, line: Line) -> int:
    """Serve until told to end.

    Under daemon(8) nobody reads stderr: why the service could not start, or ended, goes to the
    log.
    """
    context.log.setLevel(logging.INFO)
    if not context.simulate:
        to_syslog(context.log)
    supervised = line.has("supervised")
    try:
        return serve(context, supervised=supervised)
    except VimageError as error:
        if supervised:
            context.log.error("%s", error)
        raise
    except Exception:
        if supervised:
            context.log.exception("the service ended because of an internal error")
        raise


def serve(context: Context, *, supervised: bool) -> int:
    """Serve until told to end."""
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

    reexec = asyncio.run(live())
    processes.close()
    if reexec:
        # One whose daemon(8) has died has none after the take-over either.
        gone = os.getppid() != supervisor
        execute_installed_version([word for word in sys.orig_argv[1:]
                       if not (gone and word == "--supervised")])
    return 0
