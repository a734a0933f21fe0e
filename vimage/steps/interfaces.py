"""Steps that make interfaces, move them into the jail and give them addresses."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from vimage.journal import BEGUN, JsonObject
from vimage.kernel import Cap, Iff, Interface, Kernel, NgNode, Vnet
from vimage.messages import VimageError
from vimage.model import EIFACE_MTU, Link, MacFrom
from vimage.steps.bridges import bridge_key, by_id, interface_at, node_at
from vimage.steps.context import StepContext
from vimage.steps.jails import jail_lives
from vimage.steps.step import Rank, Step

#: Seconds that devd(8) may take to hear of an interface that came back.
DEVD_WITHIN = 5.0

#: Seconds that the kernel may take from forgetting a jail to having its interfaces back.
DESTROYED_WITHIN = 5.0

#: The name of an eiface node or interface that has not got its own yet.
_FRESH = re.compile(r"ngeth\d+")

#: What says that an interface, or an address of it, is not there (if_ioctl, in_control).
_ABSENT = frozenset({errno.ENXIO, errno.EADDRNOTAVAIL})


@dataclass(frozen=True)
class EifaceStep(Step):
    """``ngN_NAME``: an ng_eiface(4) on a link of a bridge.  Known by its node id.

    Before that is known, by the link of the bridge on which it was to be made.
    """

    kind: ClassVar[str] = "eiface"
    order: ClassVar[Rank] = Rank.EIFACE
    live: ClassVar[bool] = True
    name: str
    parent: str
    host_only: bool
    mac: str | None  # None: the kernel's
    mac_of_parent: bool
    mtu: int | None = None  # None: that of the parent

    @classmethod
    def of(cls, link: Link) -> Self:
        """The step of a link as configured."""
        return cls(link.name, link.parent, link.host_only, link.mac,
                   link.mac_from is MacFrom.PARENT, link.mtu)

    @property
    def identity(self) -> tuple[str, ...]:
        return self.kind, self.name

    @property
    def makes(self) -> str:
        return self.name

    @property
    def interfaces(self) -> tuple[str, ...]:
        return (self.name,)

    def describe(self) -> str:
        mac = f"the MAC of {self.parent}" if self.mac_of_parent else (
            f"MAC {self.mac}" if self.mac else "the kernel's MAC")
        mtu = "" if self.mtu is None else f", MTU {self.mtu}"
        return f"eiface {self.name} on the bridge of {self.parent}, {mac}{mtu}"

    def describe_undo(self) -> str:
        return f"shut down node {self.name}; its interface goes with it"

    def nodes(self, results: Mapping[str, Any]) -> Mapping[int, str]:
        return {results["node"]: self.name} if "node" in results else {}

    async def do(self, context: StepContext) -> None:
        kernel = context.kernel
        node = self._make(context)
        path = by_id(node.id)
        context.note(node=node.id, driver=node.name)
        try:
            kernel.ng_name(path, self.name)
            kernel.if_rename(node.name, self.name)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EEXIST):
                raise
            raise VimageError("name_taken", name=self.name) from error
        mac = kernel.if_get(self.parent).mac if self.mac_of_parent else self.mac
        if mac:
            kernel.ng_eiface_set_mac(path, mac)
        mtu = self._mtu(kernel)
        if mtu != EIFACE_MTU:
            kernel.if_set_mtu(self.name, mtu)

    def _mtu(self, kernel: Kernel) -> int:
        return kernel.if_mtu(self.parent) if self.mtu is None else self.mtu

    def can_amend(self, before: Step) -> bool:
        """A new MTU does not need a new interface."""
        return isinstance(before, EifaceStep) and replace(before, mtu=self.mtu) == self

    async def amend(self, context: StepContext, before: Self) -> None:
        """Set the MTU, whatever name the jail's root has given the interface."""
        vnet = await context.entering(context.kernel.vnet, context.jail)
        try:
            inside = _by_driver(await context.entering(vnet.interfaces),
                                context.results["driver"])
            if inside is None:
                raise OSError(errno.ENXIO, f"{self.name} is not in the jail")
            vnet.set_mtu(inside.name, self._mtu(context.kernel))
        finally:
            vnet.close()

    def record_ahead(self, context: StepContext) -> bool:
        key = bridge_key(self.parent)
        node = (context.shared(key) or {}).get("node")
        if node is None:
            return False
        context.record_ahead(bridge=node, bridge_key=key,
                             link=context.host.references.next_link(key))
        return True

    def _make(self, context: StepContext) -> NgNode:
        if not context.recorded:
            if not self.record_ahead(context):
                raise VimageError("bridge_gone", parent=self.parent)
            context.record_intent()
        bridge = by_id(context.results["bridge"])
        while True:
            hook = f"link{context.results['link']}"
            try:
                context.kernel.ng_mkpeer(bridge, "eiface", hook, "ether")
            except FileExistsError:  # jng's, say
                context.record_intent(
                    link=context.host.references.next_link(bridge_key(self.parent)))
                continue
            return context.kernel.ng_node(bridge + hook)

    async def undo(self, context: StepContext) -> None:
        """Where somebody else removes the jail, the kernel moves its interfaces back to the
        host.  An interface whose node is shut down meanwhile it frees while it is in use (a
        panic on 13.2: ``if_detach`` does not find it, ``vnet_if_return`` has it).  So either the
        VNET is held, or the interface has to have come back.
        """
        node = self.find(context.kernel, context.results)
        if node is None:
            return
        path = by_id(node.id)
        if not await context.holds_vnet():
            name = context.kernel.ng_eiface_ifname(path)
            if await _back_on_host(lambda: self._on_host(context, name), DESTROYED_WITHIN) is None:
                raise VimageError("interface_moving", name=self.name)
        with contextlib.suppress(FileNotFoundError):  # somebody else was faster
            await context.sleeping(context.kernel.ng_shutdown, path)

    @staticmethod
    def _on_host(context: StepContext, name: str) -> Interface | None:
        found = interface_at(context.kernel, name)
        if found is not None and found.driver == context.results.get("driver", found.driver):
            return found
        return None

    def find(self, kernel: Kernel, results: JsonObject) -> NgNode | None:
        """Our node, None when it does not exist.  Raises OSError when that cannot be known."""
        if "node" in results:
            return node_at(kernel, by_id(results["node"]), "eiface")
        if "bridge" not in results:
            return None
        node = node_at(kernel, f"{by_id(results['bridge'])}link{results['link']}", "eiface")
        if node is not None and (node.name == self.name or _FRESH.fullmatch(node.name)):
            return node
        return None


