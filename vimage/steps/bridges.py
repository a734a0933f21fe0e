"""Steps that make bridges: one per parent interface, and host-only ones.

A bridge is made with its first holder and undone with its last.  Its own record (the facts
of the shared thing) says what was changed of the parent, so that exactly that is put back.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import ClassVar

from vimage.configuration.names import bridge_node
from vimage.configuration.names import node as node_name
from vimage.journal import Facts
from vimage.kernel import UNBRIDGEABLE, Cap, Iff, Kernel, NgNode
from vimage.messages import VimageError
from vimage.steps import Rank, Step
from vimage.steps.work import Tools, Work


def bridge_key(parent: str) -> str:
    """The key under which a bridge is shared."""
    return f"bridge.{parent}"


def by_id(node: int) -> str:
    """The netgraph path of a node id."""
    return f"[{node:x}]:"


def node_at(kernel: Kernel, path: str, type: str) -> NgNode | None:
    """The node of that path if there is one of that type."""
    try:
        node = kernel.ng_node(path)
    except OSError:
        return None
    return node if node.type == type else None


class SharedBridge(Step):
    """What both kinds of bridge have in common: holders."""

    kind: ClassVar[str] = ""
    order: ClassVar[Rank] = Rank.BRIDGE

    @property
    def key(self) -> str:
        raise NotImplementedError

    def foresee(self, work: Work) -> bool:
        if not self._stands(work):
            return False
        work.foresee(holds=self.key)
        return True

    async def do(self, work: Work) -> None:
        if work.intended:
            return  # it stood when that was foreseen
        work.intend(holds=self.key)
        async with work.tools.holders.lock(self.key):
            if self._stands(work):
                return
            facts = work.shared(self.key)
            if facts is not None:
                await self.take_down(work, facts)  # made halfway, or somebody shut it down
            self.make(work)

    def _stands(self, work: Work) -> bool:
        node = (work.shared(self.key) or {}).get("node")
        return node is not None and node_at(work.kernel, by_id(node), "bridge") is not None

    async def undo(self, work: Work) -> None:
        if any(entry.facts.get("bridge_key") == self.key for entry in work.record.entries):
            raise VimageError("bridge_still_used", bridge=self.key.partition(".")[2])
        async with work.tools.holders.lock(self.key):
            if not work.let_go(self.key):
                return
            facts = work.shared(self.key)
            if facts is None or await self.take_down(work, facts):
                work.tools.journal.remove_shared(self.key)
                work.tools.holders.links_forgotten(self.key)

    def make(self, work: Work) -> None:
        """Make it.  Writes the shared record before each act."""
        raise NotImplementedError

    async def take_down(self, work: Work, facts: Facts) -> bool:
        """Undo what ``facts`` say; False when others use it and it stays."""
        raise NotImplementedError


@dataclass(frozen=True)
class Bridge(SharedBridge):
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

    def make(self, work: Work) -> None:
        kernel = work.kernel
        parent = kernel.if_get(self.parent)
        if node_at(kernel, self._ether, "ether") is None:
            raise VimageError("parent_not_ether", parent=self.parent)
        below = self._below(kernel)
        promisc, autosrc = kernel.ng_ether_get(self._ether)
        caps = kernel.if_caps(self.parent)
        facts: Facts = {
            "driver": parent.driver, "foreign": below is not None,
            "set_up": not parent.flags & Iff.UP, "caps_off": int(caps & UNBRIDGEABLE),
            "set_promisc": not promisc, "cleared_autosrc": autosrc,
        }
        if below is not None:
            facts["node"] = below.id
        work.write_shared(self.key, facts)
        if facts["caps_off"]:
            kernel.if_set_caps(self.parent, caps.without(UNBRIDGEABLE))
        if facts["set_up"]:
            kernel.if_set_flags(self.parent, on=Iff.UP)
        if below is None:
            self._connect(kernel)
            facts["node"] = kernel.ng_node(f"{self._ether}lower").id
        if facts["set_promisc"] or facts["cleared_autosrc"]:
            kernel.ng_ether_set(self._ether, promisc=True, autosrc=False)
        work.write_shared(self.key, facts)

    def _below(self, kernel: Kernel) -> NgNode | None:
        """A bridge that is there already.  Raises VimageError when something else is."""
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

    def join(self, kernel: Kernel, node: str) -> None:
        """Join a parent that has come back to the bridge that waited for it."""
        caps = kernel.if_caps(self.parent)
        if caps & UNBRIDGEABLE:
            kernel.if_set_caps(self.parent, caps.without(UNBRIDGEABLE))
        kernel.if_set_flags(self.parent, on=Iff.UP)
        kernel.ng_connect(self._ether, "lower", node, "link0")
        kernel.ng_connect(self._ether, "upper", node, "link1")
        kernel.ng_ether_set(self._ether, promisc=True, autosrc=False)

    def _connect(self, kernel: Kernel) -> None:
        kernel.ng_mkpeer(self._ether, "bridge", "lower", "link0")
        kernel.ng_name(f"{self._ether}lower", self._node)
        kernel.ng_connect(self._ether, "upper", f"{self._node}:", "link1")

    async def take_down(self, work: Work, facts: Facts) -> bool:
        kernel = work.kernel
        node = self._made(kernel, facts)
        if node is not None and not facts["foreign"]:
            if self._used(kernel, node):
                work.tools.log.info("%s: others use it, it stays", self._node)
                return False
            kernel.ng_shutdown(by_id(node.id))
        try:
            present = kernel.if_get(self.parent)
        except OSError:
            return True  # the parent has gone
        if present.driver == facts["driver"]:
            await self._ether_again(kernel)
            self._put_back(work, facts, present.flags)
        return True

    async def _ether_again(self, kernel: Kernel) -> None:
        """ng_ether(4) gives a node that has lost its last hook a new start, and for that
        instant nothing answers to its name."""
        for _ in range(100):
            if node_at(kernel, self._ether, "ether") is not None:
                return
            await asyncio.sleep(0.01)

    def _made(self, kernel: Kernel, facts: Facts) -> NgNode | None:
        """The bridge node, also when only the intent to make it is known."""
        if "node" in facts:
            return node_at(kernel, by_id(facts["node"]), "bridge")
        below = node_at(kernel, f"{self._ether}lower", "bridge")
        return below if below is not None and below.name in ("", self._node) else None

    def _used(self, kernel: Kernel, node: NgNode) -> bool:
        own = sum(1 for hook in ("lower", "upper")
                  if (peer := node_at(kernel, f"{self._ether}{hook}", "bridge"))
                  and peer.id == node.id)
        return kernel.ng_node(by_id(node.id)).hooks > own

    def _put_back(self, work: Work, facts: Facts, flags: Iff) -> None:
        """Of the parent's settings only what was changed and is still as it was left."""
        kernel = work.kernel
        hooks = 0
        ether = node_at(kernel, self._ether, "ether")
        if ether is not None:
            hooks = ether.hooks
            promisc, autosrc = kernel.ng_ether_get(self._ether)
            if not hooks:
                kernel.ng_ether_set(
                    self._ether,
                    promisc=False if facts["set_promisc"] and promisc else None,
                    autosrc=True if facts["cleared_autosrc"] and not autosrc else None)
        if facts["caps_off"]:
            now = kernel.if_caps(self.parent)
            kernel.if_set_caps(self.parent, now | Cap(facts["caps_off"]))
        if facts["set_up"] and flags & Iff.UP:
            users = kernel.if_users(self.parent)
            if hooks or users:
                work.tools.log.info("%s: in use (%s), left up", self.parent,
                                    ", ".join(users) or "netgraph")
            else:
                kernel.if_set_flags(self.parent, off=Iff.UP)


