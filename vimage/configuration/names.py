"""The names that vimage gives and reads: vimages, interfaces, nodes, variables.

All functions are pure.
"""

from __future__ import annotations

import re

#: Longest name of a network interface (IFNAMSIZ of net/if.h, less the final NUL).
MAX_INTERFACE = 15

#: Longest name of a netgraph node (NG_NODESIZ of netgraph/ng_message.h, less the final NUL).
MAX_NODE = 31

#: Longest name of a vimage: with what is put around it, it still fits a file name (NAME_MAX).
MAX_VIMAGE = 200

_VIMAGE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*", re.ASCII)
_BRIDGE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)
_NODE = str.maketrans(".:", "__")


def is_vimage(name: str) -> bool:
    """Whether ``name`` can name a vimage.  Digits alone would be a jail id (jail(8))."""
    return bool(_VIMAGE.fullmatch(name)) and not name.isdigit() and len(name) <= MAX_VIMAGE


def is_interface(name: str) -> bool:
    """Whether ``name`` can name an interface of the host."""
    return bool(_INTERFACE.fullmatch(name)) and len(name) <= MAX_INTERFACE


def is_host_bridge(name: str) -> bool:
    """Whether ``name`` can name a host-only bridge: interface, node and part of a variable."""
    return bool(_BRIDGE.fullmatch(name)) and len(name) <= MAX_INTERFACE


def link(index: int, vimage: str) -> str:
    """``ngN_NAME``, interface and node, cut to what an interface name can hold."""
    return f"ng{index}_{vimage}"[:MAX_INTERFACE]


def node(interface: str) -> str:
    """The node that ng_ether(4) gives to ``interface``: ``.`` and ``:`` become ``_``."""
    return interface.translate(_NODE)


def bridge_node(parent: str) -> str:
    """The name of the ng_bridge(4) node of ``parent``, the one that jng gives."""
    return f"{node(parent)}bridge"


def variable(name: str) -> str:
    """How ``name`` is written within the name of a variable."""
    return name.replace("-", "_")
