"""What the simulated kernel remembers: frozen records, each with a table and a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

Key = int | str


@dataclass(frozen=True)
class Counter:
    """The last number given out of a series (node ids, jids, fsids, pids)."""

    table: ClassVar[str] = "counter"
    name: str
    value: int

    @property
    def key(self) -> Key:
        return self.name


@dataclass(frozen=True)
class Sysctl:
    """A sysctl variable, or a variable of kenv(2) (``kenv.NAME``)."""

    table: ClassVar[str] = "sysctl"
    name: str
    value: str | int

    @property
    def key(self) -> Key:
        return self.name


@dataclass(frozen=True)
class Module:
    """A kernel module that is loaded."""

    table: ClassVar[str] = "module"
    name: str

    @property
    def key(self) -> Key:
        return self.name


@dataclass(frozen=True)
class Ruleset:
    """A devfs ruleset and how many rules it has."""

    table: ClassVar[str] = "ruleset"
    number: int
    rules: int

    @property
    def key(self) -> Key:
        return self.number


@dataclass(frozen=True)
class Node:
    """A netgraph node of the host."""

    table: ClassVar[str] = "node"
    id: int
    name: str
    type: str
    interface: int = 0  # of an ether or eiface node
    promisc: bool = False
    autosrc: bool = False
    owner: str = ""  # of a socket node: the real process, see machine.py

    @property
    def key(self) -> Key:
        return self.id


@dataclass(frozen=True)
class Hook:
    """One end of an edge; the other end is a record of its own."""

    table: ClassVar[str] = "hook"
    node: int
    name: str
    peer: int
    peer_hook: str

    @property
    def key(self) -> Key:
        return f"{self.node}/{self.name}"


@dataclass(frozen=True)
class Iface:
    """A network interface, in whatever VNET it is."""

    table: ClassVar[str] = "iface"
    id: int
    name: str
    driver: str
    kind: str  # "ether", "eiface", "loopback"
    vnet: int  # jid of the jail whose VNET it is in; 0: the host
    home: int  # where it goes when that VNET is freed
    index: int
    flags: int
    mtu: int
    mac: str
    capable: int
    caps: int
    promisc: int = 0  # how many want promiscuous mode
    ether_node: int = 0  # the node that ng_ether gave it in the host's graph
    addresses: tuple[str, ...] = ()  # "192.0.2.2/24"
    users: tuple[str, ...] = ()  # "vlan em0.100", "bridge0"

    @property
    def key(self) -> Key:
        return self.id


@dataclass(frozen=True)
class Route:
    """A default route."""

    table: ClassVar[str] = "route"
    vnet: int
    family: int  # 4 or 6
    gateway: str
    iface: int

    @property
    def key(self) -> Key:
        return f"{self.vnet}/{self.family}/{self.gateway}"


@dataclass(frozen=True)
class Prison:
    """A jail, living or dying."""

    table: ClassVar[str] = "jail"
    jid: int
    name: str
    path: str
    hostname: str
    vnet: int  # its own jid, or that of the jail whose VNET it shares; 0: the host's
    parent: int
    persist: bool
    dying: bool
    parameters: dict[str, str | int | bool]
    tcp: int = 0  # TCP connections that a peer holds

    @property
    def key(self) -> Key:
        return self.jid


@dataclass(frozen=True)
class Socket:
    """Something of a real process that keeps a jail from being freed."""

    table: ClassVar[str] = "socket"
    id: int
    jid: int
    owner: str

    @property
    def key(self) -> Key:
        return self.id


@dataclass(frozen=True)
class Mounted:
    """A mounted file system."""

    table: ClassVar[str] = "mount"
    number: int
    fstype: str
    source: str
    directory: str
    below: int  # the mount that has the directory it covers; 0: none
    options: dict[str, str | None]
    busy: bool = False

    @property
    def key(self) -> Key:
        return self.number


@dataclass(frozen=True)
class Rule:
    """A resource rule of rctl(8)."""

    table: ClassVar[str] = "rule"
    text: str

    @property
    def key(self) -> Key:
        return self.text


@dataclass(frozen=True)
class Task:
    """A simulated process."""

    table: ClassVar[str] = "process"
    pid: int
    start: str
    jid: int
    argv: tuple[str, ...]
    service: str = ""  # started by service(8) under this name
    ignores: tuple[int, ...] = ()  # signals

    @property
    def key(self) -> Key:
        return self.pid


Record = (Counter | Sysctl | Module | Ruleset | Node | Hook | Iface | Route | Prison
          | Socket | Mounted | Rule | Task)

TYPES: dict[str, type] = {
    kind.table: kind
    for kind in (Counter, Sysctl, Module, Ruleset, Node, Hook, Iface, Route, Prison,
                 Socket, Mounted, Rule, Task)
}
