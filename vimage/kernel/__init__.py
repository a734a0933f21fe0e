"""The kernel as vimage sees it: one typed layer, and nothing else, touches it.

``Kernel`` is the contract.  It is carried out by ``vimage.kernel.freebsd``
(system calls, ioctls and netgraph messages) and by ``vimage.kernel.simulated``
(a fake whose state is kept in a directory).  The contract tests run against
both; where the two differ, the fake is wrong.

Errors: every operation raises ``OSError`` with the errno of the kernel.
``JailError`` carries the kernel's own words (the ``errmsg`` of jail_set(2) and
nmount(2)) in its ``strerror``.  Each operation names the errnos that the contract
tests cover in a line ``Errors:``.

Paths of nodes are those of netgraph(4): ``em0:``, ``[2f]:``, ``[2f]:link2``, and ``.:`` for
the socket node through which this process speaks (its hooks go when the process goes).
MAC addresses are lower case text, ``02:00:00:00:00:01``.
Operations do not wait, except for what the kernel itself makes them wait for
(SIOCSIFVNET and jail_set(2) sleep some hardclock ticks).
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol, Self


class JailId(int):
    """The number of a jail (jid).

    The host has none.  Several system calls take 0 for the host, so 0 must never stand
    where a jail is meant: the constructor raises ValueError for it.
    """

    __slots__ = ()
    MAX = 0x7fffffff

    def __new__(cls, number: int) -> Self:
        if isinstance(number, bool) or not isinstance(number, int) \
                or not 1 <= number <= cls.MAX:
            raise ValueError(f"not a jail id: {number!r}")
        return super().__new__(cls, number)


class JailError(OSError):
    """An error of jail_set(2), jail_get(2) or nmount(2) with the kernel's own message."""

    @staticmethod
    def of(number: int | None, words: str | None) -> JailError:
        """The error of that errno; ENOENT is a FileNotFoundError, as everywhere."""
        return (JailNotFoundError if number == errno.ENOENT else JailError)(number, words)


class JailNotFoundError(JailError, FileNotFoundError):
    """ENOENT with the kernel's own message."""


class HelperGone(OSError):
    """The process that starts commands and enters jails has ended, or does not answer.

    The next request gets a new one.  What it was asked last may have been done or not;
    commands that it had started run on, see ``Process.wait``.
    """

    def __init__(self, words: str = "the helper process has ended", number: int = errno.EPIPE,
                 ) -> None:
        super().__init__(number, words)


class Bits(enum.IntFlag, boundary=enum.KEEP):
    """Flags of the kernel; bits without a name here are kept."""

    def without(self, other: int) -> Self:
        """These bits less ``other`` (``~`` of an IntFlag forgets the bits without a name)."""
        return type(self)(int(self) & ~int(other))


class Iff(Bits):
    """Interface flags, net/if.h (IFF_*)."""

    UP = 0x1
    BROADCAST = 0x2
    LOOPBACK = 0x8
    RUNNING = 0x40
    PROMISC = 0x100
    MULTICAST = 0x8000
    PPROMISC = 0x20000


#: Neither set nor cleared.
NO_FLAGS = Iff(0)


class Cap(Bits):
    """Interface capabilities, net/if.h (IFCAP_*)."""

    RXCSUM = 0x1
    TXCSUM = 0x2
    TSO4 = 0x100
    TSO6 = 0x200
    LRO = 0x400
    RXCSUM_IPV6 = 0x200000
    TXCSUM_IPV6 = 0x400000


#: What a frame forwarded by a bridge must not rely on: the peer's NIC never sees it.
UNBRIDGEABLE = Cap.LRO | Cap.TSO4 | Cap.TSO6 | Cap.TXCSUM | Cap.TXCSUM_IPV6


@dataclass(frozen=True, slots=True)
class NgNode:
    """One netgraph node (struct nodeinfo, ng_message.h)."""

    id: int
    name: str  # "" when the node has none
    type: str
    hooks: int


@dataclass(frozen=True, slots=True)
class NgHook:
    """One hook of a node and what hangs on it (struct linkinfo, ng_message.h)."""

    hook: str
    peer: NgNode
    peer_hook: str


@dataclass(frozen=True, slots=True)
class Interface:
    """One network interface as seen in the caller's VNET."""

    name: str
    index: int
    flags: Iff
    mtu: int
    mac: str  # "" when the interface has no link-level address
    driver: str  # driver name and unit ("em0", "ngeth3"); never changes


@dataclass(frozen=True, slots=True)
class JailInfo:
    """One jail, living or dying (jail_get(2))."""

    jid: JailId
    name: str
    path: str
    hostname: str
    vnet: bool
    dying: bool


