"""The FreeBSD kernel, composed of the modules beside this one."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

from vimage.kernel import (
    NO_FLAGS,
    Cap,
    Events,
    Iff,
    Interface,
    JailInfo,
    JailId,
    MountInfo,
    NgHook,
    NgNode,
    ProcessId,
    Vnet,
)
from vimage.kernel.freebsd import jail as jails
from vimage.kernel.freebsd import kld, limits, mount, procs, sysctl
from vimage.kernel.freebsd import netgraph as ng
from vimage.kernel.freebsd import sockaddr
from vimage.kernel.freebsd.events import KernelEvents
from vimage.kernel.freebsd.helper import Helper
from vimage.kernel.freebsd.interface import Interfaces
from vimage.kernel.freebsd.libc import cut, libc
from vimage.kernel.freebsd.vnet import Descriptors, HostVnet, JailVnet


if TYPE_CHECKING:
    from vimage.kernel.freebsd.processes import HelperProcesses


class FreeBSD:
    """``vimage.kernel.Kernel`` on this host.

    Each thread that calls it gets a netgraph socket of its own.

    ``helper`` is the process that enters jails; share it with ``HelperProcesses``.
    Raises OSError ENOSYS where the kernel is not one that is served.
    """

    sleeps = True
    real_clock = True

    def __init__(self, helper: Helper | None = None) -> None:
        libc()
        self.helper = helper or Helper()
        self._local = threading.local()
        self._interfaces = Interfaces()
        #: The last answer of NGM_LISTNODES, and the ids in it.
        self._nodes: tuple[bytes, Set[int]] = b"", frozenset()

    def close(self) -> None:
        """Close the sockets and end the helper."""
        self._netgraph.close()
        self._interfaces.close()
        self.helper.close()

    @property
    def _netgraph(self) -> ng.Netgraph:
        try:
            found: ng.Netgraph = self._local.netgraph
        except AttributeError:
            found = self._local.netgraph = ng.Netgraph()
        return found

    def processes(self) -> HelperProcesses:
        """What starts commands, by the same helper."""
        from vimage.kernel.freebsd.processes import HelperProcesses
        return HelperProcesses(self.helper)

    def path(self, path: str) -> str:
        return path

    def sysctl(self, name: str) -> str | int:
        return sysctl.value(name)

    def boot_id(self) -> str:
        return kld.boot_id()

    def kld_load(self, module: str) -> None:
        kld.load(module)

    # -- netgraph(4) ---------------------------------------------------------------------

    def ng_node(self, path: str) -> NgNode:
        return ng.parse_node(self._netgraph.ask(path, ng.NODEINFO_))

    def ng_nodes(self) -> list[NgNode]:
        return ng.parse_nodes(self._netgraph.ask(".:", ng.LISTNODES_))

    def ng_hooks(self, path: str) -> list[NgHook]:
        return ng.parse_hooks(self._netgraph.ask(path, ng.LISTHOOKS_))

    def ng_mkpeer(self, path: str, kind: str, hook: str, peer_hook: str) -> None:
        self._netgraph.send(path, ng.MKPEER_, type=kind, ourhook=hook, peerhook=peer_hook)

    def ng_name(self, path: str, name: str) -> None:
        self._netgraph.send(path, ng.NAME_, name=name)

    def ng_connect(self, path: str, hook: str, peer: str, peer_hook: str) -> None:
        self._netgraph.send(path, ng.CONNECT_, path=peer, ourhook=hook, peerhook=peer_hook)

    def ng_rmhook(self, path: str, hook: str) -> None:
        self._netgraph.send(path, ng.RMHOOK_, ourhook=hook)

    def ng_shutdown(self, path: str) -> None:
        self._netgraph.send(path, ng.SHUTDOWN_)

    def ng_eiface_ifname(self, path: str) -> str:
        return cut(bytes(self._netgraph.ask(path, ng.EIFACE_GET_IFNAME)))

    def ng_eiface_set_mac(self, path: str, mac: str) -> None:
        self._netgraph.send(path, ng.EIFACE_SET, mac=sockaddr.mac_bytes(mac))

    def ng_ether_get(self, path: str) -> tuple[bool, bool]:
        promisc = ng.FLAG.unpack(self._netgraph.ask(path, ng.ETHER_GET_PROMISC))[0]
        autosrc = ng.FLAG.unpack(self._netgraph.ask(path, ng.ETHER_GET_AUTOSRC))[0]
        return bool(promisc), bool(autosrc)

    def ng_ether_set(self, path: str, *, promisc: bool | None = None,
                     autosrc: bool | None = None) -> None:
        if promisc is not None:
            self._netgraph.send(path, ng.ETHER_SET_PROMISC, flag=int(promisc))
        if autosrc is not None:
            self._netgraph.send(path, ng.ETHER_SET_AUTOSRC, flag=int(autosrc))

    # -- interfaces ----------------------------------------------------------------------

    def if_get(self, name: str) -> Interface:
        return self._interfaces.get(name)

    def if_list(self) -> list[Interface]:
        return self._interfaces.all()

    def if_users(self, name: str) -> list[str]:
        return self._interfaces.users(name)

    def if_rename(self, name: str, new: str) -> None:
        self._interfaces.rename(name, new)

    def if_set_flags(self, name: str, *, on: Iff = NO_FLAGS, off: Iff = NO_FLAGS) -> None:
        self._interfaces.set_flags(name, on, off)

    def if_mtu(self, name: str) -> int:
        return self._interfaces.mtu(name)

    def if_set_mtu(self, name: str, mtu: int) -> None:
        self._interfaces.set_mtu(name, mtu)

    def if_set_mac(self, name: str, mac: str) -> None:
        self._interfaces.set_mac(name, mac)

    def if_caps(self, name: str) -> Cap:
        return self._interfaces.caps(name)

    def if_set_caps(self, name: str, caps: Cap) -> None:
        self._interfaces.set_caps(name, caps)

    def if_vmove(self, name: str, jail: JailId) -> None:
        self._interfaces.vmove(name, JailId(jail))

    def if_reclaim(self, name: str, jail: JailId) -> None:
        self._interfaces.reclaim(name, JailId(jail))

    def host_vnet(self) -> Vnet:
        return HostVnet()

    def vnet(self, jail: JailId) -> Vnet:
        return JailVnet(self.helper, JailId(jail))

    # -- jails -----------------------------------------------------------------------------

    def jail_create(self, parameters: Mapping[str, str | int | bool | None]) -> JailId:
        return jails.create(parameters)

    def jail_update(self, jail: JailId,
                    parameters: Mapping[str, str | int | bool | None]) -> None:
        jails.update(JailId(jail), parameters)

    def jail_get(self, jail: JailId | str) -> JailInfo:
        return jails.get(jail if isinstance(jail, str) else JailId(jail))

    def jail_list(self) -> Set[int]:
        return jails.living()

    def jail_remove(self, jail: JailId) -> None:
        jails.remove(JailId(jail))

    def jail_clear(self, jail: JailId, signal: int) -> Descriptors | None:
        _, fds = self.helper.enter(JailId(jail), "clear", int(signal))
        return Descriptors(fds) if fds else None

    def jail_cpus(self, jail: JailId, cpus: frozenset[int]) -> None:
        limits.cpus(JailId(jail), cpus)

    def rctl_add(self, rule: str) -> None:
        limits.add(rule)

    def rctl_remove(self, pattern: str) -> None:
        limits.remove(pattern)

    # -- mounts ------------------------------------------------------------------------------

    def open_directory(self, root: str, path: str) -> int:
        return mount.open_directory(root, path)

    def mount(self, fstype: str, directory: int, options: Mapping[str, str | None]) -> str:
        return mount.mount(fstype, directory, options)

    def unmount(self, fsid: str, *, force: bool = False) -> None:
        mount.unmount(fsid, force)

    def filesystem_of(self, directory: int) -> MountInfo:
        return mount.filesystem_of(directory)

    def mounts(self) -> list[MountInfo]:
        return mount.mounts()

    def devfs_ruleset_rules(self, ruleset: int) -> int:
        return mount.devfs_rules(ruleset)

    # -- noticing --------------------------------------------------------------------------

    def events(self) -> Events:
        return KernelEvents()

    def ng_ids(self) -> Set[int]:
        said = bytes(self._netgraph.ask(".:", ng.LISTNODES_))
        if said != self._nodes[0]:  # it is asked for again and again
            self._nodes = said, ng.parse_ids(said)
        return self._nodes[1]

    def peer(self, socket: int) -> tuple[int, JailId | None]:
        return procs.peer(socket)

    # -- processes ---------------------------------------------------------------------------

    def process(self, pid: int) -> ProcessId:
        found = procs.info(pid)
        return ProcessId(found.pid, found.start)

    def process_signal(self, process: ProcessId, signal: int) -> None:
        procs.signal(process.pid, process.start, signal)

    def jail_of(self, pid: int) -> JailId | None:
        return procs.info(pid).jail
