"""The floor: the kernel calls that starting and stopping vimages cannot do without.

A program of its own that imports nothing of vimage.  Every buffer is filled before the
clock starts; then each vimage costs these calls and no other:

start                                     stop (all nodes, then all jails)
  sendto    NGM_MKPEER, an eiface           sendto       NGM_SHUTDOWN of the eiface
  sendto    NGM_EIFACE_GET_IFNAME           jail_remove
  recvfrom  its reply, "ngeth7"
  sendto    NGM_NAME
  ioctl     SIOCSIFNAME
  sendto    NGM_EIFACE_SET, the MAC
  jail_set  name, path, host.hostname, vnet=new, persist
  ioctl     SIOCSIFVNET

With an address one process enters each jail and ends there: fork, jail_attach, socket, an
ioctl SIOCAIFADDR for lo0 and one for the interface (it brings both up), exit, wait4.

The bridge is made with the first vimage and removed with the last, as in ng_ether(4):
the parent up, promiscuous, source addresses kept.

    floor.py --parent em0 --root DIR --count N [--address]

reads lines from stdin, answers each with a line of JSON, and cleans up at the end of stdin:
"start A B", "stop A B" for the vimages number A to B - 1, "bridge", "unbridge".

Constants are those of sys/netgraph/ng_message.h, ng_bridge.h, ng_eiface.h and ng_ether.h,
sys/jail.h, sys/sockio.h, net/if.h and netinet/in_var.h; the same on every 64-bit FreeBSD.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

NAME = "bm{}"  # the vimages; beginning with 1

# ng_message.h
NG_VERSION = 8
GENERIC_COOKIE = 1137070366
SHUTDOWN, MKPEER, CONNECT, NAME_NODE = 1, 2, 3, 4
# ng_eiface.h
EIFACE_COOKIE = 948105892
EIFACE_GET_IFNAME, EIFACE_SET = 1, 3
# ng_ether.h
ETHER_COOKIE = 917786906
ETHER_SET_PROMISC, ETHER_SET_AUTOSRC = 6, 8
# sys/socket.h, ng_socket.h
AF_NETGRAPH, NG_CONTROL = 32, 2
# sys/sockio.h over struct ifreq (32 bytes), struct ifaliasreq (68)
SIOCSIFFLAGS = 0x80206910
SIOCGIFFLAGS = 0xC0206911
SIOCSIFNAME = 0x80206928
SIOCSIFVNET = 0xC020695A
SIOCAIFADDR = 0x8044692B
IFF_UP = 1  # net/if.h
JAIL_CREATE = 1  # sys/jail.h
JAIL_SYS_NEW = 1

#: struct ng_msghdr: version, spare, spare2, arglen, cmd, flags, token, typecookie, cmdstr[32].
HEADER = struct.Struct("<BBHIIIII32s")
IFREQ_UNION = 16  # offset of ifr_ifru: behind ifr_name


class Floor:
    """The prepared calls for vimages 0 to count - 1."""

    def __init__(self, parent: str, root: str, count: int, address: bool, plant: str = "",
                 ) -> None:
        self.library = ctypes.CDLL(None, use_errno=True)
        self.plant = self.function(plant) if plant else None
        self.sendto = self.function("sendto", 6)
        self.recv = self.function("recv", 4)
        self.ioctl = self.function("ioctl", 3)
        self.jail_set = self.function("jail_set", 3)
        self.jail_remove = self.function("jail_remove", 1)
        self.jail_attach = self.function("jail_attach", 1)
        self.address = address
        self.netgraph = socket.socket(AF_NETGRAPH, NG_CONTROL, 0)
        self.inet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.fd = self.netgraph.fileno()
        self.inet_fd = self.inet.fileno()
        self.reply = ctypes.create_string_buffer(1024)
        self.jids = [0] * count
        self.parent = parent
        self.ether = parent.replace(".", "_").replace(":", "_")
        self.bridge_node = f"{self.ether}bridge"
        self.bridge_calls = self.prepare_bridge()
        self.unbridge_call = self.message(f"{self.bridge_node}:", GENERIC_COOKIE, SHUTDOWN, b"")
        self.vimages = [Prepared(self, number, root) for number in range(count)]

    def function(self, name: str, arguments: int = 0) -> Any:
        """A function of the C library with every argument a word."""
        function = getattr(self.library, name)
        function.restype = ctypes.c_long if name in ("sendto", "recv") else ctypes.c_int
        function.argtypes = [ctypes.c_void_p] * arguments if arguments else None
        return function

    # -- messages ------------------------------------------------------------------------

    def message(self, path: str, cookie: int, command: int, argument: bytes) -> tuple[Any, ...]:
        """The arguments of sendto(2) for one message."""
        data = HEADER.pack(NG_VERSION, 0, 0, len(argument), command, 0, 1, cookie, b"") + argument
        to = path.encode()
        address = bytes((len(to) + 2, AF_NETGRAPH)) + to
        return (self.fd, self.keep(data), len(data), 0, self.keep(address), len(address))

    def keep(self, data: bytes) -> Any:
        """The address of a copy that lives as long as this program."""
        buffer = ctypes.create_string_buffer(data, len(data))
        BUFFERS.append(buffer)
        return ctypes.c_void_p(ctypes.addressof(buffer))

    def prepare_bridge(self) -> list[tuple[Any, ...]]:
        ether, lower = f"{self.ether}:", f"{self.ether}:lower"
        return [
            self.message(ether, GENERIC_COOKIE, MKPEER, hooks("bridge", "lower", "link0")),
            self.message(lower, GENERIC_COOKIE, NAME_NODE, padded(self.bridge_node, 32)),
            self.message(ether, GENERIC_COOKIE, CONNECT,
                         padded(f"{self.bridge_node}:", 512) + padded("upper", 32)
                         + padded("link1", 32)),
            self.message(ether, ETHER_COOKIE, ETHER_SET_PROMISC, struct.pack("<i", 1)),
            self.message(ether, ETHER_COOKIE, ETHER_SET_AUTOSRC, struct.pack("<i", 0)),
        ]

    # -- what is measured ----------------------------------------------------------------

    def bridge(self) -> None:
        """The bridge, and its parent up."""
        request = ctypes.create_string_buffer(padded(self.parent, 16) + bytes(16), 32)
        self.check(self.ioctl(self.inet_fd, SIOCGIFFLAGS, request))
        low, high = struct.unpack_from("<HH", request, IFREQ_UNION)
        self.was_up = bool(low & IFF_UP)
        self.flags = low, high
        if not self.was_up:
            struct.pack_into("<HH", request, IFREQ_UNION, low | IFF_UP, high)
            self.check(self.ioctl(self.inet_fd, SIOCSIFFLAGS, request))
        for call in self.bridge_calls:
            self.check(self.sendto(*call))

    def unbridge(self) -> None:
        """The parent's node sets itself back with its last hook (ng_ether_disconnect)."""
        self.check(self.sendto(*self.unbridge_call))
        if not self.was_up:
            request = ctypes.create_string_buffer(
                padded(self.parent, 16) + struct.pack("<HH12x", *self.flags), 32)
            self.check(self.ioctl(self.inet_fd, SIOCSIFFLAGS, request))

    def start(self, first: int, last: int) -> None:
        sendto, recv, ioctl, check = self.sendto, self.recv, self.ioctl, self.check
        jail_set, memmove, reply = self.jail_set, ctypes.memmove, self.reply
        ifname = ctypes.c_void_p(ctypes.addressof(reply) + HEADER.size)
        fd, inet = self.fd, self.inet_fd
        for number in range(first, last):
            one = self.vimages[number]
            check(sendto(*one.mkpeer))
            check(sendto(*one.ask))
            check(recv(fd, reply, 1024, 0))
            check(sendto(*one.name))
            memmove(one.rename, ifname, 16)
            check(ioctl(inet, SIOCSIFNAME, one.rename))
            check(sendto(*one.mac))
            jid = self.jids[number] = jail_set(one.jail, one.jail_length, JAIL_CREATE)
            check(jid)
            one.jid.value = jid
            check(ioctl(inet, SIOCSIFVNET, one.move))
            if self.address:
                self.enter(one, jid)
            if self.plant is not None:
                self.plant()

    def enter(self, one: Prepared, jid: int) -> None:
        """A process that enters the jail, sets the addresses and ends."""
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self.check(self.jail_attach(jid))
                inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach()
                self.check(self.ioctl(inside, SIOCAIFADDR, LOOPBACK))
                self.check(self.ioctl(inside, SIOCAIFADDR, one.alias))
                status = 0
            finally:
                os._exit(status)
        if os.wait4(pid, 0)[1]:
            raise OSError(0, f"the process in jail {jid} failed")

    def stop(self, first: int, last: int) -> None:
        sendto, check, jail_remove = self.sendto, self.check, self.jail_remove
        for one in self.vimages[first:last]:
            check(sendto(*one.shutdown))
        for jid in self.jids[first:last]:
            check(jail_remove(jid))
        self.jids[first:last] = [0] * (last - first)

    @staticmethod
    def check(result: int) -> None:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