@dataclass(frozen=True, slots=True)
class MountInfo:
    """One mounted file system (struct statfs, sys/mount.h)."""

    fsid: str  # "val0:val1" in decimal, as MNT_BYFSID takes it
    fstype: str
    source: str  # f_mntfromname
    directory: str  # f_mntonname


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, told from a later one with the same pid by its start time."""

    pid: int
    start: str  # "seconds.microseconds" of the kernel (ki_start)


class Hold(Protocol):
    """Keeps a VNET from being freed."""

    def close(self) -> None:
        """Let go of it.  A second time does nothing."""


class Vnet(Protocol):
    """Sockets opened inside one VNET, for use from outside it.

    A socket belongs to the VNET in which it was opened, so a short-lived process
    attached to the jail opens them and hands them over; nothing of vimage stays in
    the jail.  Close it before the jail is removed: an open socket keeps the jail dying.
    """

    def interfaces(self) -> list[Interface]:
        """Every interface of this VNET."""

    def set_up(self, name: str) -> None:
        """Set IFF_UP; clear IFDISABLED so that IPv6 works (nd6, SIOCSIFINFO_FLAGS).

        Errors: ENXIO no such interface.
        """

    def add_address(self, name: str, address: str) -> None:
        """Add ``address`` ("192.0.2.2/24", "2001:db8::2/64") to ``name``
        (SIOCAIFADDR, SIOCAIFADDR_IN6).  127.0.0.1/8 on lo0 likewise.

        An address that another interface of the VNET has is no error.
        Errors: ENXIO no such interface.
        """

    def add_default_route(self, gateway: str) -> None:
        """Add the default route of the gateway's family (RTM_ADD on a PF_ROUTE socket).

        Errors: EEXIST there is one by this gateway (by another, it becomes one more path);
        ENETUNREACH the gateway is on no connected network.
        """

    def remove_address(self, name: str, address: str) -> None:
        """SIOCDIFADDR, SIOCDIFADDR_IN6.

        Errors: ENXIO no such interface; EADDRNOTAVAIL it has no such address.
        """

    def rename(self, name: str, new: str) -> None:
        """SIOCSIFNAME inside.  Errors: ENXIO no such interface; EEXIST the name is taken."""

    def set_mtu(self, name: str, mtu: int) -> None:
        """SIOCSIFMTU inside.  Errors: ENXIO no such interface; EINVAL out of range."""

    def close(self) -> None:
        """Close the sockets.  Never raises."""


class Events(Protocol):
    """What the kernel tells by itself: kqueue(2) and a PF_ROUTE socket.

    A descriptor to wait for (``fileno`` is readable), then ``read``.  After ``close`` nothing
    is watched and nothing is told, without an error.
    """

    def fileno(self) -> int:
        """Readable when there is something to read.  Errors: EBADF after ``close``."""

    def watch_process(self, pid: int) -> None:
        """EVFILT_PROC, NOTE_EXIT: once.  Errors: ESRCH no such process."""

    def watch_jail(self, jail: JailId) -> None:
        """EVFILT_JAIL where the kernel has it (15 and newer); nothing elsewhere."""

    def read(self) -> list[tuple[str, int]]:
        """What has happened since: ("process", pid), ("jail", jid).  Never waits."""

    def interfaces(self) -> bool:
        """Whether an interface of the host came or went since this was last asked
        (RTM_IFANNOUNCE).  Nobody is woken for it: vimage itself makes and moves many."""

    def close(self) -> None:
        """Close the descriptors.  Never raises."""


class Kernel(Protocol):
    """Everything that vimage asks of a FreeBSD kernel, except to run commands."""

    #: Whether some calls sleep (making jails, moving interfaces, visiting jails), so that they
    #: belong in a thread.  Then every operation may be called by any thread.
    sleeps: bool

    #: Whether clocks and CPU time of this process mean anything for the host.
    real_clock: bool

    def path(self, path: str) -> str:
        """Where an absolute path of the host is found by open(2) of this process
        (itself on FreeBSD; below its directory on the simulated host)."""

    # -- the host ---------------------------------------------------------------

    def sysctl(self, name: str) -> str | int:
        """A sysctl(3) variable: integers as int, strings as str.

        Errors: ENOENT no such variable.
        """

    def boot_id(self) -> str:
        """A text that names this boot of this kernel: the same until it goes down,
        never seen before (kept in kenv(2) as ``vimage.boot``; kern.boottime moves
        whenever the clock is set)."""

    def kld_load(self, module: str) -> None:
        """Load a kernel module; nothing to do when the kernel has it (kldload(2), modfind(2)).

        Errors: ENOENT no such module; EPERM the securelevel forbids it.
        """

    # -- netgraph(4) --------------------------------------------------------------

    def ng_node(self, path: str) -> NgNode:
        """NGM_NODEINFO.  Errors: ENOENT no such node or hook."""

    def ng_nodes(self) -> list[NgNode]:
        """NGM_LISTNODES: every node of the host.  Costs grow with their number."""

    def ng_hooks(self, path: str) -> list[NgHook]:
        """NGM_LISTHOOKS: every hook of a node.  Costs grow with their number.

        Errors: ENOENT no such node.
        """

    def ng_mkpeer(self, path: str, kind: str, hook: str, peer_hook: str) -> None:
        """NGM_MKPEER: a new node of type ``kind`` whose ``peer_hook`` is joined to ``hook`` of
        ``path``.

        Errors: ENOENT no such node, or no module for the type; EEXIST the hook is taken;
        EINVAL a hook name that the type does not know (an eiface says EPFNOSUPPORT), or a
        type whose nodes cannot be made.
        """

    def ng_name(self, path: str, name: str) -> None:
        """NGM_NAME.  Errors: ENOENT no such node; EADDRINUSE another node has that name;
        EINVAL a name with "." or ":", or one like an id."""

    def ng_connect(self, path: str, hook: str, peer: str, peer_hook: str) -> None:
        """NGM_CONNECT.  Errors: ENOENT no such node; EEXIST a hook is taken."""

    def ng_rmhook(self, path: str, hook: str) -> None:
        """NGM_RMHOOK; a hook that is not there is no error.  Errors: ENOENT no such node."""

    def ng_shutdown(self, path: str) -> None:
        """NGM_SHUTDOWN.  An eiface takes its interface with it, wherever that is; an
        ether node only loses its hooks.  Errors: ENOENT no such node."""

    def ng_eiface_ifname(self, path: str) -> str:
        """NGM_EIFACE_GET_IFNAME: the present name of the node's interface.

        Errors: ENOENT no such node; EINVAL not an eiface.
        """

    def ng_eiface_set_mac(self, path: str, mac: str) -> None:
        """NGM_EIFACE_SET.  Errors: ENOENT no such node; EINVAL not an eiface."""

    def ng_ether_get(self, path: str) -> tuple[bool, bool]:
        """(promiscuous, autosrc): NGM_ETHER_GET_PROMISC, NGM_ETHER_GET_AUTOSRC.

        Errors: ENOENT no such node; EINVAL not an ether node.
        """

    def ng_ether_set(self, path: str, *, promisc: bool | None = None,
                     autosrc: bool | None = None) -> None:
        """NGM_ETHER_SET_PROMISC, NGM_ETHER_SET_AUTOSRC; None leaves one as it is.

        Errors: ENOENT no such node; EINVAL not an ether node.
        """

    # -- interfaces of the host ------------------------------------------------------

    def if_get(self, name: str) -> Interface:
        """One interface of the host.  Errors: ENXIO no such interface."""

    def if_list(self) -> list[Interface]:
        """Every interface of the host."""

    def if_users(self, name: str) -> list[str]:
        """What makes an interface more than a cable: "address 192.0.2.1",
        "vlan em0.100", "lagg0", "bridge0", in words for the log.  Link-local IPv6
        addresses do not count.  Errors: ENXIO no such interface."""

    def if_rename(self, name: str, new: str) -> None:
        """SIOCSIFNAME.  Errors: ENXIO no such interface; EEXIST the name is taken; EINVAL no
        name (empty, or longer than 15 octets)."""

    def if_set_flags(self, name: str, *, on: Iff = NO_FLAGS, off: Iff = NO_FLAGS) -> None:
        """SIOCSIFFLAGS: set the flags ``on``, clear those of ``off``.

        Errors: ENXIO no such interface.
        """

    def if_mtu(self, name: str) -> int:
        """SIOCGIFMTU, bytes.  Errors: ENXIO no such interface."""

    def if_set_mtu(self, name: str, mtu: int) -> None:
        """SIOCSIFMTU, bytes.  Errors: ENXIO no such interface; EINVAL out of range."""

    def if_set_mac(self, name: str, mac: str) -> None:
        """SIOCSIFLLADDR.  Errors: ENXIO no such interface; EINVAL not a unicast address."""

    def if_caps(self, name: str) -> Cap:
        """Capabilities switched on (ifr_curcap of SIOCGIFCAP); all bits of the kernel,
        also those without a name here.  Errors: ENXIO no such interface."""

    def if_set_caps(self, name: str, caps: Cap) -> None:
        """SIOCSIFCAP: exactly ``caps`` on.

        Errors: ENXIO no such interface; EINVAL a capability the hardware lacks.
        """

    def if_vmove(self, name: str, jail: JailId) -> None:
        """SIOCSIFVNET: move an interface of the host into the VNET of a jail.

        Errors: ENXIO no such interface or jail; EEXIST the jail has one of that name, or
        no VNET of its own.
        """

    def if_reclaim(self, name: str, jail: JailId) -> None:
        """SIOCSIFRVNET: move interface ``name`` of the jail back to the host.

        Errors: ENXIO no such interface there, or no such jail; EEXIST the host has one
        of that name.
        """

    def host_vnet(self) -> Vnet:
        """Sockets in the VNET of the host."""

    def vnet(self, jail: JailId) -> Vnet:
        """Sockets in the VNET of a jail.  Errors: ENOENT no such jail."""

    # -- jails ------------------------------------------------------------------------

    def jail_create(self, parameters: Mapping[str, str | int | bool | None]) -> JailId:
        """jail_set(2) with JAIL_CREATE.  ``True``/``False`` switch a
        boolean parameter (``False`` is ``noNAME``), text is converted to the parameter's
        type (sysctl security.jail.param).  ``vnet`` is given as the text "new".

        Errors (JailError): EEXIST a jail has that name; ENOENT the path is missing;
        ENOTDIR it is no directory; EINVAL an unknown parameter or a bad value.
        """

    def jail_update(self, jail: JailId,
                    parameters: Mapping[str, str | int | bool | None]) -> None:
        """jail_set(2) with JAIL_UPDATE.  Errors (JailError): ENOENT no such jail; EINVAL
        as in ``jail_create``; EPERM a securelevel lower than the host's."""

    def jail_get(self, jail: JailId | str) -> JailInfo:
        """The jail of that jid or name, also one that is dying (JAIL_DYING).  A living
        jail is preferred to a dying one of the same name.

        Errors: ENOENT no such jail.
        """

    def jail_list(self) -> Set[int]:
        """The jids of every living jail (sysctl security.jail.list): plain numbers, since this
        is asked again and again, with up to a thousand of them."""

    def jail_remove(self, jail: JailId) -> None:
        """jail_remove(2): its processes get SIGKILL; interfaces come back when the
        VNET is freed.  Errors: ENOENT no such jail."""

    def jail_clear(self, jail: JailId, signal: int) -> Hold | None:
        """Send a signal (0: only look) to every process of the jail, from inside it
        (kill(2) with -1); None when there was one.  Where there is none, drop every TCP
        connection of its VNET (sysctl net.inet.tcp.drop) and hold the VNET: whoever removes
        the jail, its interfaces stay where they are until the hold is closed.

        Errors: ENOENT no such jail, or a dying one: nothing enters it."""

    def jail_cpus(self, jail: JailId, cpus: frozenset[int]) -> None:
        """Run the jail's processes on these CPUs only (cpuset_setaffinity(2),
        CPU_WHICH_JAIL).  Errors: ENOENT no such jail; EINVAL a CPU that is not there."""

    def rctl_add(self, rule: str) -> None:
        """rctl_add_rule(2), ``jail:NAME:resource:action=amount``.

        Errors: ENOSYS the kernel keeps no account (kern.racct.enable); EINVAL a bad rule.
        """

    def rctl_remove(self, pattern: str) -> None:
        """rctl_remove_rule(2): every rule that ``pattern`` (``jail:NAME:``) matches.

        Errors: ESRCH no rule matches; ENOSYS the kernel keeps no account.
        """

    # -- mounts -----------------------------------------------------------------------

    def open_directory(self, root: str, path: str) -> int:
        """A descriptor of the directory ``path`` (absolute, within the jail) below the
        host's directory ``root``, opened component by component, no link followed below
        ``root``.  The caller closes it.

        Errors: ENOENT; ENOTDIR; ELOOP or EMLINK a component is a symbolic link; EINVAL a
        component is "..".
        """

    def mount(self, fstype: str, directory: int, options: Mapping[str, str | None]) -> str:
        """nmount(2) onto an open directory (fchdir(2), then "."); returns the fsid.
        ``options`` are those of mount(8) after -o, with "from" for what is mounted;
        a value of None is an option without one ("ro", "noexec").

        Errors (JailError): EINVAL a bad option, an unknown file system type, and on 13 also
        a source or directory that is missing ("Invalid fstype", all three), for which 15 has
        a number of its own.
        """

    def unmount(self, fsid: str, *, force: bool = False) -> None:
        """unmount(2) with MNT_BYFSID.

        Errors: ENOENT not mounted; EBUSY in use and not ``force``.
        """

    def filesystem_of(self, directory: int) -> MountInfo:
        """fstatfs(2): the file system that an open directory is on.  Opened anew after a
        mount, a directory is on the file system mounted there last."""

    def mounts(self) -> list[MountInfo]:
        """getfsstat(2): every mounted file system, oldest first."""

    def devfs_ruleset_rules(self, ruleset: int) -> int:
        """How many rules a devfs ruleset has (DEVFSIO_RGETNEXT on /dev); 0: not loaded
        or empty."""

    # -- noticing ----------------------------------------------------------------------

    def events(self) -> Events:
        """A new watch on what the kernel tells by itself."""

    def ng_ids(self) -> Set[int]:
        """The ids of all nodes (NGM_LISTNODES)."""

    def peer(self, socket: int) -> tuple[int, JailId | None]:
        """(uid, jail) of the process at the other end of a connected unix socket
        (LOCAL_PEERCRED; the jail is that of its pid, see ``jail_of``).

        Errors: ESRCH that process has ended, so that its jail is not known.
        """

    # -- processes ---------------------------------------------------------------------

    def process(self, pid: int) -> ProcessId:
        """The process that has this pid now (sysctl kern.proc.pid).  Errors: ESRCH none."""

    def process_signal(self, process: ProcessId, signal: int) -> None:
        """Signal the process group that this process leads (killpg(2)), after a look at
        its start time.  Errors: ESRCH no such process, or another one has its pid."""

    def jail_of(self, pid: int) -> JailId | None:
        """The jail of a process; None where it is that of this process, which is the host.

        Errors: ESRCH no such process.
        """


