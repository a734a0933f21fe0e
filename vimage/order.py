"""Orders names so that each comes after those it depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from vimage.model import Vimage


def with_dependencies(names: Iterable[str], vimages: Mapping[str, Vimage]) -> list[str]:
    """Names and, before each, what it depends on."""
    return closure(names, lambda name: vimages[name].depend)


def closure(names: Iterable[str], before: Callable[[str], Iterable[str]]) -> list[str]:
    """Depth first, each name once, after everything ``before`` gives for it.

    Without recursion: a chain may be longer than Python's stack.
    """
    found: dict[str, None] = {}
    entered: set[str] = set()
    stack = [(name, False) for name in reversed(list(names))]
    while stack:
        name, left = stack.pop()
        if left:
            found[name] = None
        elif name not in entered:
            entered.add(name)
            stack.append((name, True))
            stack.extend((other, False) for other in reversed(list(before(name))))
    return list(found)
