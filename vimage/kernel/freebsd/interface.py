"""Network interfaces of the VNET that the calling process is in.

Lists come from sysctl(3) NET_RT_IFLISTL (one call for all, or for one index), names of
drivers from net.link.generic.ifdata (net/if_mib.h), the rest from ioctl(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator

from vimage.kernel import Cap, Iff, Interface, JailId
from vimage.kernel.freebsd import ifreq, sockaddr, sysctl
from vimage.kernel.freebsd.libc import cut

_LIST = (4, 17, 0)  # CTL_NET, PF_ROUTE, protocol 0; then family, NET_RT_IFLISTL, index
_NET_RT_IFLISTL = 5
_DRIVER = (4, 18, 0, 2)  # CTL_NET, PF_LINK, NETLINK_GENERIC, IFMIB_IFDATA; index, IFDATA_DRIVERNAME
_IFDATA_DRIVERNAME = 3
_RTM_NEWADDR, _RTM_IFINFO = 12, 14
_RTAX_IFA = 5
_IFT_VLAN, _IFT_BRIDGE = 135, 209
_BRDGGIFS = 6
#: What drivers say of a request that is not for them.
_NOT_OF_THAT_KIND = (errno.EINVAL, errno.ENOTTY, errno.EOPNOTSUPP, errno.ENODEV)


def messages(raw: bytes) -> Iterator[tuple[int, memoryview]]:
    """(type, message) of each routing message: length (2 bytes), version, type."""
    view, offset = memoryview(raw), 0
    while offset + 4 <= len(raw):
        length, _, type_ = struct.unpack_from("<HBB", raw, offset)
        if length == 0:
            return
        yield type_, view[offset:offset + length]
        offset += length


class Info:
    """struct if_msghdrl: flags at 8, index at 12, length of the header at 16, offset of
    struct if_data at 18 (ifi_type first, ifi_mtu at 8); a struct sockaddr_dl follows."""

    __slots__ = ("name", "index", "flags", "mtu", "mac", "type")
    index: int
    flags: int
    mtu: int

    def __init__(self, message: memoryview) -> None:
        self.flags, self.index = struct.unpack_from("<iH", message, 8)
        header, data = struct.unpack_from("<HH", message, 16)
        self.type = message[data]
        self.mtu, = struct.unpack_from("<I", message, data + 8)
        self.name, self.mac = sockaddr.parse_link(bytes(message[header:]))


def parse_list(raw: bytes) -> list[Info]:
    """The interfaces of an answer to NET_RT_IFLISTL."""
    return [Info(message) for type_, message in messages(raw) if type_ == _RTM_IFINFO]


def parse_addresses(raw: bytes) -> list[str]:
    """The addresses of an answer to NET_RT_IFLISTL, link-local IPv6 left out.

    struct ifa_msghdrl: addrs (bits of RTAX_*) at 4, length of the header at 16; socket
    addresses follow, each padded to 8 bytes.
    """
    return [address for type_, message in messages(raw) if type_ == _RTM_NEWADDR
            for address in [_message_address(bytes(message))] if address]


def _message_address(message: bytes) -> str | None:
    present, = struct.unpack_from("<i", message, 4)
    offset, = struct.unpack_from("<H", message, 16)
    for position in range(_RTAX_IFA):
        if present & 1 << position:
            offset += (message[offset] + 7) & ~7 or 8
    address = message[offset:offset + message[offset]]
    if address[1] == sockaddr.AF_INET6 and sockaddr.is_link_local(address[8:24]):
        return None
    return sockaddr.parse_inet(address)


def read_list(family: int = sockaddr.AF_LINK, index: int = 0) -> bytes:
    """NET_RT_IFLISTL; addresses are left out unless ``family`` is 0, index 0 is all."""
    guess = 1024 if index else 65536
    return sysctl.read((*_LIST, family, _NET_RT_IFLISTL, index), guess)


def driver(index: int) -> str:
    """Driver name and unit of an interface.  Errors: ENOENT no such interface."""
    return cut(sysctl.read((*_DRIVER, index, _IFDATA_DRIVERNAME), 64))


def everything() -> list[tuple[str, int, int, int, str, str]]:
    """(name, index, flags, mtu, mac, driver) of each interface."""
    found = []
    for info in parse_list(read_list()):
        try:
            found.append((info.name, info.index, info.flags, info.mtu, info.mac,
                          driver(info.index)))
        except OSError as error:  # gone since the list was made
            if error.errno != errno.ENOENT:
                raise
    return found


def sockets() -> dict[str, int]:
    """Descriptors of sockets for ioctl(2) of IPv4 ("inet") and IPv6 ("inet6", where the kernel
    has it), and for routes ("route")."""
    found: dict[str, int] = {}
    try:
        for kind, family, type_ in (("inet", socket.AF_INET, socket.SOCK_DGRAM),
                                    ("inet6", socket.AF_INET6, socket.SOCK_DGRAM),
                                    ("route", sockaddr.AF_ROUTE, socket.SOCK_RAW)):
            try:
                found[kind] = socket.socket(family, type_, 0).detach()
            except OSError as error:
                if error.errno not in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
                    raise
    except BaseException:
        for fd in found.values():
            os.close(fd)
        raise
    return found


def interface(fields: tuple[str, int, int, int, str, str]) -> Interface:
    """What ``everything`` gives, in the words of the contract."""
    name, index, flags, mtu, mac, driver_ = fields
    return Interface(name, index, Iff(flags & 0xffffffff), mtu, mac, driver_)


class Interfaces:
    """Interfaces of the host, through one socket."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._fd = self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def _index(self, name: str) -> int:
        return int(struct.unpack_from("<H", ifreq.named(self._fd, ifreq.SIOCGIFINDEX, name))[0])

    def get(self, name: str) -> Interface:
        index = self._index(name)
        for info in parse_list(read_list(index=index)):
            if info.name == name:
                return interface((name, index, info.flags, info.mtu, info.mac, driver(index)))
        raise OSError(errno.ENXIO, f"{name}: no such interface")

    def all(self) -> list[Interface]:
        return [interface(fields) for fields in everything()]

    def users(self, name: str) -> list[str]:
        """Addresses, VLANs over it, the lagg and the bridges it is a member of."""
        index = self._index(name)
        users = [f"address {address}" for address in parse_addresses(read_list(0, index))]
        for info in parse_list(read_list()):
            if info.type == _IFT_VLAN and self._vlan_parent(info.name) == name:
                users.append(f"vlan {info.name}")
            elif info.type == _IFT_BRIDGE and name in self._bridge_members(info.name):
                users.append(info.name)
        return users + self._lagg(name)

    def _vlan_parent(self, name: str) -> str:
        """struct vlanreq { char vlr_parent[16]; u_short vlr_tag, vlr_proto; }"""
        request = ctypes.create_string_buffer(20)
        try:
            ifreq.call(self._fd, ifreq.SIOCGETVLAN, ifreq.pointed(name, request))
        except OSError as error:
            if error.errno not in (errno.ENXIO, *_NOT_OF_THAT_KIND):  # gone by now
                raise
            return ""
        return os.fsdecode(request.value)

    def _bridge_members(self, name: str) -> set[str]:
        """BRDGGIFS through struct ifdrv { char ifd_name[16]; u_long ifd_cmd; size_t ifd_len;
        void *ifd_data; }, data struct ifbifconf { uint32_t ifbic_len; void *ifbic_req; } over
        struct ifbreq, 80 bytes each, which begins with the member's name."""
        size = 80 * 64
        while True:
            members = ctypes.create_string_buffer(size)
            conf = ctypes.create_string_buffer(
                struct.pack("<I4xQ", size, ctypes.addressof(members)), 16)
            drv = ifreq.name_bytes(name) + struct.pack("<QQQ", _BRDGGIFS, 16,
                                                       ctypes.addressof(conf))
            try:
                ifreq.call(self._fd, ifreq.SIOCGDRVSPEC, drv)
            except OSError as error:
                if error.errno not in (errno.ENXIO, *_NOT_OF_THAT_KIND):  # gone by now
                    raise
                return set()
            used, = struct.unpack_from("<I", conf.raw)
            if used < size:
                return {cut(members.raw[at:at + 16]) for at in range(0, used, 80)}
            size *= 4

    def _lagg(self, name: str) -> list[str]:
        """struct lagg_reqport { char rp_ifname[16], rp_portname[16]; ... }, 72 bytes."""
        request = ifreq.name_bytes(name) * 2 + bytes(40)
        try:
            answer = ifreq.call(self._fd, ifreq.SIOCGLAGGPORT, request)
        except OSError as error:
            if error.errno not in (errno.ENOENT, *_NOT_OF_THAT_KIND):  # a lagg in no other
                raise
            return []
        lagg = cut(answer[:16])
        return [lagg] if lagg != name else []

    def rename(self, name: str, new: str) -> None:
        rename(self._fd, name, new)

    def flags(self, name: str) -> int:
        return flags(self._fd, name)

    def set_flags(self, name: str, on: int, off: int) -> None:
        set_flags(self._fd, name, on, off)

    def mtu(self, name: str) -> int:
        return int(struct.unpack_from("<i", ifreq.named(self._fd, ifreq.SIOCGIFMTU, name))[0])

    def set_mtu(self, name: str, mtu: int) -> None:
        set_mtu(self._fd, name, mtu)

    def set_mac(self, name: str, mac: str) -> None:
        address = sockaddr.mac_bytes(mac)
        self._index(name)
        if address[0] & 1:
            raise OSError(errno.EINVAL, f"{name}: not the address of one station: {mac}")
        ifreq.named(self._fd, ifreq.SIOCSIFLLADDR, name, "16s", sockaddr.link(address))

    def caps(self, name: str) -> Cap:
        """ifr_reqcap, ifr_curcap: what the hardware has, what is on."""
        answer = ifreq.named(self._fd, ifreq.SIOCGIFCAP, name)
        return Cap(struct.unpack_from("<II", answer)[1])

    def set_caps(self, name: str, caps: Cap) -> None:
        ifreq.named(self._fd, ifreq.SIOCSIFCAP, name, "I", int(caps))

    def vmove(self, name: str, jail: JailId) -> None:
        ifreq.named(self._fd, ifreq.SIOCSIFVNET, name, "i", jail)

    def reclaim(self, name: str, jail: JailId) -> None:
        """The kernel would give the host two interfaces of one name; looked at before."""
        try:
            self._index(name)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            ifreq.named(self._fd, ifreq.SIOCSIFRVNET, name, "i", jail)
            return
        raise OSError(errno.EEXIST, f"{name}: the host has an interface of that name")


