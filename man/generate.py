"""Writes the generated parts of the manual pages: the variables and the diagnostics.

    python3 man/generate.py             write them into the pages
    python3 man/generate.py --check     only say which pages are stale; then the exit status is 1

A generated part stands between two comments in the page, ``BEGIN NAME`` and ``END NAME``.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

MAN = Path(__file__).resolve().parent
sys.path.insert(0, str(MAN.parent))

from vimage.configuration import variables  # noqa: E402
from vimage.configuration.variables import Apply, Scope, Variable  # noqa: E402
from vimage.messages import MESSAGES, Message  # noqa: E402

PAGES = (MAN / "vimage.8", MAN / "vimage.conf.5")

_MANUAL = re.compile(r"([a-z][a-z0-9_.]*)\(([1-9])\)([.,;:]*)")
_SENTENCE = re.compile(r"(?<=[.!?]) +(?=[A-Z=-])")
_WORD = re.compile(r"[a-z-]+")
_FIELD = re.compile(r"\{([a-z0-9_]+)\}")
WIDTH = 78


def escape(text: str) -> str:
    """Plain text for roff, anywhere in a line."""
    text = text.replace("\\", "\\e").replace('"', "\\(dq")
    return f"\\&{text}" if text[:1] in ".'" else text


def prose(text: str) -> list[str]:
    """Sentences as lines of mdoc: each on its own, with references to manual pages."""
    return [line for sentence in _SENTENCE.split(text) for line in _lines(sentence)]


def _lines(sentence: str) -> Iterable[str]:
    words: list[str] = []
    for word in sentence.split():
        match = _MANUAL.fullmatch(word)
        system = word.rstrip(".,;:")
        if match is None and system != "FreeBSD":
            words.append(word)
            continue
        yield from _filled(words)
        words = []
        if match is not None:
            name, section, after = match.groups()
            yield f".Xr {name} {section}{' ' if after else ''}{' '.join(after)}"
        else:
            yield f".Fx{' ' if word != system else ''}{' '.join(word[len(system):])}"
    yield from _filled(words)


def _filled(words: list[str]) -> list[str]:
    return [escape(line) for line in textwrap.wrap(
        " ".join(words), WIDTH, break_long_words=False, break_on_hyphens=False)]


def diagnostic(text: str) -> str:
    """The text of an error as the manual has it: fields in capital letters."""
    text = escape(_FIELD.sub(lambda match: match[1].upper(), text))
    return text.replace("FreeBSD", "Free\\&BSD")  # no macro can stand in such a line


def diagnostics(messages: Iterable[Message] = MESSAGES.values()) -> list[str]:
    """Every error and warning."""
    lines = [".Bl -diag"]
    for message in messages:
        lines += [f".It {diagnostic(message.text)}", *prose(message.meaning)]
    return [*lines, ".El"]


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith(".") else f"{sentence}."


def entry(row: Variable) -> list[str]:
    """One variable."""
    meaning = row.meaning
    if _WORD.fullmatch(meaning.split()[0]):  # and not a name
        meaning = meaning[0].upper() + meaning[1:]
    value = f"Value: {row.type.allowed}"
    lines = [f".It Va {row.form}", *prose(f"{meaning}."), *prose(_ended(value))]
    if row.default is variables.REQUIRED:
        lines += ["Required."]
    elif row.default_text:
        lines += prose(f"Default: {row.default_text}.")
    if row.apply is not Apply.RESTART:
        lines += ["Applied by", ".Cm reload ."]
    return lines


def rows(*scopes: Scope) -> list[str]:
    """The variables of some scopes, in the order of the table."""
    lines = [".Bl -tag -width Ds"]
    for row in variables.TABLE:
        if row.scope in scopes:
            lines += entry(row)
    return [*lines, ".El"]


def reserved() -> list[str]:
    """The names that rc.subr(8) reads itself."""
    names = [f"vimage_{part}" for part in sorted(variables.RESERVED)]
    return [f".Va {name} {',' if name != names[-1] else '.'}" for name in names]


PARTS: dict[str, Callable[[], list[str]]] = {
    "diagnostics": diagnostics,
    "variables of all": lambda: rows(Scope.GLOBAL),
    "variables of a vimage": lambda: rows(Scope.VIMAGE, Scope.LINK, Scope.SERIES),
    "variables of a bridge": lambda: rows(Scope.BRIDGE),
    "reserved variables": reserved,
}


def generated(page: str) -> str:
    """The text of a page with its generated parts as they have to be.

    Raises ValueError when a part has no end.
    """
    for name, make in PARTS.items():
        begin, end = f'.\\" BEGIN {name}\n', f'.\\" END {name}\n'
        head, found, rest = page.partition(begin)
        if not found:
            continue
        _, found, tail = rest.partition(end)
        if not found:
            raise ValueError(f"no end of {name}")
        page = "".join((head, begin, *(f"{line}\n" for line in make()), end, tail))
    return page


def main(arguments: list[str]) -> int:
    """Write the pages, or say which are stale."""
    stale = 0
    for path in PAGES:
        before = path.read_text(encoding="utf-8")
        after = generated(before)
        if before == after:
            continue
        if arguments == ["--check"]:
            print(f"{path.name} is stale: python3 man/generate.py")
            stale = 1
        else:
            path.write_text(after, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
