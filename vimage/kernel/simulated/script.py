"""Just enough of sh(1) to read the commands that vimage's users write in examples.

A script is a sequence of simple commands, parted by ``;``, newlines, ``&&`` and ``||``.
No variables, no redirections, no loops: such words are passed on as they are.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

_SEPARATORS = (";", "&&", "||", "&")


@dataclass(frozen=True)
class Simple:
    """One simple command, and after which outcome of the one before it runs."""

    words: tuple[str, ...]
    after: str  # ";" always, "&&" success, "||" failure


def parse(text: str) -> list[Simple]:
    """The simple commands of a script.  Raises ValueError for an unclosed quotation."""
    commands: list[Simple] = []
    for line in text.replace("\\\n", " ").split("\n"):
        commands.extend(_parse_line(line))
    return commands


def _parse_line(line: str) -> Iterator[Simple]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    words: list[str] = []
    after = ";"
    for token in lexer:
        if token not in _SEPARATORS:
            words.append(token)
            continue
        if words:
            yield Simple(tuple(words), after)
        words = []
        after = token if token in ("&&", "||") else ";"
    if words:
        yield Simple(tuple(words), after)
