"""netgraph(4) through one ng_socket(4) control socket.

Messages are encoded from the formats declared below; each ``Layout`` is a C structure of
sys/netgraph/*.h, fixed text fields NUL padded, integers in the byte order of the host
(little-endian on every machine served).  Encoding needs no FreeBSD.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from vimage.kernel import NgHook, NgNode
from vimage.kernel.freebsd import kld, sockaddr
from vimage.kernel.freebsd.libc import cut, libc

NG_CONTROL = 2
NG_VERSION = 8
NGF_RESP = 1
READONLY, HASREPLY = 0x10000000, 0x20000000

#: struct ng_msghdr { u_char version, spare; u_int16_t spare2; u_int32_t arglen, cmd, flags,
#: token, typecookie; u_char cmdstr[32]; }, 56 bytes.
HEADER = struct.Struct("<BBHIIIII32s")

#: Bytes of replies that may wait: 13,000 hooks; the kernel cuts it to kern.ipc.maxsockbuf.
RECEIVE_SPACE = 1_800_000
SEND_SPACE = 20 * 1024
REPLY_TIMEOUT = 5  # seconds


class Layout:
    """A C structure: field names and the codes of ``struct`` for them."""

    def __init__(self, **fields: str) -> None:
        self.names = tuple(fields)
        self.codes = tuple(fields.values())
        self.struct = struct.Struct("<" + "".join(self.codes))
        self.size = self.struct.size

    def pack(self, **values: str | int | bytes) -> bytes:
        """Errors: ENAMETOOLONG a text that leaves no room for its NUL."""
        return self.struct.pack(*map(self._encode, self.codes, self.names,
                                     [values[name] for name in self.names]))

    @staticmethod
    def _encode(code: str, name: str, value: str | int | bytes) -> int | bytes:
        if not isinstance(value, str):
            return value
        data = os.fsencode(value)
        if len(data) >= int(code[:-1]):
            raise OSError(errno.ENAMETOOLONG, f"{name} too long: {value}")
        return data

    def unpack(self, data: bytes | memoryview, offset: int = 0) -> tuple[str | int, ...]:
        """The fields in order; texts are cut at their NUL."""
        return tuple(cut(value) if isinstance(value, bytes) else value
                     for value in self.struct.unpack_from(data, offset))


#: struct ngm_mkpeer { char type[32], ourhook[32], peerhook[32]; }
MKPEER = Layout(type="32s", ourhook="32s", peerhook="32s")
#: struct ngm_connect { char path[512], ourhook[32], peerhook[32]; }
CONNECT = Layout(path="512s", ourhook="32s", peerhook="32s")
#: struct ngm_name { char name[32]; }
NAME = Layout(name="32s")
#: struct ngm_rmhook { char ourhook[32]; }
RMHOOK = Layout(ourhook="32s")
#: struct nodeinfo { char name[32], type[32]; u_int32_t id, hooks; }
NODEINFO = Layout(name="32s", type="32s", id="I", hooks="I")
#: struct linkinfo { char ourhook[32], peerhook[32]; struct nodeinfo nodeinfo; }
LINKINFO = Layout(ourhook="32s", peerhook="32s",
                  name="32s", type="32s", id="I", hooks="I")
#: struct namelist { u_int32_t numnames; struct nodeinfo nodeinfo[]; }
NAMELIST = Layout(numnames="I")
#: u_char mac[6] of NGM_EIFACE_SET
MAC = Layout(mac="6s")
#: int of NGM_ETHER_SET_PROMISC, NGM_ETHER_GET_PROMISC and the like
FLAG = Layout(flag="i")
NOTHING = Layout()

GENERIC = 1137070366  # NGM_GENERIC_COOKIE
EIFACE = 948105892  # NGM_EIFACE_COOKIE, ng_eiface.h
ETHER = 917786906  # NGM_ETHER_COOKIE, ng_ether.h


@dataclass(frozen=True, slots=True)
class Message:
    """One control message: the cookie of its node type, its number, its argument.

    Whether a reply comes is told by the sender: generic messages have a bit for it,
    those of node types do not.
    """

    cookie: int
    command: int
    name: str
    argument: Layout = NOTHING
    reply: bool = False

    def encode(self, token: int, /, **values: str | int | bytes) -> bytes:
        """The bytes that ng_socket(4) takes."""
        return encode(self, token, self.argument.pack(**values))


SHUTDOWN_ = Message(GENERIC, 1, "shutdown")
MKPEER_ = Message(GENERIC, 2, "mkpeer", MKPEER)
CONNECT_ = Message(GENERIC, 3, "connect", CONNECT)
NAME_ = Message(GENERIC, 4, "name", NAME)
RMHOOK_ = Message(GENERIC, 5, "rmhook", RMHOOK)
NODEINFO_ = Message(GENERIC, 6 | READONLY | HASREPLY, "nodeinfo", reply=True)
LISTHOOKS_ = Message(GENERIC, 7 | READONLY | HASREPLY, "listhooks", reply=True)
LISTNODES_ = Message(GENERIC, 9 | READONLY | HASREPLY, "listnodes", reply=True)
EIFACE_GET_IFNAME = Message(EIFACE, 1, "getifname", reply=True)
EIFACE_SET = Message(EIFACE, 3, "set", MAC)
ETHER_GET_PROMISC = Message(ETHER, 5, "getpromisc", reply=True)
ETHER_SET_PROMISC = Message(ETHER, 6, "setpromisc", FLAG)
ETHER_GET_AUTOSRC = Message(ETHER, 7, "getautosrc", reply=True)
ETHER_SET_AUTOSRC = Message(ETHER, 8, "setautosrc", FLAG)


def encode(message: Message, token: int, argument: bytes) -> bytes:
    """struct ng_mesg: header and argument."""
    return HEADER.pack(NG_VERSION, 0, 0, len(argument), message.command, 0, token,
                       message.cookie, message.name.encode()) + argument


def decode(data: bytes | memoryview) -> tuple[int, bytes | memoryview] | None:
    """(token, argument) of a reply; None for anything else, or when it is cut short."""
    if len(data) < HEADER.size:
        return None
    version, _, _, length, _, flags, token, _, _ = HEADER.unpack_from(data)
    if version != NG_VERSION or not flags & NGF_RESP or len(data) < HEADER.size + length:
        return None
    return token, data[HEADER.size:HEADER.size + length]


def parse_node(data: bytes | memoryview, offset: int = 0) -> NgNode:
    """struct nodeinfo."""
    name, type_, id_, hooks = NODEINFO.unpack(data, offset)
    return NgNode(int(id_), str(name), str(type_), int(hooks))


def parse_nodes(data: bytes | memoryview) -> list[NgNode]:
    """struct namelist."""
    count = int(NAMELIST.unpack(data)[0])
    return [parse_node(data, NAMELIST.size + index * NODEINFO.size) for index in range(count)]


def parse_ids(data: bytes | memoryview) -> set[int]:
    """The ids alone of struct namelist."""
    return {id_ for id_, in _ID.iter_unpack(data[NAMELIST.size:])}


#: Of struct nodeinfo, the id.
_ID = struct.Struct("<64xI4x")


def parse_hooks(data: bytes | memoryview) -> list[NgHook]:
    """struct hooklist: a nodeinfo that counts the hooks, then that many linkinfo."""
    return [NgHook(str(ours), NgNode(int(id_), str(name), str(type_), int(hooks)), str(theirs))
            for ours, theirs, name, type_, id_, hooks in _links(data)]


def _links(data: bytes | memoryview) -> Iterator[tuple[str | int, ...]]:
    for index in range(parse_node(data).hooks):
        yield LINKINFO.unpack(data, NODEINFO.size + index * LINKINFO.size)


class Netgraph:
    """The control socket.  Not for use by several threads at once.

    It is opened on first use (ng_socket(4) is loaded when the kernel lacks it), named
    ``vimagePID`` and opened again if somebody shuts its node down.
    """

    def __init__(self) -> None:
        self._sendto = libc().sendto
        self._socket: socket.socket | None = None
        self._buffer = bytearray()
        self._token = 0

    def close(self) -> None:
        """Close the socket; its node goes with it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, path: str, message: Message, /, **values: str | int | bytes) -> None:
        """Send a message that has no reply; its error is that of the node."""
        self._send(path, message, values)

    def ask(self, path: str, message: Message, /, **values: str | int | bytes) -> memoryview:
        """Send a message and return the argument of its reply, valid until the next call.

        Errors: those of the node; ETIMEDOUT no reply within ``REPLY_TIMEOUT``.
        """
        token = self._send(path, message, values)
        while True:
            data = self._receive()
            reply = decode(data)
            if reply is not None and reply[0] == token:
                return memoryview(reply[1])

    def _receive(self) -> memoryview:
        assert self._socket is not None
        try:
            length = self._socket.recv_into(self._buffer)
        except BlockingIOError as error:
            raise OSError(errno.ETIMEDOUT, "netgraph: no reply") from error
        return memoryview(self._buffer)[:length]

    def _send(self, path: str, message: Message, values: dict[str, str | int | bytes]) -> int:
        self._token = (self._token + 1) & 0x7fffffff
        data = message.encode(self._token, **values)
        address = sockaddr.netgraph(path)
        for attempt in (1, 2):
            descriptor = self._open().fileno()
            try:
                self._sendto(descriptor, data, len(data), 0, address, len(address))
                break
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.ENOTCONN) or attempt == 2:
                    raise OSError(error.errno, f"{message.name} {path}: {error.strerror}") \
                        from error
                self.close()
        return self._token

    def _open(self) -> socket.socket:
        if self._socket is None:
            self._socket = _control_socket()
            size = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            if len(self._buffer) != size:
                self._buffer = bytearray(size)
        return self._socket


def _control_socket() -> socket.socket:
    try:
        control = socket.socket(sockaddr.AF_NETGRAPH, NG_CONTROL, 0)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
            raise
        kld.load("ng_socket")
        control = socket.socket(sockaddr.AF_NETGRAPH, NG_CONTROL, 0)
    _reserve(control, socket.SO_RCVBUF, RECEIVE_SPACE)
    _reserve(control, socket.SO_SNDBUF, SEND_SPACE)
    control.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO,
                       struct.pack("<qq", REPLY_TIMEOUT, 0))
    address = sockaddr.netgraph(f"vimage{os.getpid()}\0")  # bind(2) wants the NUL
    try:
        libc().bind(control.fileno(), address, len(address))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
    return control


def _reserve(control: socket.socket, option: int, size: int) -> None:
    """As much space as the kernel allows, up to ``size`` (ENOBUFS: too much)."""
    while size >= control.getsockopt(socket.SOL_SOCKET, option):
        try:
            control.setsockopt(socket.SOL_SOCKET, option, size)
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
        size //= 2
