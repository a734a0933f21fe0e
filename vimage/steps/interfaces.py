"""Steps that make interfaces, move them into the jail and give them addresses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from vimage.journal import BEGUN, Facts
from vimage.kernel import Iff, Interface, Kernel, NgNode
from vimage.messages import VimageError
from vimage.steps import Rank, Step
from vimage.steps.bridges import bridge_key, by_id, node_at
from vimage.steps.work import Work

#: MTU of a new eiface, bytes (ng_eiface(4), ETHERMTU).
EIFACE_MTU = 1500

#: Seconds that devd(8) may take to hear of an interface that came back.
DEVD_WITHIN = 5.0

#: Seconds that the kernel may take from forgetting a jail to having its interfaces back.
DESTROYED_WITHIN = 5.0

_FRESH = re.compile(r"ngeth\d+")


@dataclass(frozen=True)
class Eiface(Step):
    """``ngN_NAME``: an ng_eiface(4) on a link of a bridge.  Known by its node id.

    Before that is known, by the link of the bridge on which it was to be made.
    """

    kind: ClassVar[str] = "eiface"
    order: ClassVar[Rank] = Rank.EIFACE
    name: str
    parent: str
    host_only: bool
    mac: str | None  # None: the kernel's
    mac_of_parent: bool

    def describe(self) -> str:
        mac = f"the MAC of {self.parent}" if self.mac_of_parent else (
            f"MAC {self.mac}" if self.mac else "the kernel's MAC")
        return f"eiface {self.name} on the bridge of {self.parent}, {mac}"

    def describe_undo(self) -> str:
        return f"shut down node {self.name}; its interface goes with it"

    async def do(self, work: Work) -> None:
        kernel = work.kernel
        node = self._make(work)
        path = by_id(node.id)
        work.note(node=node.id, driver=node.name)
        try:
            kernel.ng_name(path, self.name)
            kernel.if_rename(node.name, self.name)
        except OSError as error:
            raise VimageError("name_taken", name=self.name) from error
        mac = kernel.if_get(self.parent).mac if self.mac_of_parent else self.mac
        if mac:
            kernel.ng_eiface_set_mac(path, mac)
        mtu = kernel.if_mtu(self.parent)
        if mtu != EIFACE_MTU:
            kernel.if_set_mtu(self.name, mtu)

    def foresee(self, work: Work) -> bool:
        key = bridge_key(self.parent)
        node = (work.shared(key) or {}).get("node")
        if node is None:
            return False
        work.foresee(bridge=node, bridge_key=key, link=work.tools.holders.next_link(key))
        return True

    def _make(self, work: Work) -> NgNode:
        if not work.intended:
            if not self.foresee(work):
                raise VimageError("bridge_gone", parent=self.parent)
            work.intend()
        bridge = by_id(work.facts["bridge"])
        while True:
            hook = f"link{work.facts['link']}"
            try:
                work.kernel.ng_mkpeer(bridge, "eiface", hook, "ether")
            except FileExistsError:  # jng's, say
                work.intend(link=work.tools.holders.next_link(bridge_key(self.parent)))
                continue
            return work.kernel.ng_node(bridge + hook)

    async def undo(self, work: Work) -> None:
        """Where somebody else removes the jail, the kernel moves its interfaces back to the
        host.  An interface whose node is shut down meanwhile it frees while it is in use (a
        panic on 13.2: ``if_detach`` does not find it, ``vnet_if_return`` has it).  So either the
        VNET is held, or the interface has to have come back.
        """
        node = self.find(work.kernel, work.facts)
        if node is None:
            return
        path = by_id(node.id)
        if not await work.holds():
            name = work.kernel.ng_eiface_ifname(path)
            if await _back_on_host(lambda: self._on_host(work, name), DESTROYED_WITHIN) is None:
                raise VimageError("interface_moving", name=self.name)
        await work.apart(work.kernel.ng_shutdown, path)

    @staticmethod
    def _on_host(work: Work, name: str) -> Interface | None:
        with contextlib.suppress(OSError):
            found = work.kernel.if_get(name)
            if found.driver == work.facts.get("driver", found.driver):
                return found
        return None

    def find(self, kernel: Kernel, facts: Facts) -> NgNode | None:
        """Our node, if it is there."""
        if "node" in facts:
            return node_at(kernel, by_id(facts["node"]), "eiface")
        node = node_at(kernel, f"{by_id(facts['bridge'])}link{facts['link']}", "eiface")
        if node is not None and (node.name == self.name or _FRESH.fullmatch(node.name)):
            return node
        return None


@dataclass(frozen=True)
class MoveIn(Step):
    """An eiface of ours into the jail's VNET.  It leaves with its node."""

    kind: ClassVar[str] = "move"
    order: ClassVar[Rank] = Rank.NOTHING
    name: str

    def describe(self) -> str:
        return f"move {self.name} into the jail"

    async def do(self, work: Work) -> None:
        await work.apart(work.kernel.if_vmove, self.name, work.jail)


