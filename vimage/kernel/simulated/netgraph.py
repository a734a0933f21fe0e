"""netgraph(4): nodes, hooks and the types that vimage uses (ng_base.c and ng_*.c).

Only the host's graph is kept.  The graph of a jail's VNET is seen by nobody here.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from dataclasses import replace

from vimage.kernel import NgHook, NgNode
from vimage.kernel.simulated import interfaces
from vimage.kernel.simulated.errors import fail
from vimage.kernel.simulated.records import Hook, Iface, Node
from vimage.kernel.simulated.state import State

NAME_LIMIT = 31  # NG_NODESIZ, NG_HOOKSIZ, less the terminating NUL


# -- addresses -------------------------------------------------------------------


def find(state: State, path: str, own: int) -> Node:
    """The node that a path leads to; ``own`` is the node that ``.`` means."""
    start, colon, hooks = path.partition(":")
    if not colon:
        start, hooks = ".", path
    node = _find_absolute(state, start, own)
    for name in filter(None, hooks.split(".")):
        hook = state.hook(node.id, name)
        if hook is None:
            fail(errno.ENOENT, path)
        node = _existing(state, hook.peer, path)
    return node


def _find_absolute(state: State, name: str, own: int) -> Node:
    if name == ".":
        return _existing(state, own, name)
    number = decode_id(name)
    return _existing(state, number or state.node_named.get(name, 0), name)


def _existing(state: State, id: int, path: str) -> Node:
    node = state.node(id)
    if node is None:
        fail(errno.ENOENT, path)
    return node


def decode_id(name: str) -> int:
    """The number of a name such as ``[2f]``; 0 when it is none."""
    match = re.fullmatch(r"\[([0-9A-Fa-f]+)\]", name)
    return int(match[1], 16) if match else 0


def describe(state: State, node: Node) -> NgNode:
    return NgNode(node.id, node.name, node.type, len(state.hooks_of.get(node.id, ())))


def describe_hooks(state: State, node: Node) -> list[NgHook]:
    found = []
    for hook in state.hooks_of.get(node.id, {}).values():
        peer = state.node(hook.peer)
        assert peer is not None
        found.append(NgHook(hook.name, describe(state, peer), hook.peer_hook))
    return found


# -- nodes -------------------------------------------------------------------------


def load_type(state: State, type: str) -> None:
    """ngc_send(): before a mkpeer is delivered, the module of an unknown type is loaded."""
    if type == "socket":
        return
    interfaces.require_module(state, f"ng_{type}")


def make_node(state: State, type: str) -> Node:
    """A node by mkpeer; the type's constructor runs."""
    number = state.next("node")
    if type in ("ether", "socket"):
        fail(errno.EINVAL, type)
    if type == "eiface":
        return _make_eiface(state, number)
    node = Node(number, "", type)
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


def name_node(state: State, node: Node, name: str) -> None:
    """ng_name_node()."""
    if name == node.name:
        return
    if not name or len(name) > NAME_LIMIT or re.search(r"[.:]", name) or decode_id(name):
        fail(errno.EINVAL, name)
    if name in state.node_named:
        fail(errno.EADDRINUSE, name)
    state.put(replace(node, name=name))


def shutdown(state: State, node: Node, *, really: bool = False) -> None:
    """ng_rmnode() and the type's shutdown method."""
    for name in list(state.hooks_of.get(node.id, ())):
        destroy_hook(state, node.id, name, closing=node.id)
    here = state.node(node.id)
    if here is None:
        return
    if here.type == "ether" and not really:
        _reset_ether(state, here)
        return
    if here.type == "socket" and not really:
        return
    state.drop(here)
    if here.type == "eiface":
        iface = state.iface(here.interface)
        assert iface is not None
        interfaces.detach(state, iface)


def _reset_ether(state: State, node: Node) -> None:
    if node.promisc:
        interfaces.promisc(state, node.interface, on=False)
        state.put(replace(node, promisc=False))


# -- hooks ---------------------------------------------------------------------------


def mkpeer(state: State, node: Node, type: str, hook: str, peer_hook: str) -> None:
    """ng_mkpeer(): node first, then both hooks; a failure takes back what there is."""
    peer = make_node(state, type)
    try:
        _check_hook(state, node, hook)
    except OSError:
        shutdown(state, peer)
        raise
    try:
        _check_hook(state, peer, peer_hook)
    except OSError:
        shutdown(state, peer)
        _after_disconnect(state, node.id)
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
        _after_disconnect(state, node.id)
        raise
    _join(state, node, hook, peer, peer_hook)


def _join(state: State, node: Node, hook: str, peer: Node, peer_hook: str) -> None:
    state.put(Hook(node.id, hook, peer.id, peer_hook))
    state.put(Hook(peer.id, peer_hook, node.id, hook))


def destroy_hook(state: State, node: int, name: str, *, closing: int = 0) -> None:
    """Both ends of an edge go, and each node hears of it (``closing`` goes anyway)."""
    hook = state.hook(node, name)
    if hook is None:
        return
    state.drop(hook)
    other = state.hook(hook.peer, hook.peer_hook)
    if other is not None:
        state.drop(other)
    for end in (node, hook.peer):
        if end != closing:
            _after_disconnect(state, end)


def _after_disconnect(state: State, id: int) -> None:
    """A bridge without hooks goes away; an ether node is reset; others stay."""
    node = state.node(id)
    if node is None or state.hooks_of.get(id):
        return
    if node.type == "bridge":
        state.drop(node)
    elif node.type == "ether":
        _reset_ether(state, node)


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
        interfaces.promisc(state, node.interface, on=promisc)
        node = replace(node, promisc=promisc)
    if autosrc is not None:
        node = replace(node, autosrc=autosrc)
    state.put(node)
