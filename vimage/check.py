"""Finds what would make starts fail on this host, before anything is touched."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import Any

from vimage import plan
from vimage.configuration import names
from vimage.configuration import variables as table
from vimage.kernel import Kernel
from vimage.messages import Problem, VimageError
from vimage.model import Boot, Configuration, Vimage
from vimage.steps.bridges import bridge_key, interface_at
from vimage.steps.mounts import no_directory

#: The oldest kernel that vimage is tested on (kern.osreldate).
OLDEST = 1302000

#: Modules that are loaded when vimage first acts (later the securelevel may forbid it).
MODULES = ("ng_socket", "ng_ether", "ng_bridge", "ng_eiface")

#: Services that, in a root shared with the host, act on the host's own files.
HARMFUL_SHARED = {
    "syslogd": "it takes the host's log socket away",
    "cron": "it runs the host's jobs a second time",
    "devd": "it takes the host's device events socket away",
    "cleanvar": "it removes the host's /var/run",
    "newsyslog": "it rotates the host's logs",
    "hostid": "it writes the host's /etc/hostid",
    "sendmail": "it runs the host's mail queue",
    "vimage": "it would start vimage again",
}


def host(kernel: Kernel, *, privileged: bool) -> list[Problem]:
    """What keeps every vimage from starting on this host."""
    problems = []
    if not privileged:
        problems.append(Problem.of("not_root"))
    if _number(kernel, "security.jail.jailed"):
        problems.append(Problem.of("jailed"))
    release = _number(kernel, "kern.osreldate")
    if release < OLDEST:
        problems.append(Problem.of("too_old", release=release, oldest=OLDEST))
    if not _number(kernel, "kern.features.vimage"):
        problems.append(Problem.of("no_vimage"))
    return problems


#: Kernel memory of one vimage, bytes: an empty VNET and one interface (13.2, amd64, with
#: hash tables as the kernel sizes them on a host of 4 GiB).
MEMORY = 2 * 1024 * 1024

#: Bytes of a struct nodeinfo in the list of all nodes (NGM_LISTNODES), and a number of nodes
#: that a host has without vimages.
NODE, NODES_OF_HOST = 72, 100


def limits(kernel: Kernel, configuration: Configuration) -> Iterator[Problem]:
    """Warnings of what this host runs out of when all configured vimages run."""
    vimages = configuration.vimages.values()
    memory, have = len(vimages) * MEMORY, _number(kernel, "hw.physmem")
    if have and memory > have // 2:
        yield Problem.of("limit_memory", warning=True, count=len(vimages),
                         need=f"{memory >> 20} MB", have=f"{have >> 20} MB")
    nodes = sum(len(vimage.links) for vimage in vimages) + len(configuration.bridges) \
        + NODES_OF_HOST
    room = _number(kernel, "kern.ipc.maxsockbuf")
    if room and nodes * NODE > room * 9 // 10:
        yield Problem.of("limit_nodes", warning=True, count=nodes, have=room,
                         need=2 * nodes * NODE)
    programs = sum(bool(vimage.command) for vimage in vimages) + 4 * configuration.parallel
    most = _number(kernel, "kern.maxproc")
    if most and programs > most // 2:
        yield Problem.of("limit_processes", warning=True, count=programs, have=most)
    seconds = configuration.shutdown_timeout
    for vimage in vimages:
        if vimage.stop_timeout > seconds:
            yield _about(vimage, "stop_timeout", "limit_shutdown", warning=True,
                         value=f"{vimage.stop_timeout:g}", have=f"{seconds:g}")


def load_modules(kernel: Kernel) -> None:
    """Load what vimage needs.  Raises VimageError("module_missing")."""
    for module in MODULES:
        try:
            kernel.kld_load(module)
        except OSError as error:
            raise VimageError("module_missing", module=module,
                              why=os.strerror(error.errno or 0)) from error


def vimage(kernel: Kernel, vimage: Vimage, configuration: Configuration,
           shared: Iterable[str] = (), *, running: bool = False) -> list[Problem]:
    """All that would make the start of a vimage fail here, except a jail of the same name.

    ``shared`` are the keys of the shared things that exist.  Something missing that exec_prepare
    or exec_prestart may make is only a warning.  The interfaces of a vimage that is ``running``
    are not looked for.
    """
    try:
        return [
            *_root(kernel, vimage),
            *_interfaces(kernel, vimage, configuration, frozenset(shared), running=running),
            *([] if running else _nodes(kernel, vimage)),
            *_mounts_and_boot(kernel, vimage), *_resource_rules(kernel, vimage),
            *_doubts(kernel, vimage),
        ]
    except OSError as error:
        return [_look_failed(vimage, error)]


def _look_failed(vimage: Vimage, error: OSError) -> Problem:
    return Problem.of("look_failed", vimage=vimage.name, name=vimage.name,
                      why=error.strerror or error)


def jail(kernel: Kernel, vimage: Vimage) -> list[Problem]:
    """A problem if a jail of the same name exists, or if that cannot be known."""
    try:
        there = kernel.jail_get(vimage.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        return [_look_failed(vimage, error)]
    key = "jail_dying_still" if there.dying else "jail_taken"
    return [Problem.of(key, vimage=vimage.name, name=vimage.name, jid=there.jid)]


def _number(kernel: Kernel, name: str) -> int:
    try:
        value = kernel.sysctl(name)
    except FileNotFoundError:
        return 0
    return value if isinstance(value, int) else 0


def _prepares(vimage: Vimage, *moments: str) -> bool:
    return any(vimage.hooks.get(moment) for moment in moments)


def _root(kernel: Kernel, vimage: Vimage) -> Iterator[Problem]:
    try:
        mode = os.stat(kernel.path(vimage.rootdir)).st_mode
    except OSError as error:
        yield _about(vimage, "rootdir", "root_missing", value=vimage.rootdir, why=error.strerror,
                     warning=_prepares(vimage, "exec_prepare"))
        return
    if not stat.S_ISDIR(mode):
        yield _about(vimage, "rootdir", "root_missing", value=vimage.rootdir,
                     why="Not a directory")


def _about(vimage: Vimage, part: str, key: str, /, *, warning: bool = False,
           **fields: Any) -> Problem:
    """A problem with the value of a variable of this vimage."""
    return Problem.of(key, vimage=vimage.name, warning=warning,
                      variable=f"vimage_{names.variable(vimage.name)}_{part}", **fields)


def _interfaces(kernel: Kernel, vimage: Vimage, configuration: Configuration,
                shared: frozenset[str], *, running: bool) -> Iterator[Problem]:
    made_later = _prepares(vimage, "exec_prepare", "exec_prestart")
    parents = dict.fromkeys(link.parent for link in vimage.links if not link.host_only)
    for parent in parents:
        if bridge_key(parent) in shared:
            continue
        interface = interface_at(kernel, parent)
        if interface is None:
            yield _about(vimage, "bridges", "parent_missing", warning=made_later,
                         parent=parent, have=_have(kernel))
            continue
        if not interface.mac:
            yield _about(vimage, "bridges", "parent_not_ether_of", parent=parent)
    for name in () if running else vimage.vnets:
        if interface_at(kernel, name) is None:
            yield _about(vimage, "vnets", "vnet_missing", warning=made_later,
                         interface=name, have=_have(kernel))
    for link in vimage.links:
        bridge = configuration.bridges.get(link.parent)
        if bridge is not None and bridge_key(bridge.name) not in shared:
            yield from _taken(kernel, vimage, bridge.name, names.bridge_node(bridge.name))


def _have(kernel: Kernel) -> str:
    return " ".join(i.name for i in kernel.if_list() if i.mac) or "none"


def _taken(kernel: Kernel, vimage: Vimage, interface: str, node: str) -> Iterator[Problem]:
    if interface_at(kernel, interface) is not None:
        yield Problem.of("interface_taken", vimage=vimage.name, name=vimage.name,
                         interface=interface)
        return
    try:
        kernel.ng_node(f"{node}:")
    except FileNotFoundError:
        return
    yield Problem.of("node_taken", vimage=vimage.name, name=vimage.name, node=node)


def _nodes(kernel: Kernel, vimage: Vimage) -> Iterator[Problem]:
    for link in vimage.links:
        yield from _taken(kernel, vimage, link.name, link.name)


def _mounts_and_boot(kernel: Kernel, vimage: Vimage) -> Iterator[Problem]:
    """Directories and programs are not missed where something is mounted that may bring them."""
    brought = _prepares(vimage, "exec_prepare")
    try:
        brought = _mounts_given(kernel, vimage) or brought
    except VimageError as error:
        yield Problem(error.problem.key, error.problem.fields, vimage.name)
        brought = True
    yield from _mounts(kernel, vimage, brought=brought)
    yield from _boot(kernel, vimage, brought=brought)


def _mounts(kernel: Kernel, vimage: Vimage, *, brought: bool) -> Iterator[Problem]:
    if vimage.devfs_enable and not kernel.devfs_ruleset_rules(vimage.devfs_ruleset):
        yield _about(vimage, "devfs_ruleset", "ruleset_missing", value=vimage.devfs_ruleset)
    for wanted, path in ((vimage.devfs_enable, "/dev"), (vimage.procfs_enable, "/proc")):
        if wanted and not brought:
            yield from _mount_point(kernel, vimage, path)


def _mounts_given(kernel: Kernel, vimage: Vimage) -> bool:
    """Whether a line says that something is mounted.  Raises VimageError."""
    given = False
    if os.path.isdir(kernel.path(vimage.rootdir)):
        for step in plan.mounts(vimage):
            expanded = step.expanded(kernel)
            given = given or bool(expanded) and expanded != [step]
    return given


def _mount_point(kernel: Kernel, vimage: Vimage, path: str) -> Iterator[Problem]:
    try:
        os.close(kernel.open_directory(vimage.rootdir, path))
    except OSError as error:
        if os.path.isdir(kernel.path(vimage.rootdir)):
            yield Problem.of("mount_point_of", vimage=vimage.name, name=vimage.name,
                             directory=vimage.rootdir.rstrip("/") + path, why=no_directory(error))


def _boot(kernel: Kernel, vimage: Vimage, *, brought: bool) -> Iterator[Problem]:
    if vimage.rootdir == "/":
        for service in vimage.afterstart_services:
            if service in HARMFUL_SHARED:
                yield _about(vimage, "afterstart_services", "service_harmful",
                             service=service, why=HARMFUL_SHARED[service])
        if vimage.boot is Boot.FULL:
            yield _about(vimage, "boot", "boot_full_shared", warning=True)
        yield Problem.of("no_boundary", vimage=vimage.name, warning=True, name=vimage.name)
    elif vimage.exec_start and not brought and not _has_shell(kernel, vimage):
        yield _about(vimage, "boot", "no_shell", name=vimage.name, root=vimage.rootdir)


def _resource_rules(kernel: Kernel, vimage: Vimage) -> Iterator[Problem]:
    if vimage.rctl and not _number(kernel, "kern.racct.enable"):
        yield _about(vimage, "rctl", "no_racct", value=" ".join(vimage.rctl))


def _doubts(kernel: Kernel, vimage: Vimage) -> Iterator[Problem]:
    """What the rows of the table of variables have to say of the values on this host."""
    for row, part, owner in (
            *((row, row.part, vimage) for row in table.VIMAGE.values()),
            *((row, f"{row.part}{link.index}", link)
              for row in table.LINK.values() for link in vimage.links)):
        reason = row.doubt(kernel, owner) if row.doubt is not None else ""
        if reason:
            yield _about(vimage, part, "value_doubtful", warning=True,
                         value=row.shown(row.value(owner)), reason=reason)


def _has_shell(kernel: Kernel, vimage: Vimage) -> bool:
    """Whether /bin/sh is there, or may be by the time it is needed."""
    root = kernel.path(vimage.rootdir)
    return (os.path.lexists(os.path.join(root, "bin/sh")) or not os.path.isdir(root))
