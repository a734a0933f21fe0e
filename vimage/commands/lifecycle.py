"""start, stop, restart."""

from __future__ import annotations

from vimage import events
from vimage.commands.context import Context
from vimage.commands.line import Line
from vimage.configuration.load import record_macs
from vimage.engine import Result
from vimage.messages import VimageError
from vimage.operation import Answer, Operation
from vimage.restart import Restart


def run(context: Context, line: Line) -> int:
    """Start, stop or restart in this process.  Returns the exit status."""
    if line.has("service_only"):
        context.printer.send(events.end(0))  # there is no service to end
        return 0
    assert line.verb is not None
    return act_here(context, line.verb.name, line.names, going_down=line.has("shutdown"))


def act_here(context: Context, verb: str, names: list[str], *, going_down: bool = False) -> int:
    """Act in this process and print each result.  Returns the exit status."""
    try:
        loaded = context.loaded
    except VimageError:
        if verb != "stop":
            raise
        loaded = None  # stop needs the journal only
    printer = context.printer
    with context.session() as session:
        if loaded is not None and verb != "stop":
            record_macs(context.kernel, loaded.configuration)

        def report(result: Result) -> None:
            printer.send(events.result(result))

        def accept() -> Operation:
            if verb == "stop":
                return session.accept_stop(loaded, names, report)
            assert loaded is not None
            if verb == "restart":
                return Restart(session, loaded, names, report, context.file or "").accept()
            return session.accept_start(loaded, names, report, context.file or "")

        async def act() -> Answer:
            if going_down:  # what was left half done is undone in the same way, in time
                printer.send(events.begin(verb, len(session.records)))
                return await session.shut_down(loaded, report)
            await session.recover()
            operation = accept()
            if not operation.refused:
                printer.send(events.begin(verb, operation.count))
            return await operation.answer()

        answer = context.run(act)
    for problem in answer.problems:
        printer.send(events.problem(problem))
    printer.send(events.end(answer.status))
    return answer.status
