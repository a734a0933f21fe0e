"""The floor's constants and structures, written down a second time, are vimage's."""

from __future__ import annotations

from benchmark import floor
from vimage.kernel.freebsd import address, ifreq, netgraph, sockaddr


def test_numbers_of_requests_and_messages() -> None:
    assert (floor.SIOCSIFFLAGS, floor.SIOCGIFFLAGS, floor.SIOCSIFNAME, floor.SIOCSIFVNET,
            floor.SIOCAIFADDR) == (
        ifreq.SIOCSIFFLAGS, ifreq.SIOCGIFFLAGS, ifreq.SIOCSIFNAME, ifreq.SIOCSIFVNET,
        ifreq.SIOCAIFADDR)
    for message, cookie, command in (
            (netgraph.SHUTDOWN_, floor.GENERIC_COOKIE, floor.SHUTDOWN),
            (netgraph.MKPEER_, floor.GENERIC_COOKIE, floor.MKPEER),
            (netgraph.CONNECT_, floor.GENERIC_COOKIE, floor.CONNECT),
            (netgraph.NAME_, floor.GENERIC_COOKIE, floor.NAME_NODE),
            (netgraph.EIFACE_GET_IFNAME, floor.EIFACE_COOKIE, floor.EIFACE_GET_IFNAME),
            (netgraph.EIFACE_SET, floor.EIFACE_COOKIE, floor.EIFACE_SET),
            (netgraph.ETHER_SET_PROMISC, floor.ETHER_COOKIE, floor.ETHER_SET_PROMISC),
            (netgraph.ETHER_SET_AUTOSRC, floor.ETHER_COOKIE, floor.ETHER_SET_AUTOSRC)):
        assert (message.cookie, message.command) == (cookie, command), message.name
    assert floor.HEADER.size == netgraph.HEADER.size == 56


def test_structures() -> None:
    assert floor.hooks("eiface", "link2", "ether") == netgraph.MKPEER.pack(
        type="eiface", ourhook="link2", peerhook="ether")
    assert floor.alias("ng0_bm1", floor.address(0), 8) == address.alias4(
        "ng0_bm1", sockaddr.prefix("10.0.0.2/8")[1], 8)


def test_every_vimage_has_an_address_of_its_own() -> None:
    assert len({floor.address(number) for number in range(5000)}) == 5000
