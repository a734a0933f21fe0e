"""Every message is raised with the fields that its text has, and none is left over."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from vimage.messages import MESSAGES

ROOT = Path(__file__).parents[1]

#: What gives a message its fields besides its keyword arguments.
MAKERS = {"of": set(), "VimageError": set(), "_about": {"variable"}, "error": set(),
          "warning": set(), "problem": set()}


def made() -> Iterator[tuple[str, str, set[str], bool]]:
    """Where, key, fields, and whether there may be more."""
    for path in sorted((ROOT / "vimage").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            keys = [argument.value for argument in node.args
                    if isinstance(argument, ast.Constant) and argument.value in MESSAGES]
            if name in MAKERS and keys:
                fields = {keyword.arg for keyword in node.keywords}
                yield (f"{path.relative_to(ROOT)}:{node.lineno}", keys[0],
                       {field for field in fields if field} | MAKERS[name], None in fields)


CALLS = list(made())


@pytest.mark.parametrize("where, key, fields, more", CALLS, ids=[call[0] for call in CALLS])
def test_a_message_has_its_fields(where: str, key: str, fields: set[str], more: bool) -> None:
    needed = {name for _, name, _, _ in string.Formatter().parse(MESSAGES[key].text) if name}
    assert more or needed <= fields


def test_every_message_is_used() -> None:
    text = "\n".join(path.read_text(encoding="utf-8")
                     for path in sorted((ROOT / "vimage").rglob("*.py"))
                     if path.name != "messages.py")
    assert [key for key in MESSAGES if f'"{key}"' not in text] == []