def set_mtu(descriptor: int, name: str, mtu: int) -> None:
    ifreq.named(descriptor, ifreq.SIOCSIFMTU, name, "i", mtu)


def rename(descriptor: int, name: str, new: str) -> None:
    """SIOCSIFNAME.  Errors: EINVAL a name that does not fit."""
    if not 0 < len(os.fsencode(new)) < ifreq.NAME_SIZE:
        raise OSError(errno.EINVAL, f"not a name of an interface: {new}")
    buffer = ctypes.create_string_buffer(os.fsencode(new))
    ifreq.call(descriptor, ifreq.SIOCSIFNAME, ifreq.pointed(name, buffer), f"{name} to {new}")


def flags(descriptor: int, name: str) -> int:
    """IFF_* of an interface: ifr_flags, ifr_flagshigh."""
    low, high = struct.unpack_from("<HH", ifreq.named(descriptor, ifreq.SIOCGIFFLAGS, name))
    return int(low | high << 16)


def set_flags(descriptor: int, name: str, on: int, off: int) -> None:
    """SIOCSIFFLAGS, also when they are so already: an interface that comes back from a VNET
    is down without its driver having been told."""
    new = (flags(descriptor, name) | int(on)) & ~int(off)
    ifreq.named(descriptor, ifreq.SIOCSIFFLAGS, name, "HH", new & 0xffff, new >> 16)
