"""jail_set(2), jail_get(2), jail_remove(2), with types of parameters as the kernel tells them.

A parameter travels as two struct iovec: its name, and its value (an int, a long, a text
with its NUL, addresses one after another; booleans have none).  The types are those of the
variables below security.jail.param, as jail(3) reads them, and are remembered.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vimage.kernel import JailInfo, JailError, JailId
from vimage.kernel.freebsd import kld, sysctl
from vimage.kernel.freebsd.libc import Vector, cut, libc, text

JAIL_CREATE, JAIL_UPDATE, JAIL_DYING = 1, 2, 8
_PARAM = "security.jail.param."
_ERRMSG = 1024
_JAILSYS = ("disable", "new", "inherit")
_BOOLEANS = {"": 1, "true": 1, "1": 1, "false": 0, "0": 0}
_XPRISON = 1560  # bytes of struct xprison
_ROW = struct.Struct("<iii1540xII")  # of it: pr_version, pr_id, pr_state, pr_ip4s, pr_ip6s
_WORDS, _COLUMNS = _XPRISON // 4, (0, 1, 2, 388, 389)  # the same as columns of a table of int
_VERSION = 3
_ALIVE = 1

Value = str | int | bool | None


@dataclass(frozen=True, slots=True)
class ParameterType:
    """How a parameter is encoded."""

    kind: str  # "boolean", "jailsys", "text", "inet", "inet6", or a code of struct
    array: bool = False
    inverted: bool = False  # asked for as "noNAME"


_types: dict[str, ParameterType] = {}


def parameter_type(name: str) -> ParameterType:
    """The type of a parameter.  Raises JailError EINVAL when the kernel has none such."""
    found = _types.get(name)
    if found is None:
        found = _types[name] = _look_up(name)
    return found


def _look_up(name: str) -> ParameterType:
    numbers = _numbers(name) or (_module(name) and _numbers(name))
    if numbers:
        return _describe(name, numbers)
    plain = _plain(name)
    numbers = _numbers(plain) if plain else None
    if plain and numbers:
        type_ = _describe(plain, numbers)
        if type_.kind == "boolean":
            return ParameterType("boolean", inverted=True)
    raise _unknown(name)


def _unknown(name: str) -> JailError:
    return JailError.of(errno.EINVAL, f"unknown parameter: {name}")


def _numbers(name: str) -> sysctl.Oid | None:
    try:
        return sysctl.oid(_PARAM + name)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return None


def _module(name: str) -> bool:
    """Load the module that brings a parameter, as jail(3) does; whether there is one."""
    if name.startswith("allow.mount."):
        module = name.removeprefix("allow.mount.")
    elif name == "linux" or name.startswith("linux."):
        module = "linux"
    elif name in ("sysvmsg", "sysvsem", "sysvshm"):
        module = name
    else:
        return False
    for candidate in (module, module.removeprefix("no")):
        try:
            kld.load(candidate)
            return True
        except FileNotFoundError:
            continue
    return False


def _plain(name: str) -> str | None:
    """"allow.noraw_sockets" to "allow.raw_sockets"; None without a "no"."""
    head, dot, last = name.rpartition(".")
    return head + dot + last[2:] if last.startswith("no") else None


def _opposite(name: str) -> str:
    head, dot, last = name.rpartition(".")
    return head + dot + "no" + last


def _describe(name: str, numbers: sysctl.Oid) -> ParameterType:
    kind, format_ = sysctl.kind(numbers)
    if kind == sysctl.CTLTYPE_NODE:
        kind, format_ = sysctl.kind(_self(name, numbers))
    array = format_.endswith(",a")
    return ParameterType(_kind(name, kind, format_.removesuffix(",a")), array)


def _self(name: str, numbers: sysctl.Oid) -> sysctl.Oid:
    """The nameless variable that describes a parameter with others below it (ip4, ip4.addr):
    the child just before or after the node."""
    for neighbour in (numbers[-1] - 1, numbers[-1] + 1):
        candidate = (*numbers[:-1], numbers[-1], neighbour)
        try:
            if sysctl.name(candidate) == f"{_PARAM}{name}.":
                return candidate
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
    raise _unknown(name)


def _kind(name: str, kind: int, format_: str) -> str:
    if kind == sysctl.CTLTYPE_INT and format_.startswith("B"):
        return "boolean"
    if kind == sysctl.CTLTYPE_INT and format_ == "E,jailsys":
        return "jailsys"
    if kind == sysctl.CTLTYPE_STRUCT:
        structure = {"S,in_addr": "inet", "S,in6_addr": "inet6"}.get(format_)
    elif kind == sysctl.CTLTYPE_STRING:
        structure = "text"
    else:
        structure = {2: "i", 4: "q", 6: "I", 7: "q", 8: "Q", 9: "Q"}.get(kind)
    if structure is None:
        raise JailError.of(errno.EINVAL, f"unknown type for {name}")
    return structure


# -- values --------------------------------------------------------------------------


def encode(name: str, type_: ParameterType, value: Value) -> tuple[str, bytes | None]:
    """The name and the bytes of a parameter; None for those without a value.

    Raises JailError EINVAL for a value that the type does not have.
    """
    if type_.kind == "boolean":
        on = _number(name, "boolean", value, _BOOLEANS)
        if type_.inverted:
            return (name if on else _plain(name) or name), None
        return (name if on else _opposite(name)), None
    if type_.kind == "text":
        return name, os.fsencode("" if value is None else str(value)) + b"\0"
    if type_.kind == "jailsys":
        words = {word: number for number, word in enumerate(_JAILSYS)} | {"": 1}
        return name, struct.pack("<i", _number(name, "jailsys", value, words))
    if type_.array:
        values = [] if value in (None, "", "-") else str(value).split(",")
        return name, b"".join(_element(name, type_.kind, element) for element in values)
    return name, _element(name, type_.kind, value)


def _number(name: str, type_: str, value: Value, words: Mapping[str, int]) -> int:
    word = "" if value is None else str(value).lower()
    if word in words:
        return words[word]
    try:
        return int(word)
    except ValueError:
        raise JailError.of(errno.EINVAL, f'{name}: unknown {type_} value "{value}"') from None


def _element(name: str, kind: str, value: Value) -> bytes:
    if kind in ("inet", "inet6"):
        family, version = (socket.AF_INET, 4) if kind == "inet" else (socket.AF_INET6, 6)
        try:
            return socket.inet_pton(family, str(value))
        except OSError:
            raise JailError.of(errno.EINVAL,
                            f"{name}: not an IPv{version} address: {value}") from None
    try:
        return struct.pack("<" + kind, int("0" if value is None else str(value)))
    except (ValueError, struct.error):
        raise JailError.of(errno.EINVAL, f'{name}: non-integer value "{value}"') from None


# -- system calls --------------------------------------------------------------------


def _call(function: Any, buffers: list[Any], flags: int) -> int:
    message = ctypes.create_string_buffer(_ERRMSG)
    vector = Vector([*buffers, text("errmsg"), message])
    try:
        return int(function(vector.array, len(vector), flags))
    except OSError as error:
        raise JailError.of(error.errno, os.fsdecode(message.value) or error.strerror) from None


def set_(parameters: Mapping[str, Value], flags: int) -> int:
    """jail_set(2); returns the jid."""
    buffers: list[Any] = []
    for name, value in parameters.items():
        name_sent, data = encode(name, parameter_type(name), value)
        buffers.append(text(name_sent))
        buffers.append(None if data is None else ctypes.create_string_buffer(data, len(data)))
    return _call(libc().jail_set, buffers, flags)


def create(parameters: Mapping[str, Value]) -> JailId:
    return JailId(set_(parameters, JAIL_CREATE))


def update(jail: JailId, parameters: Mapping[str, Value]) -> None:
    set_({"jid": jail, **parameters}, JAIL_UPDATE)


def get(jail: JailId | str) -> JailInfo:
    """Errors: ENOENT no such jail, dead or alive (FileNotFoundError, not JailError)."""
    name = ctypes.create_string_buffer(256)
    path = ctypes.create_string_buffer(1024)
    hostname = ctypes.create_string_buffer(256)
    dying, vnet, jid = ctypes.c_int(0), ctypes.c_int(2), ctypes.c_int(0)
    if isinstance(jail, JailId):
        jid.value = jail
        key: list[Any] = [text("jid"), jid, text("name"), name]
    else:
        name.value = _jail_name(jail)
        key = [text("name"), name, text("jid"), jid]
    buffers = [*key, text("path"), path, text("host.hostname"), hostname,
               text("dying"), dying]
    if _has_vnet():
        buffers += [text("vnet"), vnet]
    try:
        found = _call(libc().jail_get, buffers, JAIL_DYING)
    except JailError as error:
        raise OSError(error.errno, error.strerror) from None
    return JailInfo(JailId(found), cut(name.raw), cut(path.raw), cut(hostname.raw), vnet.value == 1,
                bool(dying.value))


def _jail_name(name: str) -> bytes:
    data = os.fsencode(name)
    if not data or len(data) >= 256:
        raise JailError.of(errno.ENOENT, f'jail "{name}" not found')
    return data


def _has_vnet() -> bool:
    return _numbers("vnet") is not None


_list_lock = threading.Lock()
_list = sysctl.Large("security.jail.list", 64 * _XPRISON)


def living() -> set[int]:
    """The jids of ``security.jail.list`` whose state is alive."""
    with _list_lock, _list.read() as raw:
        return parse_list(raw)


def parse_list(raw: bytes | memoryview) -> set[int]:
    """The entries are struct xprison, each followed by its IPv4 and IPv6 addresses.

    Jails with a VNET have none of these: then the list is a table, whose columns are taken
    whole.
    """
    if len(raw) % _XPRISON == 0:
        words = memoryview(raw).cast("i")
        version, jid, state, *addresses = (words[column::_WORDS].tolist() for column in _COLUMNS)
        if not any(map(any, addresses)) and set(version) <= {_VERSION}:
            return {number for number, now in zip(jid, state, strict=True) if now == _ALIVE}
    return _parse_rows(raw)


def _parse_rows(raw: bytes | memoryview) -> set[int]:
    jids, offset = set(), 0
    while offset + _XPRISON <= len(raw):
        version, jid, state, inet, inet6 = _ROW.unpack_from(raw, offset)
        if version != _VERSION:
            raise OSError(errno.ENOSYS, "struct xprison of this kernel is unknown")
        if state == _ALIVE:
            jids.add(jid)
        offset += _XPRISON + 4 * inet + 16 * inet6
    return jids


def remove(jail: JailId) -> None:
    """Errors: ENOENT no such jail.  One that is dying already is no error."""
    try:
        libc().jail_remove(jail)
    except OSError as error:
        raise no_such_jail(error, jail) from error


def no_such_jail(error: OSError, jail: JailId) -> OSError:
    """The kernel says EINVAL where it knows no jail of that number."""
    if error.errno == errno.EINVAL:
        return OSError(errno.ENOENT, f"jail {jail} not found")
    return error
