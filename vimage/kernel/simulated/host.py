"""The simulated kernel: the operations of the contract, each one locked and lasting."""

from __future__ import annotations

import errno
import os
import signal as signals
from collections.abc import Callable, Mapping, Set
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from vimage.kernel import (
    NO_FLAGS, Cap, Iff, Interface, JailInfo, JailId, MountInfo, NgHook, NgNode, ProcessId,
)
from vimage.kernel.simulated import (
    addresses, descriptors, graph, interfaces, jails, limits, machine, mounts, netgraph,
)
from vimage.kernel.simulated.errors import fail, fail_in_words
from vimage.kernel.simulated.events import SimulatedEvents
from vimage.kernel.simulated.furnish import INTERFACES, furnish
from vimage.kernel.simulated.paths import Paths
from vimage.kernel.simulated.records import Iface, Node, Task
from vimage.kernel.simulated.state import State

P = ParamSpec("P")
R = TypeVar("R")



def operation(method: Callable[Concatenate[SimulatedKernel, P], R]
              ) -> Callable[Concatenate[SimulatedKernel, P], R]:
    """One entry into the kernel: alone, up to date, and remembered."""
    @wraps(method)
    def entered(self: SimulatedKernel, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.state.operation():
            self.reap()
            return method(self, *args, **kwargs)
    return entered


class SimulatedKernel:
    """A FreeBSD host that lives in a directory (see ``vimage.kernel.Kernel``).

    With ``threads`` the calls that sleep on a real host are to be made in threads, as there;
    in virtual time the clock stands still for them (``virtual_time``).  Without, they are made
    in place.  Tests of the engine and of the service run both ways.
    """

    real_clock = False

    def __init__(self, directory: str | os.PathLike[str], *, threads: bool = False) -> None:
        self.sleeps = threads
        self.directory = os.fspath(directory)
        if not os.path.isdir(os.path.join(self.directory, "root")):
            raise FileNotFoundError(errno.ENOENT, "no simulated host here", self.directory)
        self.paths = Paths(os.path.join(self.directory, "root"))
        self.state = State(self.directory)
        self._owner = machine.owner()
        self._socket_node = 0
        self._opened = descriptors.Opened()

    @classmethod
    def create(cls, directory: str | os.PathLike[str],
               interfaces: Mapping[str, str] = INTERFACES, *, threads: bool = False,
               ) -> SimulatedKernel:
        """A fresh host, just booted: ``interfaces`` gives each its first address or ""."""
        os.makedirs(os.path.join(directory, "root"), exist_ok=True)
        kernel = cls(directory, threads=threads)
        with kernel.state.operation():
            furnish(kernel.state, kernel.paths, interfaces)
        return kernel

    @classmethod
    def open(cls, directory: str | os.PathLike[str], *, threads: bool = False,
             ) -> SimulatedKernel:
        """The host in ``directory``, made when there is none."""
        if os.path.isdir(os.path.join(directory, "root")):
            return cls(directory, threads=threads)
        return cls.create(directory, threads=threads)

    def close(self) -> None:
        """What the end of this process would do: its sockets are closed."""
        if self.state.closed:
            return
        with self.state.operation():
            for thing, owner in list(self.state.owned.items()):
                if owner == self._owner:
                    self._let_go(*thing)
        self.state.close()

    def reap(self) -> None:
        """Close the sockets of processes that have ended."""
        for thing in jails.owned_by_the_dead(self.state, self._owner):
            self._let_go(*thing)

    def _let_go(self, table: str, key: int | str) -> None:
        if table == "socket":
            jails.close_socket(self.state, int(key))
            return
        node = self.state.node(int(key))
        if node is not None:
            netgraph.shutdown(self.state, node, really=True)

    def path(self, path: str) -> str:
        return self.paths.real(path)

    # -- the host ------------------------------------------------------------------

    @operation
    def sysctl(self, name: str) -> str | int:
        found = self.state.sysctl(name)
        if found is None or name.startswith("kenv."):
            fail(errno.ENOENT, name)
        return found.value

    @operation
    def boot_id(self) -> str:
        found = self.state.sysctl("kenv.vimage.boot")
        assert found is not None
        return str(found.value)

    @operation
    def kld_load(self, module: str) -> None:
        interfaces.require_module(self.state, module)

    # -- netgraph ------------------------------------------------------------------

    def _node(self, path: str) -> Node:
        if self._socket_node == 0 or self.state.node(self._socket_node) is None:
            self._socket_node = netgraph.make_socket_node(self.state, self._owner).id
        return graph.find(self.state, path, self._socket_node)

    @operation
    def ng_node(self, path: str) -> NgNode:
        return graph.describe(self.state, self._node(path))

    @operation
    def ng_nodes(self) -> list[NgNode]:
        return [graph.describe(self.state, node) for node in self.state.nodes()]

    @operation
    def ng_hooks(self, path: str) -> list[NgHook]:
        return graph.describe_hooks(self.state, self._node(path))

    @operation
    def ng_mkpeer(self, path: str, kind: str, hook: str, peer_hook: str) -> None:
        netgraph.load_type(self.state, kind)
        netgraph.mkpeer(self.state, self._node(path), kind, hook, peer_hook)

    @operation
    def ng_name(self, path: str, name: str) -> None:
        graph.name_node(self.state, self._node(path), name)

    @operation
    def ng_connect(self, path: str, hook: str, peer: str, peer_hook: str) -> None:
        netgraph.connect(self.state, self._node(path), hook, self._node(peer), peer_hook)

    @operation
    def ng_rmhook(self, path: str, hook: str) -> None:
        graph.destroy_hook(self.state, self._node(path).id, hook)

    @operation
    def ng_shutdown(self, path: str) -> None:
        netgraph.shutdown(self.state, self._node(path))

    @operation
    def ng_eiface_ifname(self, path: str) -> str:
        return netgraph.eiface_of(self.state, self._node(path)).name

    @operation
    def ng_eiface_set_mac(self, path: str, mac: str) -> None:
        iface = netgraph.eiface_of(self.state, self._node(path))
        interfaces.set_mac(self.state, iface, mac)

    @operation
    def ng_ether_get(self, path: str) -> tuple[bool, bool]:
        node = netgraph.ether(self._node(path))
        return node.promisc, node.autosrc

    @operation
    def ng_ether_set(self, path: str, *, promisc: bool | None = None,
                     autosrc: bool | None = None) -> None:
        netgraph.set_ether(self.state, netgraph.ether(self._node(path)), promisc, autosrc)

    # -- interfaces of the host ----------------------------------------------------

    def _iface(self, name: str) -> Iface:
        return interfaces.find(self.state, 0, name)

    @operation
    def if_get(self, name: str) -> Interface:
        return interfaces.describe(self._iface(name))

    @operation
    def if_list(self) -> list[Interface]:
        return interfaces.listed(self.state, 0)

    @operation
    def if_users(self, name: str) -> list[str]:
        return interfaces.users(self._iface(name))

    @operation
    def if_rename(self, name: str, new: str) -> None:
        interfaces.rename(self.state, 0, name, new)

    @operation
    def if_set_flags(self, name: str, *, on: Iff = NO_FLAGS, off: Iff = NO_FLAGS) -> None:
        interfaces.set_flags(self.state, self._iface(name), on, off)

    @operation
    def if_mtu(self, name: str) -> int:
        return self._iface(name).mtu

    @operation
    def if_set_mtu(self, name: str, mtu: int) -> None:
        interfaces.set_mtu(self.state, self._iface(name), mtu)

    @operation
    def if_set_mac(self, name: str, mac: str) -> None:
        interfaces.set_mac(self.state, self._iface(name), mac)

    @operation
    def if_caps(self, name: str) -> Cap:
        return Cap(self._iface(name).caps)

    @operation
    def if_set_caps(self, name: str, caps: Cap) -> None:
        interfaces.set_caps(self.state, self._iface(name), caps)

    @operation
    def if_vmove(self, name: str, jail: JailId) -> None:
        jail, iface = JailId(jail), self._iface(name)
        prison = jails.require_vnet(self.state, jail)
        if prison.vnet == 0 or self.state.iface_named.get((prison.vnet, name)):
            fail(errno.EEXIST, name)
        interfaces.move(self.state, iface, prison.vnet)

    @operation
    def if_reclaim(self, name: str, jail: JailId) -> None:
        jail = JailId(jail)
        if self.state.iface_named.get((0, name)):
            fail(errno.EEXIST, name)
        prison = jails.require_vnet(self.state, jail)
        iface = interfaces.find(self.state, prison.vnet, name)
        interfaces.move(self.state, iface, 0)

    @operation
    def host_vnet(self) -> SimulatedVnet:
        return SimulatedVnet(self, 0, self.state.next("socket"))

    @operation
    def vnet(self, jail: JailId) -> SimulatedVnet:
        prison = jails.living(self.state, JailId(jail))
        socket = jails.open_socket(self.state, prison, self._owner)
        return SimulatedVnet(self, prison.vnet, socket.id)

    # -- jails ---------------------------------------------------------------------

    @operation
    def jail_create(self, parameters: Mapping[str, str | int | bool | None]) -> JailId:
        return jails.create(self.state, self.paths, parameters)

    @operation
    def jail_update(self, jail: JailId,
                    parameters: Mapping[str, str | int | bool | None]) -> None:
        jails.update(self.state, JailId(jail), parameters)

    @operation
    def jail_get(self, jail: JailId | str) -> JailInfo:
        return jails.describe(jails.find(
            self.state, jail if isinstance(jail, str) else JailId(jail)))

    @operation
    def jail_list(self) -> Set[int]:
        return {jail.jid for jail in self.state.jails() if not jail.dying}

    @operation
    def jail_remove(self, jail: JailId) -> None:
        jails.remove(self.state, JailId(jail))

    @operation
    def jail_clear(self, jail: JailId, signal: int) -> SimulatedVnet | None:
        if jails.kill(self.state, JailId(jail), signal):
            return None
        jails.tcp_drop(self.state, jail)
        return self.vnet(jail)

    @operation
    def jail_cpus(self, jail: JailId, cpus: frozenset[int]) -> None:
        limits.set_cpus(self.state, JailId(jail), cpus)

    @operation
    def rctl_add(self, rule: str) -> None:
        limits.add(self.state, rule)

    @operation
    def rctl_remove(self, pattern: str) -> None:
        limits.remove(self.state, pattern)

    # -- mounts --------------------------------------------------------------------

    @operation
    def open_directory(self, root: str, path: str) -> int:
        descriptor = descriptors.open_below(self.paths.real(root), path)
        return self._opened.note(descriptor, mounts.on(self.state, self._directory(descriptor)))

    def _directory(self, descriptor: int) -> str:
        return self.paths.inside(descriptors.name_of(descriptor))

    @operation
    def mount(self, fstype: str, directory: int, options: Mapping[str, str | None]) -> str:
        try:
            where = self._directory(directory)
        except FileNotFoundError:
            fail_in_words(errno.EINVAL, mounts.MISSING)
        mounted = mounts.mount(self.state, self.paths, fstype, where, options)
        return mounts.describe(mounted).fsid

    @operation
    def unmount(self, fsid: str, *, force: bool = False) -> None:
        mounts.unmount(self.state, fsid, force)

    @operation
    def filesystem_of(self, directory: int) -> MountInfo:
        number = self._opened.filesystem(directory)
        mounted = (self.state.mounted(number) if number else None) or mounts.on(
            self.state, self._directory(directory))
        assert mounted is not None
        return mounts.describe(mounted)

    @operation
    def mounts(self) -> list[MountInfo]:
        return [mounts.describe(mounted) for mounted in self.state.mounts()]

    @operation
    def devfs_ruleset_rules(self, ruleset: int) -> int:
        found = self.state.ruleset(ruleset)
        return found.rules if found else 0

    # -- noticing ------------------------------------------------------------------

    @operation
    def events(self) -> SimulatedEvents:
        return SimulatedEvents(self.state)

    @operation
    def ng_ids(self) -> Set[int]:
        return {node.id for node in self.state.nodes()}

    @operation
    def peer(self, socket: int) -> tuple[int, JailId | None]:
        pid, uid = machine.peer(socket)
        if not machine.start_of(pid):
            fail(errno.ESRCH, str(pid))
        return uid, jails.of_real_process(self.state, pid)

    # -- processes -----------------------------------------------------------------

    @operation
    def process(self, pid: int) -> ProcessId:
        task = self.state.task(pid)
        start = task.start if task else machine.start_of(pid)
        if not start:
            fail(errno.ESRCH, str(pid))
        return ProcessId(pid, start)

    @operation
    def process_signal(self, process: ProcessId, signal: int) -> None:
        task = self.state.task(process.pid)
        if task is None or task.start != process.start:
            fail(errno.ESRCH, str(process.pid))
        if signal and (signal == signals.SIGKILL or signal not in task.ignores):
            self.state.end_task(task, 128 + signal)
            jails.last_task_gone(self.state, task.jid)

    def new_task(self, jid: int, argv: tuple[str, ...], service: str = "") -> Task:
        """fork(2) and execve(2) as the kernel sees them."""
        with self.state.operation():
            pid = self.state.next("pid")
            number = self.state.next("start")
            task = Task(pid, f"{number // 1000}.{number % 1000:03d}000", jid, argv, service)
            self.state.put(task)
            return task

    @operation
    def jail_of(self, pid: int) -> JailId | None:
        task = self.state.task(pid)
        if task is None and not machine.start_of(pid):
            fail(errno.ESRCH, str(pid))
        if task is None:
            return jails.of_real_process(self.state, pid)
        return JailId(task.jid) if task.jid else None


class SimulatedVnet:
    """Sockets in one VNET (see ``vimage.kernel.Vnet``)."""

    def __init__(self, kernel: SimulatedKernel, vnet: int, socket: int) -> None:
        self._kernel = kernel
        self._vnet = vnet
        self._socket = socket

    @property
    def _state(self) -> State:
        if self._socket == 0:
            fail(errno.EBADF)
        return self._kernel.state

    def interfaces(self) -> list[Interface]:
        with self._state.operation():
            return interfaces.listed(self._state, self._vnet)

    def set_up(self, name: str) -> None:
        with self._state.operation():
            iface = interfaces.find(self._state, self._vnet, name)
            interfaces.set_flags(self._state, iface, Iff.UP, 0)

    def add_address(self, name: str, address: str) -> None:
        with self._state.operation():
            addresses.add(self._state, self._vnet, name, address)

    def remove_address(self, name: str, address: str) -> None:
        with self._state.operation():
            addresses.remove(self._state, self._vnet, name, address)

    def add_default_route(self, gateway: str) -> None:
        with self._state.operation():
            addresses.add_default_route(self._state, self._vnet, gateway)

    def rename(self, name: str, new: str) -> None:
        with self._state.operation():
            interfaces.rename(self._state, self._vnet, name, new)

    def set_mtu(self, name: str, mtu: int) -> None:
        with self._state.operation():
            interfaces.set_mtu(self._state, interfaces.find(self._state, self._vnet, name), mtu)

    def close(self) -> None:
        if self._socket == 0:
            return
        with self._state.operation():
            jails.close_socket(self._state, self._socket)
        self._socket = 0


