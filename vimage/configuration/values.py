"""How the text of a variable is read, checked and written back.

A `ValueType` returns the value or raises ValueError with what is wrong with it, and
``allowed`` completes "allowed: ...".  What ``show`` gives is read as the same value again.
Pure.
"""

from __future__ import annotations

import ipaddress
import os.path
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from vimage.configuration import names


def _words(words: Iterable[str]) -> str:
    return " ".join(words)


def _single_words(words: Iterable[str]) -> str:
    for word in words:
        if word.split() != [word]:
            raise ValueError(f'"{word}" is not one word')
    return _words(words)


@dataclass(frozen=True, slots=True)
class ValueType:
    """What a variable can be set to."""

    allowed: str
    parse: Callable[[str], Any]  # raises ValueError with the reason
    show: Callable[[Any], str] = str  # "" where nothing need be written
    join: Callable[[Iterable[str]], str] = _single_words  # of a list in YAML, to be parsed


# -- one value -----------------------------------------------------------------------------

_YES = ("yes", "true", "on", "1")  # as checkyesno of rc.subr(8)
_NO = ("no", "false", "off", "0")


def _yes_no(text: str) -> bool:
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise ValueError("neither yes nor no")


YES_NO = ValueType("YES or NO", _yes_no, lambda value: "YES" if value else "NO")