@dataclass(frozen=True)
class HostOnlyBridge(SharedBridge):
    """A bridge without a parent: one eiface stays on the host, with addresses."""

    kind: ClassVar[str] = "hostbridge"
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
    def _hook(self) -> str:
        """Of our socket node, while the bridge has no other."""
        return f"h{self.name}"

    def describe(self) -> str:
        return (f"host-only bridge {self._node}: interface {self.name}, MAC {self.mac}"
                + (f", {' '.join(self.addresses)}" if self.addresses else "")
                + " (once for all that use it)")

    def describe_undo(self) -> str:
        return f"host-only bridge {self._node} and interface {self.name}, if nobody uses them"

    def make(self, work: Work) -> None:
        kernel = work.kernel
        for path in (f"{self._node}:", f"{self.name}:"):
            with contextlib.suppress(FileNotFoundError):
                kernel.ng_node(path)
                raise VimageError("name_taken", name=path[:-1])
        with contextlib.suppress(OSError):
            kernel.if_get(self.name)
            raise VimageError("name_taken", name=self.name)
        facts: Facts = {}
        work.write_shared(self.key, facts)
        # Until it is named the bridge hangs on our socket node and goes when we go.
        kernel.ng_mkpeer(".:", "bridge", self._hook, "link1")
        kernel.ng_name(f".:{self._hook}", self._node)
        kernel.ng_mkpeer(f"{self._node}:", "eiface", "link0", "ether")
        kernel.ng_rmhook(".:", self._hook)
        eiface = kernel.ng_node(f"{self._node}:link0")
        facts = {"node": kernel.ng_node(f"{self._node}:").id, "eiface": eiface.id}
        kernel.ng_name(by_id(eiface.id), self.name)
        kernel.if_rename(eiface.name, self.name)
        kernel.ng_eiface_set_mac(by_id(eiface.id), self.mac)
        vnet = kernel.host_vnet()
        try:
            for address in self.addresses:
                vnet.add_address(self.name, address)
            vnet.set_up(self.name)
        finally:
            vnet.close()
        work.write_shared(self.key, facts)

    async def take_down(self, work: Work, facts: Facts) -> bool:
        kernel = work.kernel
        node = node_at(kernel, by_id(facts["node"]) if "node" in facts else f"{self._node}:",
                       "bridge")
        eiface = (node_at(kernel, by_id(facts["eiface"]), "eiface") if "eiface" in facts
                  else node_at(kernel, f"{self._node}:link0", "eiface"))
        if node is not None and node.hooks > (1 if eiface is not None else 0):
            others = [hook for hook in kernel.ng_hooks(by_id(node.id))
                      if (eiface is None or hook.peer.id != eiface.id)
                      and hook.peer.type != "socket"]
            if others:
                work.tools.log.info("%s: others use it, it stays", self._node)
                return False
        if eiface is not None:
            kernel.ng_shutdown(by_id(eiface.id))
        with contextlib.suppress(FileNotFoundError):
            kernel.ng_rmhook(".:", self._hook)  # a bridge that did not get its name
        if node is not None:
            with contextlib.suppress(FileNotFoundError):  # a bridge goes with its last hook
                kernel.ng_shutdown(by_id(node.id))
        return True


def reconnect(tools: Tools) -> list[str]:
    """Look at the parents of all bridges; join those that have come back.

    Returns a line for the log for each parent that has gone or has come back.
    """
    lines = []
    for key, facts in list(tools.journal.shared.items()):
        if "driver" not in facts or "node" not in facts or facts["foreign"]:
            continue
        parent = key.removeprefix("bridge.")
        bridge = Bridge(parent)
        try:
            tools.kernel.if_get(parent)
        except OSError:
            if not facts.get("lost"):
                tools.journal.write_shared(key, {**facts, "lost": True})
                lines.append(f"{parent}: has gone; its bridge waits for it")
            continue
        if facts.get("lost"):
            try:
                bridge.join(tools.kernel, by_id(facts["node"]))
            except OSError as error:
                lines.append(f"{parent}: is back, but cannot be joined: {error.strerror}")
                continue
            tools.journal.write_shared(key, {k: v for k, v in facts.items() if k != "lost"})
            lines.append(f"{parent}: is back on its bridge")
    return lines