#: The environment of a command for which nothing else is asked: what login.conf(5) gives root,
#: and as clean as ``exec.clean`` of jail(8) makes it.
ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin",
    "HOME": "/", "SHELL": "/bin/sh", "USER": "root", "LOGNAME": "root", "TERM": "dumb",
}


@dataclass(frozen=True, slots=True)
class HostCommand:
    """A command to run on the host.

    stdin is /dev/null; the environment is exactly ``environment``; a session and
    process group of its own; no descriptor but 0, 1 and 2.
    """

    argv: Sequence[str]
    output: int | None = None  # descriptor for stdout and stderr; None: /dev/null
    environment: Mapping[str, str] | None = None  # None: ``ENVIRONMENT``
    directory: str = "/"


@dataclass(frozen=True, slots=True)
class JailCommand:
    """A command to run in a jail, with what a ``HostCommand`` has.

    Tracing is forbidden until the exec (procctl(2), PROC_TRACE_CTL_DISABLE), symbols are
    resolved before the fork, then come jail_attach(2) and execve(2) with nothing in between.
    """

    jail: JailId
    argv: Sequence[str]
    output: int | None = None
    environment: Mapping[str, str] | None = None
    directory: str = "/"  # in the jail

    def __post_init__(self) -> None:
        if not isinstance(self.jail, JailId):
            raise TypeError(f"a JailCommand needs a JailId, not {self.jail!r}")