class Prepared:
    """The buffers of one vimage."""

    def __init__(self, floor: Floor, number: int, root: str) -> None:
        name = NAME.format(number + 1)
        interface = f"ng0_{name}"[:15]
        link = f"{floor.bridge_node}:link{number + 2}"
        mac = bytes((2, 0xbe, 0, *(number + 1).to_bytes(3, "big")))
        self.mkpeer = floor.message(f"{floor.bridge_node}:", GENERIC_COOKIE, MKPEER,
                                    hooks("eiface", f"link{number + 2}", "ether"))
        self.ask = floor.message(link, EIFACE_COOKIE, EIFACE_GET_IFNAME, b"")
        self.name = floor.message(link, GENERIC_COOKIE, NAME_NODE, padded(interface, 32))
        self.mac = floor.message(link, EIFACE_COOKIE, EIFACE_SET, mac)
        self.shutdown = floor.message(f"{interface}:", GENERIC_COOKIE, SHUTDOWN, b"")
        new_name = floor.keep(padded(interface, 16))
        self.rename = floor.keep(bytes(16) + struct.pack("<Q8x", new_name.value))
        self.move = floor.keep(padded(interface, 16) + bytes(16))
        self.jid = ctypes.c_int.from_address(self.move.value + IFREQ_UNION)
        vector = list(parameters(floor, name, root))
        self.jail = floor.keep(struct.pack(f"<{len(vector)}Q", *vector))
        self.jail_length = len(vector) // 2
        self.alias = floor.keep(alias(interface, address(number), 8))


