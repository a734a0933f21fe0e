"""The one table of variables.

From a row follow how the variable is read, what it is without a value, where the model keeps
it, how it is printed back, what the manual says of it, and whether reload applies a change.
What else a new variable needs is the field of ``vimage.model`` that the row names and the
step that looks at it.
"""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from vimage.configuration import fstab
from vimage.configuration.values import (
    ADDRESSES,
    ARGV,
    BRIDGES,
    CPUS,
    HOSTNAME,
    INTERFACES,
    LIST,
    MAC,
    OSRELEASE,
    PARENTS,
    PATH,
    ROUTER4,
    ROUTER6,
    RULES,
    SECONDS,
    SERVICES,
    SHELL,
    TEXT,
    VIMAGES,
    YES_NO,
    ValueType,
    choice,
    integer,
    member,
    parameters,
)
from vimage.model import (
    EIFACE_MTU, HOST_HOOKS, Boot, Configuration, HostBridge, Link, Vimage,
)

if TYPE_CHECKING:
    from vimage.kernel import Kernel


class Scope(Enum):
    """What a variable describes; the value is the form of its name."""

    GLOBAL = "vimage_{part}"
    VIMAGE = "vimage_NAME_{part}"
    LINK = "vimage_NAME_{part}N"
    SERIES = "vimage_NAME_{part}[0..]"
    BRIDGE = "vimage_bridge_BR_{part}"
    HOST = "{part}"  # of rc.conf(5), for the whole host


_MODELS = {
    Scope.GLOBAL: Configuration, Scope.HOST: Configuration, Scope.BRIDGE: HostBridge,
    Scope.VIMAGE: Vimage, Scope.SERIES: Vimage, Scope.LINK: Link,
}


class Apply(Enum):
    """When a changed value takes effect."""

    LIVE = "live"  # with reload, which acts on the running vimage
    NOTED = "noted"  # with reload: only the service itself looks at the value
    RESTART = "restart"  # when the vimage is started again


#: No value at all.
UNSET = object()


@dataclass(frozen=True, slots=True)
class Default:
    """What a variable without a value stands for.

    ``of`` is given what is known: the ``name`` of the vimage and the values of the parts
    above the row, or the number of ``cpus`` for a global variable.
    """

    of: Callable[[Mapping[str, Any]], Any]
    text: str | None = None  # as the manual has it, where it is not just the value
    implied: bool = False  # need not be printed back: it follows from another variable


def constant(value: Any) -> Default:
    """The same for all."""
    return Default(lambda known: value)


def named(text: str) -> Default:
    """A text with NAME in it."""
    return Default(lambda known: text.replace("NAME", known["name"]), text)


def elsewhere(text: str) -> Default:
    """Determined later, from more than the variables of one vimage."""
    return Default(lambda known: UNSET, text)


REQUIRED = elsewhere("required")

#: The default is that of the field of the model.
OF_FIELD = None


@dataclass(frozen=True, slots=True)
class Variable:
    """One row of the table."""

    part: str  # of the name, after vimage_NAME_
    scope: Scope
    type: ValueType
    default: Default | None
    meaning: str
    field: str  # of the model, that holds the value
    apply: Apply = Apply.RESTART
    key: str = ""  # within a field that is a table
    #: Why the variable cannot have this value, given the values of the parts above the row (of
    #: the same vimage, or of the same link); "" if it can.
    conflict: Callable[[Any, Mapping[str, Any]], str] | None = None
    #: What is doubtful about the value on this host, given its `Vimage` or `Link`: a warning of
    #: check; "" if nothing is.
    doubt: Callable[[Kernel, Any], str] | None = None

    @property
    def form(self) -> str:
        """The name as documented: ``vimage_NAME_rootdir``, ``vimage_NAME_macN``."""
        return self.scope.value.format(part=self.part)

    def default_value(self, known: Mapping[str, Any]) -> Any:
        """The value of the variable where it is not set; UNSET if there is none."""
        if self.default is not None:
            return self.default.of(known)
        return _FIELD_DEFAULTS[self.scope].get(self.field, UNSET)

    @property
    def default_text(self) -> str:
        """The default as documented; "" is none."""
        if self.default is not None and self.default.text is not None:
            return self.default.text
        return self.shown(self.default_value({}))

    def value(self, owner: Any) -> Any:
        """The value in an object of the model; None if it has none."""
        value = getattr(owner, self.field)
        return value.get(self.key) if self.key else value

    def shown(self, value: Any) -> str:
        """A value as the text of the variable; "" if it need not be written."""
        return "" if value in (None, UNSET, (), {}) else self.type.show(value)