def integer(low: int, high: int) -> ValueType:
    """A whole number from ``low`` to ``high``."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise ValueError("not a whole number")
        if not low <= int(text) <= high:
            raise ValueError("out of range")
        return int(text)

    return ValueType(f"a whole number from {low} to {high}", parse)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", text):
        raise ValueError("not a number of seconds")
    if not 0.1 <= float(text) <= 86400:
        raise ValueError("out of range")
    return float(text)


SECONDS = ValueType("seconds from 0.1 to 86400", _seconds,
                    lambda value: f"{value:.3f}".rstrip("0").rstrip("."))


def choice(*values: str) -> ValueType:
    """One of some words, in small or capital letters."""

    def parse(text: str) -> str:
        if text.lower() not in values:
            raise ValueError("no such choice")
        return text.lower()

    return ValueType(f"{', '.join(values[:-1])} or {values[-1]}", parse)


def member(kind: type[Enum]) -> ValueType:
    """One of the values of an enumeration, in small or capital letters."""
    words = choice(*(each.value for each in kind))
    return ValueType(words.allowed, lambda text: kind(words.parse(text)), lambda each: each.value)


def _printable(text: str) -> None:
    if not text.isprintable():
        raise ValueError("contains characters that cannot be printed")


def _line(text: str) -> str:
    _printable(text)
    if not text.strip():
        raise ValueError("blank")
    return text


TEXT = ValueType("one line of text", _line)


def _path(text: str) -> str:
    _printable(text)
    if not text.startswith("/"):
        raise ValueError("does not begin with /")
    if ".." in text.split("/"):
        raise ValueError("contains ..")
    if len(os.fsencode(text)) > 1000:
        raise ValueError("too long")
    return "/" + os.path.normpath(text).lstrip("/")


PATH = ValueType("an absolute path without ..", _path)


def _hostname(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise ValueError("not a host name")
    if len(text) > 255:
        raise ValueError("too long")
    return text


HOSTNAME = ValueType("up to 255 letters, digits, dots, - and _", _hostname)


def _shell(text: str) -> str:
    """A command for a shell.  A blank one runs nothing, and keeps a default away."""
    if "\0" in text:
        raise ValueError("contains a NUL character")
    return text if text.strip() else ""


SHELL = ValueType("a command for /bin/sh", _shell)


def _argv(text: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(str(error).lower()) from None
    if words and not words[0].startswith("/"):
        raise ValueError(f"{words[0]} is not an absolute path")
    return words


ARGV = ValueType("an absolute path and arguments, quoted as in sh", _argv, shlex.join, shlex.join)


def _osrelease(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._+-]{1,31}", text):
        raise ValueError("not a release")
    return text


OSRELEASE = ValueType("up to 31 letters, digits, dots, -, + and _", _osrelease)

# -- lists of names --------------------------------------------------------------------------


def _list(word: Callable[[str], bool], what: str) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        words = tuple(text.split())
        for each in words:
            if not word(each):
                raise ValueError(f"{each} is not {what}")
        _distinct(words)
        return words

    return parse


def _distinct(words: tuple[str, ...]) -> None:
    seen = set()
    for word in words:
        if word in seen:
            raise ValueError(f"{word} is listed twice")
        seen.add(word)


# Each word of vimage_list that is not a name, or is there twice, has an error of its own.
LIST = ValueType("names of letters, digits, - and _, not digits alone",
                 lambda text: tuple(text.split()), _words)
VIMAGES = ValueType("names of vimages, each once", _list(names.is_vimage, "a vimage name"),
                    _words)
BRIDGES = ValueType(
    f"names of up to {names.MAX_INTERFACE} letters, digits, - and _ that begin with a letter, "
    "each once", _list(names.is_host_bridge, "a bridge name"), _words)
INTERFACES = ValueType("names of interfaces, each once",
                       _list(names.is_interface, "an interface name"), _words)
SERVICES = ValueType(
    "names of rc.d scripts, each once",
    _list(lambda word: bool(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", word)),
          "the name of an rc.d script"), _words)


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
        raise ValueError(f"{word} is not an interface name")
    return Parent(prefix, name)


PARENTS = ValueType(
    "names of interfaces or host-only bridges, = or ! before a name, - to skip a number",
    _parents, lambda parents: _words("".join(parent) if parent else "-" for parent in parents))

# -- addresses -------------------------------------------------------------------------------


def _mac(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", text):
        raise ValueError("not a MAC address")
    mac = text.lower()
    if int(mac[:2], 16) & 1:
        raise ValueError("a multicast address")
    if mac == "00:00:00:00:00:00":
        raise ValueError("all zeros")
    return mac


MAC = ValueType("a unicast MAC address such as 02:00:00:00:00:01", _mac)


def _addresses(text: str) -> tuple[str, ...]:
    addresses = tuple(_address(word) for word in text.split())
    _distinct(tuple(address.split("/")[0] for address in addresses))
    return addresses


def _address(word: str) -> str:
    address, slash, prefix = word.partition("/")
    if not slash:
        raise ValueError(f"{word} has no prefix length")
    if not re.fullmatch(r"[0-9]{1,3}", prefix) or "%" in address:
        raise ValueError(f"{word} is not an address with a prefix length")
    try:
        interface = ipaddress.ip_interface(word)
    except ValueError:
        raise ValueError(f"{word} is not an address with a prefix length") from None
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
        raise ValueError(f"{word} is the network address")
    if interface.version == 4 and interface.ip == network.broadcast_address:
        raise ValueError(f"{word} is the broadcast address")


ADDRESSES = ValueType(
    "addresses of a host with prefix length, such as 192.0.2.2/24 2001:db8::2/64", _addresses,
    _words)


def _router4(text: str) -> str:
    if text.lower() == "no":  # as in rc.conf(5)
        return ""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        raise ValueError("not an IPv4 address") from None
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise ValueError("not the address of a router")
    return str(address)


def _router6(text: str) -> str:
    if text.lower() == "no":
        return ""
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError("not an IPv6 address") from None
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise ValueError("not the address of a router")
    if address.is_link_local and not address.scope_id:
        raise ValueError("a link-local address needs %INTERFACE after it")
    if address.scope_id and not address.is_link_local:
        raise ValueError("only a link-local address has %INTERFACE after it")
    if address.scope_id and not names.is_interface(address.scope_id):
        raise ValueError(f"{address.scope_id} is not an interface name")
    return str(address)


ROUTER4 = ValueType("an IPv4 address such as 192.0.2.1, or NO", _router4)
ROUTER6 = ValueType("an IPv6 address such as 2001:db8::1 or fe80::1%ng0_NAME, or NO", _router6)

# -- parameters of the jail ------------------------------------------------------------------

#: Parameters that the service sets itself, or that a VNET jail cannot have.
_OF_THE_SERVICE = frozenset((
    "name", "jid", "vnet", "persist", "parent", "dying", "errmsg", "desc", "lastjid",
    "cpuset.id", "host", "ip4", "ip6", "ip4.addr", "ip6.addr", "ip4.saddrsel", "ip6.saddrsel",
))

#: What jail.conf(5) has and jail_set(2) has not.
_OF_JAIL_CONF = re.compile(
    r"(exec|mount|stop|zfs|vnet)\..*|allow\.dying|command|depend|interface|ip_hostname")


def parameters(of_variables: Mapping[str, str]) -> ValueType:
    """Parameters of jail_set(2) as jail(8) takes them, save for those that have a variable."""

    def parse(text: str) -> dict[str, str | bool]:
        result: dict[str, str | bool] = {}
        for word in text.split():
            name, value = _parameter(word.removesuffix(";"))  # as rc.d/jail
            if name in of_variables:
                variable = f"vimage_NAME_{of_variables[name]}"
                raise ValueError(f"{name}: set {variable}{_assigned(value)} instead")
            if name in _OF_THE_SERVICE:
                raise ValueError(f"{name} is set by the service")
            if _OF_JAIL_CONF.fullmatch(name):
                raise ValueError(f"{name} is a parameter of jail.conf(5), not of jail_set(2)")
            if name in result:
                raise ValueError(f"{name} is listed twice")
            result[name] = value
        return result

    def show(value: Mapping[str, Any]) -> str:
        return _words(_shown_parameter(name, each) for name, each in value.items()
                      if name not in of_variables)

    return ValueType(
        "further parameters of jail_set(2), such as allow.raw_sockets children.max=5", parse, show)


def _parameter(word: str) -> tuple[str, str | bool]:
    name, equals, text = word.partition("=")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*", name):
        raise ValueError(f"{word} is not a parameter")
    if not equals:
        return _switch(name)
    if not name.startswith("allow."):
        return name, text
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(f"{word}: not one of true, false, 1, 0")
    return name, text.lower() in ("true", "1")


def _assigned(value: str | bool) -> str:
    return f'="{YES_NO.show(value) if isinstance(value, bool) else value}"'


def _switch(name: str) -> tuple[str, bool]:
    """``allow.noX`` is ``allow.X`` switched off, as in jail(8)."""
    head, dot, last = name.rpartition(".")
    if last.startswith("no") and len(last) > 2:
        return f"{head}{dot}{last[2:]}", False
    return name, True


def _shown_parameter(name: str, value: Any) -> str:
    if not isinstance(value, bool):
        return f"{name}={value}"
    head, dot, last = name.rpartition(".")
    return name if value else f"{head}{dot}no{last}"


# -- limits ----------------------------------------------------------------------------------

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


#: What rr_amount of struct rctl_rule holds; the kernel counts some resources in millionths.
_MOST = 2**63 - 1
_IN_MILLIONTHS = ("cputime", "wallclock", "pcpu")

#: As expand_number(3) reads a number, for rctl(8): hexadecimal, octal or decimal, and a unit.
_AMOUNT = re.compile(r"(0[xX][0-9A-Fa-f]+|0[0-7]*|[1-9][0-9]*)([KMGTPEkmgtpe]?)[Bb]?")


def _rules(text: str) -> tuple[str, ...]:
    rules = tuple(_rule(word) for word in text.split())
    _distinct(rules)
    return rules


def _rule(rule: str) -> str:
    """``RESOURCE:ACTION=AMOUNT[/PER]`` (rctl(8)), with the amount in decimal and without B."""
    match = re.fullmatch(r"([^:=/]*):([^:=/]*)=([^:=/]*)(?:/([^:=/]*))?", rule)
    if match is None:
        raise ValueError(f"{rule} is not RESOURCE:ACTION=AMOUNT")
    resource, action, amount, per = match.groups()
    if resource not in _RESOURCES:
        raise ValueError(f"{rule}: unknown resource {resource}")
    if action not in ("deny", "log", "devctl", "throttle") and action not in _SIGNALS:
        raise ValueError(f"{rule}: unknown action {action}")
    if action == "deny" and resource in _NOT_DENIABLE:
        raise ValueError(f"{rule}: {resource} cannot be denied")
    if action == "throttle" and resource not in _IO:
        raise ValueError(f"{rule}: {resource} cannot be throttled")
    number, unit = _amount(rule, amount, _MOST // 10**6 if resource in _IN_MILLIONTHS else _MOST)
    if per not in (None, "process", "user", "loginclass", "jail"):
        raise ValueError(f"{rule}: {per} is not process, user, loginclass or jail")
    return f"{resource}:{action}={number}{unit}{f'/{per}' if per else ''}"


def _amount(rule: str, text: str, most: int) -> tuple[int, str]:
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError(f"{rule}: {text} is not an amount")
    digits, unit = match.groups()
    base = 16 if digits[1:2] in ("x", "X") else 8 if digits[0] == "0" else 10
    number = int(digits, base) if len(digits) < 50 else most + 1
    if number << 10 * (" kmgtpe".index(unit.lower() or " ")) > most:
        raise ValueError(f"{rule}: {text} is too large")
    return number, unit


RULES = ValueType("rctl(8) rules without the subject, such as vmemoryuse:deny=1g", _rules, _words)


def _cpus(text: str) -> str:
    numbers: set[int] = set()
    for item in text.replace(",", " , ").split(","):
        match = re.fullmatch(r"\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*", item)
        if match is None:
            raise ValueError("not a list of CPUs")
        low = int(match[1])
        high = int(match[2] or low)
        if high < low:
            raise ValueError(f"{low}-{high} is an empty range")
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


CPUS = ValueType("numbers and ranges of CPUs, such as 0-3,5", _cpus)
