"""Structures for the kernel, byte by byte, and what is read from those it gives."""

from __future__ import annotations

import errno
import os
import socket
import struct

import pytest

from vimage.kernel import JailError
from vimage.kernel.freebsd import (
    address, ifreq, interface, jail, limits, mount, netgraph, sockaddr, tcp,
)

NAME = b"ng0_vj1".ljust(16, b"\0")


def v4(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET, text)


def v6(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, text)


@pytest.mark.parametrize(("request_", "number"), [
    (ifreq.SIOCGIFFLAGS, 0xc0206911), (ifreq.SIOCSIFFLAGS, 0x80206910),
    (ifreq.SIOCGIFCAP, 0xc020691f), (ifreq.SIOCSIFCAP, 0x8020691e),
    (ifreq.SIOCGIFINDEX, 0xc0206920), (ifreq.SIOCSIFNAME, 0x80206928),
    (ifreq.SIOCGIFMTU, 0xc0206933), (ifreq.SIOCSIFMTU, 0x80206934),
    (ifreq.SIOCSIFLLADDR, 0x8020693c),
    (ifreq.SIOCSIFVNET, 0xc020695a), (ifreq.SIOCSIFRVNET, 0xc020695b),
    (ifreq.SIOCGETVLAN, 0xc020693a), (ifreq.SIOCGDRVSPEC, 0xc028697b),
    (ifreq.SIOCGLAGGPORT, 0xc048698c), (ifreq.SIOCAIFADDR, 0x8044692b),
    (ifreq.SIOCAIFADDR_IN6, 0x8088691b), (ifreq.SIOCGIFINFO_IN6, 0xc048696c),
    (ifreq.SIOCSIFINFO_FLAGS, 0xc0486957), (mount._DEVFSIO_RGETNEXT, 0xc0ec4404),
])
def test_request_numbers(request_: int, number: int) -> None:
    assert request_ == number


def test_ipv4_alias() -> None:
    assert address.alias4("ng0_vj1", v4("192.0.2.2"), 24) == (
        NAME + bytes.fromhex("10020000 c0000202") + bytes(8) + bytes(16)
        + bytes.fromhex("10020000 ffffff00") + bytes(8) + bytes(4))


def test_ipv6_alias() -> None:
    assert address.alias6("ng0_vj1", v6("2001:db8::2"), 64) == (
        NAME + bytes.fromhex("1c1c0000 00000000") + v6("2001:db8::2") + bytes(4) + bytes(28)
        + bytes.fromhex("1c1c0000 00000000") + b"\xff" * 8 + bytes(12)
        + bytes(4 + 16) + b"\xff" * 8 + bytes(8))


def test_default_route() -> None:
    header = bytes.fromhex("c8000501 00000000 03080000 07000000 00000000 01000000") + bytes(128)
    anything = bytes.fromhex("10020000") + bytes(12)
    assert address.default_route(sockaddr.inet(v4("192.0.2.1"))) == (
        header + anything + bytes.fromhex("10020000 c0000201") + bytes(8) + anything)


def test_default_route_through_a_link_local_gateway() -> None:
    message = address.default_route(sockaddr.inet6(v6("fe80::1"), 0, 5))
    anything = bytes.fromhex("1c1c0000") + bytes(28)
    assert len(message) == 248
    assert message[152:] == (anything + bytes.fromhex("1c1c0000 00000000") + v6("fe80::1")
                             + bytes.fromhex("05000000 00000000") + anything)


def test_interface_name_that_does_not_fit() -> None:
    with pytest.raises(OSError) as caught:
        ifreq.name_bytes("x" * 16)
    assert caught.value.errno == errno.ENXIO


@pytest.mark.parametrize("text", ["192.0.2.2/33", "192.0.2/24", "2001:db8::/129", "x", ""])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(OSError) as caught:
        sockaddr.prefix(text)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("text", ["02:00:00:00:00", "020000000001", "0g:00:00:00:00:00", ""])
def test_what_is_no_mac(text: str) -> None:
    with pytest.raises(OSError) as caught:
        sockaddr.mac_bytes(text)
    assert caught.value.errno == errno.EINVAL


def sockaddr_dl(name: bytes, mac: bytes) -> bytes:
    data = struct.pack("<BBHBBBB", 54, 18, 7, 6, len(name), len(mac), 0) + name + mac
    return data.ljust(56, b"\0")


def ifinfo(name: bytes, mac: bytes, index: int, flags: int, type_: int = 6) -> bytes:
    data = struct.pack("<B7xI", type_, 1500).ljust(152, b"\0")
    body = struct.pack("<iiHHHHi", 0x10, flags, index, 0, 176, 24, 0) + data
    message = body + sockaddr_dl(name, mac)
    return struct.pack("<HBB", len(message) + 4, 5, 14) + message