#: What the kernel is handed the addresses of.
BUFFERS: list[Any] = []


def parameters(floor: Floor, name: str, root: str) -> Iterator[int]:
    """The words of the struct iovec for jail_set(2): base and length, twice a parameter."""
    values: dict[str, bytes] = {
        "name": name.encode() + b"\0", "path": root.encode() + b"\0",
        "host.hostname": name.encode() + b"\0", "vnet": struct.pack("<i", JAIL_SYS_NEW),
        "persist": b"",
    }
    for key, value in values.items():
        yield from (floor.keep(key.encode() + b"\0").value, len(key) + 1)
        yield from (floor.keep(value).value, len(value)) if value else (0, 0)


def padded(text: str, size: int) -> bytes:
    return text.encode().ljust(size, b"\0")


def hooks(kind: str, ours: str, peer: str) -> bytes:
    """struct ngm_mkpeer."""
    return padded(kind, 32) + padded(ours, 32) + padded(peer, 32)


def address(number: int) -> bytes:
    """10.x.y.z of a vimage; vimage gets the same."""
    return bytes((10, *(number + 2).to_bytes(3, "big")))


def alias(interface: str, ip: bytes, bits: int) -> bytes:
    """struct ifaliasreq: name, address, broadcast, mask, vhid."""
    mask = ((1 << bits) - 1 << 32 - bits).to_bytes(4, "big")
    return (padded(interface, 16) + struct.pack("<BBH4s8x", 16, socket.AF_INET, 0, ip) + bytes(16)
            + struct.pack("<BBH4s8x", 16, socket.AF_INET, 0, mask) + bytes(4))


LOOPBACK = ctypes.create_string_buffer(alias("lo0", bytes((127, 0, 0, 1)), 8), 68)


def cpu() -> float:
    """Seconds of CPU of this process and of the ended ones it started."""
    return sum(usage.ru_utime + usage.ru_stime for usage in (
        resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)))


def answer(floor: Floor, words: list[str]) -> dict[str, float]:
    """Do what a line says; how long it took."""
    verb, numbers = words[0], [int(word) for word in words[1:]]
    action: Any = {"start": floor.start, "stop": floor.stop,
                   "bridge": floor.bridge, "unbridge": floor.unbridge}[verb]
    used, begun = cpu(), time.monotonic()
    action(*numbers)
    ended = time.monotonic()
    return {"wall": ended - begun, "cpu": cpu() - used}


def main() -> int:
    """Answer the lines of stdin."""
    parser = argparse.ArgumentParser(description="The kernel calls vimages cannot do without.")
    parser.add_argument("--parent", required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--address", action="store_true")
    parser.add_argument("--plant", default="", metavar="CALL",
                        help="make this call once more for each vimage (to test the counting)")
    options = parser.parse_args()
    floor = Floor(options.parent, options.root, options.count, options.address, options.plant)
    print(json.dumps({"ready": os.getpid()}), flush=True)
    bridged = False
    try:
        for line in sys.stdin:
            words = line.split()
            print(json.dumps(answer(floor, words)), flush=True)
            bridged = {"bridge": True, "unbridge": False}.get(words[0], bridged)
    finally:
        running = [number for number, jid in enumerate(floor.jids) if jid > 0]
        if running:
            floor.stop(running[0], running[-1] + 1)
        if bridged:
            floor.unbridge()
    return 0


if __name__ == "__main__":
    sys.exit(main())
