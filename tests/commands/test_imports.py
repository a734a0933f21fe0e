"""The command, the client and the control socket import one another in one direction only."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from vimage.commands.verbs import VERBS

ROOT = Path(__file__).parents[2]

#: Modules whose circles are looked for; what they import may have circles of its own.
OURS = ("vimage.main", "vimage.client", "vimage.events", "vimage.states", "vimage.commands",
        "vimage.service.wire", "vimage.service.server", "vimage.service.launch")


def modules() -> dict[str, Path]:
    found = {}
    for path in (ROOT / "vimage").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: Iterable[str]) -> set[str]:
    """All that a module imports, late imports included, those for the types alone not."""
    wanted: set[str] = set()

    def look(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            wanted.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, path
            each = {f"{node.module}.{alias.name}" for alias in node.names}
            wanted.update({module for module in each if module in known}
                          or {node.module})
        for child in ast.iter_child_nodes(node):
            look(child)

    look(ast.parse(path.read_text()))
    return {module for module in wanted if module in known and module != name}


def test_there_is_no_circle():
    known = modules()
    graph = {name: imports(name, path, known) for name, path in known.items()}
    graph["vimage.main"] |= {f"vimage.commands.{verb.module}" for verb in VERBS}

    def reached(name: str) -> set[str]:
        seen: set[str] = set()
        left = list(graph[name])
        while left:
            module = left.pop()
            if module not in seen:
                seen.add(module)
                left += graph[module]
        return seen

    circles = [name for name in graph if name.startswith(OURS) and name in reached(name)]
    assert circles == []


def test_the_service_does_not_import_the_verbs():
    known = modules()
    for name, path in known.items():
        if name.startswith("vimage.service"):
            assert {module for module in imports(name, path, known)
                    if module.startswith(("vimage.commands.", "vimage.main", "vimage.client"))
                    } <= {"vimage.commands.verbs"}, name
