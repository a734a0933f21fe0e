"""Network interfaces, whatever VNET they are in (if.c, if_ethersubr.c, ng_ether.c)."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import re
from dataclasses import dataclass, replace

from vimage.kernel import Cap, Iff, Interface
from vimage.kernel.simulated import graph
from vimage.kernel.simulated.errors import fail
from vimage.kernel.simulated.records import Iface, Module, Node
from vimage.kernel.simulated.state import State

NAME_LIMIT = 15
SIMPLEX = 0x800
ETHERNET = Iff.BROADCAST | Iff.MULTICAST | SIMPLEX
#: What SIOCSIFFLAGS cannot change (IFF_CANTCHANGE).
CANNOT_CHANGE = int(Iff.BROADCAST | Iff.RUNNING | Iff.MULTICAST | Iff.PROMISC) | SIMPLEX \
    | 0x10 | 0x200 | 0x400 | 0x200000

_VLAN_MTU, _VLAN_TAGS, _JUMBO, _VLAN_CSUM = 0x8, 0x10, 0x20, 0x80
_MAGIC, _VLAN_FILTER, _VLAN_TSO, _LINKSTATE = 0x2000, 0x10000, 0x40000, 0x80000
CHECKSUMS = Cap.RXCSUM | Cap.TXCSUM | Cap.RXCSUM_IPV6 | Cap.TXCSUM_IPV6
HARDWARE = int(CHECKSUMS | Cap.TSO4 | Cap.TSO6 | Cap.LRO) | _VLAN_MTU | _VLAN_TAGS | _JUMBO \
    | _VLAN_CSUM | _MAGIC | _VLAN_FILTER | _VLAN_TSO


@dataclass(frozen=True)
class Driver:
    """What a kind of interface can do."""

    capable: int
    mtu: tuple[int, int]
    sets_caps: bool
    has_mac: bool


DRIVERS = {
    "ether": Driver(HARDWARE, (72, 9000), True, True),
    "eiface": Driver(_VLAN_MTU | _JUMBO, (72, 9018), False, True),
    "loopback": Driver(int(CHECKSUMS) | _LINKSTATE, (72, 65535), True, False),
}


# -- finding ---------------------------------------------------------------------------


def find(state: State, vnet: int, name: str) -> Iface:
    """ifunit(): the interface of that name which came first."""
    found = state.iface_named.get((vnet, name))
    iface = state.iface(found[0]) if found else None
    if iface is None:
        fail(errno.ENXIO, name)
    return iface


def describe(iface: Iface) -> Interface:
    return Interface(iface.name, iface.index, Iff(iface.flags), iface.mtu, iface.mac,
                     iface.driver)


def listed(state: State, vnet: int) -> list[Interface]:
    found = state.ifaces_in.get(vnet, {}).values()
    return [describe(iface) for iface in sorted(found, key=lambda i: i.index)]


def _free_index(state: State, vnet: int) -> int:
    used = state.indexes_in.get(vnet, ())
    return next(number for number in itertools.count(1) if number not in used)


def free_unit(state: State, driver: str) -> int:
    """The lowest unit that no interface of the driver has, wherever they are."""
    return next(unit for unit in itertools.count()
                if f"{driver}{unit}" not in state.drivers)


# -- coming and going ---------------------------------------------------------------------


def attach(state: State, name: str, kind: str, *, vnet: int = 0, mac: str = "",
           flags: int = 0, mtu: int = 1500) -> Iface:
    """A new interface; ng_ether gives it a node if it is an Ethernet interface."""
    driver = DRIVERS[kind]
    iface = Iface(
        id=state.next("iface"), name=name, driver=name, kind=kind, vnet=vnet, home=vnet,
        index=_free_index(state, vnet), flags=flags, mtu=mtu, mac=mac,
        capable=driver.capable, caps=driver.capable & ~_MAGIC)
    state.put(iface)
    return _ether_attach(state, iface)


def attach_eiface(state: State, name: str) -> Iface:
    return attach(state, name, "eiface", mac=generated_mac(state, name), flags=int(ETHERNET))


def attach_loopback(state: State, vnet: int) -> Iface:
    return attach(state, "lo0", "loopback", vnet=vnet, mtu=16384,
                  flags=int(Iff.LOOPBACK | Iff.MULTICAST))


def generated_mac(state: State, name: str) -> str:
    """ether_gen_addr(): within FreeBSD's own block, from host and interface name."""
    uuid = state.sysctl("kern.hostuuid")
    text = f"{uuid.value if uuid else ''}-{name}-0"
    digest = hashlib.sha1(os.fsencode(text), usedforsecurity=False).digest()
    return ":".join(f"{byte:02x}" for byte in (0x58, 0x9C, 0xFC, 0x10, *digest[1:3]))


def detach(state: State, iface: Iface) -> None:
    """The interface ceases to exist."""
    _ether_detach(state, iface)
    _forget_routes(state, iface)
    here = state.iface(iface.id)
    if here is not None:
        state.drop(here)


