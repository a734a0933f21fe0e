"""The table of all kinds of steps, and the steps that the entries of the journal record."""

from __future__ import annotations

from vimage.journal import Entry, JsonObject, Record
from vimage.steps.bridges import BridgeStep, HostBridgeStep
from vimage.steps.commands import (
    AfterStartStep,
    BootStep,
    CommandStep,
    HealthyStep,
    HookStep,
    RcServiceStep,
)
from vimage.steps.interfaces import AddressesStep, EifaceStep, MoveStep, WholeInterfaceStep
from vimage.steps.jails import JailProcessesStep, JailStep, LimitsStep, SecurelevelStep
from vimage.steps.mounts import FstabStep, MountLinesStep, MountStep
from vimage.steps.step import Step

_CLASSES: tuple[type[Step], ...] = (
    HookStep, FstabStep, MountLinesStep, MountStep, BridgeStep, HostBridgeStep, EifaceStep,
    JailStep, JailProcessesStep, LimitsStep, MoveStep, WholeInterfaceStep, AddressesStep, BootStep,
    SecurelevelStep, AfterStartStep, RcServiceStep, CommandStep, HealthyStep,
)

#: The kind that the journal keeps, and its class.
KINDS: dict[str, type[Step]] = {each.kind: each for each in _CLASSES}


def from_entry(entry: Entry) -> Step:
    """The step that an entry of the journal records."""
    return _step(entry.kind, entry.arguments)


def before_amendment(entry: Entry) -> Step:
    """The step that an entry recorded before a change under way amended it."""
    return _step(entry.kind, entry.arguments if entry.before is None else entry.before)


def steps_of(record: Record) -> list[tuple[Entry, Step]]:
    """The entries of a record and their steps, in the order in which they were done."""
    return [(entry, from_entry(entry)) for entry in record.entries]


def _step(kind: str, arguments: JsonObject) -> Step:
    cls = KINDS[kind]
    values = {name: tuple(value) if isinstance(value, list) else value
              for name, value in arguments.items() if name in cls.__match_args__}
    return cls(**values)
