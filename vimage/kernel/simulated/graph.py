"""netgraph(4) as such: nodes, hooks and paths, whatever their types (ng_base.c).

Only the host's graph is kept.  The graph of a jail's VNET is seen by nobody here.
"""

from __future__ import annotations

import errno
import re
from dataclasses import replace

from vimage.kernel import Iff, NgHook, NgNode
from vimage.kernel.simulated.errors import fail
from vimage.kernel.simulated.records import Node
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


def _existing(state: State, number: int, path: str) -> Node:
    node = state.node(number)
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


def name_node(state: State, node: Node, name: str) -> None:
    """ng_name_node()."""
    if name == node.name:
        return
    if not name or len(name) > NAME_LIMIT or re.search(r"[.:]", name) or decode_id(name):
        fail(errno.EINVAL, name)
    if name in state.node_named:
        fail(errno.EADDRINUSE, name)
    state.put(replace(node, name=name))


def remove(state: State, node: Node) -> None:
    """A node ceases to exist, and its hooks with it."""
    close_hooks(state, node)
    here = state.node(node.id)
    if here is not None:
        state.drop(here)


def reset_ether(state: State, node: Node) -> None:
    if node.promisc:
        set_promisc(state, node.interface, on=False)
        state.put(replace(node, promisc=False))


def set_promisc(state: State, number: int, *, on: bool) -> None:
    """ifpromisc(): counted."""
    iface = state.iface(number)
    if iface is None:
        return
    count = iface.promisc + (1 if on else -1)
    flags = iface.flags
    if not flags & Iff.PPROMISC:
        flags = flags | Iff.PROMISC if count else flags & ~Iff.PROMISC
    state.retag(iface, promisc=count, flags=int(flags))


# -- hooks ---------------------------------------------------------------------------


def close_hooks(state: State, node: Node) -> None:
    """Every edge of a node that is being shut down."""
    for name in list(state.hooks_of.get(node.id, ())):
        destroy_hook(state, node.id, name, closing=node.id)


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
            after_disconnect(state, end)


def after_disconnect(state: State, number: int) -> None:
    """A bridge without hooks goes away; an ether node is reset; others stay."""
    node = state.node(number)
    if node is None or state.hooks_of.get(number):
        return
    if node.type == "bridge":
        state.drop(node)
    elif node.type == "ether":
        reset_ether(state, node)
