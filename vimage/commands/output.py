"""How results are shown: lines for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from vimage.engine import Outcome, Result
from vimage.messages import Problem
from vimage.session import Answer

_RC_TITLE = {"start": "Starting vimages:", "stop": "Stopping vimages:",
             "restart": "Restarting vimages:"}

_QUIET = {Outcome.ALREADY_READY, Outcome.NOT_RUNNING}


class Sink(Protocol):
    """Where output goes: this terminal, or the client of the service."""

    terminal: bool

    def out(self, text: str) -> None:
        """Text for stdout."""

    def err(self, text: str) -> None:
        """Text for stderr."""


class Terminal:
    """Our own stdout and stderr."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()

    def out(self, text: str) -> None:
        """Write and flush."""
        print(text, end="", flush=True)

    def err(self, text: str) -> None:
        """Write and flush."""
        print(text, end="", flush=True, file=sys.stderr)


class Progress:
    """Tells what becomes of each vimage as it happens.

    On a terminal ``[ 37/1000] vj37 ready``, plain lines otherwise; for rc(8)
    ``Starting vimages: vj1 vj2.``
    """

    def __init__(self, verb: str, total: int, sink: Sink | None = None, *,
                 rc: bool = False, json: bool = False) -> None:
        self.total = total
        self.sink: Sink = sink or Terminal()
        self.done = 0
        self._said: set[str] = set()  # what several vimages share is said once
        self.rc = rc
        self.json = json
        if rc and not json:
            self.sink.out(_RC_TITLE[verb])

    def __call__(self, result: Result) -> None:
        self.done += 1
        if self.json:
            return
        if self.rc:
            if result.ok and result.outcome not in _QUIET:
                self.sink.out(f" {result.name}")
        else:
            self.sink.out(f"{self._count()}{result.name} {result.outcome.value}\n")
        self._complain(result.problems)

    def _complain(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            text = line(problem)
            if text not in self._said:
                self._said.add(text)
                self.sink.err(text)

    def _count(self) -> str:
        if self.total < 2 or not self.sink.terminal:
            return ""
        width = len(str(self.total))
        return f"[{self.done:{width}}/{self.total}] "

    def finish(self, answer: Answer) -> int:
        """The rest of the output; returns the exit status."""
        if self.json:
            self.sink.out(as_json({
                "status": answer.status,
                "vimages": [{"name": r.name, "outcome": r.outcome.value,
                             "problems": [str(p) for p in r.problems]} for r in answer.results],
                "problems": [str(p) for p in answer.problems]}))
            return answer.status
        if self.rc:
            self.sink.out(".\n")
        self._complain(answer.problems)
        return answer.status


def line(problem: Problem) -> str:
    """A problem as the line that stderr gets."""
    return f"vimage: {'warning: ' if problem.warning else ''}{problem}\n"


def complain(problem: Problem) -> None:
    """One line on stderr."""
    print(line(problem), end="", file=sys.stderr, flush=True)


def as_json(data: Any) -> str:
    """One JSON document."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def show_json(data: Any) -> None:
    """One JSON document on stdout."""
    print(as_json(data), end="")


def table(rows: Iterable[Sequence[str]]) -> str:
    """Rows of text in columns as wide as they need."""
    rows = [list(row) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                     .rstrip() for row in rows)
