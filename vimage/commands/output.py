"""How events are shown: lines for people, JSON for programs.

Part of the command's quick path: it imports almost nothing.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, TextIO

    from vimage.messages import Problem

_RC_TITLE = {"start": "Starting vimages:", "stop": "Stopping vimages:",
             "restart": "Restarting vimages:"}

#: Outcomes that rc(8) does not name.
_QUIET = frozenset({"already ready", "not running", "failed", "skipped"})

_HEADINGS = ("NAME", "STATE", "JID", "ROOT", "INTERFACES")


class Printer:
    """Prints the events of one command.

    On a terminal ``[ 37/1000] vj37 ready``, plain lines otherwise; for rc(8)
    ``Starting vimages: vj1 vj2.``; with ``json`` one document at the end.

    ``send`` never raises: a reader that has gone must not cut short what is under way.  The
    error is kept in ``error`` for whoever waits for the end.
    """

    def __init__(self, verb: str, *, rc: bool = False, json: bool = False,
                 terminal: "bool | None" = None, out: "TextIO | None" = None,
                 err: "TextIO | None" = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._verb = verb
        self._rc = rc and not json and verb in _RC_TITLE
        self._json = json
        self._terminal = self._out.isatty() if terminal is None else terminal
        self._count = self._done = 0
        self._in_line = False  # an rc(8) line has begun and not ended
        self._said: set[str] = set()  # what several vimages share is said once
        self._results: list[Mapping[str, Any]] = []
        self._changes: list[Mapping[str, Any]] = []
        self._problems: list[str] = []
        self._messages: list[str] = []
        self._rows: Sequence[Mapping[str, Any]] | None = None
        #: The exit status, None before the end.
        self.status: int | None = None
        #: Why stdout cannot be written to, None when it can.
        self.error: OSError | None = None

    def send(self, event: "Mapping[str, Any]") -> None:
        """Show one event.  An event of an unknown kind is ignored."""
        show = {"begin": self._begin, "result": self._result, "problem": self._problem,
                "status": self._status, "applied": self._applied, "say": self._say,
                "end": self._end}.get(event["event"])
        if show is not None:
            show(event)

    def break_off(self) -> None:
        """No more events come: end the line that has begun."""
        if self._in_line:
            self._in_line = False
            self._write("\n")

    # -- one method for each kind of event -----------------------------------------------------

    def _begin(self, event: "Mapping[str, Any]") -> None:
        self._count = event["count"]
        if self._rc:
            self._in_line = True
            self._write(_RC_TITLE[self._verb])

    def _result(self, event: "Mapping[str, Any]") -> None:
        self._done += 1
        name, outcome, problems = event["name"], event["outcome"], event["problems"]
        if self._json:
            self._results.append({"name": name, "outcome": outcome,
                                  "problems": [problem["text"] for problem in problems]})
            return
        if not self._rc:
            self._write(f"{self._progress()}{name} {outcome}\n")
        elif not (problems or outcome in _QUIET
                  or outcome == "stopped" and self._verb == "restart"):
            self._write(f" {name}")  # a restart names what is ready again
        for problem in problems:
            self._complain(problem)

    def _problem(self, event: "Mapping[str, Any]") -> None:
        if self._json and self._verb != "status":
            self._problems.append(event["problem"]["text"])
        else:
            self._complain(event["problem"])

    def _status(self, event: "Mapping[str, Any]") -> None:
        rows = self._rows = event["rows"]
        if self._json:
            return
        if rows:
            self._write(table([_HEADINGS, *(_cells(row) for row in rows)]) + "\n")
        changed = [row["name"] for row in rows if row.get("changed")]
        if changed:
            self._write(f"rc.conf has changed: {' '.join(changed)} (service vimage reload)\n")

    def _applied(self, event: "Mapping[str, Any]") -> None:
        name, applied, restart = event["name"], event["applied"], event["restart"]
        if self._json:
            self._changes.append({"name": name, "applied": applied, "restart": restart})
            return
        if applied:
            self._write(f"{name}: applied: {' '.join(applied)}\n")
        if restart:
            self._write(f"{name}: needs restart {name}: {' '.join(restart)}\n")

    def _say(self, event: "Mapping[str, Any]") -> None:
        if self._json:
            self._messages.append(event["text"])
        else:
            self._write(f"{event['text']}\n")

    def _end(self, event: "Mapping[str, Any]") -> None:
        status = self.status = int(event["status"])
        if self._in_line:
            self._in_line = False
            self._write(".\n")
        if not self._json:
            return
        if self._rows is not None:
            self._write(as_json(self._rows, self._out))
        elif self._verb != "status":
            self._write(as_json(self._document(status), self._out))

    # -- the parts -------------------------------------------------------------------------------

    def _document(self, status: int) -> "Mapping[str, Any]":
        document = {"status": status, "vimages": self._results, "problems": self._problems}
        if self._verb == "reload":
            document["changes"] = self._changes
        if self._messages:
            document["messages"] = self._messages
        return document

    def _progress(self) -> str:
        if self._count < 2 or not self._terminal:
            return ""
        return f"[{self._done:{len(str(self._count))}}/{self._count}] "

    def _complain(self, problem: "Mapping[str, Any]") -> None:
        text = _line(problem["text"], problem["warning"])
        if text in self._said:
            return
        self._said.add(text)
        try:
            self._err.write(text)
            self._err.flush()
        except (OSError, ValueError):
            pass  # there is nobody left to tell

    def _write(self, text: str) -> None:
        if self.error is not None:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except OSError as error:
            self.error = error


def _cells(row: "Mapping[str, Any]") -> "Sequence[str]":
    """A row of the table of vimages."""
    marks = ("changed" if row.get("changed") else "", row.get("note"))
    state = ", ".join(word for word in (row["state"], *marks) if word)
    return (row["name"], state, str(row["jid"] or "-"), row["root"] or "-",
            " ".join(row["interfaces"]) or "-")


def _line(text: str, warning: bool) -> str:
    return f"vimage: {'warning: ' if warning else ''}{text}\n"


def line(problem: "Problem") -> str:
    """A problem as the line that stderr gets."""
    return _line(str(problem), problem.warning)


def complain(problem: "Problem") -> None:
    """One line on stderr."""
    print(line(problem), end="", file=sys.stderr, flush=True)


def as_json(data: "Any", stream: "TextIO | None" = None) -> str:
    """One JSON document, in characters that the stream can write."""
    import json

    text = json.dumps(data, indent=2, ensure_ascii=False)
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(data, indent=2)
    return text + "\n"


def show_json(data: "Any") -> None:
    """One JSON document on stdout."""
    print(as_json(data, sys.stdout), end="")


def table(rows: "Iterable[Sequence[str]]") -> str:
    """Rows of text in columns as wide as they need."""
    rows = [list(row) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                     .rstrip() for row in rows)
