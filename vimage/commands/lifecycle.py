"""start, stop, restart."""

from __future__ import annotations

import argparse

from vimage import client, events
from vimage.commands.context import Context
from vimage.configuration.load import record_macs
from vimage.engine import Result
from vimage.messages import VimageError
from vimage.service import wire
from vimage.session import Answer, Operation


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
    options = [name for name in ("shutdown", "service_only")
               if getattr(arguments, name, False)]
    request = wire.request(arguments.verb, arguments.names, context.asked(), options)
    if arguments.verb == "start":
        return launch.and_ask(request, context.file, context.printer(arguments.verb))
    return launch.or_here(lambda: client.ask(request, context.printer(arguments.verb)), act)


def here(context: Context, verb: str, names: list[str], *, going_down: bool = False) -> int:
    """Act in this process, reporting on the way."""
    try:
        loaded = context.loaded
    except VimageError:
        if verb != "stop":
            raise
        loaded = None  # stop needs the journal only
    printer = context.printer(verb)
    with context.session() as session:
        if loaded is not None:
            session.set_parallel(loaded.configuration.parallel)
            record_macs(context.kernel, loaded.configuration)

        def report(result: Result) -> None:
            printer.send(events.result(result))

        def accept() -> Operation:
            if verb == "stop":
                return session.accept_stop(loaded, names, report)
            assert loaded is not None
            accept_it = session.accept_start if verb == "start" else session.accept_restart
            return accept_it(loaded, names, report, context.file or "")

        async def act() -> Answer:
            await session.recover()
            if going_down:
                printer.send(events.begin(verb, len(session.records)))
                return await session.shut_down(loaded, report)
            operation = accept()
            if not operation.refused:
                printer.send(events.begin(verb, operation.count))
            return await operation.answer()

        answer = context.run(act)
    for problem in answer.problems:
        printer.send(events.problem(problem))
    printer.send(events.end(answer.status))
    return answer.status
