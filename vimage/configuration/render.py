"""A resolved vimage printed back, as lines for rc.conf and as YAML.  Pure.

What is printed says the same as what was read: resolved again on the same host, in a file
that has no defaults of its own (``vimage_x``), it is the same `Vimage`.  What is empty is
left out, all else is written out, defaults too, save for the command that ``boot`` stands for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vimage.configuration import names
from vimage.configuration import variables as table
from vimage.configuration.draft import part_of
from vimage.configuration.values import Parent
from vimage.model import HostBridge, Link, MacFrom, Vimage

_PREFIX = {MacFrom.PARENT: "=", MacFrom.KERNEL: "!"}

#: How octets from 0x80 on that are not UTF-8 are held (surrogateescape).
_OCTETS = range(0xDC80, 0xDD00)

#: Printed to keep a default away, since an empty value counts as unset.
_BLANK = " "


def settings(vimage: Vimage) -> dict[str, str]:
    """The variables of one vimage, in the order of the table of variables."""
    prefix = f"vimage_{names.variable(vimage.name)}_"
    return {prefix + part: text for part, text in _parts(vimage).items()}


def bridge_settings(bridges: Iterable[HostBridge]) -> dict[str, str]:
    """The variables of host-only bridges."""
    bridges = tuple(bridges)
    result = {"vimage_bridge_list": " ".join(bridge.name for bridge in bridges)}
    for bridge in bridges:
        prefix = f"vimage_bridge_{names.variable(bridge.name)}_"
        result |= {prefix + part: text for part, text in _bridge_parts(bridge).items()}
    return {name: text for name, text in result.items() if text}


def rc_lines(vimage: Vimage) -> list[str]:
    """The lines of one vimage for rc.conf."""
    return lines(settings(vimage))


def lines(settings: Mapping[str, str]) -> list[str]:
    """``NAME="VALUE"`` for each, as sh reads it and sysrc(8) writes it."""
    return [f"{name}={quote(text)}" for name, text in settings.items()]


def quote(text: str) -> str:
    """``text`` between double quotes, for sh; it may have several lines.

    Octets that are not UTF-8 are written as numbers, which sh(1) reads between $' and '.
    """
    if any(ord(character) in _OCTETS for character in text):
        return f"$'{''.join(map(_numbered, text))}'"
    for character in ("\\", '"', "$", "`"):
        text = text.replace(character, f"\\{character}")
    return f'"{text}"'


def _numbered(character: str) -> str:
    if ord(character) in _OCTETS:
        return f"\\{ord(character) - _OCTETS.start + 0x80:03o}"
    return f"\\{character}" if character in "\\'" else character


def for_yaml(vimage: Vimage, bridges: Iterable[HostBridge] = ()) -> dict[str, Any]:
    """A vimage, and the host-only bridges that it uses, as a file of YAML describes them."""
    used = {link.parent for link in vimage.links}
    described = {bridge.name: _bridge_parts(bridge) for bridge in bridges if bridge.name in used}
    parts: dict[str, Any] = {}
    for part, text in _parts(vimage).items():
        row_part = part_of(part)
        if row_part is not None and row_part[0] in table.SERIES:
            parts.setdefault(row_part[0], []).append(text)
        else:
            parts[part] = text
    return {**({"bridges": described} if described else {}), "vimages": {vimage.name: parts}}


def _bridge_parts(bridge: HostBridge) -> dict[str, str]:
    shown = {part: row.shown(row.value(bridge)) for part, row in table.BRIDGE.items()}
    return {part: text for part, text in shown.items() if text}


def _parts(vimage: Vimage) -> dict[str, str]:
    """Part to text, of those that have one."""
    values = {part: row.value(vimage) for part, row in table.VIMAGE.items()}
    values["bridges"] = _parents(vimage.links)
    result: dict[str, str] = {}
    for row in table.TABLE:
        if row.scope is table.Scope.LINK:
            result |= {f"{row.part}{link.index}": _of_link(row, link) for link in vimage.links}
        elif row.scope is table.Scope.SERIES:
            result |= {f"{row.part}{number}": row.shown(command)
                       for number, command in enumerate(values[row.part] or ())}
        elif row.scope is table.Scope.VIMAGE:
            result[row.part] = _text(row, values)
    return {part: text for part, text in result.items() if text}


def _text(row: table.Variable, values: Mapping[str, Any]) -> str:
    value = values[row.part]
    if row.default is None or not row.default.implied:
        return row.shown(value)
    return "" if value == row.default.of(values) else row.shown(value) or _BLANK


def _of_link(row: table.Variable, link: Link) -> str:
    """An address that is not given is none of the configuration."""
    if row.field == "mac" and link.mac_from is not MacFrom.GIVEN:
        return ""
    return row.shown(row.value(link))


def _parents(links: tuple[Link, ...]) -> tuple[Parent | None, ...]:
    """The words of ``bridges``: a link is at the place of its number."""
    parents: list[Parent | None] = [None] * (max((link.index for link in links), default=-1) + 1)
    for link in links:
        parents[link.index] = Parent(_PREFIX.get(link.mac_from, ""), link.parent)
    return tuple(parents)
