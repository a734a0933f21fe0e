"""Addresses and default routes in one VNET (in.c, in6.c, route.c)."""

from __future__ import annotations

import errno
import ipaddress

from vimage.kernel import Iff
from vimage.kernel.simulated import interfaces
from vimage.kernel.simulated.errors import fail
from vimage.kernel.simulated.records import Iface, Route
from vimage.kernel.simulated.state import State


def add(state: State, vnet: int, name: str, address: str) -> None:
    """SIOCAIFADDR, SIOCAIFADDR_IN6.  The first address brings the interface up."""
    iface = interfaces.find(state, vnet, name)
    new = _parse(address)
    kept = tuple(a for a in iface.addresses if _parse(a).ip != new.ip)
    state.retag(iface, addresses=(*kept, str(new)),
                flags=iface.flags | int(Iff.UP | Iff.RUNNING))


def remove(state: State, vnet: int, name: str, address: str) -> None:
    """SIOCDIFADDR, SIOCDIFADDR_IN6."""
    iface = interfaces.find(state, vnet, name)
    gone = _parse(address).ip
    if gone not in _of(iface):
        fail(errno.EADDRNOTAVAIL, address)
    state.retag(iface, addresses=tuple(a for a in iface.addresses if _parse(a).ip != gone))


def add_default_route(state: State, vnet: int, gateway: str) -> None:
    """RTM_ADD of 0.0.0.0/0 or ::/0; another gateway becomes one more path."""
    try:
        address = ipaddress.ip_address(gateway.partition("%")[0])
    except ValueError:
        fail(errno.EINVAL, gateway)
    iface = _connected(state, vnet, gateway, address)
    if gateway in state.routes(vnet, address.version):
        fail(errno.EEXIST, gateway)
    state.put(Route(vnet, address.version, gateway, iface.id))


def _connected(state: State, vnet: int, gateway: str,
               address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Iface:
    scope = gateway.partition("%")[2]
    for iface in state.ifaces_in.get(vnet, {}).values():
        if not iface.flags & Iff.UP:
            continue
        if scope == iface.name or any(
                address in _parse(a).network for a in iface.addresses):
            return iface
    fail(errno.ENETUNREACH, gateway)


def _parse(address: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    try:
        return ipaddress.ip_interface(address)
    except ValueError:
        fail(errno.EINVAL, address)


def _of(iface: Iface) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    return [_parse(a).ip for a in iface.addresses]
