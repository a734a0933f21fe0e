"""Sockets of one VNET, used from outside it."""

from __future__ import annotations

import errno
import os
import struct

from vimage.kernel import Iff, Interface, JailId
from vimage.kernel.freebsd import address as addresses
from vimage.kernel.freebsd import ifreq, interface, sockaddr
from vimage.kernel.freebsd.helper import Helper


class Descriptors:
    """``vimage.kernel.Hold``: a socket belongs to the jail in which it was opened, and the
    jail is not freed while there is one."""

    def __init__(self, fds: list[int]) -> None:
        self._fds = fds

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())


class _Vnet:
    """ioctl(2) acts on the VNET in which its socket was opened."""

    def __init__(self, fds: dict[str, int]) -> None:
        self._fds = fds

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._fds = {}

    def rename(self, name: str, new: str) -> None:
        interface.rename(self._fds["inet"], name, new)

    def set_mtu(self, name: str, mtu: int) -> None:
        interface.set_mtu(self._fds["inet"], name, mtu)

    def set_up(self, name: str) -> None:
        interface.set_flags(self._fds["inet"], name, Iff.UP, 0)
        if "inet6" in self._fds:
            addresses.enable6(self._fds["inet6"], name)

    def add_address(self, name: str, address: str) -> None:
        addresses.add(self._fds["inet"], self._fds.get("inet6"), name, address)

    def remove_address(self, name: str, address: str) -> None:
        addresses.remove(self._fds["inet"], self._fds.get("inet6"), name, address)

    def add_default_route(self, gateway: str) -> None:
        message = addresses.default_route(self._gateway(gateway))
        try:
            os.write(self._fds["route"], message)
        except OSError as error:
            raise OSError(error.errno, f"default route by {gateway}: {error.strerror}") from None

    def _gateway(self, gateway: str) -> bytes:
        """A sockaddr; "fe80::1%IF" has the index of the interface as its scope."""
        plain, _, zone = gateway.partition("%")
        family, packed, _ = sockaddr.prefix(plain)
        if "/" in gateway:
            raise OSError(errno.EINVAL, f"not a gateway: {gateway}")
        if family == sockaddr.AF_INET:
            return sockaddr.inet(packed)
        scope = 0
        if zone:
            answer = ifreq.named(self._fds["inet"], ifreq.SIOCGIFINDEX, zone)
            scope, = struct.unpack_from("<H", answer)
        return sockaddr.inet6(packed, 0, scope)


class HostVnet(_Vnet):
    """``vimage.kernel.Vnet`` of the host: no other process opens its sockets."""

    def __init__(self) -> None:
        super().__init__(interface.sockets())

    def interfaces(self) -> list[Interface]:
        return [interface.interface(fields) for fields in interface.everything()]


class JailVnet(_Vnet):
    """``vimage.kernel.Vnet`` of a jail."""

    def __init__(self, helper: Helper, jail: JailId) -> None:
        self._helper = helper
        self._jail = jail
        kinds, fds = helper.enter(jail, "sockets")
        super().__init__(dict(zip(kinds, fds, strict=True)))

    def interfaces(self) -> list[Interface]:
        found, _ = self._helper.enter(self._jail, "interfaces")
        return [interface.interface(fields) for fields in found]
