"""Every message of netgraph(4) that vimage sends, byte by byte, and the replies it reads.

The bytes are those that the structures of sys/netgraph/*.h have in memory on amd64 and
arm64: numbers little-endian, texts NUL padded to their fixed length.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest

from vimage.kernel import NgHook, NgNode
from vimage.kernel.freebsd import netgraph as ng
from vimage.kernel.freebsd import sockaddr


def wire(numbers: str, *fields: tuple[str, int] | str) -> bytes:
    """Numbers as hexadecimal, then texts padded to a length, or numbers again."""
    data = bytes.fromhex(numbers)
    for field in fields:
        data += bytes.fromhex(field) if isinstance(field, str) else field[0].encode().ljust(
            field[1], b"\0")
    return data


#: message, token, argument, and the bytes: version and spares, arglen, cmd, flags, token,
#: cookie, cmdstr, argument.
GOLDEN: dict[str, tuple[ng.Message, int, dict[str, Any], bytes]] = {
    "mkpeer": (
        ng.MKPEER_, 7, {"type": "eiface", "ourhook": "link3", "peerhook": "ether"},
        wire("08000000 60000000 02000000 00000000 07000000 1e51c643",
             ("mkpeer", 32), ("eiface", 32), ("link3", 32), ("ether", 32))),
    "connect": (
        ng.CONNECT_, 7, {"path": "em0bridge:", "ourhook": "lower", "peerhook": "link0"},
        wire("08000000 40020000 03000000 00000000 07000000 1e51c643",
             ("connect", 32), ("em0bridge:", 512), ("lower", 32), ("link0", 32))),
    "name": (
        ng.NAME_, 7, {"name": "ng0_vj1"},
        wire("08000000 20000000 04000000 00000000 07000000 1e51c643",
             ("name", 32), ("ng0_vj1", 32))),
    "rmhook": (
        ng.RMHOOK_, 7, {"ourhook": "link3"},
        wire("08000000 20000000 05000000 00000000 07000000 1e51c643",
             ("rmhook", 32), ("link3", 32))),
    "shutdown": (
        ng.SHUTDOWN_, 7, {},
        wire("08000000 00000000 01000000 00000000 07000000 1e51c643",
             ("shutdown", 32))),
    "listhooks": (
        ng.LISTHOOKS_, 7, {},
        wire("08000000 00000000 07000030 00000000 07000000 1e51c643",
             ("listhooks", 32))),
    "listnodes": (
        ng.LISTNODES_, 7, {},
        wire("08000000 00000000 09000030 00000000 07000000 1e51c643",
             ("listnodes", 32))),
    "getifname": (
        ng.EIFACE_GET_IFNAME, 7, {},
        wire("08000000 00000000 01000000 00000000 07000000 a4f28238",
             ("getifname", 32))),
    "set": (
        ng.EIFACE_SET, 7, {"mac": sockaddr.mac_bytes("02:00:00:ab:cd:01")},
        wire("08000000 06000000 03000000 00000000 07000000 a4f28238",
             ("set", 32), "020000abcd01")),
    "getpromisc": (
        ng.ETHER_GET_PROMISC, 7, {},
        wire("08000000 00000000 05000000 00000000 07000000 1a51b436",
             ("getpromisc", 32))),
    "setpromisc": (
        ng.ETHER_SET_PROMISC, 7, {"flag": 1},
        wire("08000000 04000000 06000000 00000000 07000000 1a51b436",
             ("setpromisc", 32), "01000000")),
    "getautosrc": (
        ng.ETHER_GET_AUTOSRC, 7, {},
        wire("08000000 00000000 07000000 00000000 07000000 1a51b436",
             ("getautosrc", 32))),
    "setautosrc": (
        ng.ETHER_SET_AUTOSRC, 7, {"flag": 1},
        wire("08000000 04000000 08000000 00000000 07000000 1a51b436",
             ("setautosrc", 32), "01000000")),
    "nodeinfo": (
        ng.NODEINFO_, 0x7fffffff, {},
        wire("08000000 00000000 06000030 00000000 ffffff7f 1e51c643",
             ("nodeinfo", 32))),
}

HOOKS = wire("08000000 58010000 07000030 01000000 09000000 1e51c643", ("listhooks", 32),
             ("em0bridge", 32), ("bridge", 32), "2f000000 02000000",
             ("link0", 32), ("lower", 32), ("em0", 32), ("ether", 32), "01000000 02000000",
             ("link2", 32), ("ether", 32), ("", 32), ("eiface", 32), "31000000 01000000")
NODES = wire("08000000 94000000 09000030 01000000 09000000 1e51c643", ("listnodes", 32), "02000000",
             ("em0", 32), ("ether", 32), "01000000 02000000",
             ("", 32), ("bridge", 32), "2f000000 00000000")


@pytest.mark.parametrize("name", GOLDEN)
def test_message(name: str) -> None:
    message, token, values, expected = GOLDEN[name]
    assert message.encode(token, **values) == expected


def test_reply_of_listhooks() -> None:
    token, argument = ng.decode(HOOKS) or (0, b"")
    assert token == 9
    assert ng.parse_hooks(argument) == [
        NgHook("link0", NgNode(1, "em0", "ether", 2), "lower"),
        NgHook("link2", NgNode(0x31, "", "eiface", 1), "ether"),
    ]
    assert ng.parse_node(argument) == NgNode(0x2f, "em0bridge", "bridge", 2)


def test_reply_of_listnodes() -> None:
    token, argument = ng.decode(NODES) or (0, b"")
    assert (token, ng.parse_nodes(argument)) == (
        9, [NgNode(1, "em0", "ether", 2), NgNode(0x2f, "", "bridge", 0)])


@pytest.mark.parametrize("data", [b"", HOOKS[:55], HOOKS[:-1], b"\7" + HOOKS[1:],
                                  GOLDEN["listhooks"][3]])
def test_what_is_no_whole_reply_is_passed_over(data: bytes) -> None:
    assert ng.decode(data) is None


def test_a_text_leaves_room_for_its_nul() -> None:
    assert len(ng.NAME_.encode(1, name="x" * 31)) == 56 + 32
    with pytest.raises(OSError) as caught:
        ng.NAME_.encode(1, name="x" * 32)
    assert caught.value.errno == errno.ENAMETOOLONG


def test_address_of_a_node() -> None:
    assert sockaddr.netgraph("em0:") == b"\x06\x20em0:"
    assert sockaddr.netgraph("x" * 31 + ":") == b"\x22\x20" + b"x" * 31 + b":"
    with pytest.raises(OSError) as caught:
        sockaddr.netgraph("x" * 32 + ":")
    assert caught.value.errno == errno.ENAMETOOLONG