@dataclass(frozen=True)
class Whole(Step):
    """A whole interface of the host, in and back out.  Known by driver name and unit."""

    kind: ClassVar[str] = "vnet"
    order: ClassVar[Rank] = Rank.VNETS
    name: str
    stop_timeout: float

    def describe(self) -> str:
        return f"move {self.name} into the jail"

    def describe_undo(self) -> str:
        return f"move {self.name} back to the host, service netif start {self.name}"

    async def do(self, work: Work) -> None:
        now = work.kernel.if_get(self.name)
        work.intend(driver=now.driver, mac=now.mac, mtu=now.mtu, flags=int(now.flags),
                    caps=int(work.kernel.if_caps(self.name)))
        await work.apart(work.kernel.if_vmove, self.name, work.jail)

    async def undo(self, work: Work) -> None:
        if "driver" not in work.facts:
            return
        kernel = work.kernel
        driver = work.facts["driver"]
        try:
            in_jail = await self._bring_back(work, driver)
            found = await _back_on_host(lambda: _by_driver(kernel.if_list(), driver),
                                        0.0 if in_jail else DESTROYED_WITHIN)
            if found is None:
                work.tools.log.warning("%s: %s (%s) has gone", work.name, self.name, driver)
                return
            untouched = (work.entry.state == BEGUN and found.name == self.name
                         and found.flags & Iff.UP == Iff(work.facts["flags"]) & Iff.UP)
            if found.name != self.name:
                _rename(kernel, found, self.name)
            self._restore(kernel, work.facts)
            if not untouched:
                await work.run_on_host(("/usr/sbin/service", "netif", "start", self.name),
                                       f"service netif start {self.name}", self.stop_timeout)
        finally:
            await self._consumed(work)

    def _marker(self, work: Work) -> str:
        return f"{work.tools.journal.directory}/returning/{self.name}"

    async def _consumed(self, work: Work) -> None:
        """Give devd(8) time to take the marker; then it must not stay: it would hide the
        next arrival of the interface."""
        marker, waited = self._marker(work), 0.0
        while os.path.exists(marker) and waited < DEVD_WITHIN and _devd_runs(work.kernel):
            await asyncio.sleep(0.05)
            waited += 0.05
        with contextlib.suppress(OSError):
            os.unlink(marker)

    async def _bring_back(self, work: Work, driver: str) -> bool:
        """Out of the jail, whatever its root has called it.  False: the jail has gone."""
        if not await work.holds():
            return False
        vnet = await work.visit(work.kernel.vnet, work.jail)
        try:
            inside = _by_driver(await work.visit(vnet.interfaces), driver)
            if inside is None:
                return True
            if inside.name != self.name:
                with contextlib.suppress(OSError):
                    vnet.rename(inside.name, self.name)
                    inside = _by_driver(vnet.interfaces(), driver) or inside
        finally:
            vnet.close()
        # devd(8) is to leave the configuring to us: its rule consumes this file.
        with contextlib.suppress(OSError), open(self._marker(work), "x", encoding="ascii"):
            pass
        try:
            await work.apart(work.kernel.if_reclaim, inside.name, work.jail)
        except OSError as error:
            raise VimageError("not_returned", interface=self.name, inside=inside.name,
                              why=error.strerror) from error
        return True

    def _restore(self, kernel: Kernel, facts: Facts) -> None:
        """MAC, MTU, capabilities and flags as they were."""
        now = kernel.if_get(self.name)
        if facts["mac"] and now.mac != facts["mac"]:
            kernel.if_set_mac(self.name, facts["mac"])
        if now.mtu != facts["mtu"]:
            kernel.if_set_mtu(self.name, facts["mtu"])
        caps = kernel.if_caps(self.name)
        if int(caps) != facts["caps"]:
            with contextlib.suppress(OSError):
                kernel.if_set_caps(self.name, type(caps)(facts["caps"]))
        wanted = Iff(facts["flags"]) & Iff.UP
        kernel.if_set_flags(self.name, on=wanted, off=Iff.UP.without(wanted))


