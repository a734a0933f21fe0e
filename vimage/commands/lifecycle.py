"""start, stop, restart."""

from __future__ import annotations

import argparse

from vimage import client
from vimage.commands.context import Context
from vimage.commands.output import Progress
from vimage.configuration.load import record_macs
from vimage.messages import VimageError
from vimage.session import Answer

def add(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of the verb."""
    parser.add_argument("names", metavar="NAME", nargs="*")
    if verb == "stop":
        parser.add_argument("--service-only", action="store_true",
                            help="end the service; the vimages run on")
        parser.add_argument("--shutdown", action="store_true",
                            help="the host goes down: leave to the reboot what it undoes")
    parser.set_defaults(run=run)


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Have the service do it, or do it here."""
    from vimage.service import launch

    def act() -> int:
        return here(context, arguments.verb, arguments.names,
                    going_down=getattr(arguments, "shutdown", False))

    if context.alone:
        return act()
    asked = *context.asked(), [arguments.verb, *arguments.names]
    if arguments.verb == "start":
        return launch.and_ask(*asked)
    return launch.or_here(lambda: client.ask(*asked), act)


def here(context: Context, verb: str, names: list[str], *, going_down: bool = False) -> int:
    """Act in this process, telling about it on the way."""
    try:
        loaded = context.loaded
    except VimageError:
        if verb != "stop":
            raise
        loaded = None  # stop needs the journal only
    parallel = loaded.configuration.parallel if loaded is not None else 4
    with context.session(parallel) as session:
        progress = Progress(verb, session.how_many(verb, loaded, names),
                            rc=context.rc, json=context.json)

        if loaded is not None:
            record_macs(context.kernel, loaded.configuration)

        async def act() -> Answer:
            await session.recover()
            if going_down:
                timeout = loaded.configuration.shutdown_timeout if loaded is not None else 90
                return await session.shut_down(progress, timeout)
            operation = getattr(session, verb)
            answer: Answer = await operation(loaded, names, progress)
            return answer

        return progress.finish(context.run(act))
