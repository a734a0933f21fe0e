"""Addresses and default routes, through sockets of the VNET they are for.

An IPv6 address is added with ND6_IFF_NO_DAD set on the interface for that moment, so it
is usable at once; duplicate address detection would keep it tentative for
net.inet6.ip6.dad_count + 1 seconds, in which no service can bind to it.
"""

from __future__ import annotations

import errno
import struct

from vimage.kernel.freebsd import ifreq, sockaddr

_INFINITE = 0xffffffff  # ND6_INFINITE_LIFETIME
_IFDISABLED, _NO_DAD = 0x8, 0x100  # ND6_IFF_*, netinet6/nd6.h
_FLAGS = 16 + 20  # flags of struct nd_ifinfo in struct in6_ndireq

_RTM_VERSION, _RTM_ADD = 5, 1
_RTF_UP, _RTF_GATEWAY, _RTF_STATIC = 0x1, 0x2, 0x800
_RTA_DST, _RTA_GATEWAY, _RTA_NETMASK = 1, 2, 4
#: struct rt_msghdr: u_short rtm_msglen; u_char rtm_version, rtm_type; u_short rtm_index, spare;
#: int rtm_flags, rtm_addrs; pid_t rtm_pid; int rtm_seq, rtm_errno, rtm_fmask; u_long rtm_inits;
#: struct rt_metrics rtm_rmx (112 bytes): 152 bytes.
_RT_MSGHDR = struct.Struct("<HBBHHiiiiiiQ112x")


def alias4(name: str, address: bytes, length: int) -> bytes:
    """struct ifaliasreq { char ifra_name[16]; struct sockaddr ifra_addr, ifra_broadaddr,
    ifra_mask; int ifra_vhid; }, 68 bytes.  The kernel makes the broadcast address."""
    mask = sockaddr.inet(sockaddr.mask(sockaddr.AF_INET, length))
    return ifreq.name_bytes(name) + sockaddr.inet(address) + bytes(16) + mask + bytes(4)


def alias6(name: str, address: bytes, length: int) -> bytes:
    """struct in6_aliasreq { char ifra_name[16]; struct sockaddr_in6 ifra_addr, ifra_dstaddr,
    ifra_prefixmask; int ifra_flags; struct in6_addrlifetime { time_t expire, preferred;
    u_int32_t vltime, pltime; }; int ifra_vhid; }, 136 bytes."""
    mask = sockaddr.inet6(sockaddr.mask(sockaddr.AF_INET6, length))
    return (ifreq.name_bytes(name) + sockaddr.inet6(address) + bytes(28) + mask
            + struct.pack("<iqqIIi4x", 0, 0, 0, _INFINITE, _INFINITE, 0))


def default_route(gateway: bytes) -> bytes:
    """A RTM_ADD message for the default route of the family of a gateway's sockaddr.

    Socket addresses follow the header, each padded to 8 bytes.
    """
    anything = (sockaddr.inet6(bytes(16)) if gateway[1] == sockaddr.AF_INET6
                else sockaddr.inet(bytes(4)))
    addresses = b"".join(address + bytes(-len(address) % 8)
                         for address in (anything, gateway, anything))
    return _RT_MSGHDR.pack(
        _RT_MSGHDR.size + len(addresses), _RTM_VERSION, _RTM_ADD, 0, 0,
        _RTF_UP | _RTF_GATEWAY | _RTF_STATIC, _RTA_DST | _RTA_GATEWAY | _RTA_NETMASK,
        0, 1, 0, 0, 0) + addresses


def add(inet: int, inet6: int | None, name: str, address: str) -> None:
    """Add an address through a socket of its family.

    Errors: ENXIO no such interface; EAFNOSUPPORT IPv6 where the kernel has none.
    """
    family, packed, length = sockaddr.prefix(address)
    subject = f"{name}: {address}"
    if family == sockaddr.AF_INET:
        ifreq.call(inet, ifreq.SIOCAIFADDR, alias4(name, packed, length), subject)
        return
    if inet6 is None:
        raise OSError(errno.EAFNOSUPPORT, f"{subject}: the kernel has no IPv6")
    before = nd_flags(inet6, name)
    set_nd_flags(inet6, name, before & ~_IFDISABLED | _NO_DAD)
    try:
        ifreq.call(inet6, ifreq.SIOCAIFADDR_IN6, alias6(name, packed, length), subject)
    finally:
        set_nd_flags(inet6, name, before & ~_IFDISABLED)


def remove(inet: int, inet6: int | None, name: str, address: str) -> None:
    """Take an address away; its prefix length plays no part.

    struct ifreq with a sockaddr_in, struct in6_ifreq (288 bytes) with a sockaddr_in6.
    Errors: ENXIO no such interface; EADDRNOTAVAIL it has no such address.
    """
    family, packed, _ = sockaddr.prefix(address)
    subject = f"{name}: {address}"
    if family == sockaddr.AF_INET:
        ifreq.call(inet, ifreq.SIOCDIFADDR, ifreq.name_bytes(name) + sockaddr.inet(packed),
                   subject)
    elif inet6 is None:
        raise OSError(errno.EADDRNOTAVAIL, f"{subject}: the kernel has no IPv6")
    else:
        request = ifreq.name_bytes(name) + sockaddr.inet6(packed)
        ifreq.call(inet6, ifreq.SIOCDIFADDR_IN6, request.ljust(288, b"\0"), subject)


def enable6(inet6: int, name: str) -> None:
    """Clear IFDISABLED, which the kernel sets on an interface that comes into a VNET."""
    before = nd_flags(inet6, name)
    if before & _IFDISABLED:
        set_nd_flags(inet6, name, before & ~_IFDISABLED)


def nd_flags(inet6: int, name: str) -> int:
    """ND6_IFF_* of an interface: struct in6_ndireq { char ifname[16]; struct nd_ifinfo ndi; },
    72 bytes, flags at 36."""
    answer = ifreq.call(inet6, ifreq.SIOCGIFINFO_IN6, _ndireq(name, 0), name)
    return int(struct.unpack_from("<I", answer, _FLAGS)[0])


def set_nd_flags(inet6: int, name: str, flags: int) -> None:
    """SIOCSIFINFO_FLAGS: exactly these flags."""
    ifreq.call(inet6, ifreq.SIOCSIFINFO_FLAGS, _ndireq(name, flags), name)


def _ndireq(name: str, flags: int) -> bytes:
    return ifreq.name_bytes(name) + struct.pack("<20xI32x", flags)