def _devd_runs(kernel: Kernel) -> bool:
    try:
        with open(kernel.path("/var/run/devd.pid"), encoding="ascii") as file:
            kernel.process(int(file.read()))
    except (OSError, ValueError):
        return False
    return True


async def _back_on_host(find: Callable[[], Interface | None],
                        within: float) -> Interface | None:
    """An interface that the kernel brings back, looked for during ``within`` seconds."""
    waited = 0.0
    while (found := find()) is None and waited < within:
        await asyncio.sleep(0.05)
        waited += 0.05
    return found


def _by_driver(interfaces: list[Interface], driver: str) -> Interface | None:
    return next((i for i in interfaces if i.driver == driver), None)


def _rename(kernel: Kernel, interface: Interface, name: str) -> None:
    """Give an interface of the host its name back.

    Two interfaces of the host may have the same name by now, and SIOCSIFNAME takes the
    first: see which one it took, and put the other back.
    """
    try:
        kernel.if_rename(interface.name, name)
    except OSError as error:
        raise VimageError("not_renamed", interface=interface.name, name=name,
                          why=error.strerror) from error
    if kernel.if_get(name).driver != interface.driver:
        other = f"{name[:12]}_v"
        kernel.if_rename(name, other)
        kernel.if_rename(interface.name, name)
        kernel.if_rename(other, interface.name)


@dataclass(frozen=True)
class Addresses(Step):
    """Addresses and default routes that the host sets inside; lo0 comes up too.

    They go with the VNET.
    """

    kind: ClassVar[str] = "addresses"
    order: ClassVar[Rank] = Rank.NOTHING
    addresses: tuple[str, ...]  # "ng0_vj1 192.0.2.2/24"
    routers: tuple[str, ...]

    def describe(self) -> str:
        return "inside: lo0 up" + "".join(f", {pair}" for pair in self.addresses) + "".join(
            f", default route {router}" for router in self.routers)

    async def do(self, work: Work) -> None:
        vnet = await work.visit(work.kernel.vnet, work.jail)
        try:
            vnet.add_address("lo0", "127.0.0.1/8")
            vnet.set_up("lo0")
            for name in dict.fromkeys(pair.split()[0] for pair in self.addresses):
                vnet.set_up(name)
            for pair in self.addresses:
                name, address = pair.split()
                _set(f"{name} {address}", vnet.add_address, name, address)
            for router in self.routers:
                _set(f"default route {router}", vnet.add_default_route, router)
        finally:
            vnet.close()


@dataclass(frozen=True)
class Readdress(Step):
    """Other addresses on an interface that stays."""

    kind: ClassVar[str] = "readdress"
    order: ClassVar[Rank] = Rank.NOTHING
    name: str
    removed: tuple[str, ...]
    added: tuple[str, ...]

    def describe(self) -> str:
        return "inside: " + ", ".join((*(f"{self.name} without {a}" for a in self.removed),
                                       *(f"{self.name} {a}" for a in self.added)))

    async def do(self, work: Work) -> None:
        vnet = await work.visit(work.kernel.vnet, work.jail)
        try:
            vnet.set_up(self.name)
            for address in self.removed:
                with contextlib.suppress(OSError):  # somebody inside was faster
                    vnet.remove_address(self.name, address)
            for address in self.added:
                _set(f"{self.name} {address}", vnet.add_address, self.name, address)
        finally:
            vnet.close()


def _set(what: str, act: Callable[..., None], *arguments: str) -> None:
    try:
        act(*arguments)
    except OSError as error:
        raise VimageError("address_failed", what=what, why=error.strerror) from error
