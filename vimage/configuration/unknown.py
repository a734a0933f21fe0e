"""Unknown variables, and which known ones may have been meant."""

from __future__ import annotations

from collections.abc import Iterable

from vimage.configuration import names
from vimage.configuration import variables as table
from vimage.configuration.draft import Draft, part_of

#: So many unknown variables are compared with the known ones; the comparison takes time.
_MOST_HINTS = 100

#: The parts as they may be written, with the first number where one is needed.
_PARTS = [*table.VIMAGE, *(f"{part}0" for part in table.LINK)]


def warn(draft: Draft) -> None:
    """Warn of each, with the nearest known variable."""
    for variable in draft.unknown[_MOST_HINTS:]:
        draft.warn("variable_unknown", variable=variable)
    known = [*draft.by_variable]
    for variable in sorted(draft.unknown[:_MOST_HINTS]):
        nearest = _nearest(draft, variable.removeprefix("vimage_"), known)
        if nearest:
            draft.warn("variable_unknown_near", _whose(draft, variable),
                       variable=variable, nearest=f"vimage_{nearest}")
        else:
            draft.warn("variable_unknown", _whose(draft, variable), variable=variable)


def _whose(draft: Draft, variable: str) -> str:
    head = _head(draft, variable.removeprefix("vimage_"))
    return draft.by_variable[head][0].name if head else ""


def _head(draft: Draft, rest: str) -> str:
    """The longest name of a vimage that ``rest`` begins with."""
    at = rest.rfind("_")
    while at > 0:
        if rest[:at] in draft.by_variable:
            return rest[:at]
        at = rest.rfind("_", 0, at)
    return ""


def _nearest(draft: Draft, rest: str, known: list[str]) -> str:
    head = _head(draft, rest)
    if head:
        tail = rest.removeprefix(f"{head}_")
        return "".join(f"{head}_{part}" for part in _close(tail, _PARTS))
    for at in (at for at, c in enumerate(rest) if c == "_"):
        if part_of(rest[at + 1:]):
            close = _close(rest[:at], known)
            if close:
                return f"{close[0]}{rest[at:]}"
    plain = [*table.GLOBALS, *_PARTS]
    plain += [f"bridge_{names.variable(name)}_{part}"
              for name in draft.bridges for part in table.BRIDGE]
    return "".join(_close(rest, plain))


def _close(word: str, words: Iterable[str]) -> list[str]:
    import difflib  # for what is wrong only

    return difflib.get_close_matches(word, words, n=1, cutoff=0.7)
