"""What a verb reports while it works: events, each a JSON object.

The service sends them to its clients and ``vimage/commands/output.py`` prints them, whether
they come from the service or from this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from vimage.engine import Result
    from vimage.messages import Problem

Event = Mapping[str, Any]


class Sink(Protocol):
    """Where events go: the terminal, a client of the service, the log."""

    def send(self, event: Event) -> None:
        """Take one event.  Never raises, and never waits."""


def begin(verb: str, count: int) -> Event:
    """An operation on ``count`` vimages begins."""
    return {"event": "begin", "verb": verb, "count": count}


def result(result: Result) -> Event:
    """The outcome for one vimage."""
    return {"event": "result", "name": result.name, "outcome": result.outcome.value,
            "problems": [describe(problem) for problem in result.problems]}


def problem(problem: Problem) -> Event:
    """An error or a warning that is not part of a result."""
    return {"event": "problem", "problem": describe(problem)}


def status(rows: Sequence[Mapping[str, Any]]) -> Event:
    """The rows of the table of vimages."""
    return {"event": "status", "rows": list(rows)}


def applied(name: str, applied: Iterable[str], restart: Iterable[str]) -> Event:
    """What a reload has changed in a running vimage, and what needs a restart of it."""
    return {"event": "applied", "name": name, "applied": list(applied), "restart": list(restart)}


def say(text: str) -> Event:
    """A line for stdout."""
    return {"event": "say", "text": text}


def end(status: int) -> Event:
    """The exit status; the last event."""
    return {"event": "end", "status": status}


def again() -> Event:
    """In place of ``end``: this service is ending, ask the next one."""
    return {"event": "again"}


def describe(problem: Problem) -> Event:
    """A problem as it stands in an event."""
    return {"key": problem.key, "vimage": problem.vimage or None, "text": str(problem),
            "warning": problem.warning}
