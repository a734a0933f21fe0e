"""A jail as jail.conf(5) describes it: what all importers make and one converter reads."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vimage.configuration import variables
from vimage.messages import Problem


@dataclass(slots=True)
class Jail:
    """Parameters by name; a switch has the one value ``true`` or ``false``."""

    name: str
    parameters: dict[str, list[str]] = field(default_factory=dict)


def left(whose: str, what: str, why: str) -> Problem:
    """A note on what was not carried over as it was."""
    return Problem.of("import_left", warning=True, whose=whose, what=what, why=why)


def switched(name: str) -> tuple[str, str]:
    """``allow.noX`` is ``allow.X`` switched off, as in jail(8)."""
    head, dot, last = name.rpartition(".")
    if last.startswith("no") and len(last) > 2:
        return f"{head}{dot}{last[2:]}", "false"
    return name, "true"


def is_on(values: list[str] | None) -> bool:
    """Whether a switch is on."""
    return bool(values) and values is not None and values[-1].lower() not in (
        "false", "0", "no", "off", "disable", "inherit")


#: The table of variables as an order.
_PLACES = {row.part: place for place, row in enumerate(variables.TABLE)}


def order(part: str) -> tuple[int, int]:
    """Sorts parts as the table of variables has them, and then by number."""
    plain = part if part in _PLACES else re.sub(r"[0-9]+$", "", part)
    return _PLACES.get(plain, len(_PLACES)), int(part[len(plain):] or 0)
