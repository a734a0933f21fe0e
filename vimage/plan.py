"""From a vimage as configured to its steps, in the order of jail(8); and from two plans to
what has to be done to a vimage that runs.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vimage.journal import Entry, Record
from vimage.model import Configuration, Vimage
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
from vimage.steps.kinds import steps_of
from vimage.steps.mounts import FstabStep, MountLinesStep, MountStep
from vimage.steps.step import Step

#: A moment on the way up and its counterpart on the way down.
_COUNTERPART = {
    "exec_prepare": "exec_release",
    "exec_prestart": "exec_poststop",
    "exec_created": "",
    "exec_poststart": "exec_prestop",
}


def start(vimage: Vimage, configuration: Configuration) -> list[Step]:
    """Every step from nothing to ready."""
    return [
        *_hook(vimage, "exec_prepare"),
        *mounts(vimage),
        *_hook(vimage, "exec_prestart"),
        *_bridges(vimage, configuration),
        *(EifaceStep.of(link) for link in vimage.links),
        JailStep(vimage.name, vimage.rootdir, vimage.hostname, dict(vimage.parameters)),
        JailProcessesStep(vimage.stop_timeout),
        *_limits(vimage),
        *_hook(vimage, "exec_created"),
        *(MoveStep(link.name) for link in vimage.links),
        *(WholeInterfaceStep(name, vimage.stop_timeout) for name in vimage.vnets),
        *_addresses(vimage),
        *_boot(vimage),
        *([] if vimage.securelevel is None else [SecurelevelStep(vimage.securelevel)]),
        *(AfterStartStep(command, vimage.start_timeout, number)
          for number, command in enumerate(vimage.exec_afterstart)),
        *(RcServiceStep(service, vimage.start_timeout, vimage.stop_timeout)
          for service in vimage.afterstart_services),
        *([CommandStep(vimage.command, vimage.stop_timeout)] if vimage.command else []),
        *_hook(vimage, "exec_poststart"),
        *([HealthyStep(vimage.health, vimage.health_timeout, vimage.start_timeout)]
          if vimage.health else []),
    ]


def undo_order(steps: Sequence[tuple[Entry, Step]]) -> list[tuple[Entry, Step]]:
    """The order in which steps are undone: by rank, and within a rank the last done first."""
    order = sorted(range(len(steps)), key=lambda i: (steps[i][1].rank, -i))
    return [steps[i] for i in order]


def stop(record: Record) -> list[tuple[Entry, Step]]:
    """The entries of a record and their steps, in the order in which they are undone."""
    return undo_order(steps_of(record))


# -- changing a vimage that runs ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """The steps that turn what one plan has done into what another one would do."""

    replaced: frozenset[tuple[str, ...]]  # identities undone first, then done anew
    removed: frozenset[tuple[str, ...]]  # identities undone at the end
    added: tuple[Step, ...]  # with those that replace, in the order of the plan
    amended: tuple[tuple[Step, Step], ...]  # the step as done, and as it is to be

    def __bool__(self) -> bool:
        return bool(self.removed or self.added or self.amended)


def difference(old: Sequence[Step], new: Sequence[Step]) -> Difference:
    """The steps to do and undo on a vimage that ``old`` has started, to have it as ``new`` says.

    Only steps that can be done and undone while a vimage runs (``live``) are compared.  A step
    that uses an interface is done again when the interface is replaced.
    """
    before = {step.identity: step for step in old if step.live}
    after = {step.identity: step for step in new if step.live}
    replaced: set[tuple[str, ...]] = set()
    fresh: set[str] = set()  # interfaces that will be new ones
    added, amended = [], []
    for identity, step in after.items():
        was = before.get(identity)
        again = not fresh.isdisjoint(step.uses)
        if was is None:
            added.append(step)
        elif was == step and not again:
            continue
        elif step.can_amend(was):
            amended.append((was, step))
            continue
        else:
            replaced.add(identity)
            added.append(step)
        if step.makes:
            fresh.add(step.makes)
    return Difference(frozenset(replaced), frozenset(before.keys() - after.keys()),
                      tuple(added), tuple(amended))


def _hook(vimage: Vimage, moment: str) -> Iterator[Step]:
    back = _COUNTERPART[moment]
    commands = vimage.hooks.get(moment, ())
    undo_commands = vimage.hooks.get(back, ())
    if commands or undo_commands:
        yield HookStep(moment, commands, back, undo_commands,
                       vimage.start_timeout, vimage.stop_timeout)


def mounts(vimage: Vimage) -> Iterator[Step]:
    """The steps that mount, in the order of jail(8)."""
    if vimage.mount:
        yield MountLinesStep(vimage.mount, vimage.rootdir, vimage.start_timeout)
    if vimage.fstab and vimage.rootdir != "/":
        yield FstabStep(vimage.fstab, vimage.rootdir, vimage.start_timeout)
    if vimage.devfs_enable:
        yield MountStep("devfs", "devfs", vimage.rootdir, "/dev",
                        {"ruleset": str(vimage.devfs_ruleset)})
    if vimage.fdescfs_enable:
        yield MountStep("fdescfs", "fdescfs", vimage.rootdir, "/dev/fd")
    if vimage.procfs_enable:
        yield MountStep("procfs", "procfs", vimage.rootdir, "/proc")


def _bridges(vimage: Vimage, configuration: Configuration) -> Iterator[Step]:
    for parent in dict.fromkeys(link.parent for link in vimage.links):
        bridge = configuration.bridges.get(parent)
        if bridge is None:
            yield BridgeStep(parent)
        else:
            yield HostBridgeStep(bridge.name, bridge.mac, bridge.addresses)


def _addresses(vimage: Vimage) -> Iterator[Step]:
    if vimage.has_addresses:
        yield AddressesStep(
            tuple(f"{link.name} {address}" for link in vimage.links for address in link.addresses),
            tuple(router for router in (vimage.defaultrouter, vimage.defaultrouter6) if router))


def _limits(vimage: Vimage) -> Iterator[Step]:
    """Resource rules and CPUs, if there are any."""
    if vimage.rctl or vimage.cpus:
        yield LimitsStep(vimage.name, vimage.rctl, vimage.cpus)


def _boot(vimage: Vimage) -> Iterator[Step]:
    if vimage.exec_start or vimage.exec_stop:
        yield BootStep(vimage.exec_start, vimage.exec_stop,
                       vimage.start_timeout, vimage.stop_timeout)
