"""No module needs one that needs it, imports within functions included."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from vimage.commands.verbs import VERBS

ROOT = Path(__file__).parents[1]


def name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name(path): path for path in sorted((ROOT / "vimage").rglob("*.py"))}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}: a relative import"
            for alias in node.names:
                part = f"{node.module}.{alias.name}"
                yield part if part in MODULES else node.module


def on_circles(needs: Mapping[str, set[str]]) -> set[str]:
    """The modules that need themselves, by way of others."""
    return {module for module in needs if module in reached(needs, module)}


def reached(needs: Mapping[str, set[str]], module: str) -> set[str]:
    found: set[str] = set()
    ahead = [module]
    while ahead:
        new = needs[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def test_there_are_no_circles():
    needs = {module: {other for other in imported(path) if other in MODULES} - {module}
             for module, path in MODULES.items()}
    needs["vimage.main"] |= {f"vimage.commands.{verb.module}" for verb in VERBS}  # by name
    assert on_circles(needs) == set()


def test_the_service_does_not_import_the_verbs():
    for module, path in MODULES.items():
        if module.startswith("vimage.service"):
            assert {other for other in imported(path) if other.startswith(
                ("vimage.commands.", "vimage.main", "vimage.client"))
                    } <= {"vimage.commands.verbs"}, module


def test_a_circle_is_found():
    assert on_circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {"b", "c"}
    assert on_circles({"a": {"b"}, "b": set(), "c": {"a", "b"}}) == set()
