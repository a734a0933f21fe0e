"""What other tools are configured with, as variables of vimage."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vimage.configuration import names
from vimage.configuration.rcconf import read as read_by_shell
from vimage.configuration.resolve import resolve
from vimage.importing.convert import convert
from vimage.importing.jail import Jail, left
from vimage.importing.jailconf import read as read_jail_conf
from vimage.importing.rcjail import Found, jails, vimages
from vimage.messages import Problem, VimageError

_OF_RC_CONF = re.compile(r"^[ \t]*(?:export[ \t]+)?(?:jail|vimage)_[A-Za-z0-9_]+=", re.M)
_OF_JAIL_CONF = re.compile(
    r"\{|^[ \t]*\.include\b|^[ \t]*[$A-Za-z][\w.$]*[ \t]*(\+?=[^;]*)?;", re.M)


@dataclass(slots=True)
class Imported:
    """The variables, and what could not be carried over."""

    settings: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read(files: Iterable[str], *, shell_read: Callable[..., Mapping[str, str]] = read_by_shell
         ) -> Imported:
    """Import files of any kind.

    Raises VimageError: import_unreadable, import_kind, import_syntax, rcconf_unreadable,
    rcconf_timeout.
    """
    found = Found()
    for file in files:
        text = _text(file)
        if _OF_RC_CONF.search(text):
            values = shell_read(file, begin=("jail_", "vimage_"))
            jails(values, file, found)
            vimages(values, file, found)
        elif _OF_JAIL_CONF.search(text):
            described, problems = read_jail_conf(file)
            found.jails += described
            found.problems += problems
        else:
            raise VimageError("import_kind", file=file)
    return _settings(found)


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise VimageError("import_unreadable", file=file, why=error.strerror) from error


def _settings(found: Found) -> Imported:
    result = Imported(problems=found.problems)
    if found.enable:
        result.settings["vimage_enable"] = "YES"
    described = _unique(found.jails, result.problems)
    result.settings["vimage_list"] = " ".join(
        [*found.vimages, *_listed(found, described, result.problems)])
    result.settings |= found.settings
    for name, jail in described.items():
        parts, problems = convert(jail, name)
        result.settings |= {
            f"vimage_{names.variable(name)}_{part}": text for part, text in parts.items()}
        result.problems += problems
    result.settings = {name: text for name, text in result.settings.items() if text}
    _, problems = resolve(result.settings, hostuuid="import", cpus=10_000)
    result.problems += problems
    return result


def _unique(jails: Iterable[Jail], problems: list[Problem]) -> dict[str, Jail]:
    """Jails by the names that they have as vimages."""
    described: dict[str, Jail] = {}
    for jail in jails:
        name = _name(jail.name)
        if name != jail.name:
            problems.append(left(jail.name, "name", f"is {name} now"))
        described[name] = jail
    return described


def _name(name: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return name if names.is_vimage(name) else f"v{name}"


def _listed(found: Found, described: Mapping[str, Jail], problems: list[Problem]) -> list[str]:
    """The names in the order of jail_list, if there is one."""
    if found.listed is None:
        return list(described)
    for name in found.listed:
        if _name(name) not in described:
            problems.append(left(name, "jail_list", "not described in the files given"))
    return [_name(name) for name in found.listed if _name(name) in described]