def newaddr(*addresses: bytes) -> bytes:
    """An RTM_NEWADDR message with netmask (bit 2), interface address (bit 5)."""
    padded = b"".join(entry + bytes(-len(entry) % 8) for entry in addresses)
    body = struct.pack("<iiHHHHi", 1 << 2 | 1 << 5, 0, 7, 0, 176, 24, 0).ljust(172, b"\0")
    return struct.pack("<HBB", len(body) + 4 + len(padded), 5, 12) + body + padded


def test_list_of_interfaces() -> None:
    raw = ifinfo(b"em0", b"\2\0\0\0\0\1", 1, 0x28843) + ifinfo(b"lo0", b"", 2, 0x8049)
    first, second = interface.parse_list(raw)
    assert (first.name, first.mac, first.index, first.flags, first.mtu, first.type) == (
        "em0", "02:00:00:00:00:01", 1, 0x28843, 1500, 6)
    assert (second.name, second.mac) == ("lo0", "")


def test_addresses_without_those_of_the_link() -> None:
    mask = sockaddr.inet(v4("255.255.255.0"))
    raw = (ifinfo(b"em0", b"", 7, 0) + newaddr(mask, sockaddr.inet(v4("192.0.2.1")))
           + newaddr(bytes.fromhex("0700ffffffff00"), sockaddr.inet(v4("192.0.2.9")))
           + newaddr(mask, sockaddr.inet6(v6("fe80:7::1"))) +
           newaddr(mask, sockaddr.inet6(v6("2001:db8::1"))))
    assert interface.parse_addresses(raw) == ["192.0.2.1", "192.0.2.9", "2001:db8::1"]


def xprison(jid: int, state: int, inet: int = 0, inet6: int = 0) -> bytes:
    entry = struct.pack("<iii", 3, jid, state).ljust(1552, b"\0")
    return entry + struct.pack("<II", inet, inet6) + bytes(4 * inet + 16 * inet6)


def test_living_jails() -> None:
    raw = xprison(1, 1, 2, 1) + xprison(2, 2) + xprison(7, 1)
    assert jail.parse_list(raw) == {1, 7}
    assert jail.parse_list(b"") == set()
    many = [xprison(n, 1 + n % 2, n % 7 == 0, n % 11 == 0) for n in range(1, 200)]
    assert jail.parse_list(memoryview(b"".join(many))) == set(range(2, 200, 2))


def test_a_structure_of_another_version_is_not_guessed_at() -> None:
    raw = bytearray(xprison(1, 1) + xprison(2, 1))
    raw[1560] = 4
    with pytest.raises(OSError, match="struct xprison"):
        jail.parse_list(raw)


def xtcpcb(flags: int, theirs: int, ours: int, their: bytes, our: bytes) -> bytes:
    entry = struct.pack("<Q248xB3x", 744, flags) + struct.pack("!HH", theirs, ours)
    return (entry + their.rjust(16, b"\0") + our.rjust(16, b"\0")).ljust(744, b"\0")


def test_tcp_connections_without_listeners() -> None:
    end = struct.pack("<Q", 64).ljust(64, b"\0")
    raw = (end + xtcpcb(0, 0, 22, bytes(4), bytes(4))
           + xtcpcb(0, 1000, 22, v4("192.0.2.9"), v4("192.0.2.1"))
           + xtcpcb(1, 1001, 80, v6("fe80:5::9"), v6("2001:db8::1")) + end)
    assert tcp.connections(raw) == [
        (sockaddr.inet(v4("192.0.2.9"), 1000), sockaddr.inet(v4("192.0.2.1"), 22)),
        (sockaddr.inet6(v6("fe80::9"), 1001, 5), sockaddr.inet6(v6("2001:db8::1"), 80)),
    ]
    assert tcp.connections(end + end) == []


def test_statfs() -> None:
    raw = (struct.pack("<I", 0x20140518).ljust(192, b"\0") + struct.pack("<ii", -5, 7)).ljust(
        280, b"\0") + b"devfs".ljust(16, b"\0") + b"devfs".ljust(1024, b"\0") + (
        b"/usr/jail/vj1/dev".ljust(1024, b"\0"))
    found = mount.parse_statfs(raw)
    assert (found.fsid, found.fstype, found.directory) == ("-5:7", "devfs", "/usr/jail/vj1/dev")