def _field_defaults(model: Any) -> dict[str, Any]:
    result = {}
    for field in dataclasses.fields(model):
        if field.default is not dataclasses.MISSING:
            result[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            result[field.name] = field.default_factory()
    return result


_FIELD_DEFAULTS = {scope: _field_defaults(model) for scope, model in _MODELS.items()}

# -- the commands of boot --------------------------------------------------------------------

#: netif(8) exits 0 whatever becomes of an interface, and routing exits 1 when the kernel
#: refuses a route, as it does with a default route of a shared rc.conf in a vimage that is
#: not on that network; rc(8) ignores both.  What fails is a script that is missing or cannot
#: be run.
EXEC_START = {
    Boot.NETWORK: "/bin/sh /etc/rc.d/netif start || exit; "
                  "/bin/sh /etc/rc.d/routing start; [ $? -le 1 ]",
    Boot.FULL: "/bin/sh /etc/rc",
    Boot.NONE: "",
}

EXEC_STOP = {
    Boot.NETWORK: "",
    Boot.FULL: "/bin/sh /etc/rc.shutdown jail",
    Boot.NONE: "",
}

# -- defaults that follow from something -----------------------------------------------------

#: A boot mostly sleeps.
PARALLEL_PER_CPU = 4


def _root_is_own(known: Mapping[str, Any]) -> bool:
    return bool(known.get("rootdir") != "/")


_PARALLEL = Default(lambda known: PARALLEL_PER_CPU * known.get("cpus", 1),
                    f"{PARALLEL_PER_CPU} * CPUs")
_START = Default(lambda known: EXEC_START[known["boot"]], "from boot", implied=True)
_STOP = Default(lambda known: EXEC_STOP[known["boot"]], f"boot=full: {EXEC_STOP[Boot.FULL]}",
                implied=True)
_FSTAB_OF_OWN_ROOT = named("/etc/fstab.NAME")
_FSTAB = Default(lambda known: _FSTAB_OF_OWN_ROOT.of(known) if _root_is_own(known) else "",
                 _FSTAB_OF_OWN_ROOT.text)
_DEVFS = Default(lambda known: _root_is_own(known) and known["boot"] is not Boot.NONE,
                 "YES, but NO for the root / and for boot=none")

# -- values beside others ----------------------------------------------------------------------

def _mount_line(text: str) -> str:
    """A line of fstab(5); as in jail.conf(5) it may be without options.  A blank one mounts
    nothing, and keeps a default away."""
    words = text.split()
    if len(words) == 3:
        words.append("rw")
    if not words:
        return ""
    if len(words) < 3:
        raise ValueError("it needs device, directory, type")
    line = fstab.parse(" ".join(words))
    if line.skipped:
        raise ValueError("it would never be mounted")
    PATH.parse(line.directory)
    return " ".join(words)


_MOUNT_LINE = ValueType("device, directory below the root, type and options, as in fstab(5)",
                        _mount_line)


def _outside_root(line: str, known: Mapping[str, Any]) -> str:
    root = known.get("rootdir")
    if root is None or not line:
        return ""
    if root == "/":
        return "the root is /, so it would be mounted on the host"
    try:
        fstab.below(root, fstab.parse(line).directory)
    except ValueError as error:
        return str(error)
    return ""


#: The least MTU of a link that carries IPv6 (RFC 8200).
IPV6_MTU = 1280


def _too_small_for_ipv6(mtu: int, known: Mapping[str, Any]) -> str:
    if mtu >= IPV6_MTU or not any(":" in address for address in known.get("addr", ())):
        return ""
    return f"IPv6 needs {IPV6_MTU} or more, and this link has an IPv6 address"


def _above_parent(kernel: Kernel, link: Link) -> str:
    """A host-only bridge that is not there is made with the MTU of an eiface."""
    if link.mtu is None:
        return ""
    try:
        parent = kernel.if_mtu(link.parent)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        if not link.host_only:
            return ""
        parent = EIFACE_MTU
    return f"greater than the MTU of {link.parent}, {parent}" if link.mtu > parent else ""


# -- the table -------------------------------------------------------------------------------

_V, _L, _H, _B, _G = Scope.VIMAGE, Scope.LINK, Scope.SERIES, Scope.BRIDGE, Scope.GLOBAL
_LIVE, _NOTED, _RESTART = Apply.LIVE, Apply.NOTED, Apply.RESTART

_HOOK_MEANING = {
    "exec_prepare": "before anything else is done",
    "exec_prestart": "before the network and the jail are made",
    "exec_created": "after the jail is made, before anything runs in it",
    "exec_poststart": "after everything in the jail has started",
    "exec_prestop": "before the jail is stopped",
    "exec_poststop": "after the jail is removed",
    "exec_release": "after everything else is undone",
}

#: Variables that set one parameter of jail_set(2) each.
_PARAMETERS: tuple[Variable, ...] = (
    Variable("mount_enable", _V, YES_NO, constant(False),
             "allow.mount: the jail may mount file systems",
             "parameters", _RESTART, "allow.mount"),
    Variable("set_hostname_allow", _V, YES_NO, constant(False),
             "allow.set_hostname: the jail may change its host name",
             "parameters", _RESTART, "allow.set_hostname"),
    Variable("sysvipc_allow", _V, YES_NO, constant(False),
             "allow.sysvipc: the jail may use System V IPC",
             "parameters", _RESTART, "allow.sysvipc"),
    Variable("enforce_statfs", _V, integer(0, 2), constant(2),
             "how much of the mounted file systems the jail sees; 2 is the least",
             "parameters", _RESTART, "enforce_statfs"),
    Variable("osrelease", _V, OSRELEASE, elsewhere("of the host"), "kern.osrelease in the jail",
             "parameters", _RESTART, "osrelease"),
    Variable("osreldate", _V, integer(1, 2**31 - 1), elsewhere("of the host"),
             "kern.osreldate in the jail", "parameters", _RESTART, "osreldate"),
)

#: The parameters that cannot be in ``parameters``, and the variable that sets each.
PARAMETER_VARIABLES = {
    "path": "rootdir",
    "host.hostname": "hostname",
    "securelevel": "securelevel",
    "devfs_ruleset": "devfs_ruleset",
    **{row.key: row.part for row in _PARAMETERS},
}

TABLE: tuple[Variable, ...] = (
    Variable("enable", _G, YES_NO, OF_FIELD, "start at boot", "enable", _LIVE),
    Variable("list", _G, LIST, OF_FIELD, "names of vimages, in start order", "list", _LIVE),
    Variable("parallel", _G, integer(1, 100_000), _PARALLEL,
             "how many vimages boot at once; with 1 they boot one after another",
             "parallel", _LIVE),
    Variable("logfile", _G, PATH, OF_FIELD,
             "file that the service writes its log to, besides syslog(3)", "logfile", _LIVE),
    Variable("mac_seed", _G, TEXT, elsewhere("kern.hostuuid"),
             "what MAC addresses are derived from", "mac_seed", _RESTART),
    Variable("bridge_list", _G, BRIDGES, OF_FIELD,
             "host-only bridges; each is an ng_bridge(4) with one interface on the host, which has "
             "the name of the bridge",
             "bridges", _LIVE),
    Variable("addr", _B, ADDRESSES, OF_FIELD, "addresses of the host on this bridge",
             "addresses", _RESTART),
    Variable("mac", _B, MAC, elsewhere("derived"), "MAC address of the host on this bridge",
             "mac", _RESTART),
    Variable("rootdir", _V, PATH, REQUIRED,
             "root directory of the jail; several vimages may share one, / included",
             "rootdir", _RESTART),
    Variable("hostname", _V, HOSTNAME, named("NAME"), "host name of the jail",
             "hostname", _RESTART),
    Variable("bridges", _V, PARENTS, OF_FIELD,
             "interfaces of the host, or host-only bridges, to bridge to: one new ngN_NAME each, "
             "N counting from 0 through the list. Before a name, = copies the parent's MAC "
             "address and ! keeps the kernel's. - skips a number", "links", _LIVE),
    Variable("vnets", _V, INTERFACES, OF_FIELD,
             "whole interfaces to move into the vimage, and back when it stops",
             "vnets", _RESTART),
    Variable("mac", _L, MAC, elsewhere("derived"), "MAC address of ngN_NAME", "mac", _LIVE),
    Variable("addr", _L, ADDRESSES, OF_FIELD,
             "addresses that the host sets on ngN_NAME inside the vimage", "addresses", _LIVE),
    Variable("mtu", _L, integer(72, 9018), elsewhere("the MTU of that interface"),
             "MTU of ngN_NAME, at least 1280 if addrN has an IPv6 address. If it is greater than "
             "the MTU of the interface that ngN_NAME is bridged to, check prints a warning",
             "mtu", _LIVE, conflict=_too_small_for_ipv6, doubt=_above_parent),
    Variable("defaultrouter", _V, ROUTER4, OF_FIELD,
             "IPv4 default route that the host sets inside", "defaultrouter", _RESTART),
    Variable("defaultrouter6", _V, ROUTER6, OF_FIELD,
             "IPv6 default route that the host sets inside", "defaultrouter6", _RESTART),
    Variable("depend", _V, VIMAGES, OF_FIELD,
             "vimages that must be ready first, and are stopped after this one",
             "depend", _NOTED),
    Variable("boot", _V, member(Boot), OF_FIELD,
             "network: bring up lo0, the interfaces and routing as the jail's rc.conf says; "
             f"full: {EXEC_START[Boot.FULL]}; none: nothing", "boot", _RESTART),
    Variable("exec_start", _V, SHELL, _START,
             "command of the jail's /bin/sh that boots it, in place of that of boot",
             "exec_start", _RESTART),
    Variable("exec_stop", _V, SHELL, _STOP,
             "command of the jail's /bin/sh that shuts it down", "exec_stop", _RESTART),
    Variable("command", _V, ARGV, OF_FIELD, "program of the jail that the service keeps running",
             "command", _RESTART),
    Variable("afterstart_services", _V, SERVICES, OF_FIELD,
             "rc.d scripts of the jail, started in order with onestart, stopped in reverse with "
             "onestop", "afterstart_services", _LIVE),
    *(Variable(hook, _H, SHELL, OF_FIELD,
               f"commands of the host's /bin/sh, {_HOOK_MEANING[hook]}", "hooks", _RESTART, hook)
      for hook in HOST_HOOKS),
    Variable("exec_afterstart", _H, SHELL, OF_FIELD,
             "commands of the jail's /bin/sh, after the boot command",
             "exec_afterstart", _RESTART),
    Variable("start_timeout", _V, SECONDS, OF_FIELD,
             "time that each command of a start may take; one that takes longer is ended, and the "
             "start fails", "start_timeout", _NOTED),
    Variable("stop_timeout", _V, SECONDS, OF_FIELD,
             "time that each command of a stop, and the jail's processes, may take to end; what "
             "takes longer is killed", "stop_timeout", _RESTART),
    Variable("health", _V, SHELL, OF_FIELD, "command run in the jail; exit status 0 means healthy",
             "health", _NOTED),
    Variable("health_interval", _V, SECONDS, OF_FIELD,
             "time from one run of health to the next", "health_interval", _NOTED),
    Variable("health_timeout", _V, SECONDS, OF_FIELD, "time that health may take",
             "health_timeout", _NOTED),
    Variable("restart", _V, choice("no", "on-failure"), OF_FIELD,
             "whether a vimage that failed is started again, with increasing delay",
             "restart", _NOTED),
    Variable("consolelog", _V, PATH, named("/var/log/vimage_NAME_console.log"),
             "file for the output of everything that is run in the jail",
             "consolelog", _RESTART),
    Variable("fstab", _V, PATH, _FSTAB,
             "file of mounts in the form of fstab(5), mounted if it can be read; not used for the "
             "root /",
             "fstab", _RESTART),
    Variable("mount", _H, _MOUNT_LINE, OF_FIELD,
             "file systems to mount before those of fstab, each as a line of fstab(5); a space "
             "in a path is written as \\040", "mount", _RESTART, conflict=_outside_root),
    Variable("devfs_enable", _V, YES_NO, _DEVFS, "mount devfs(5) on /dev of the jail",
             "devfs_enable", _RESTART),
    Variable("devfs_ruleset", _V, integer(1, 65535), OF_FIELD,
             "devfs(8) ruleset of this mount and of the jail; 5 is devfsrules_jail_vnet",
             "devfs_ruleset", _RESTART),
    Variable("fdescfs_enable", _V, YES_NO, OF_FIELD, "mount fdescfs(5) on /dev/fd of the jail",
             "fdescfs_enable", _RESTART),
    Variable("procfs_enable", _V, YES_NO, OF_FIELD, "mount procfs(5) on /proc of the jail",
             "procfs_enable", _RESTART),
    *_PARAMETERS,
    Variable("securelevel", _V, integer(-1, 3), OF_FIELD,
             "securelevel of the jail, set after the boot command", "securelevel", _RESTART),
    Variable("parameters", _V, parameters(PARAMETER_VARIABLES), OF_FIELD,
             "further parameters of jail_set(2)", "parameters", _RESTART),
    Variable("rctl", _V, RULES, OF_FIELD, "resource rules, as rctl(8) without the subject",
             "rctl", _LIVE),
    Variable("cpus", _V, CPUS, OF_FIELD, "CPUs that the jail may use, as cpuset(1) -l",
             "cpus", _LIVE),
)

#: Variables of rc.conf(5) that are not vimage's own but matter to it.
OF_THE_HOST: tuple[Variable, ...] = (
    Variable("rcshutdown_timeout", Scope.HOST, SECONDS, OF_FIELD,
             "how long rc(8) waits at shutdown", "shutdown_timeout", _LIVE),
)

GLOBALS = {row.part: row for row in TABLE if row.scope is Scope.GLOBAL}
BRIDGE = {row.part: row for row in TABLE if row.scope is Scope.BRIDGE}
VIMAGE = {row.part: row for row in TABLE if row.scope in (Scope.VIMAGE, Scope.SERIES)}
LINK = {row.part: row for row in TABLE if row.scope is Scope.LINK}
SERIES = {row.part: row for row in TABLE if row.scope is Scope.SERIES}

#: Parts that take a number at the end.
NUMBERED = {**LINK, **SERIES}

#: ``vimage_X`` that run_rc_command of rc.subr(8) acts on, FreeBSD 13 to 15.
RESERVED = frozenset((
    "audit_user", "chdir", "chroot", "cpuset", "env", "env_file", "fib", "flags", "group",
    "groups", "limits", "login_class", "nice", "oomprotect", "prepend", "program", "svcj",
    "svcj_ipaddrs", "svcj_options", "umask", "user",
))