@dataclass(frozen=True)
class MoveStep(Step):
    """Move an eiface of ours into the jail.  It leaves when its node is shut down."""

    kind: ClassVar[str] = "move"
    order: ClassVar[Rank] = Rank.NOTHING
    live: ClassVar[bool] = True
    name: str

    @property
    def identity(self) -> tuple[str, ...]:
        return self.kind, self.name

    @property
    def uses(self) -> tuple[str, ...]:
        return (self.name,)

    def describe(self) -> str:
        return f"move {self.name} into the jail"

    async def do(self, context: StepContext) -> None:
        if not context.recorded:
            context.record_ahead()
        try:
            await context.sleeping(context.kernel.if_vmove, self.name, context.jail)
        except OSError as error:
            if error.errno != errno.ENXIO or not await self._inside(context):
                raise

    async def _inside(self, context: StepContext) -> bool:
        """Whether the interface is already in the jail."""
        async with context.vnet() as vnet:
            return any(i.name == self.name for i in await context.entering(vnet.interfaces))

    def record_ahead(self, context: StepContext) -> bool:
        context.record_ahead()
        return True


@dataclass(frozen=True)
class WholeInterfaceStep(Step):
    """Move a whole interface of the host into the jail, and back.  Known by driver and unit."""

    kind: ClassVar[str] = "vnet"
    order: ClassVar[Rank] = Rank.VNETS
    name: str
    stop_timeout: float

    @property
    def identity(self) -> tuple[str, ...]:
        return self.kind, self.name

    @property
    def interfaces(self) -> tuple[str, ...]:
        return (self.name,)

    def describe(self) -> str:
        return f"move {self.name} into the jail"

    def describe_undo(self) -> str:
        return f"move {self.name} back to the host, service netif start {self.name}"

    async def do(self, context: StepContext) -> None:
        now = context.kernel.if_get(self.name)
        context.record_intent(driver=now.driver, mac=now.mac, mtu=now.mtu, flags=int(now.flags),
                              caps=int(context.kernel.if_caps(self.name)))
        await context.sleeping(context.kernel.if_vmove, self.name, context.jail)

    async def undo(self, context: StepContext) -> None:
        if "driver" not in context.results:
            return
        kernel = context.kernel
        driver = context.results["driver"]
        try:
            in_jail = await self._bring_back(context, driver)
            found = await _back_on_host(lambda: _by_driver(kernel.if_list(), driver),
                                        0.0 if in_jail else DESTROYED_WITHIN)
            if found is None:
                context.host.log.warning("%s: %s (%s) has gone", context.name, self.name, driver)
                return
            untouched = (context.entry.state == BEGUN and found.name == self.name
                         and found.flags & Iff.UP == Iff(context.results["flags"]) & Iff.UP)
            if found.name != self.name:
                _rename(kernel, found, self.name)
            self._restore(kernel, context.results)
            if not untouched and not context.results.get("configured"):
                context.note(configured=True)  # begun: it runs once
                context.save()
                await context.run_on_host(("/usr/sbin/service", "netif", "start", self.name),
                                          f"service netif start {self.name}", self.stop_timeout)
        finally:
            await self._remove_marker(context)

    def _marker(self, context: StepContext) -> str:
        """The file that tells devd(8) that vimage configures the interface itself."""
        return f"{context.host.journal.directory}/returning/{self.name}"

    async def _remove_marker(self, context: StepContext) -> None:
        """Give devd(8) time to remove the marker, then remove it: it would keep devd(8) from
        configuring the interface when it arrives the next time."""
        marker, waited = self._marker(context), 0.0
        while os.path.exists(marker) and waited < DEVD_WITHIN and _devd_runs(context.kernel):
            await asyncio.sleep(0.05)
            waited += 0.05
        with contextlib.suppress(FileNotFoundError):
            os.unlink(marker)

    async def _bring_back(self, context: StepContext, driver: str) -> bool:
        """Move the interface out of the jail, whatever its name is there.  False when the jail
        has gone.  Raises VimageError("not_returned"), OSError."""
        if not await context.holds_vnet():
            return False
        async with context.vnet() as vnet:
            inside = _by_driver(await context.entering(vnet.interfaces), driver)
            if inside is None:
                return True
            if inside.name != self.name:
                with contextlib.suppress(FileExistsError):  # then the host gives it its name back
                    vnet.rename(inside.name, self.name)
                    inside = _by_driver(vnet.interfaces(), driver) or inside
        with contextlib.suppress(OSError), open(self._marker(context), "x", encoding="ascii"):
            pass  # without it devd(8) configures the interface a moment before we do
        try:
            await context.sleeping(context.kernel.if_reclaim, inside.name, context.jail)
        except OSError as error:
            raise VimageError("not_returned", interface=self.name, inside=inside.name,
                              why=error.strerror) from error
        return True

    def _restore(self, kernel: Kernel, results: JsonObject) -> None:
        """MAC, MTU, capabilities and flags as they were."""
        now = kernel.if_get(self.name)
        if results["mac"] and now.mac != results["mac"]:
            kernel.if_set_mac(self.name, results["mac"])
        if now.mtu != results["mtu"]:
            kernel.if_set_mtu(self.name, results["mtu"])
        caps = kernel.if_caps(self.name)
        if int(caps) != results["caps"]:
            _set_caps(kernel, self.name, type(caps)(results["caps"]))
        wanted = Iff(results["flags"]) & Iff.UP
        kernel.if_set_flags(self.name, on=wanted, off=Iff.UP.without(wanted))


