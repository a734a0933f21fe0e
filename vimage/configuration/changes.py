"""What differs between the configuration of a running vimage and that of now, and when it counts.

Both are `Vimage`s: that of a running one comes from its record (``Vimage.from_dict``), so that
a field which only one version of vimage knows is no difference.  Pure.
"""

from __future__ import annotations

from dataclasses import fields, replace

from vimage.configuration import variables
from vimage.configuration.variables import Apply
from vimage.model import Vimage


def _applied() -> dict[str, Apply]:
    """How a change of each field of `Vimage` is applied: as its rows say."""
    rows = {row.field: row.apply for row in variables.VIMAGE.values()}
    return {field.name: rows.get(field.name, Apply.RESTART) for field in fields(Vimage)}


APPLIED = _applied()


def changes(old: Vimage, new: Vimage) -> dict[str, list[str]]:
    """The fields that differ, by how the change is applied: ``live``, ``noted``, ``restart``."""
    result: dict[str, list[str]] = {apply.value: [] for apply in Apply}
    for field, apply in APPLIED.items():
        if getattr(old, field) != getattr(new, field):
            result[apply.value].append(field)
    return result


def merged(old: Vimage, new: Vimage) -> Vimage:
    """``old`` with what ``new`` changes without a restart."""
    return replace(old, **{field: getattr(new, field) for field, apply in APPLIED.items()
                           if apply is not Apply.RESTART})
