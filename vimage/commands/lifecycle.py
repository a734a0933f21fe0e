"""start, stop, restart."""

from __future__ import annotations


from vimage import events
from vimage.commands.context import Context
from vimage.commands.line import Line
from vimage.configuration.load import record_macs
from vimage.engine import Result
from vimage.messages import VimageError
from vimage.session import Answer


def run(context: Context, line: Line) -> int:
    """Do it here, reporting on the way."""
    if line.has("service_only"):
        context.printer.send(events.end(0))  # there is no service to end
        return 0
    assert line.verb is not None
    return here(context, line.verb.name, line.names, going_down=line.has("shutdown"))


def here(context: Context, verb: str, names: list[str], *, going_down: bool = False) -> int:
    """Act in this process, reporting on the way."""
    try:
        loaded = context.loaded
    except VimageError:
        if verb != "stop":
            raise
        loaded = None  # stop needs the journal only
    parallel = loaded.configuration.parallel if loaded is not None else 4
    printer = context.printer
    with context.session(parallel) as session:
        printer.send(events.begin(verb, session.how_many(verb, loaded, names)))
        if loaded is not None:
            record_macs(context.kernel, loaded.configuration)

        def report(result: Result) -> None:
            printer.send(events.result(result))

        async def act() -> Answer:
            await session.recover()
            if going_down:
                timeout = loaded.configuration.shutdown_timeout if loaded is not None else 90
                return await session.shut_down(report, timeout)
            operation = getattr(session, verb)
            answer: Answer = await operation(loaded, names, report)
            return answer

        answer = context.run(act)
    for problem in answer.problems:
        printer.send(events.problem(problem))
    printer.send(events.end(answer.status))
    return answer.status