@pytest.mark.parametrize(("name", "type_", "value", "expected"), [
    ("persist", jail.ParameterType("boolean"), True, ("persist", None)),
    ("persist", jail.ParameterType("boolean"), None, ("persist", None)),
    ("persist", jail.ParameterType("boolean"), False, ("nopersist", None)),
    ("allow.raw_sockets", jail.ParameterType("boolean"), "0", ("allow.noraw_sockets", None)),
    ("allow.noraw_sockets", jail.ParameterType("boolean", inverted=True), None,
     ("allow.noraw_sockets", None)),
    ("allow.noraw_sockets", jail.ParameterType("boolean", inverted=True), "false",
     ("allow.raw_sockets", None)),
    ("vnet", jail.ParameterType("jailsys"), "new", ("vnet", b"\1\0\0\0")),
    ("ip4", jail.ParameterType("jailsys"), "inherit", ("ip4", b"\2\0\0\0")),
    ("host.hostname", jail.ParameterType("text"), "vj1", ("host.hostname", b"vj1\0")),
    ("devfs_ruleset", jail.ParameterType("i"), "5", ("devfs_ruleset", b"\5\0\0\0")),
    ("children.max", jail.ParameterType("i"), 5, ("children.max", b"\5\0\0\0")),
    ("ip4.addr", jail.ParameterType("inet", array=True), "192.0.2.1,192.0.2.2",
     ("ip4.addr", b"\xc0\0\2\1\xc0\0\2\2")),
    ("ip4.addr", jail.ParameterType("inet", array=True), "", ("ip4.addr", b"")),
])
def test_jail_parameter(name: str, type_: jail.ParameterType, value: jail.Value,
                        expected: tuple[str, bytes | None]) -> None:
    assert jail.encode(name, type_, value) == expected


@pytest.mark.parametrize(("name", "type_", "value", "words"), [
    ("persist", jail.ParameterType("boolean"), "maybe", 'persist: unknown boolean value "maybe"'),
    ("vnet", jail.ParameterType("jailsys"), "old", 'vnet: unknown jailsys value "old"'),
    ("securelevel", jail.ParameterType("i"), "high", 'securelevel: non-integer value "high"'),
    ("ip4.addr", jail.ParameterType("inet", array=True), "::1",
     "ip4.addr: not an IPv4 address: ::1"),
])
def test_bad_jail_parameter(name: str, type_: jail.ParameterType, value: jail.Value,
                            words: str) -> None:
    with pytest.raises(JailError) as caught:
        jail.encode(name, type_, value)
    assert (caught.value.errno, caught.value.strerror) == (errno.EINVAL, words)


@pytest.mark.parametrize(("rule", "expected"), [
    ("jail:vj1:memoryuse:deny=1g", "jail:vj1:memoryuse:deny=1073741824"),
    ("jail:vj1:readbps:throttle=10M/process", "jail:vj1:readbps:throttle=10485760/process"),
    ("jail:vj1:pcpu:deny=50", "jail:vj1:pcpu:deny=50"),
    ("jail:vj1:", "jail:vj1:"),
    ("jail:vj1:vmemoryuse:deny=4096b", "jail:vj1:vmemoryuse:deny=4096"),
    ("jail:vj1:vmemoryuse:deny=4096B", "jail:vj1:vmemoryuse:deny=4096"),
    ("jail:vj1:vmemoryuse:deny=4kb/user", "jail:vj1:vmemoryuse:deny=4096/user"),
    ("jail:vj1:vmemoryuse:deny=2Tb", "jail:vj1:vmemoryuse:deny=2199023255552"),
    ("jail:vj1:vmemoryuse:deny=0x10k", "jail:vj1:vmemoryuse:deny=16384"),
    ("jail:vj1:vmemoryuse:deny=010", "jail:vj1:vmemoryuse:deny=8"),
    ("jail:vj1:vmemoryuse:deny=0", "jail:vj1:vmemoryuse:deny=0"),
    ("jail:vj1:vmemoryuse:deny=15e", "jail:vj1:vmemoryuse:deny=17293822569102704640"),
    # refused by rctl(8): for the kernel to refuse
    ("jail:vj1:vmemoryuse:deny=16e", "jail:vj1:vmemoryuse:deny=16e"),
    ("jail:vj1:vmemoryuse:deny=4x", "jail:vj1:vmemoryuse:deny=4x"),
    ("jail:vj1:vmemoryuse:deny=-1", "jail:vj1:vmemoryuse:deny=-1"),
])
def test_amounts_of_rules(rule: str, expected: str) -> None:
    assert limits.plain(rule) == expected


# -- names are octets --------------------------------------------------------------------------


NOT_UTF8 = b"em\xfc0"
ODD = os.fsdecode(NOT_UTF8)


def test_a_name_that_is_not_utf8_comes_and_goes_unchanged() -> None:
    """Whatever the kernel has for a name is shown and can be asked for."""
    link = struct.pack("<BBHBBBB", 60, sockaddr.AF_LINK, 1, 6, len(NOT_UTF8), 0, 0) + NOT_UTF8
    assert sockaddr.parse_link(link)[0] == ODD
    assert ifreq.name_bytes(ODD).rstrip(b"\0") == NOT_UTF8
    assert sockaddr.netgraph(ODD + ":")[2:] == NOT_UTF8 + b":"
    assert netgraph.NAME.pack(name=ODD).rstrip(b"\0") == NOT_UTF8
    assert netgraph.NAME.unpack(NOT_UTF8.ljust(32, b"\0")) == (ODD,)


def test_an_error_about_such_a_name_can_be_made() -> None:
    with pytest.raises(OSError):
        ifreq.name_bytes(ODD * 10)
    with pytest.raises(OSError):
        sockaddr.netgraph(ODD * 10)
