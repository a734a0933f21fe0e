"""Run a part of a test in a process of its own: it may die, hang or lose its mind.

    result = forked(function)       # what it returned
    Died(status), Hung()            # raised here when it did not return

What the child logs with a traceback, or calls an internal error, comes back in the result.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: Real seconds after which a child is said to hang.
PATIENCE = int(os.environ.get("VIMAGE_TEST_PATIENCE", "60"))

KILLED_STATUS = 128 + signal.SIGKILL


@dataclass
class Life:
    """What became of a child."""

    value: Any = None
    killed: bool = False  # it died of ``die``
    #: Log records that no service may write: tracebacks and internal errors.
    complaints: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what it had to say before it died


class Hung(AssertionError):
    """The child did not come to an end."""


class Failed(AssertionError):
    """The child raised an exception; its traceback is the text."""


class Complaints(logging.Handler):
    """Collects log records that no service may write."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or "internal error" in record.getMessage() or (
                record.name == "asyncio" and record.levelno >= logging.ERROR):
            words = record.getMessage()
            if record.exc_info and record.exc_info[0] is not None:
                words += "\n" + "".join(traceback.format_exception(*record.exc_info))
            self.found.append(words)


_pipe = -1
_notes: list[str] = []
_complaints = Complaints()


def note(text: str) -> None:
    """Tell the parent, who hears it even if this process dies."""
    _notes.append(text)


def die() -> None:
    """kill -9 of this process, at once."""
    _send(Life(None, True, list(_complaints.found), list(_notes)))
    os._exit(KILLED_STATUS)


def forked(act: Callable[[], Any], patience: int = PATIENCE) -> Life:
    """Run ``act`` in a child and return what became of it."""
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _be_child(act, writing, patience)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            octets = pipe.read()
    finally:
        _, status = os.waitpid(pid, 0)
    if not octets:
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM or \
                os.WEXITSTATUS(status) == 1:
            raise Hung(f"did not end within {patience} s (its stacks are on stderr)")
        raise Failed(f"wait status {status:#x}, and no word")
    kind, value = pickle.loads(octets)
    if kind == "failed":
        raise Failed("\n" + value)
    assert isinstance(value, Life)
    return value


def _send(life: Life) -> None:
    octets = pickle.dumps(("life", life))
    while octets:
        octets = octets[os.write(_pipe, octets):]


def _be_child(act: Callable[[], Any], pipe: int, patience: int) -> None:
    """Never returns."""
    global _pipe
    _pipe = pipe
    _notes.clear()
    _complaints.found.clear()
    status = 0
    try:
        logging.getLogger().handlers[:] = [_complaints]
        logging.getLogger().setLevel(logging.INFO)
        faulthandler.dump_traceback_later(patience, exit=True, file=2)
        _send(Life(act(), False, list(_complaints.found), list(_notes)))
    except BaseException:
        with contextlib.suppress(BaseException):
            os.write(pipe, pickle.dumps(("failed", traceback.format_exc(limit=-12))))
    finally:
        os._exit(status)
