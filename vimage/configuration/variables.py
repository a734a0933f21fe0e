"""The one table of variables: parsing, defaults, errors and documentation come from it.

A type is a way to read text: ``parse`` returns the value or raises ValueError with what
is wrong with it, and ``allowed`` completes "allowed: ...".
"""

from __future__ import annotations

import ipaddress
import os.path
import re
import shlex
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from vimage.configuration import names
from vimage.model import HOST_HOOKS


class Type(NamedTuple):
    """How the text of a variable is read."""

    name: str
    allowed: str
    parse: Callable[[str], Any]  # raises ValueError with the reason


class Scope(Enum):
    """Of whom a variable speaks; the value is the form of its name."""

    GLOBAL = "vimage_{part}"
    VIMAGE = "vimage_NAME_{part}"
    LINK = "vimage_NAME_{part}N"
    HOOK = "vimage_NAME_{part}[0..]"
    BRIDGE = "vimage_bridge_BR_{part}"


class Apply(Enum):
    """When a changed value takes effect."""

    LIVE = "live"  # with reload, which acts on the running vimage
    NOTED = "noted"  # with reload: only the service itself looks at the value
    RESTART = "restart"  # when the vimage is started again


class Variable(NamedTuple):
    """One row of the table."""

    part: str  # of the name, after vimage_NAME_
    scope: Scope
    type: Type
    default: str  # as documented; "" is none
    meaning: str
    apply: Apply = Apply.RESTART
    field: str = ""  # of the model, where its name is not that of the part

    @property
    def form(self) -> str:
        """The name as documented: ``vimage_NAME_rootdir``, ``vimage_NAME_macN``."""
        return self.scope.value.format(part=self.part)

    @property
    def model_field(self) -> str:
        """The field of the model that holds its value."""
        return self.field or self.part


# -- types --------------------------------------------------------------------------------

_YES = ("yes", "true", "on", "1")  # as checkyesno of rc.subr(8)
_NO = ("no", "false", "off", "0")


def _yes_no(text: str) -> bool:
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise ValueError("neither yes nor no")


YES_NO = Type("yes or no", "YES or NO", _yes_no)