def _set_caps(kernel: Kernel, name: str, caps: Cap) -> None:
    try:
        kernel.if_set_caps(name, caps)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the hardware lacks one by now
            raise


def _devd_runs(kernel: Kernel) -> bool:
    """Whether devd(8) runs; False, too, where that cannot be known."""
    try:
        with open(kernel.path("/var/run/devd.pid"), encoding="ascii") as file:
            kernel.process(int(file.read()))
    except (OSError, ValueError):
        return False
    return True


async def _back_on_host(find: Callable[[], Interface | None],
                        within: float) -> Interface | None:
    """Wait up to ``within`` seconds for an interface that the kernel moves back to the host."""
    waited = 0.0
    while (found := find()) is None and waited < within:
        await asyncio.sleep(0.05)
        waited += 0.05
    return found


def _by_driver(interfaces: list[Interface], driver: str) -> Interface | None:
    return next((i for i in interfaces if i.driver == driver), None)


def _rename(kernel: Kernel, interface: Interface, name: str) -> None:
    """Give an interface of the host its name back.  Raises VimageError("not_renamed").

    Two interfaces of the host may have the same name by now, and SIOCSIFNAME renames the first
    of them.  If that was the other one, it is renamed back.
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
class AddressesStep(Step):
    """Addresses and default routes that the host sets in the jail; lo0 is set up, too.

    They go away with the VNET.
    """

    kind: ClassVar[str] = "addresses"
    order: ClassVar[Rank] = Rank.NOTHING
    amendable: ClassVar[bool] = True
    live: ClassVar[bool] = True
    addresses: tuple[str, ...]  # "ng0_vj1 192.0.2.2/24"
    routers: tuple[str, ...]

    @property
    def uses(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(pair.split()[0] for pair in self.addresses))

    def describe(self) -> str:
        return "inside: lo0 up" + "".join(f", {pair}" for pair in self.addresses) + "".join(
            f", default route {router}" for router in self.routers)

    async def do(self, context: StepContext) -> None:
        if not context.recorded:
            context.record_ahead()
        async with context.vnet() as vnet:
            vnet.add_address("lo0", "127.0.0.1/8")
            vnet.set_up("lo0")
            self._add(vnet, self.addresses)
            for router in self.routers:
                _set(f"default route {router}", self._route, vnet, router)

    def record_ahead(self, context: StepContext) -> bool:
        context.record_ahead()
        return True

    async def amend(self, context: StepContext, before: Self) -> None:
        """Remove the addresses that only ``before`` has, and set all of this step, since an
        interface may be a new one.  Routes are not removed."""
        async with context.vnet() as vnet:
            now = await self._names_now(context, vnet)
            for name, address in map(str.split, before.addresses):
                if f"{name} {address}" not in self.addresses and name in now:
                    self._remove(vnet, now[name], address)
            self._add(vnet, tuple(
                f"{now.get(name, name)} {address}" for name, address in
                map(str.split, self.addresses) if name in now or not context.undoing))
            for router in self.routers:
                _set(f"default route {router}", self._route, vnet, router)

    @staticmethod
    async def _names_now(context: StepContext, vnet: Vnet) -> dict[str, str]:
        """The names that root of the jail has given our interfaces; one that it destroyed has
        none."""
        inside = {i.driver: i.name for i in await context.entering(vnet.interfaces)}
        return {entry.arguments["name"]: inside[entry.results["driver"]]
                for entry in context.record.entries
                if entry.results.get("driver") in inside and entry.kind == "eiface"}

    async def undo(self, context: StepContext) -> None:
        """Remove the addresses from a vimage that keeps running.  Without a jail they have gone
        with its VNET."""
        if not jail_lives(context):
            return
        async with context.vnet() as vnet:
            for pair in self.addresses:
                self._remove(vnet, *pair.split())

    @staticmethod
    def _route(vnet: Vnet, router: str) -> None:
        with contextlib.suppress(FileExistsError):  # it is there by this router
            vnet.add_default_route(router)

    def _add(self, vnet: Vnet, pairs: tuple[str, ...]) -> None:
        for name in dict.fromkeys(pair.split()[0] for pair in pairs):
            vnet.set_up(name)
        for pair in pairs:
            name, address = pair.split()
            _set(pair, vnet.add_address, name, address)

    @staticmethod
    def _remove(vnet: Vnet, name: str, address: str) -> None:
        try:
            vnet.remove_address(name, address)
        except OSError as error:
            if error.errno not in _ABSENT:  # it has gone already
                raise


def _set(what: str, act: Callable[..., None], *arguments: Any) -> None:
    try:
        act(*arguments)
    except OSError as error:
        raise VimageError("address_failed", what=what, why=error.strerror) from error
