"""jail.conf(5): statements, blocks, variables and .include, to one `Jail` for each jail."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from vimage.importing.jail import Jail, left, switched
from vimage.messages import Problem, VimageError

#: Files that include one another end somewhere.
_DEEPEST = 32

_TOKEN = re.compile(r"""
    (?P<skip>\s+|\#[^\n]*|//[^\n]*|/\*.*?\*/)
  | (?P<mark>\+=|[{};,=])
  | (?P<double>"(?:[^"\\]|\\.)*")
  | (?P<single>'(?:[^'\\]|\\.)*')
  | (?P<word>(?:\+(?!=)|\\.|\$\{[^}\s]*\}|[^\s{};,="'\#+\\])+)
""", re.X | re.S)
_VARIABLE = re.compile(r"\\(.)|\$\{([^}]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)", re.S)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\n": ""}


@dataclass(frozen=True, slots=True)
class _Piece:
    """Text, or the name of a variable whose value is to stand here."""

    text: str
    variable: bool = False


_Value = tuple[_Piece, ...]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # mark or text
    text: str  # of a mark
    value: _Value
    line: int
    glued: bool  # to the token before it


@dataclass(frozen=True, slots=True)
class _Statement:
    jail: str  # "*" outside of blocks
    name: str
    values: tuple[_Value, ...]
    append: bool


def read(file: str) -> tuple[list[Jail], list[Problem]]:
    """The jails of a file, and notes.  Raises VimageError: import_unreadable, import_syntax."""
    reader = _Reader()
    reader.file(file, 0)
    described = [jail for jail in dict.fromkeys(reader.blocks) if "*" not in jail]
    return [reader.jail(name) for name in described], reader.problems


class _Reader:
    def __init__(self) -> None:
        self.statements: list[_Statement] = []
        self.blocks: list[str] = []
        self.problems: list[Problem] = []

    # -- reading ---------------------------------------------------------------------------

    def file(self, file: str, depth: int) -> None:
        try:
            text = Path(file).read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise VimageError("import_unreadable", file=file, why=error.strerror) from error
        tokens = list(_tokens(text, file))
        at, jail = 0, ""
        while at < len(tokens):
            end = _end(tokens, at, file)
            words, mark = tokens[at:end], tokens[end]
            at = end + 1
            if mark.text == "{":
                jail = self._open(words, jail, mark, file)
            elif mark.text == "}":
                if not jail:
                    raise _syntax(file, mark.line, "a } that ends nothing")
                if words:
                    raise _syntax(file, mark.line, "no ; before the }")
                jail = ""
            elif words:
                self._statement(words, jail or "*", file, depth)
        if jail:
            raise _syntax(file, tokens[-1].line, f"no }} after {jail}")

    def _open(self, words: list[_Token], jail: str, mark: _Token, file: str) -> str:
        if jail or len(words) != 1 or words[0].kind == "mark":
            raise _syntax(file, mark.line, "a { without the name of a jail before it")
        name = _plain(words[0].value)
        self.blocks.append(name)
        return name

    def _statement(self, words: list[_Token], jail: str, file: str, depth: int) -> None:
        first = words[0]
        name = "".join(f"${piece.text}" if piece.variable else piece.text for piece in first.value)
        if first.kind == "mark" or not name:
            raise _syntax(file, first.line, "a parameter has no name")
        if name == ".include":
            for word in words[1:]:
                self._include(_plain(word.value), file, depth)
            return
        rest = words[1:]
        if not rest:
            name, value = switched(name)
            self.statements.append(_Statement(jail, name, ((_Piece(value),),), False))
            return
        if rest[0].kind != "mark" or rest[0].text == ",":
            raise _syntax(file, rest[0].line, f"no = after {name}")
        values = tuple(word.value for word in rest[1:] if word.kind != "mark")
        self.statements.append(_Statement(jail, name, values, rest[0].text == "+="))

    def _include(self, pattern: str, file: str, depth: int) -> None:
        if depth == _DEEPEST:
            raise VimageError("import_unreadable", file=file, why="included too deeply")
        wanted = os.path.join(os.path.dirname(file), pattern)
        found = sorted(glob.glob(wanted))
        if not found and not glob.has_magic(wanted):
            self.problems.append(
                left(os.path.basename(file), f".include={pattern}", "no such file"))
        for each in found:
            self.file(each, depth + 1)

    # -- one jail --------------------------------------------------------------------------

    def jail(self, name: str) -> Jail:
        """What holds for all, in order, then its own."""
        merged: dict[str, tuple[_Value, ...]] = {}
        for own in (False, True):
            for statement in self.statements:
                applies = statement.jail == name if own else (
                    "*" in statement.jail and fnmatchcase(name, statement.jail))
                if applies:
                    before = merged.get(statement.name, ()) if statement.append else ()
                    merged[statement.name] = before + statement.values
        values = _Values(name, merged)
        parameters = {}
        for parameter in merged:
            if parameter.startswith("$"):
                continue
            try:
                parameters[parameter] = values.of(parameter)
            except LookupError as error:
                self.problems.append(left(name, parameter, f"${error.args[0]} is not set"))
        return Jail(name, parameters)


class _Values:
    """The values of one jail, variables replaced."""

    def __init__(self, name: str, merged: dict[str, tuple[_Value, ...]]) -> None:
        self.merged = {"name": ((_Piece(name),),), **merged}
        self.under_way: list[str] = []

    def of(self, parameter: str) -> list[str]:
        """Raises LookupError with the name of a variable that is not set, or needs itself."""
        if parameter in self.under_way:
            raise LookupError(parameter.removeprefix("$"))
        self.under_way.append(parameter)
        try:
            return ["".join(self._text(piece) for piece in value)
                    for value in self.merged[parameter]]
        finally:
            self.under_way.pop()

    def _text(self, piece: _Piece) -> str:
        if not piece.variable:
            return piece.text
        for parameter in (f"${piece.text}", piece.text):
            if parameter in self.merged:
                return ",".join(self.of(parameter))
        raise LookupError(piece.text)


def _syntax(file: str, line: int, why: str) -> VimageError:
    return VimageError("import_syntax", file=file, line=line, why=why)


def _tokens(text: str, file: str) -> Iterator[_Token]:
    at, glued = 0, False
    before: _Token | None = None
    while at < len(text):
        line = text.count("\n", 0, at) + 1
        match = _TOKEN.match(text, at)
        if match is None:
            raise _syntax(file, line, "a quote or a comment does not end")
        kind, at = match.lastgroup, match.end()
        if kind == "skip":
            glued = False
            continue
        token = _token(str(kind), match[0], line, glued)
        glued = token.kind == "text"
        if token.glued and before is not None and token.kind == "text":
            before = _Token("text", "", before.value + token.value, before.line, True)
            continue
        if before is not None:
            yield before
        before = token
    if before is not None:
        yield before


def _token(kind: str, text: str, line: int, glued: bool) -> _Token:
    if kind == "mark":
        return _Token("mark", text, (), line, glued)
    if kind == "single":
        plain = re.sub(r"\\([\\'])", r"\1", text[1:-1])
        return _Token("text", "", (_Piece(plain),), line, glued)
    return _Token("text", "", tuple(_pieces(text[1:-1] if kind == "double" else text)),
                  line, glued)


def _pieces(text: str) -> Iterator[_Piece]:
    at, plain = 0, ""
    for match in _VARIABLE.finditer(text):
        plain += text[at:match.start()]
        at = match.end()
        if match[1] is not None:
            plain += _ESCAPES.get(match[1], match[1])
            continue
        if plain:
            yield _Piece(plain)
        plain = ""
        yield _Piece(match[2] or match[3], True)
    if plain or at < len(text):
        yield _Piece(plain + text[at:])


def _plain(value: _Value) -> str:
    return "".join(piece.text for piece in value)


def _end(tokens: list[_Token], at: int, file: str) -> int:
    """Where the statement that begins at ``at`` ends."""
    for end in range(at, len(tokens)):
        if tokens[end].kind == "mark" and tokens[end].text in "{};":
            return end
    raise _syntax(file, tokens[at].line, "no ; before the end of the file")
