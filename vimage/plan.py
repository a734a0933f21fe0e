"""From a vimage as configured to its steps, in the order of jail(8).  Pure."""

from __future__ import annotations

from collections.abc import Iterator

from vimage.journal import Entry, Record
from vimage.model import Configuration, MacFrom, Vimage
from vimage.steps import Step, from_entry
from vimage.steps.bridges import Bridge, HostOnlyBridge
from vimage.steps.commands import AfterStart, Boot, Healthy, Hook, Program, Service
from vimage.steps.interfaces import Addresses, Eiface, MoveIn, Whole
from vimage.steps.jails import Jail, Limits, Occupants, Securelevel
from vimage.steps.mounts import Fstab, Mount

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
        *_mounts(vimage),
        *_hook(vimage, "exec_prestart"),
        *_bridges(vimage, configuration),
        *_eifaces(vimage),
        Jail(vimage.name, vimage.rootdir, vimage.hostname, dict(vimage.parameters)),
        Occupants(vimage.stop_timeout),
        *limits(vimage),
        *_hook(vimage, "exec_created"),
        *(MoveIn(link.name) for link in vimage.links),
        *(Whole(name, vimage.stop_timeout) for name in vimage.vnets),
        *_addresses(vimage),
        *_boot(vimage),
        *([] if vimage.securelevel is None else [Securelevel(vimage.securelevel)]),
        *(AfterStart(command, vimage.start_timeout) for command in vimage.exec_afterstart),
        *(Service(service, vimage.start_timeout, vimage.stop_timeout)
          for service in vimage.afterstart_services),
        *([Program(vimage.command, vimage.stop_timeout)] if vimage.command else []),
        *_hook(vimage, "exec_poststart"),
        *([Healthy(vimage.health, vimage.health_timeout, vimage.start_timeout)]
          if vimage.health else []),
    ]


def stop(record: Record) -> list[tuple[Entry, Step]]:
    """What a record holds, in the order in which it is undone."""
    steps = [(entry, from_entry(entry)) for entry in record.entries]
    order = sorted(range(len(steps)), key=lambda i: (steps[i][1].rank, -i))
    return [steps[i] for i in order]


def _hook(vimage: Vimage, moment: str) -> Iterator[Step]:
    back = _COUNTERPART[moment]
    commands = vimage.hooks.get(moment, ())
    undo_commands = vimage.hooks.get(back, ())
    if commands or undo_commands:
        yield Hook(moment, commands, back, undo_commands,
                   vimage.start_timeout, vimage.stop_timeout)


def _mounts(vimage: Vimage) -> Iterator[Step]:
    if vimage.fstab and vimage.rootdir != "/":
        yield Fstab(vimage.fstab, vimage.rootdir, vimage.start_timeout)
    if vimage.devfs_enable:
        yield Mount("devfs", "devfs", vimage.rootdir, "/dev",
                    {"ruleset": str(vimage.devfs_ruleset)})
    if vimage.fdescfs_enable:
        yield Mount("fdescfs", "fdescfs", vimage.rootdir, "/dev/fd")
    if vimage.procfs_enable:
        yield Mount("procfs", "procfs", vimage.rootdir, "/proc")


def _bridges(vimage: Vimage, configuration: Configuration) -> Iterator[Step]:
    for parent in dict.fromkeys(link.parent for link in vimage.links):
        bridge = configuration.bridges.get(parent)
        if bridge is None:
            yield Bridge(parent)
        else:
            yield HostOnlyBridge(bridge.name, bridge.mac, bridge.addresses)


def _eifaces(vimage: Vimage) -> Iterator[Step]:
    for link in vimage.links:
        yield Eiface(link.name, link.parent, link.host_only, link.mac,
                     link.mac_from is MacFrom.PARENT)


def _addresses(vimage: Vimage) -> Iterator[Step]:
    if vimage.has_addresses:
        yield Addresses(
            tuple(f"{link.name} {address}" for link in vimage.links for address in link.addresses),
            tuple(router for router in (vimage.defaultrouter, vimage.defaultrouter6) if router))


def limits(vimage: Vimage) -> Iterator[Step]:
    """Resource rules and CPUs, if there are any."""
    if vimage.rctl or vimage.cpus:
        yield Limits(vimage.name, vimage.rctl, vimage.cpus)


def _boot(vimage: Vimage) -> Iterator[Step]:
    if vimage.exec_start or vimage.exec_stop:
        yield Boot(vimage.exec_start, vimage.exec_stop,
                   vimage.start_timeout, vimage.stop_timeout)