def integer(low: int, high: int) -> Type:
    """A whole number from ``low`` to ``high``."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise ValueError("not a whole number")
        if not low <= int(text) <= high:
            raise ValueError("out of range")
        return int(text)

    return Type("number", f"a whole number from {low} to {high}", parse)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", text):
        raise ValueError("not a number of seconds")
    if not 0.1 <= float(text) <= 86400:
        raise ValueError("out of range")
    return float(text)


SECONDS = Type("seconds", "seconds from 0.1 to 86400", _seconds)


def choice(*values: str) -> Type:
    """One of some words, in small or capital letters."""

    def parse(text: str) -> str:
        if text.lower() not in values:
            raise ValueError("no such choice")
        return text.lower()

    return Type("choice", f"{', '.join(values[:-1])} or {values[-1]}", parse)


def _printable(text: str) -> None:
    if not text.isprintable():
        raise ValueError("has characters that cannot be printed")


def _line(text: str) -> str:
    _printable(text)
    if not text.strip():
        raise ValueError("blank")
    return text


TEXT = Type("text", "one line of text", _line)


def _path(text: str) -> str:
    _printable(text)
    if not text.startswith("/"):
        raise ValueError("does not begin with /")
    if ".." in text.split("/"):
        raise ValueError("has .. in it")
    if len(os.fsencode(text)) > 1000:
        raise ValueError("too long")
    return "/" + os.path.normpath(text).lstrip("/")


PATH = Type("path", "an absolute path without ..", _path)


def _hostname(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise ValueError("no host name")
    if len(text) > 255:
        raise ValueError("too long")
    return text


HOSTNAME = Type("host name", "up to 255 letters, digits, dots, - and _", _hostname)


def _words(word: Callable[[str], bool], what: str, *, once: bool = True) -> Callable[[str], Any]:
    def parse(text: str) -> tuple[str, ...]:
        words = tuple(text.split())
        for each in words:
            if not word(each):
                raise ValueError(f"{each} is no {what}")
        if once:
            _distinct(words)
        return words

    return parse


def _distinct(words: tuple[str, ...]) -> None:
    seen = set()
    for word in words:
        if word in seen:
            raise ValueError(f"{word} is listed twice")
        seen.add(word)


# Whether a word of vimage_list is a name, and there but once, is told for each of them.
LIST = Type("names", "names of letters, digits, - and _, not digits alone", str.split)
VIMAGES = Type(
    "names", "names of vimages, each once", _words(names.is_vimage, "name of a vimage"))
BRIDGES = Type(
    "names", f"names of up to {names.MAX_INTERFACE} letters, digits, - and _, each once, "
    "a letter first", _words(names.is_host_bridge, "name for a bridge"))
INTERFACES = Type(
    "interfaces", "names of interfaces, each once",
    _words(names.is_interface, "name of an interface"))
SERVICES = Type(
    "services", "names of rc.d scripts, each once",
    _words(lambda word: bool(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", word)),
           "name of an rc.d script"))


class Parent(NamedTuple):
    """One word of ``bridges``."""

    prefix: str  # "", "=" or "!"
    name: str


def _parents(text: str) -> tuple[Parent | None, ...]:
    """Word N says what link N hangs on; None where ``-`` holds the place."""
    return tuple(None if word == "-" else _parent(word) for word in text.split())


def _parent(word: str) -> Parent:
    prefix, name = (word[0], word[1:]) if word[0] in "=!" else ("", word)
    if not names.is_interface(name):
        raise ValueError(f"{word} is no name of an interface")
    return Parent(prefix, name)


PARENTS = Type(
    "interfaces", "names of interfaces or host-only bridges, = or ! before a name, - for none",
    _parents)


def _mac(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", text):
        raise ValueError("no MAC address")
    mac = text.lower()
    if int(mac[:2], 16) & 1:
        raise ValueError("a multicast address")
    if mac == "00:00:00:00:00:00":
        raise ValueError("the null address")
    return mac


MAC = Type("MAC address", "a unicast MAC address such as 02:00:00:00:00:01", _mac)


def _addresses(text: str) -> tuple[str, ...]:
    addresses = tuple(_address(word) for word in text.split())
    _distinct(tuple(address.split("/")[0] for address in addresses))
    return addresses


def _address(word: str) -> str:
    address, slash, prefix = word.partition("/")
    if not slash:
        raise ValueError(f"{word} has no prefix length")
    if not re.fullmatch(r"[0-9]{1,3}", prefix) or "%" in address:
        raise ValueError(f"{word} is no address with a prefix length")
    try:
        interface = ipaddress.ip_interface(word)
    except ValueError:
        raise ValueError(f"{word} is no address with a prefix length") from None
    _of_a_host(word, interface)
    return str(interface)


def _of_a_host(word: str, interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> None:
    network = interface.network
    for kind in ("unspecified", "multicast", "loopback"):
        if getattr(interface.ip, f"is_{kind}"):
            raise ValueError(f"{word} is {'an' if kind[0] == 'u' else 'a'} {kind} address")
    if network.prefixlen >= network.max_prefixlen - 1:
        return
    if interface.ip == network.network_address:
        raise ValueError(f"{word} is the address of the network")
    if interface.version == 4 and interface.ip == network.broadcast_address:
        raise ValueError(f"{word} is the broadcast address of the network")


ADDRESSES = Type(
    "addresses", "addresses of a host with prefix length, such as 192.0.2.2/24 2001:db8::2/64",
    _addresses)


def _router4(text: str) -> str:
    if text.lower() == "no":  # as in rc.conf(5)
        return ""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        raise ValueError("no IPv4 address") from None
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise ValueError("no address of a router")
    return str(address)


def _router6(text: str) -> str:
    if text.lower() == "no":
        return ""
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError("no IPv6 address") from None
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise ValueError("no address of a router")
    if bool(address.scope_id) != address.is_link_local:
        raise ValueError("a link-local address goes with %INTERFACE, no other does")
    return str(address)


ROUTER4 = Type("IPv4 address", "an IPv4 address such as 192.0.2.1, or NO", _router4)
ROUTER6 = Type(
    "IPv6 address", "an IPv6 address such as 2001:db8::1 or fe80::1%ng0_NAME, or NO", _router6)


def _shell(text: str) -> str:
    """A command for a shell.  A blank one runs nothing, and keeps a default away."""
    if "\0" in text:
        raise ValueError("has a NUL in it")
    return text if text.strip() else ""


SHELL = Type("shell command", "a command for /bin/sh", _shell)


def _argv(text: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(str(error).lower()) from None
    if words and not words[0].startswith("/"):
        raise ValueError(f"{words[0]} is no absolute path")
    return words


ARGV = Type("program", "an absolute path and arguments, quoted as in sh", _argv)


def _osrelease(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._+-]{1,31}", text):
        raise ValueError("no release")
    return text


OSRELEASE = Type("release", "up to 31 letters, digits, dots, -, + and _", _osrelease)

#: Parameters that have a variable of their own, and that variable.
PARAMETER_VARIABLES = {
    "path": "rootdir",
    "host.hostname": "hostname",
    "securelevel": "securelevel",
    "devfs_ruleset": "devfs_ruleset",
    "allow.mount": "mount_enable",
    "allow.set_hostname": "set_hostname_allow",
    "allow.sysvipc": "sysvipc_allow",
    "enforce_statfs": "enforce_statfs",
    "osrelease": "osrelease",
    "osreldate": "osreldate",
}

#: Parameters that the service sets itself, or that a VNET jail cannot have.
OWNED = frozenset((
    "name", "jid", "vnet", "persist", "parent", "dying", "errmsg", "desc", "lastjid",
    "cpuset.id", "host", "ip4", "ip6", "ip4.addr", "ip6.addr", "ip4.saddrsel", "ip6.saddrsel",
))

#: What jail.conf(5) has and jail_set(2) has not.
_OF_JAIL_CONF = re.compile(
    r"(exec|mount|stop|zfs|vnet)\..*|allow\.dying|command|depend|interface|ip_hostname")


def _parameters(text: str) -> dict[str, str | bool]:
    result: dict[str, str | bool] = {}
    for word in text.split():
        name, value = _parameter(word.removesuffix(";"))  # as rc.d/jail
        if name in result:
            raise ValueError(f"{name} is given twice")
        result[name] = value
    return result


def _parameter(word: str) -> tuple[str, str | bool]:
    name, equals, text = word.partition("=")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*", name):
        raise ValueError(f"{word} is no parameter")
    value: str | bool = text
    if not equals:
        name, value = _switch(name)
    elif name.startswith("allow."):
        if text.lower() not in ("true", "false", "1", "0"):
            raise ValueError(f"{word}: not one of true, false, 1, 0")
        value = text.lower() in ("true", "1")
    if name in PARAMETER_VARIABLES:
        raise ValueError(f"{name} has a variable, vimage_NAME_{PARAMETER_VARIABLES[name]}")
    if name in OWNED:
        raise ValueError(f"{name} is for the service to set")
    if _OF_JAIL_CONF.fullmatch(name):
        raise ValueError(f"{name} is of jail.conf(5), not of jail_set(2)")
    return name, value


def _switch(name: str) -> tuple[str, bool]:
    """``allow.noX`` is ``allow.X`` switched off, as in jail(8)."""
    head, dot, last = name.rpartition(".")
    if last.startswith("no") and len(last) > 2:
        return f"{head}{dot}{last[2:]}", False
    return name, True


PARAMETERS = Type(
    "parameters", "further parameters of jail_set(2), such as allow.raw_sockets children.max=5",
    _parameters)

_IO = ("readbps", "writebps", "readiops", "writeiops")
_NOT_DENIABLE = ("cputime", "wallclock", *_IO)
_RESOURCES = frozenset((
    "datasize", "stacksize", "coredumpsize", "memoryuse", "memorylocked", "maxproc", "openfiles",
    "vmemoryuse", "pseudoterminals", "swapuse", "nthr", "msgqqueued", "msgqsize", "nmsgq", "nsem",
    "nsemop", "nshm", "shmsize", "pcpu", *_NOT_DENIABLE,
))
_SIGNALS = frozenset((
    "sighup", "sigint", "sigquit", "sigill", "sigtrap", "sigabrt", "sigemt", "sigfpe", "sigkill",
    "sigbus", "sigsegv", "sigsys", "sigpipe", "sigalrm", "sigterm", "sigurg", "sigstop", "sigtstp",
    "sigchld", "sigttin", "sigttou", "sigio", "sigxcpu", "sigxfsz", "sigvtalrm",
    "sigprof", "sigwinch", "siginfo", "sigusr1", "sigusr2", "sigthr",
))


def _rules(text: str) -> tuple[str, ...]:
    rules = tuple(text.split())
    for rule in rules:
        _rule(rule)
    _distinct(rules)
    return rules


def _rule(rule: str) -> None:
    """Raise ValueError unless ``rule`` is ``RESOURCE:ACTION=AMOUNT[/PER]`` (rctl(8))."""
    match = re.fullmatch(r"([^:=/]*):([^:=/]*)=([^:=/]*)(?:/([^:=/]*))?", rule)
    if match is None:
        raise ValueError(f"{rule} is no RESOURCE:ACTION=AMOUNT")
    resource, action, amount, per = match.groups()
    if resource not in _RESOURCES:
        raise ValueError(f"{rule}: no resource {resource}")
    if action not in ("deny", "log", "devctl", "throttle") and action not in _SIGNALS:
        raise ValueError(f"{rule}: no action {action}")
    if action == "deny" and resource in _NOT_DENIABLE:
        raise ValueError(f"{rule}: {resource} cannot be denied")
    if action == "throttle" and resource not in _IO:
        raise ValueError(f"{rule}: {resource} cannot be throttled")
    if not re.fullmatch(r"[0-9]{1,19}([KMGTPEkmgtpe][Bb]?|[Bb])?", amount):
        raise ValueError(f"{rule}: no amount {amount}")
    if per not in (None, "process", "user", "loginclass", "jail"):
        raise ValueError(f"{rule}: no {per}")


RULES = Type("rctl rules", "rctl(8) rules without the subject, such as vmemoryuse:deny=1g", _rules)


def _cpus(text: str) -> str:
    numbers: set[int] = set()
    for item in text.replace(",", " , ").split(","):
        match = re.fullmatch(r"\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*", item)
        if match is None:
            raise ValueError("no list of CPUs")
        low = int(match[1])
        high = int(match[2] or low)
        if high < low:
            raise ValueError(f"{low}-{high} is empty")
        numbers.update(range(low, high + 1))
    return ranges(numbers)


def ranges(numbers: set[int]) -> str:
    """``{0, 1, 2, 5}`` as ``0-2,5``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


