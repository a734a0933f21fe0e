"""From variables to a frozen `Configuration`, and every problem at once.  Pure.

A vimage with an error is left out of the result, and so are those that depend on it.  An
error that several vimages share is reported once for each of them, with the same text; one
that belongs to no vimage leaves all of them out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vimage.configuration import cross_checks, unknown
from vimage.configuration import variables as table
from vimage.configuration.draft import Draft, VimageDraft
from vimage.configuration.read import read
from vimage.messages import Problem
from vimage.model import Configuration, Vimage


def resolve(
    variables: Mapping[str, str],
    *,
    hostuuid: str,
    cpus: int,
    recorded_macs: Mapping[str, str] | None = None,
    host_macs: Mapping[str, str] | None = None,
) -> tuple[Configuration, list[Problem]]:
    """What ``variables`` (as ``rcconf.read`` gives them) say.

    ``hostuuid`` is kern.hostuuid, ``cpus`` the number of CPUs of the host.
    ``recorded_macs`` are earlier ``Configuration.resolved_macs``.  ``host_macs`` gives the
    interfaces of the host that have a MAC address, name to address, less those that vimage
    has made: a vimage gets none of these addresses.  Raises nothing: what is
    wrong is in the list of problems, each with its text in ``vimage.messages``.
    """
    draft = Draft(variables, hostuuid, cpus, recorded_macs or {}, host_macs or {})
    read(draft)
    cross_checks.run(draft)
    unknown.warn(draft)
    return _configuration(draft), draft.problems


def lines(problems: Iterable[Problem]) -> list[str]:
    """The texts, each once, in order: what several vimages share is printed once."""
    return list(dict.fromkeys(map(str, problems)))


def _configuration(draft: Draft) -> Configuration:
    vimages = {} if draft.stopped else {
        vimage.name: _vimage(vimage) for vimage in draft.vimages.values() if not vimage.bad}
    fields: dict[str, Any] = {row.field: draft.globals.get(row.part)
                              for row in (*table.GLOBALS.values(), *table.OF_THE_HOST)}
    listed = dict.fromkeys(name for name in fields["list"] if name in draft.vimages)
    return Configuration(**{
        **fields,
        "list": tuple(listed),
        "vimages": vimages,
        "bridges": draft.bridges,
        "mac_seed": draft.seed(),
        "resolved_macs": draft.resolved,
    })


def _vimage(draft: VimageDraft) -> Vimage:
    values = draft.values
    fields = {row.field: values[part] for part, row in table.VIMAGE.items() if not row.key}
    ruleset = {"devfs_ruleset": values["devfs_ruleset"]} if values["devfs_enable"] else {}
    return Vimage(**{
        **fields,
        "name": draft.name,
        "links": tuple(draft.links),
        "hooks": _entries(draft, "hooks"),
        "parameters": {**_entries(draft, "parameters"), **ruleset, **values["parameters"]},
    })


def _entries(draft: VimageDraft, field: str) -> dict[str, Any]:
    """What there is for a field that is a table."""
    found = {row.key: draft.values.get(part) for part, row in table.VIMAGE.items()
             if row.key and row.field == field}
    return {key: value for key, value in found.items() if value not in (None, ())}
