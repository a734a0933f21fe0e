"""The texts of every error and warning, in one place.

A message is a template with named fields and a sentence for the DIAGNOSTICS of the
manual.  ``Problem`` is one occurrence.  ``tests`` hold the table against the manual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


class Message(NamedTuple):
    """``text`` is printed; ``meaning`` tells the administrator what to do."""

    text: str
    meaning: str


MESSAGES: dict[str, Message] = {
}


@dataclass(frozen=True)
class Problem:
    """One error or warning: about a variable, a vimage or the host."""

    key: str  # of MESSAGES
    fields: tuple[tuple[str, Any], ...] = ()
    vimage: str = ""  # which vimage it keeps from starting; "" for all
    warning: bool = False

    @classmethod
    def of(cls, key: str, /, *, vimage: str = "", warning: bool = False, **fields: Any) -> Problem:
        return cls(key, tuple(fields.items()), vimage, warning)

    def __str__(self) -> str:
        return MESSAGES[self.key].text.format(**dict(self.fields))


class VimageError(Exception):
    """A failure that has a place in MESSAGES."""

    def __init__(self, key: str | Problem, /, **fields: Any) -> None:
        self.problem = key if isinstance(key, Problem) else Problem.of(key, **fields)
        super().__init__(str(self.problem))