CPUS = Type("CPUs", "numbers and ranges of CPUs, such as 0-3,5", _cpus)

BOOT = choice("network", "full", "none")
RESTART = choice("no", "on-failure")

# -- the table ------------------------------------------------------------------------------

_V, _L, _H, _B, _G = Scope.VIMAGE, Scope.LINK, Scope.HOOK, Scope.BRIDGE, Scope.GLOBAL
_LIVE, _NOTED, _RESTART = Apply.LIVE, Apply.NOTED, Apply.RESTART

_HOOK_MEANING = {
    "exec_prepare": "before anything else is done",
    "exec_prestart": "before the network and the jail are made",
    "exec_created": "when the jail exists, before anything runs in it",
    "exec_poststart": "when everything in the jail was started",
    "exec_prestop": "before the jail is stopped",
    "exec_poststop": "when the jail is gone",
    "exec_release": "when everything else is undone",
}

TABLE: tuple[Variable, ...] = (
    Variable("enable", _G, YES_NO, "NO", "start at boot", _LIVE),
    Variable("list", _G, LIST, "", "names of vimages, in start order", _LIVE),
    Variable("parallel", _G, integer(1, 100_000), "4 * CPUs",
             "how many vimages boot at once; 1 is strictly one after another", _LIVE),
    Variable("logfile", _G, PATH, "",
             "file that the service writes its log to, besides syslog(3)", _LIVE),
    Variable("mac_seed", _G, TEXT, "kern.hostuuid", "what MAC addresses are derived from"),
    Variable("bridge_list", _G, BRIDGES, "",
             "host-only bridges: each an ng_bridge(4) with one interface of its name on the host",
             _LIVE, field="bridges"),
    Variable("addr", _B, ADDRESSES, "", "addresses of the host on this bridge", field="addresses"),
    Variable("mac", _B, MAC, "derived", "MAC address of the host on this bridge"),
    Variable("rootdir", _V, PATH, "required",
             "root directory of the jail; several vimages may share one, / included"),
    Variable("hostname", _V, HOSTNAME, "NAME", "host name of the jail"),
    Variable("bridges", _V, PARENTS, "",
             "interfaces of the host, or host-only bridges, to bridge to: one new ngN_NAME each, "
             "N counting from 0 through the list. Before a name, = copies the parent's MAC "
             "address and ! keeps the kernel's. - holds a place", _LIVE, field="links"),
    Variable("vnets", _V, INTERFACES, "", "whole interfaces to move in, and back out"),
    Variable("mac", _L, MAC, "derived", "MAC address of ngN_NAME", _LIVE),
    Variable("addr", _L, ADDRESSES, "",
             "addresses that the host sets on ngN_NAME inside the vimage", _LIVE,
             field="addresses"),
    Variable("defaultrouter", _V, ROUTER4, "", "IPv4 default route that the host sets inside"),
    Variable("defaultrouter6", _V, ROUTER6, "", "IPv6 default route that the host sets inside"),
    Variable("depend", _V, VIMAGES, "",
             "vimages that must be ready first, and are stopped after this one", _NOTED),
    Variable("boot", _V, BOOT, "network",
             "network: bring up lo0, the interfaces and routing as the jail's rc.conf says; "
             "full: /bin/sh /etc/rc; none: nothing"),
    Variable("exec_start", _V, SHELL, "from boot",
             "command of the jail's /bin/sh that boots it, in place of that of boot"),
    Variable("exec_stop", _V, SHELL, "boot=full: /bin/sh /etc/rc.shutdown jail",
             "command of the jail's /bin/sh that shuts it down"),
    Variable("command", _V, ARGV, "", "program of the jail that the service keeps running"),
    Variable("afterstart_services", _V, SERVICES, "",
             "rc.d scripts of the jail, started in order with onestart, stopped in reverse with "
             "onestop", _LIVE),
    *(Variable(hook, _H, SHELL, "", f"commands of the host's /bin/sh, {_HOOK_MEANING[hook]}",
             field="hooks")
      for hook in HOST_HOOKS),
    Variable("exec_afterstart", _H, SHELL, "",
             "commands of the jail's /bin/sh, after the boot command"),
    Variable("start_timeout", _V, SECONDS, "60",
             "how long each command of the start may take; then it is ended, and the start "
             "has failed", _NOTED),
    Variable("stop_timeout", _V, SECONDS, "30",
             "how long each command of the stop, and the jail's processes, may take; then they "
             "are ended"),
    Variable("health", _V, SHELL, "", "command in the jail; exit status 0 is healthy", _NOTED),
    Variable("health_interval", _V, SECONDS, "30", "time from one run of health to the next",
             _NOTED),
    Variable("health_timeout", _V, SECONDS, "10", "how long health may take", _NOTED),
    Variable("restart", _V, RESTART, "no",
             "whether a vimage that failed is started again, with growing delay", _NOTED),
    Variable("consolelog", _V, PATH, "/var/log/vimage_NAME_console.log",
             "file for the output of everything that is run in the jail"),
    Variable("fstab", _V, PATH, "/etc/fstab.NAME",
             "file of mounts, as fstab(5), mounted if readable; none for the root /"),
    Variable("devfs_enable", _V, YES_NO, "YES, but NO for the root / and for boot=none",
             "mount devfs(5) on /dev of the jail"),
    Variable("devfs_ruleset", _V, integer(1, 65535), "5",
             "devfs(8) ruleset of that mount and of the jail; 5 is devfsrules_jail_vnet"),
    Variable("fdescfs_enable", _V, YES_NO, "NO", "mount fdescfs(5) on /dev/fd of the jail"),
    Variable("procfs_enable", _V, YES_NO, "NO", "mount procfs(5) on /proc of the jail"),
    Variable("mount_enable", _V, YES_NO, "NO", "allow.mount: the jail may mount file systems",
             field="parameters"),
    Variable("set_hostname_allow", _V, YES_NO, "NO",
             "allow.set_hostname: the jail may change its host name", field="parameters"),
    Variable("sysvipc_allow", _V, YES_NO, "NO", "allow.sysvipc: the jail may use System V IPC",
             field="parameters"),
    Variable("enforce_statfs", _V, integer(0, 2), "2",
             "how much of the mounted file systems the jail sees; 2 is the least",
             field="parameters"),
    Variable("osrelease", _V, OSRELEASE, "of the host", "kern.osrelease in the jail",
             field="parameters"),
    Variable("osreldate", _V, integer(1, 2**31 - 1), "of the host", "kern.osreldate in the jail",
             field="parameters"),
    Variable("securelevel", _V, integer(-1, 3), "",
             "securelevel of the jail, set after the boot command"),
    Variable("parameters", _V, PARAMETERS, "", "further parameters of jail_set(2)"),
    Variable("rctl", _V, RULES, "", "resource rules, as rctl(8) without the subject", _LIVE),
    Variable("cpus", _V, CPUS, "", "CPUs that the jail may use, as cpuset(1) -l", _LIVE),
)

GLOBALS = {row.part: row for row in TABLE if row.scope is Scope.GLOBAL}
BRIDGE = {row.part: row for row in TABLE if row.scope is Scope.BRIDGE}
VIMAGE = {row.part: row for row in TABLE if row.scope in (Scope.VIMAGE, Scope.HOOK)}
LINK = {row.part: row for row in TABLE if row.scope is Scope.LINK}
HOOKS = {row.part: row for row in TABLE if row.scope is Scope.HOOK}

#: Parts that take a number at the end.
NUMBERED = {**LINK, **HOOKS}

#: ``vimage_X`` that run_rc_command of rc.subr(8) acts on, FreeBSD 13 to 15.
RESERVED = frozenset((
    "audit_user", "chdir", "chroot", "cpuset", "env", "env_file", "fib", "flags", "group",
    "groups", "limits", "login_class", "nice", "oomprotect", "prepend", "program", "svcj",
    "svcj_ipaddrs", "svcj_options", "umask", "user",
))
