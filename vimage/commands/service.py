"""service: the long-running service itself, in the foreground.  rc(8) starts it."""

from __future__ import annotations

import asyncio
import logging
import logging.handlers
import os
from typing import TYPE_CHECKING

from vimage import check
from vimage.commands.context import Context
from vimage.messages import VimageError

if TYPE_CHECKING:
    import argparse


def add(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of the verbs."""
    if verb == "service":
        parser.add_argument("--supervised", action="store_true",
                            help="daemon(8) is the parent: end it together with the service")
    parser.set_defaults(run=run if verb == "service" else needs_service)


def needs_service(context: Context, arguments: argparse.Namespace) -> int:
    """The service would have answered."""
    raise VimageError("no_service")


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Serve."""
    return serve(context, supervised=arguments.supervised)


def serve(context: Context, *, supervised: bool) -> int:
    """Serve until told to end."""
    from vimage.service.daemon import Service, execute_again
    from vimage.service.reading import Reader

    log_to_syslog(context)
    kernel = context.kernel
    for problem in check.host(kernel, privileged=context.privileged):
        raise VimageError(problem)
    check.load_modules(kernel)
    processes = context.processes

    async def live() -> bool:
        # On a simulated host only the shell that reads rc.conf is real.
        reader = Reader(kernel, None if context.simulate else processes, context.file)
        service = Service(kernel, processes, context.log, reader=reader,
                          supervised=supervised)
        return await service.run()

    again = asyncio.run(live())
    processes.close()
    if again:
        execute_again()
    return 0


def log_to_syslog(context: Context) -> None:
    """Facility daemon; stderr too where there is no syslogd to listen."""
    context.log.setLevel(logging.INFO)
    for address in ("/var/run/log", "/dev/log"):
        if os.path.exists(address) and not context.simulate:
            handler = logging.handlers.SysLogHandler(
                address, facility=logging.handlers.SysLogHandler.LOG_DAEMON)
            handler.setFormatter(logging.Formatter(f"vimage[{os.getpid()}]: %(message)s"))
            handler.append_nul = False
            context.log.addHandler(handler)
            return
