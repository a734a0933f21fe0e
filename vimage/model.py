"""What a vimage is: configuration resolved, checked and frozen.

Nothing here reads a file or asks a kernel.  ``vimage.configuration`` makes these
from rc.conf; ``vimage.plan`` turns them into steps.  A default that is the same for every
vimage stands here and nowhere else; those that follow from something (the name, the root,
the host) stand in the table of variables.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

#: The moments of jail(8) at which commands run on the host.
HOST_HOOKS = (
    "exec_prepare", "exec_prestart", "exec_created", "exec_poststart",
    "exec_prestop", "exec_poststop", "exec_release",
)


#: MTU of a new eiface, bytes (ng_eiface(4), ETHERMTU).
EIFACE_MTU = 1500


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


@dataclass(frozen=True, slots=True)
class Link:
    """One bridged interface of a vimage: ``ngN_NAME``."""

    index: int  # N
    parent: str  # an interface of the host, or the name of a host-only bridge
    host_only: bool  # parent is of vimage_bridge_list
    name: str  # interface and node, cut to 15 characters
    mac_from: MacFrom
    mac: str | None  # known beforehand for GIVEN and DERIVED
    addresses: tuple[str, ...] = ()  # "192.0.2.2/24"
    mtu: int | None = None  # None: that of the parent

    def to_dict(self) -> dict[str, Any]:
        """Its fields as values of JSON."""
        return _to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Link:
        """The link that ``to_dict`` described, as `Vimage.from_dict`."""
        link: Link = _from_dict(cls, data)
        return link


@dataclass(frozen=True, slots=True)
class HostBridge:
    """A host-only bridge: an ng_bridge with one eiface left on the host."""

    name: str  # interface and node on the host; the bridge node is NAMEbridge
    mac: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vimage:
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
    #: HOST_HOOKS -> commands
    hooks: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    exec_afterstart: tuple[str, ...] = ()
    start_timeout: float = 60
    stop_timeout: float = 30
    health: str = ""
    health_interval: float = 30
    health_timeout: float = 10
    restart: str = "no"
    consolelog: str = ""
    fstab: str = ""
    mount: tuple[str, ...] = ()  # further lines of fstab(5)
    devfs_enable: bool = False
    devfs_ruleset: int = 5
    fdescfs_enable: bool = False
    procfs_enable: bool = False
    securelevel: int | None = None
    #: Further parameters of jail_set(2), defaults and variables such as mount_enable included.
    parameters: Mapping[str, str | int | bool | None] = dataclasses.field(default_factory=dict)
    rctl: tuple[str, ...] = ()
    cpus: str = ""

    @property
    def has_addresses(self) -> bool:
        """Whether the host sets addresses or routes inside (lo0 comes up then too)."""
        return bool(self.defaultrouter or self.defaultrouter6
                    or any(link.addresses for link in self.links))

    def to_dict(self) -> dict[str, Any]:
        """Its fields as values of JSON."""
        return _to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Vimage:
        """The vimage that ``to_dict`` described, of this version or of another.

        A field that is missing has its default, one that is not known is ignored.  Raises
        ValueError when a field without a default is missing or a value is of another type.
        """
        vimage: Vimage = _from_dict(cls, data)
        return vimage


@dataclass(frozen=True, slots=True)
class Configuration:
    """The whole of rc.conf that concerns vimage."""

    enable: bool = False
    list: tuple[str, ...] = ()  # names in start order
    parallel: int = 1
    vimages: Mapping[str, Vimage] = dataclasses.field(default_factory=dict)  # without an error
    bridges: Mapping[str, HostBridge] = dataclasses.field(default_factory=dict)
    mac_seed: str = ""  # vimage_mac_seed, else kern.hostuuid; "" if there is neither
    #: MAC addresses that are not the first of their owner ("NAME/N"): a clash was resolved.
    resolved_macs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    logfile: str = ""
    shutdown_timeout: float = 90  # rcshutdown_timeout, seconds


# -- to JSON and back ------------------------------------------------------------------------

def _to_dict(value: Any) -> dict[str, Any]:
    return {name: _to_json(getattr(value, name)) for name in _readers(value.__class__)}


def _to_json(value: Any) -> Any:
    if isinstance(value, str | int | float) or value is None:
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_to_json(each) for each in value]
    if isinstance(value, Mapping):
        return {name: _to_json(each) for name, each in value.items()}
    return _to_dict(value)


def _from_dict(cls: Any, data: Mapping[str, Any]) -> Any:
    fields = {}
    for name, read in _readers(cls).items():
        if name in data:
            try:
                fields[name] = read(data[name])
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
    try:
        return cls(**fields)
    except TypeError as error:  # a field that has no default
        raise ValueError(str(error)) from error


@cache
def _readers(cls: Any) -> dict[str, Callable[[Any], Any]]:
    """The fields of a class, each with what makes its value from one of JSON."""
    hints = get_type_hints(cls)
    return {field.name: _reader(hints[field.name]) for field in dataclasses.fields(cls)}


def _reader(hint: Any) -> Callable[[Any], Any]:
    if dataclasses.is_dataclass(hint):
        return _checked(dict, lambda value: _from_dict(hint, value))
    if get_origin(hint) is tuple:
        item = _reader(get_args(hint)[0])
        return _checked(list, lambda value: tuple(map(item, value)))
    if get_origin(hint) is Mapping:
        item = _reader(get_args(hint)[1])
        return _checked(dict, lambda value: {key: item(each) for key, each in value.items()})
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    return _checked(get_args(hint) if isinstance(hint, UnionType) else hint, lambda value: value)


def _checked(kind: Any, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``read`` for values of ``kind`` only."""
    kinds = frozenset(kind if isinstance(kind, tuple) else (kind,))
    kinds |= {int} if float in kinds else frozenset()

    def checked(value: Any) -> Any:
        if type(value) not in kinds:
            raise ValueError(f"a value of type {type(value).__name__}")
        return read(value)

    return checked
