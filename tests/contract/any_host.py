"""What a contract test needs of a host beside the operations that it tests."""

from __future__ import annotations

import contextlib
import itertools
import os
from abc import ABC, abstractmethod

from tests.lib import snapshot
from vimage.kernel import JailId, Kernel, NgNode, Processes, Vnet

_series = itertools.count(1)


class Host(ABC):
    """Makes expendable things on a host, and takes them away again."""

    kernel: Kernel
    processes: Processes

    _before: snapshot.Snapshot | None = None

    def begin(self) -> None:
        self._undo = contextlib.ExitStack()
        if self._before is None:
            self._before = snapshot.take(self.kernel)

    def end(self) -> list[str]:
        """Undo everything; what differs from before, in words."""
        before, self._before = self._before, None
        assert before is not None
        self._undo.close()
        after = snapshot.take(self.kernel)
        left = snapshot.difference(before, after)
        self._before = None if left else after
        return left

    @abstractmethod
    def shut(self) -> None:
        """Close what the host itself has open."""

    # -- names ---------------------------------------------------------------------

    def name(self, prefix: str) -> str:
        """A name that nothing has."""
        return f"{prefix}{os.getpid() % 10000}x{next(_series)}"

    # -- netgraph ------------------------------------------------------------------

    def on_close(self, function, *args) -> None:
        """Call at the end of the test; an OSError means that it was done already."""
        def attempt() -> None:
            with contextlib.suppress(OSError):
                function(*args)
        self._undo.callback(attempt)

    def node(self, kind: str, peer_hook: str) -> NgNode:
        """A node of that type on a hook of this process's own socket node."""
        hook = self.name("h")
        self.kernel.ng_mkpeer(".:", kind, hook, peer_hook)
        node = self.kernel.ng_node(f".:{hook}")
        self.on_close(self.kernel.ng_shutdown, address(node))
        return node

    def bridge(self) -> NgNode:
        return self.node("bridge", "link0")

    def eiface(self) -> tuple[NgNode, str]:
        """An eiface node and the name of its interface."""
        node = self.node("eiface", "ether")
        return node, self.kernel.ng_eiface_ifname(address(node))

    @abstractmethod
    def parent(self) -> str:
        """An Ethernet interface of the host that is not an eiface, with an ether node."""

    @abstractmethod
    def vlan(self, parent: str) -> str:
        """A VLAN over an interface; its name."""

    # -- jails -----------------------------------------------------------------------

    @abstractmethod
    def root(self) -> str:
        """A new directory of the host for a jail's root, with a /bin/sh that runs."""

    def jail(self, **parameters) -> JailId:
        """A VNET jail that persists."""
        given = {"name": self.name("j"), "path": self.root(), "vnet": "new", "persist": True,
                 **{name.replace("__", "."): value for name, value in parameters.items()}}
        jid = self.kernel.jail_create({k: v for k, v in given.items() if v is not None})
        self.on_close(self.remove, jid)
        return jid

    def remove(self, jid: JailId) -> None:
        """Remove a jail and see it freed."""
        self.kernel.jail_remove(jid)
        self.freed(jid)

    @abstractmethod
    def freed(self, jid: JailId) -> None:
        """Come back when the kernel has freed a jail (VNETs are freed a little later)."""

    def host_vnet(self) -> Vnet:
        vnet = self.kernel.host_vnet()
        self.on_close(vnet.close)
        return vnet

    def vnet(self, jid: JailId) -> Vnet:
        vnet = self.kernel.vnet(jid)
        self.on_close(vnet.close)
        return vnet

    @abstractmethod
    def hold_tcp(self, jid: JailId) -> None:
        """A TCP connection of the jail's VNET whose peer outside holds it open."""

    @abstractmethod
    def other_processes(self) -> Processes:
        """Another helper, that a test may close."""

    @abstractmethod
    def helper_dies(self, processes) -> None:
        """The helper process of these processes gets SIGKILL."""

    @abstractmethod
    def with_accounting(self, wanted: bool) -> None:
        """A kernel with kern.racct.enable as wanted, or the test is skipped."""

    @abstractmethod
    def kld_load_at_securelevel(self, level: int, module: str) -> int:
        """The errno of ``kld_load`` where the securelevel is that high."""

    @abstractmethod
    def give_up_tcp(self, jid: JailId) -> None:
        """The peers of the jail's connections reset them."""

    # -- files ---------------------------------------------------------------------------

    def file(self, path: str) -> str:
        """Where this process finds a file of the host."""
        return self.kernel.path(path)

    @abstractmethod
    def run(self, main):
        """Run a coroutine."""


def address(node: NgNode) -> str:
    return f"[{node.id:x}]:"
