"""What others than vimage do to a simulated host: for tests and for the demonstration."""

from __future__ import annotations

import os
import shutil
import signal as signals
from dataclasses import replace

from vimage.kernel import JailId
from vimage.kernel.simulated import addresses, furnish, graph, interfaces, jails, mounts, netgraph
from vimage.kernel.simulated.host import SimulatedKernel
from vimage.kernel.simulated.records import Ruleset, Sysctl


class HostControl:
    """What an administrator, the root of a jail or a broken cable does behind the back of
    the service."""

    def __init__(self, kernel: SimulatedKernel) -> None:
        self.kernel = kernel
        self.state = kernel.state

    def hold_tcp(self, jid: int, connections: int = 1) -> None:
        """A peer of the jail holds TCP connections open."""
        with self.state.operation():
            jail = jails.find(self.state, jid)
            self.state.put(replace(jail, tcp=jail.tcp + connections))

    def give_up_tcp(self, jid: int) -> None:
        """The peer is gone and the connections have timed out."""
        with self.state.operation():
            jails.tcp_gone(self.state, jails.find(self.state, jid))

    def rename_inside(self, jid: int, name: str, new: str) -> None:
        """The jail's root renames an interface."""
        with self.state.operation():
            interfaces.rename(self.state, jails.find(self.state, jid).vnet, name, new)

    def address_inside(self, jid: int, name: str, address: str) -> None:
        """The jail's root sets an address."""
        with self.state.operation():
            addresses.add(self.state, jails.find(self.state, jid).vnet, name, address)

    def addresses_inside(self, jid: int) -> dict[str, tuple[str, ...]]:
        """``ifconfig`` in the jail: every interface and its addresses."""
        with self.state.operation():
            vnet = jails.find(self.state, jid).vnet if jid else 0
            return {iface.name: iface.addresses
                    for iface in self.state.ifaces_in.get(vnet, {}).values()}

    def default_route(self, jid: int, family: int = 4) -> str:
        """The default gateway of a jail, "" when it has none."""
        with self.state.operation():
            vnet = jails.find(self.state, jid).vnet if jid else 0
            return next(iter(self.state.routes(vnet, family)), "")

    def address(self, name: str, address: str) -> None:
        """Somebody sets an address on an interface of the host."""
        with self.state.operation():
            addresses.add(self.state, 0, name, address)

    def use(self, name: str, *users: str) -> None:
        """Something is put on top of an interface of the host ("vlan em0.100")."""
        with self.state.operation():
            self.state.retag(interfaces.find(self.state, 0, name), users=users)

    def attach(self, name: str, mac: str) -> None:
        """A card is plugged in."""
        with self.state.operation():
            interfaces.attach(self.state, name, "ether", mac=mac,
                              flags=int(interfaces.ETHERNET))

    def detach(self, driver: str) -> None:
        """A card is pulled out, wherever its interface is by now."""
        with self.state.operation():
            for iface in self.state.ifaces():
                if iface.driver == driver:
                    interfaces.detach(self.state, iface)

    def remove_jail(self, jid: int) -> None:
        """``jail -r`` behind the service's back."""
        with self.state.operation():
            jails.remove(self.state, jid)

    def end_process(self, pid: int, signal: int = signals.SIGKILL) -> None:
        """A process dies of a signal."""
        with self.state.operation():
            task = self.state.task(pid)
            if task is not None:
                self.state.end_task(task, 128 + signal)
                jails.last_task_gone(self.state, task.jid)

    def processes(self) -> list[tuple[int, int, str]]:
        """``ps axopid,jid,command``."""
        with self.state.operation():
            return [(task.pid, task.jid, " ".join(task.argv)) for task in self.state.tasks()]

    def rules(self) -> list[str]:
        """The resource rules, as rctl(8) lists them."""
        with self.state.operation():
            return [rule.text for rule in self.state.rules()]

    def hold_mount(self, fsid: str, busy: bool = True) -> None:
        """Something keeps a file open there (or no longer does)."""
        with self.state.operation():
            mounts.hold(self.state, fsid, busy)

    def replace_by_link(self, path: str, target: str) -> None:
        """A directory of the host gives way to a symbolic link."""
        real = self.kernel.path(path)
        if os.path.isdir(real) and not os.path.islink(real):
            shutil.rmtree(real)
        else:
            os.unlink(real)
        os.symlink(target, real)

    def set_sysctl(self, name: str, value: str | int) -> None:
        """sysctl(8), also for what only another kernel would say."""
        with self.state.operation():
            self.state.put(Sysctl(name, value))

    def load_ruleset(self, number: int, rules: int) -> None:
        """devfs(8) loads a ruleset (0 rules: empties it)."""
        with self.state.operation():
            self.state.put(Ruleset(number, rules))

    def without_module(self, module: str) -> None:
        """A kernel for which a module was not built."""
        with self.state.operation():
            known = self.state.sysctl("kenv.modules")
            names = str(known.value).split() if known else []
            self.state.put(Sysctl("kenv.modules", " ".join(
                name for name in names if name != module)))

    def put_in_jail(self, pid: int, jail: JailId) -> None:
        """A real process of this machine counts as one of a jail."""
        self.set_sysctl(f"kenv.jail.{pid}", JailId(jail))

    def shut_down_node(self, path: str) -> None:
        """``ngctl shutdown``."""
        with self.state.operation():
            netgraph.shutdown(self.state, graph.find(self.state, path, 0))

    def reboot(self) -> None:
        """Power off and on: the kernel remembers nothing, /var/run is emptied, files stay."""
        with self.state.operation():
            for task in self.state.tasks():
                self.state.end_task(task, 128 + signals.SIGKILL)
            uuid, cards = self.state.sysctl("kern.hostuuid"), self.state.sysctl("kenv.cards")
            assert uuid is not None and cards is not None
            pairs = (card.partition("=") for card in str(cards.value).split())
            furnish.boot(self.state, {name: address for name, _, address in pairs},
                         str(uuid.value))
        run = self.kernel.path("/var/run")
        shutil.rmtree(run)
        os.mkdir(run)