def move(state: State, iface: Iface, vnet: int) -> None:
    """if_vmove(): down, without addresses, under a new index; the name is not looked at."""
    _ether_detach(state, iface)
    _forget_routes(state, iface)
    iface = state.iface(iface.id) or iface
    state.drop(iface)  # it comes last among those of its name
    moved = replace(iface, vnet=vnet, index=_free_index(state, vnet), addresses=(),
                    flags=iface.flags & ~int(Iff.UP))
    state.put(moved)
    _ether_attach(state, moved)


def return_all(state: State, vnet: int) -> None:
    """vnet_if_return(), and the end of what was born there."""
    for iface in list(state.ifaces_in.get(vnet, {}).values()):
        if iface.home == vnet:
            detach(state, iface)
        else:
            move(state, iface, iface.home)


# -- ng_ether --------------------------------------------------------------------------------


def require_module(state: State, name: str) -> None:
    """kldload(2); ng_ether gives a node to every Ethernet interface."""
    if state.module(name) is not None:
        return
    level, known = state.sysctl("kern.securelevel"), state.sysctl("kenv.modules")
    if level is not None and int(level.value) > 0:
        fail(errno.EPERM, name)
    if known is None or name not in str(known.value).split():
        fail(errno.ENOENT, name)
    state.put(Module(name))
    if name == "ng_ether":
        for iface in sorted(state.ifaces_in.get(0, {}).values(), key=lambda i: i.index):
            _ether_attach(state, iface)


def node_name(name: str) -> str:
    """ng_ether_sanitize_ifname()."""
    return re.sub(r"[.:]", "_", name)


def _ether_attach(state: State, iface: Iface) -> Iface:
    """ng_ether_attach(): unless a node of that name exists."""
    if iface.kind == "loopback" or iface.vnet != 0 or state.module("ng_ether") is None:
        return iface
    name = node_name(iface.name)
    if name in state.node_named:
        return iface
    node = Node(state.next("node"), name, "ether", interface=iface.id)
    state.put(node)
    return state.retag(iface, ether_node=node.id)


def _ether_detach(state: State, iface: Iface) -> None:
    """ng_ether_detach(): the node goes for good, promiscuous mode stays."""
    node = state.node(iface.ether_node)
    if node is not None:
        graph.remove(state, node)
        state.retag(state.iface(iface.id) or iface, ether_node=0)


# -- settings ----------------------------------------------------------------------------------


def rename(state: State, vnet: int, name: str, new: str) -> None:
    """SIOCSIFNAME; an ether node follows if it can."""
    iface = find(state, vnet, name)
    if not 0 < len(os.fsencode(new)) <= NAME_LIMIT:
        fail(errno.EINVAL, new)
    if new == name:
        return
    if state.iface_named.get((vnet, new)):
        fail(errno.EEXIST, new)
    state.retag(iface, name=new)
    node = state.node(iface.ether_node)
    if node is not None and node_name(new) not in state.node_named:
        graph.name_node(state, node, node_name(new))


def set_flags(state: State, iface: Iface, on: int, off: int) -> None:
    """SIOCSIFFLAGS: the driver runs while the interface is up."""
    wanted = (iface.flags | on) & ~off
    if wanted == iface.flags:
        return
    flags = iface.flags & CANNOT_CHANGE | wanted & ~CANNOT_CHANGE
    if wanted & Iff.PPROMISC:
        flags |= Iff.PROMISC
    elif iface.flags & Iff.PPROMISC and not iface.promisc:
        flags &= ~Iff.PROMISC
    flags = flags | Iff.RUNNING if flags & Iff.UP else flags & ~Iff.RUNNING
    state.retag(iface, flags=int(flags))


def set_mtu(state: State, iface: Iface, mtu: int) -> None:
    low, high = DRIVERS[iface.kind].mtu
    if not low <= mtu <= high:
        fail(errno.EINVAL, iface.name)
    state.retag(iface, mtu=mtu)


def set_mac(state: State, iface: Iface, mac: str) -> None:
    if not DRIVERS[iface.kind].has_mac:
        fail(errno.EINVAL, iface.name)
    octets = parse_mac(mac)
    if octets[0] & 1:
        fail(errno.EINVAL, mac)
    state.retag(iface, mac=":".join(f"{octet:02x}" for octet in octets))


def parse_mac(mac: str) -> bytes:
    if not re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", mac):
        fail(errno.EINVAL, mac)
    return bytes.fromhex(mac.replace(":", ""))


def set_caps(state: State, iface: Iface, caps: int) -> None:
    if caps & ~iface.capable or not DRIVERS[iface.kind].sets_caps:
        fail(errno.EINVAL, iface.name)
    state.retag(iface, caps=caps)


def users(iface: Iface) -> list[str]:
    found = [f"address {address.partition('/')[0]}" for address in iface.addresses
             if not address.lower().startswith("fe80:")]
    return found + list(iface.users)


def _forget_routes(state: State, iface: Iface) -> None:
    for family in (4, 6):
        for route in list(state.routes(iface.vnet, family).values()):
            if route.iface == iface.id:
                state.drop(route)