Command = HostCommand | JailCommand


class Process(Protocol):
    """A command that was started."""

    id: ProcessId

    async def wait(self) -> int:
        """Its exit status: 0..255, or 128 + signal.  May be asked again, by several.

        Errors: EPIPE (``HelperGone``) the helper has ended before the command.  Whether that
        runs still is known by ``Kernel.process``; its exit status is not known any more.
        """

    def kill(self, signal: int) -> None:
        """Signal its whole process group.  Nothing to do when it has ended."""

    async def end(self, grace: float) -> int | None:
        """End its whole process group: SIGTERM, after ``grace`` seconds SIGKILL.

        Returns when all of the group has ended, also what outlives the command itself, and
        what ``wait`` returns.  None where that is not known: the helper has ended, or the
        kernel holds a process of the group even after SIGKILL.  A task that is cancelled
        meanwhile leaves the group to its end.
        """


class Processes(Protocol):
    """Starts commands from one small single-threaded helper process."""

    async def start(self, command: Command) -> Process:
        """Start a command.

        A task that is cancelled meanwhile leaves nothing behind: what it has started is
        killed, its whole process group, and waited for.

        Errors: ENOENT no such program (argv[0] is looked up in PATH of the environment,
        inside the jail when there is one); EACCES not executable; ENOENT no such jail.
        """

    def close(self) -> None:
        """End the helper.  What it started runs on; whoever waits for it gets ``HelperGone``."""
