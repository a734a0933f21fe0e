"""Steps that make bridges: one per parent interface, and host-only ones.

A bridge is made with its first user and undone with its last.  Its own record (that of the
shared thing) says what was changed of the parent, so that exactly that is put back.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from vimage.configuration.names import bridge_node
from vimage.configuration.names import node as node_name
from vimage.journal import UNDONE, JsonObject
from vimage.kernel import UNBRIDGEABLE, Cap, Iff, Interface, Kernel, NgNode
from vimage.messages import VimageError
from vimage.steps.context import Host, StepContext
from vimage.steps.step import Rank, Step

#: Seconds between two looks at a node that ng_ether(4) makes anew, and the number of looks.
ETHER_PAUSE, ETHER_TRIES = 0.01, 100


def bridge_key(parent: str) -> str:
    """The key under which a bridge is shared."""
    return f"bridge.{parent}"


def by_id(node: int) -> str:
    """The netgraph path of a node id."""
    return f"[{node:x}]:"


def node_at(kernel: Kernel, path: str, kind: str) -> NgNode | None:
    """The node of that path if there is one of that type.  Raises OSError when that cannot be
    known."""
    try:
        node = kernel.ng_node(path)
    except FileNotFoundError:
        return None
    return node if node.type == kind else None


def interface_at(kernel: Kernel, name: str) -> Interface | None:
    """The interface of the host with that name, if there is one.  Raises OSError when that
    cannot be known."""
    try:
        return kernel.if_get(name)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None


class SharedBridgeStep(Step):
    """A bridge, which several vimages may use: made by the first, taken down by the last."""

    kind: ClassVar[str] = ""
    order: ClassVar[Rank] = Rank.BRIDGE
    live: ClassVar[bool] = True

    @property
    def key(self) -> str:
        """The key under which vimages share the bridge."""
        raise NotImplementedError

    @property
    def identity(self) -> tuple[str, ...]:
        return "bridge", self.key

    def record_ahead(self, context: StepContext) -> bool:
        if not self._stands(context):
            return False
        context.record_ahead(holds=self.key)
        return True

    async def do(self, context: StepContext) -> None:
        if not context.recorded:
            context.record_intent(holds=self.key)
        async with context.host.references.lock(self.key):
            if self._stands(context):
                return
            record = context.shared(self.key)
            if record is not None:  # made halfway, or somebody shut it down
                await self.take_down(context, record)
            self.make(context)

    def _stands(self, context: StepContext) -> bool:
        node = (context.shared(self.key) or {}).get("node")
        return node is not None and node_at(context.kernel, by_id(node), "bridge") is not None

    async def undo(self, context: StepContext) -> None:
        if any(entry.results.get("bridge_key") == self.key for entry in context.record.entries
               if entry.state != UNDONE):
            raise VimageError("bridge_still_used", bridge=self.key.partition(".")[2])
        async with context.end_use(self.key) as unused:
            if not unused:
                return
            record = context.shared(self.key)
            if record is None or await self.take_down(context, record):
                context.host.journal.remove_shared(self.key)
                context.host.references.links_forgotten(self.key)

    def make(self, context: StepContext) -> None:
        """Make the bridge, writing its record beforehand.  Raises OSError, VimageError."""
        raise NotImplementedError

    async def take_down(self, context: StepContext, record: JsonObject) -> bool:
        """Undo what ``record`` says.  False when something that is not ours uses the bridge, and
        it stays.  Raises OSError."""
        raise NotImplementedError


@dataclass(frozen=True)
class BridgeStep(SharedBridgeStep):
    """The bridge of a parent interface, as jng(8) makes it: ``em0bridge``.

    The parent's ``lower`` hook is joined to link0, its ``upper`` to link1; it is up,
    promiscuous, and keeps the source addresses of what it sends.  Offloads that a bridge
    cannot carry are switched off before the hooks are connected, since switching may
    reset a NIC.
    """

    kind: ClassVar[str] = "bridge"
    parent: str

    @property
    def key(self) -> str:
        return bridge_key(self.parent)

    @property
    def _node(self) -> str:
        return bridge_node(self.parent)

    @property
    def _ether(self) -> str:
        return f"{node_name(self.parent)}:"

    def describe(self) -> str:
        return (f"bridge {self._node} on {self.parent}: offloads off, up, promiscuous, "
                "source address kept (once for all that use it)")

    def describe_undo(self) -> str:
        return f"bridge {self._node} and the settings of {self.parent}, if nobody uses them"

    def make(self, context: StepContext) -> None:
        kernel = context.kernel
        if node_at(kernel, self._ether, "ether") is None:
            raise VimageError("parent_not_ether", parent=self.parent)
        below = self._below(kernel)
        record = {**self._settings(kernel), "foreign": below is not None}
        if below is not None:
            record["node"] = below.id
        context.write_shared(self.key, record)
        self._prepare(kernel, record)
        if below is None:
            self._connect(kernel)
            record["node"] = kernel.ng_node(f"{self._ether}lower").id
        self._promiscuous(kernel, record)
        context.write_shared(self.key, record)

    def _settings(self, kernel: Kernel) -> JsonObject:
        """What is going to be changed of the parent."""
        parent = kernel.if_get(self.parent)
        promisc, autosrc = kernel.ng_ether_get(self._ether)
        caps = kernel.if_caps(self.parent)
        return {"driver": parent.driver, "set_up": not parent.flags & Iff.UP,
                "caps_off": int(caps & UNBRIDGEABLE), "set_promisc": not promisc,
                "cleared_autosrc": autosrc}

    def _prepare(self, kernel: Kernel, record: JsonObject) -> None:
        """Switch offloads off and the parent up, before the hooks are connected."""
        if record["caps_off"]:
            caps = kernel.if_caps(self.parent)
            kernel.if_set_caps(self.parent, caps.without(UNBRIDGEABLE))
        if not kernel.if_get(self.parent).flags & Iff.UP:
            kernel.if_set_flags(self.parent, on=Iff.UP)

    def _promiscuous(self, kernel: Kernel, record: JsonObject) -> None:
        if record["set_promisc"] or record["cleared_autosrc"]:
            kernel.ng_ether_set(self._ether, promisc=True, autosrc=False)

    def _below(self, kernel: Kernel) -> NgNode | None:
        """The bridge that the parent is already connected to, as jng makes it; None without one.

        Raises VimageError("parent_busy", "bridge_name_taken").
        """
        try:
            below = kernel.ng_node(f"{self._ether}lower")
        except FileNotFoundError:
            named = node_at(kernel, f"{self._node}:", "bridge")
            if named is not None:
                raise VimageError("bridge_name_taken", node=self._node,
                                  parent=self.parent) from None
            return None
        if below.type != "bridge" or below.name != self._node:
            raise VimageError("parent_busy", parent=self.parent,
                              node=below.name or by_id(below.id))
        return below

    def joined(self, kernel: Kernel, node: int) -> bool:
        """Whether both hooks of the parent, which exists, are connected to the bridge."""
        return all((peer := node_at(kernel, f"{self._ether}{hook}", "bridge")) is not None
                   and peer.id == node for hook in ("lower", "upper"))

    def join(self, host: Host, record: JsonObject) -> None:
        """Connect a parent that has come back to its bridge again.

        The settings it has now are recorded in place of the old ones, except that a parent
        which was up at first is left up at the end.  Raises OSError, VimageError.
        """
        kernel, node = host.kernel, by_id(record["node"])
        if not record.get("joining"):  # a try that failed has changed the settings already
            settings = self._settings(kernel)
            settings["set_up"] = settings["set_up"] and record["set_up"]
            record = {**record, **settings, "joining": True}
            host.journal.write_shared(self.key, record)
        self._prepare(kernel, record)
        for hook, link in (("lower", "link0"), ("upper", "link1")):
            if node_at(kernel, f"{self._ether}{hook}", "bridge") is None:
                kernel.ng_connect(self._ether, hook, node, link)
        self._promiscuous(kernel, record)
        host.journal.write_shared(
            self.key, {name: value for name, value in record.items()
                       if name not in ("lost", "joining")})

    def _connect(self, kernel: Kernel) -> None:
        kernel.ng_mkpeer(self._ether, "bridge", "lower", "link0")
        kernel.ng_name(f"{self._ether}lower", self._node)
        kernel.ng_connect(self._ether, "upper", f"{self._node}:", "link1")

    async def take_down(self, context: StepContext, record: JsonObject) -> bool:
        kernel = context.kernel
        node = self._made(kernel, record)
        if node is not None and not record["foreign"]:
            if self._used(kernel, node):
                context.host.log.info("%s: others use it, it stays", self._node)
                return False
            kernel.ng_shutdown(by_id(node.id))
        present = interface_at(kernel, self.parent)
        if present is not None and present.driver == record["driver"]:
            await self._ether_again(kernel)
            self._put_back(context, record, present.flags)
        return True

    async def _ether_again(self, kernel: Kernel) -> None:
        """Wait until the ng_ether(4) node of the parent answers to its name.

        When such a node loses its last hook, the kernel makes it anew.
        """
        for _ in range(ETHER_TRIES):
            if node_at(kernel, self._ether, "ether") is not None:
                return
            await asyncio.sleep(ETHER_PAUSE)

    def _made(self, kernel: Kernel, record: JsonObject) -> NgNode | None:
        """The bridge node, also when only the intent to make it is known."""
        if "node" in record:
            return node_at(kernel, by_id(record["node"]), "bridge")
        below = node_at(kernel, f"{self._ether}lower", "bridge")
        return below if below is not None and below.name in ("", self._node) else None

    def _used(self, kernel: Kernel, node: NgNode) -> bool:
        own = sum(1 for hook in ("lower", "upper")
                  if (peer := node_at(kernel, f"{self._ether}{hook}", "bridge"))
                  and peer.id == node.id)
        return kernel.ng_node(by_id(node.id)).hooks > own

    def _put_back(self, context: StepContext, record: JsonObject, flags: Iff) -> None:
        """Undo the changed settings of the parent, as far as nobody has changed them since."""
        kernel = context.kernel
        hooks = 0
        ether = node_at(kernel, self._ether, "ether")
        if ether is not None:
            hooks = ether.hooks
            promisc, autosrc = kernel.ng_ether_get(self._ether)
            if not hooks:
                kernel.ng_ether_set(
                    self._ether,
                    promisc=_unless(promisc, not record["set_promisc"]),
                    autosrc=_unless(autosrc, bool(record["cleared_autosrc"])))
        if record["caps_off"]:
            now = kernel.if_caps(self.parent)
            kernel.if_set_caps(self.parent, now | Cap(record["caps_off"]))
        if record["set_up"] and flags & Iff.UP:
            users = kernel.if_users(self.parent)
            if hooks or users:
                context.host.log.info("%s: in use (%s), left up", self.parent,
                                      ", ".join(users) or "netgraph")
            else:
                kernel.if_set_flags(self.parent, off=Iff.UP)


@dataclass(frozen=True)
class HostBridgeStep(SharedBridgeStep):
    """A bridge without a parent: one eiface stays on the host, with addresses."""

    kind: ClassVar[str] = "hostbridge"
    amendable: ClassVar[bool] = True
    name: str
    mac: str
    addresses: tuple[str, ...]

    @property
    def key(self) -> str:
        return bridge_key(self.name)

    @property
    def _node(self) -> str:
        return bridge_node(self.name)

    @property
    def change(self) -> str:
        return f"bridge {self.name}"

    @property
    def _hook(self) -> str:
        """The hook of our socket node that keeps the bridge until it has a link."""
        return f"h{self.name}"

    def describe(self) -> str:
        return (f"host-only bridge {self._node}: interface {self.name}, MAC {self.mac}"
                + (f", {' '.join(self.addresses)}" if self.addresses else "")
                + " (once for all that use it)")

    def describe_undo(self) -> str:
        return f"host-only bridge {self._node} and interface {self.name}, if nobody uses them"

    def make(self, context: StepContext) -> None:
        kernel = context.kernel
        for path in (f"{self._node}:", f"{self.name}:"):
            with contextlib.suppress(FileNotFoundError):
                kernel.ng_node(path)
                raise VimageError("name_taken", name=path[:-1])
        if interface_at(kernel, self.name) is not None:
            raise VimageError("name_taken", name=self.name)
        record: JsonObject = {}
        context.write_shared(self.key, record)
        # Until it is named the bridge hangs on our socket node and goes when we go.
        kernel.ng_mkpeer(".:", "bridge", self._hook, "link1")
        kernel.ng_name(f".:{self._hook}", self._node)
        kernel.ng_mkpeer(f"{self._node}:", "eiface", "link0", "ether")
        kernel.ng_rmhook(".:", self._hook)
        eiface = kernel.ng_node(f"{self._node}:link0")
        record = {"node": kernel.ng_node(f"{self._node}:").id, "eiface": eiface.id}
        kernel.ng_name(by_id(eiface.id), self.name)
        kernel.if_rename(eiface.name, self.name)
        kernel.ng_eiface_set_mac(by_id(eiface.id), self.mac)
        self._set_addresses(kernel)
        context.write_shared(self.key, record)

    async def amend(self, context: StepContext, before: Self) -> None:
        """Change the MAC and the addresses of the interface on the host, as often as a vimage
        that uses the bridge asks for it."""
        record = context.shared(self.key)
        if record is None or "eiface" not in record:
            raise VimageError("bridge_gone", parent=self.name)
        if self.mac != before.mac:
            context.kernel.ng_eiface_set_mac(by_id(record["eiface"]), self.mac)
        self._set_addresses(context.kernel, [address for address in before.addresses
                                             if address not in self.addresses])

    def _set_addresses(self, kernel: Kernel, removed: Sequence[str] = ()) -> None:
        vnet = kernel.host_vnet()
        try:
            for address in removed:
                try:
                    vnet.remove_address(self.name, address)
                except OSError as error:
                    if error.errno != errno.EADDRNOTAVAIL:  # another vimage was faster
                        raise
            for address in self.addresses:
                vnet.add_address(self.name, address)
            vnet.set_up(self.name)
        finally:
            vnet.close()

    async def take_down(self, context: StepContext, record: JsonObject) -> bool:
        kernel = context.kernel
        node = node_at(kernel, by_id(record["node"]) if "node" in record else f"{self._node}:",
                       "bridge")
        eiface = (node_at(kernel, by_id(record["eiface"]), "eiface") if "eiface" in record
                  else node_at(kernel, f"{self._node}:link0", "eiface"))
        if node is not None and node.hooks > (1 if eiface is not None else 0):
            others = [hook for hook in kernel.ng_hooks(by_id(node.id))
                      if (eiface is None or hook.peer.id != eiface.id)
                      and hook.peer.type != "socket"]
            if others:
                context.host.log.info("%s: others use it, it stays", self._node)
                return False
        if eiface is not None:
            kernel.ng_shutdown(by_id(eiface.id))
        with contextlib.suppress(FileNotFoundError):
            kernel.ng_rmhook(".:", self._hook)  # a bridge that did not get its name
        if node is not None:
            with contextlib.suppress(FileNotFoundError):  # a bridge goes with its last hook
                kernel.ng_shutdown(by_id(node.id))
        return True


def _unless(now: bool, wanted: bool) -> bool | None:
    """What to set so that it is as wanted.  A node that has lost its last hook has forgotten
    both settings (``ng_ether_shutdown``)."""
    return None if now == wanted else wanted


def shared_bridges(host: Host) -> dict[str, tuple[BridgeStep, JsonObject]]:
    """The bridges of parents that this service made: key to step and record."""
    return {key: (BridgeStep(key.removeprefix("bridge.")), record)
            for key, record in host.journal.shared.items()
            if "driver" in record and "node" in record and not record["foreign"]}


def bridge_nodes(host: Host) -> dict[int, str]:
    """The nodes of all shared bridges, the interface of a host-only one included, and the key
    of each."""
    return {record[node]: key for key, record in host.journal.shared.items()
            if key.startswith("bridge.") for node in ("node", "eiface") if node in record}


def reconnect(host: Host) -> tuple[list[str], bool]:
    """Connect parents that have come back to their bridges.

    Returns a line for the log for each parent that has gone, has come back or cannot be looked
    at, and whether all could be looked at.
    """
    lines, done = [], True
    for key, (bridge, record) in shared_bridges(host).items():
        try:
            if node_at(host.kernel, by_id(record["node"]), "bridge") is None:
                continue  # the watch reports it for each vimage that used it
            if interface_at(host.kernel, bridge.parent) is None:
                if not record.get("lost"):
                    lines.append(f"{bridge.parent}: has gone; its bridge waits for it")
                    host.journal.write_shared(key, {**record, "lost": True, "joining": False})
            elif record.get("lost") or not bridge.joined(host.kernel, record["node"]):
                bridge.join(host, record)
                lines.append(f"{bridge.parent}: is back on its bridge")
        except (OSError, VimageError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            lines.append(f"{bridge.parent}: its bridge cannot be looked after: {why}")
            done = False
    return lines, done
