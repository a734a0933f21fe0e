"""netgraph(4): the types of nodes that vimage uses (ng_bridge.c, ng_eiface.c, ng_ether.c)."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from dataclasses import replace

from vimage.kernel.simulated import graph, interfaces
from vimage.kernel.simulated.errors import fail
from vimage.kernel.simulated.records import Hook, Iface, Node
from vimage.kernel.simulated.state import State

# -- nodes -------------------------------------------------------------------------


def load_type(state: State, kind: str) -> None:
    """ngc_send(): before a mkpeer is delivered, the module of an unknown type is loaded."""
    if kind == "socket":
        return
    interfaces.require_module(state, f"ng_{kind}")


def make_node(state: State, kind: str) -> Node:
    """A node by mkpeer; the type's constructor runs."""
    number = state.next("node")
    if kind in ("ether", "socket"):
        fail(errno.EINVAL, kind)
    if kind == "eiface":
        return _make_eiface(state, number)
    node = Node(number, "", kind)
    state.put(node)
    return node


def _make_eiface(state: State, number: int) -> Node:
    unit = interfaces.free_unit(state, "ngeth")
    name = f"ngeth{unit}"
    node = Node(number, name if name not in state.node_named else "", "eiface")
    state.put(node)
    iface = interfaces.attach_eiface(state, name)
    node = replace(node, interface=iface.id)
    state.put(node)
    return node


def make_socket_node(state: State, owner: str) -> Node:
    node = Node(state.next("node"), "", "socket", owner=owner)
    state.put(node)
    return node


def shutdown(state: State, node: Node, *, really: bool = False) -> None:
    """ng_rmnode() and the type's shutdown method."""
    graph.close_hooks(state, node)
    here = state.node(node.id)
    if here is None:
        return
    if here.type == "ether" and not really:
        graph.reset_ether(state, here)
        return
    if here.type == "socket" and not really:
        return
    state.drop(here)
    if here.type == "eiface":
        iface = state.iface(here.interface)
        assert iface is not None
        interfaces.detach(state, iface)


# -- hooks ---------------------------------------------------------------------------


def mkpeer(state: State, node: Node, kind: str, hook: str, peer_hook: str) -> None:
    """ng_mkpeer(): node first, then both hooks; a failure takes back what there is."""
    peer = make_node(state, kind)
    try:
        _check_hook(state, node, hook)
    except OSError:
        shutdown(state, peer)
        raise
    try:
        _check_hook(state, peer, peer_hook)
    except OSError:
        shutdown(state, peer)
        graph.after_disconnect(state, node.id)
        raise
    _join(state, node, hook, peer, peer_hook)


def connect(state: State, node: Node, hook: str, peer: Node, peer_hook: str) -> None:
    """ng_con_nodes()."""
    if state.hook(peer.id, peer_hook) is not None:
        fail(errno.EEXIST, peer_hook)
    _check_hook(state, node, hook)
    if node.type == "bridge" and node.id == peer.id:
        fail(errno.ELOOP, hook)
    try:
        _check_hook(state, peer, peer_hook)
    except OSError:
        graph.after_disconnect(state, node.id)
        raise
    _join(state, node, hook, peer, peer_hook)


def _join(state: State, node: Node, hook: str, peer: Node, peer_hook: str) -> None:
    state.put(Hook(node.id, hook, peer.id, peer_hook))
    state.put(Hook(peer.id, peer_hook, node.id, hook))


def _check_hook(state: State, node: Node, hook: str) -> None:
    """ng_add_hook(), up to the type's newhook method."""
    if state.hook(node.id, hook) is not None:
        fail(errno.EEXIST, hook)
    check = _NEWHOOK.get(node.type)
    if check is not None:
        check(state, node, hook)


def _bridge_newhook(state: State, node: Node, hook: str) -> None:
    if not re.fullmatch(r"link(0|[1-9][0-9]*)|uplink[1-9][0-9]*", hook):
        fail(errno.EINVAL, hook)
    if int(hook.lstrip("uplink")) > 0xFFFFFFFF:
        fail(errno.EINVAL, hook)


def _eiface_newhook(state: State, node: Node, hook: str) -> None:
    if hook != "ether":
        fail(errno.EPFNOSUPPORT, hook)


def _ether_newhook(state: State, node: Node, hook: str) -> None:
    alias = "lower" if hook == "divert" else hook
    if alias not in ("lower", "upper", "orphan"):
        fail(errno.EINVAL, hook)
    taken = {"lower" if h == "divert" else h for h in state.hooks_of.get(node.id, ())}
    if alias in taken:
        fail(errno.EISCONN, hook)


_NEWHOOK: dict[str, Callable[[State, Node, str], None]] = {
    "bridge": _bridge_newhook, "eiface": _eiface_newhook, "ether": _ether_newhook,
}


# -- types ------------------------------------------------------------------------------


def eiface_of(state: State, node: Node) -> Iface:
    if node.type != "eiface":
        fail(errno.EINVAL, node.name)
    iface = state.iface(node.interface)
    assert iface is not None
    return iface


def ether(node: Node) -> Node:
    if node.type != "ether":
        fail(errno.EINVAL, node.name)
    return node


def set_ether(state: State, node: Node, promisc: bool | None, autosrc: bool | None) -> None:
    if promisc is not None and promisc != node.promisc:
        graph.set_promisc(state, node.interface, on=promisc)
        node = replace(node, promisc=promisc)
    if autosrc is not None:
        node = replace(node, autosrc=autosrc)
    state.put(node)
