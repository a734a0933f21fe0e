"""Vimages described in YAML: the same names, which become the same variables.

All scalars are taken as the text that stands in the file, so ``no`` is ``no`` and a MAC
address is no number.
"""

from __future__ import annotations

import importlib
import os
import re
import site
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vimage.configuration import names
from vimage.configuration import variables as table
from vimage.configuration.draft import part_of, shown
from vimage.messages import VimageError

#: Where the files are that are read together with rc.conf.
DIRECTORY = "/usr/local/etc/vimage.d"

#: The package that reads them, for this version of Python.
PACKAGE = f"py{sys.version_info.major}{sys.version_info.minor}-yaml"

_SECTIONS = ("vimages", "bridges", "defaults")
_PLAIN = tuple(part for part in table.GLOBALS if part != "bridge_list")
_ROWS = {**table.GLOBALS, **table.BRIDGE, **table.LINK, **table.VIMAGE}
_PART = re.compile(r"[A-Za-z0-9_]+", re.ASCII)


def alone(file: str | None) -> bool:
    """Whether ``-f FILE`` names YAML, so that no shell has anything to read."""
    return file is not None and (file.endswith(".yaml") or os.path.isdir(file))


def files(file: str | None = None) -> list[str]:
    """The YAML files of a configuration: ``file`` stands in place of rc.conf."""
    if file is None:
        return _below(DIRECTORY)
    if os.path.isdir(file):
        return _below(file)
    return [file] if file.endswith(".yaml") else []


def _below(directory: str) -> list[str]:
    try:
        found = os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError:
        return [directory]  # an error when it is read
    return sorted(f"{directory}/{name}" for name in found
                  if name.endswith(".yaml") and not name.startswith("."))


def add(variables: Mapping[str, str], paths: Iterable[str]) -> dict[str, str]:
    """``variables`` and those of the files.

    Raises VimageError: yaml_missing, yaml_unreadable, yaml_form, variable_twice.
    """
    result = dict(variables)
    origin = dict.fromkeys(result, "rc.conf")
    for path in paths:
        for variable, text in _read(path):
            if variable in ("vimage_list", "vimage_bridge_list"):
                words = [*result.get(variable, "").split(), *text.split()]
                result[variable] = " ".join(dict.fromkeys(words))
            elif result.get(variable, "") not in ("", text):
                raise VimageError("variable_twice", variable=variable,
                                  first=origin[variable], second=path)
            else:
                result[variable] = text
                origin[variable] = path
    return result


def pyyaml() -> Any:
    """The module yaml.  Raises ImportError.

    The program runs without the directories of other packages (python -S): they are looked
    at only here.
    """
    try:
        return importlib.import_module("yaml")
    except ImportError:
        before = list(sys.path)
        sys.path += site.getsitepackages()
        try:
            importlib.invalidate_caches()
            return importlib.import_module("yaml")
        finally:
            sys.path[:] = before


def _read(path: str) -> Iterator[tuple[str, str]]:
    """The variables of one file, in its order."""
    try:
        yaml = pyyaml()
    except ImportError as error:
        raise VimageError("yaml_missing", file=path, package=PACKAGE) from error
    try:
        root = yaml.compose(_content(path), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise VimageError("yaml_unreadable", file=path, why=_why(error)) from error
    except (RecursionError, ValueError, OverflowError) as error:
        raise VimageError("yaml_unreadable", file=path, why=shown(str(error))) from error
    if root is not None and (root.id != "scalar" or root.value):
        yield from _File(path).variables(root)


def _content(path: str) -> bytes:
    try:
        # A FIFO would make the open wait for somebody who writes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise VimageError("yaml_unreadable", file=path, why="not a regular file")
            return file.read()
    except OSError as error:
        raise VimageError("yaml_unreadable", file=path,
                          why=error.strerror or str(error)) from error


def _why(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    return shown(f"line {mark.line + 1}: {what}" if mark is not None else str(what))


class _File:
    """The nodes of one file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def variables(self, root: Any) -> Iterator[tuple[str, str]]:
        sections = self._mapping(root, f"{', '.join(_SECTIONS)}, {', '.join(_PLAIN)}",
                                 (*_SECTIONS, *_PLAIN))
        found = {key: node for key, (node, _) in sections.items()}
        for part in _PLAIN:
            if part in found and part != "list":
                yield f"vimage_{part}", self._text(part, found[part])
        yield from self._parts("vimage_", found.get("defaults"))
        bridges = self._named(found.get("bridges"), table.GLOBALS["bridge_list"].type.allowed)
        if bridges:
            yield "vimage_bridge_list", " ".join(bridges)
        for name, node in bridges.items():
            yield from self._parts(f"vimage_bridge_{names.variable(name)}_", node)
        vimages = self._named(found.get("vimages"), table.GLOBALS["list"].type.allowed)
        listed = self._text("list", found["list"]) if "list" in found else " ".join(vimages)
        if listed:
            yield "vimage_list", listed
        for name, node in vimages.items():
            yield from self._parts(f"vimage_{names.variable(name)}_", node)

    def _wrong(self, node: Any, what: str, allowed: str) -> VimageError:
        return VimageError("yaml_form", file=self.path, line=node.start_mark.line + 1,
                           what=shown(what), allowed=allowed)

    def _mapping(self, node: Any, allowed: str,
                 keys: tuple[str, ...] = ()) -> dict[str, tuple[Any, Any]]:
        """Key to (value, node of the key); no key twice, and none but ``keys``."""
        if node.id != "mapping":
            raise self._wrong(node, "not a mapping", allowed)
        result: dict[str, tuple[Any, Any]] = {}
        for key, value in node.value:
            if key.id != "scalar" or not key.value:
                raise self._wrong(key, "a key that is not a word", allowed)
            if keys and key.value not in keys:
                raise self._wrong(key, f"unknown key {key.value}", allowed)
            if key.value in result:
                raise self._wrong(key, f"{key.value} is set twice", "each key once")
            result[key.value] = value, key
        return result

    def _named(self, node: Any, allowed: str) -> dict[str, Any]:
        if node is None or node.id == "scalar" and not node.value:
            return {}
        result = {}
        for name, (value, key) in self._mapping(node, allowed).items():
            if name.split() != [name]:
                raise self._wrong(key, f'"{name}" is not a name', allowed)
            result[name] = value
        return result

    def _parts(self, prefix: str, node: Any) -> Iterator[tuple[str, str]]:
        if node is None or node.id == "scalar" and not node.value:
            return
        allowed = "variables, without vimage_NAME_"
        for part, (value, key) in self._mapping(node, allowed).items():
            if not _PART.fullmatch(part):
                raise self._wrong(key, f"{part} is not a variable", allowed)
            if value.id == "sequence" and part in table.SERIES:
                for number, command in enumerate(self._items(value)):
                    yield f"{prefix}{part}{number}", command
            else:
                yield f"{prefix}{part}", self._text(part, value)

    def _text(self, part: str, node: Any) -> str:
        if node.id == "scalar":
            return str(node.value)
        items = self._items(node)
        found = part_of(part)
        row = _ROWS.get(found[0] if found else part)  # None: check will say that it is unknown
        try:
            return row.type.join(items) if row else " ".join(items)
        except ValueError as error:
            raise self._wrong(node, str(error), "a list of words") from error

    def _items(self, node: Any) -> list[str]:
        if node.id != "sequence" or any(item.id != "scalar" for item in node.value):
            raise self._wrong(node, "neither text nor a list of texts", "text, or a list of texts")
        return [str(item.value) for item in node.value]
