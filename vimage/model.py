"""What a vimage is: configuration resolved, checked and frozen.

Nothing here reads a file or asks a kernel.  ``vimage.configuration`` makes these
from rc.conf; ``vimage.plan`` turns them into steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple

#: The moments of jail(8) at which commands run on the host.
HOST_HOOKS = (
    "exec_prepare", "exec_prestart", "exec_created", "exec_poststart",
    "exec_prestop", "exec_poststop", "exec_release",
)


#: The default of a field that is a table.
_EMPTY: Mapping[str, Any] = MappingProxyType({})


class Boot(Enum):
    """``vimage_NAME_boot``."""

    NETWORK = "network"
    FULL = "full"
    NONE = "none"


class MacFrom(Enum):
    """Where the MAC address of a link comes from."""

    DERIVED = "derived"  # from the seed, NAME and N
    GIVEN = "given"  # vimage_NAME_macN
    PARENT = "parent"  # "=" before the parent, as in jng
    KERNEL = "kernel"  # "!" before the parent, as in jng


class Link(NamedTuple):
    """One bridged interface of a vimage: ``ngN_NAME``."""

    index: int  # type: ignore[assignment]  # N
    parent: str  # an interface of the host, or the name of a host-only bridge
    host_only: bool  # parent is of vimage_bridge_list
    name: str  # interface and node, cut to 15 characters
    mac_from: MacFrom
    mac: str | None  # known beforehand for GIVEN and DERIVED
    addresses: tuple[str, ...] = ()  # "192.0.2.2/24"


class HostBridge(NamedTuple):
    """A host-only bridge: an ng_bridge with one eiface left on the host."""

    name: str  # interface and node on the host; the bridge node is NAMEbridge
    mac: str
    addresses: tuple[str, ...] = ()


class Vimage(NamedTuple):
    """One vimage as configured.  Field names are those of its variables."""

    name: str
    rootdir: str
    hostname: str
    links: tuple[Link, ...] = ()
    vnets: tuple[str, ...] = ()
    defaultrouter: str = ""
    defaultrouter6: str = ""
    depend: tuple[str, ...] = ()
    boot: Boot = Boot.NETWORK
    exec_start: str = ""  # run by the jail's /bin/sh -c; "" runs nothing
    exec_stop: str = ""
    command: tuple[str, ...] = ()  # argv, no shell
    afterstart_services: tuple[str, ...] = ()
    hooks: Mapping[str, tuple[str, ...]] = _EMPTY  # HOST_HOOKS -> commands
    exec_afterstart: tuple[str, ...] = ()
    start_timeout: float = 60
    stop_timeout: float = 30
    health: str = ""
    health_interval: float = 30
    health_timeout: float = 10
    restart: str = "no"
    consolelog: str = ""
    fstab: str = ""
    devfs_enable: bool = True
    devfs_ruleset: int = 5
    fdescfs_enable: bool = False
    procfs_enable: bool = False
    securelevel: int | None = None
    #: Further parameters of jail_set(2), defaults and variables such as mount_enable included.
    parameters: Mapping[str, str | int | bool | None] = _EMPTY
    rctl: tuple[str, ...] = ()
    cpus: str = ""

    @property
    def has_addresses(self) -> bool:
        """Whether the host sets addresses or routes inside (lo0 comes up then too)."""
        return bool(self.defaultrouter or self.defaultrouter6
                    or any(link.addresses for link in self.links))


class Configuration(NamedTuple):
    """The whole of rc.conf that concerns vimage."""

    enable: bool = False
    list: tuple[str, ...] = ()  # names in start order
    parallel: int = 4
    vimages: Mapping[str, Vimage] = _EMPTY  # those without an error
    bridges: Mapping[str, HostBridge] = _EMPTY
    mac_seed: str = ""  # vimage_mac_seed, else kern.hostuuid; "" if there is neither
    #: MAC addresses that are not the first of their owner ("NAME/N"): a clash was resolved.
    resolved_macs: Mapping[str, str] = _EMPTY
    logfile: str = ""
    shutdown_timeout: float = 90  # rcshutdown_timeout, seconds
