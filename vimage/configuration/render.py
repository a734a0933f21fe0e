"""A resolved vimage printed back: as lines for rc.conf, and as a dict for JSON.  Pure.

What is printed says the same as what was read: resolved again on the same host, in a file
that has no defaults of its own (``vimage_x``), it is the same `Vimage`.  What is empty is
left out, all else is written out, defaults too, save for the command that ``boot`` stands for.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from vimage.configuration import names, variables
from vimage.configuration.resolve import EXEC_START, EXEC_STOP
from vimage.model import HOST_HOOKS, HostBridge, Link, MacFrom, Vimage

_PREFIX = {MacFrom.PARENT: "=", MacFrom.KERNEL: "!"}

#: Printed to keep the command of ``boot`` away, since an empty value counts as unset.
_BLANK = " "


def settings(vimage: Vimage) -> dict[str, str]:
    """The variables of one vimage, in the order of the table of variables."""
    prefix = f"vimage_{names.variable(vimage.name)}_"
    return {prefix + part: text for part, text in _parts(vimage).items() if text}


def bridge_settings(bridges: Iterable[HostBridge]) -> dict[str, str]:
    """The variables of host-only bridges."""
    bridges = tuple(bridges)
    result = {"vimage_bridge_list": " ".join(bridge.name for bridge in bridges)}
    for bridge in bridges:
        prefix = f"vimage_bridge_{names.variable(bridge.name)}_"
        result[f"{prefix}addr"] = " ".join(bridge.addresses)
        result[f"{prefix}mac"] = bridge.mac
    return {name: text for name, text in result.items() if text}


def rc_lines(vimage: Vimage) -> list[str]:
    """The lines of one vimage for rc.conf."""
    return lines(settings(vimage))


def lines(settings: Mapping[str, str]) -> list[str]:
    """``NAME="VALUE"`` for each, as sh reads it and sysrc(8) writes it."""
    return [f"{name}={quote(text)}" for name, text in settings.items()]


def quote(text: str) -> str:
    """``text`` between double quotes, for sh; it may have several lines."""
    for character in ("\\", '"', "$", "`"):
        text = text.replace(character, f"\\{character}")
    return f'"{text}"'


def for_yaml(vimage: Vimage, bridges: Iterable[HostBridge] = ()) -> dict[str, Any]:
    """A vimage, and the host-only bridges that it uses, as a file of YAML describes them."""
    used = {link.parent for link in vimage.links}
    described: dict[str, Any] = {}
    for bridge in bridges:
        if bridge.name in used:
            described.setdefault("bridges", {})[bridge.name] = {
                part: text for part, text in (
                    ("addr", _words(bridge.addresses)), ("mac", bridge.mac)) if text}
    parts: dict[str, Any] = {}
    for part, text in _parts(vimage).items():
        hook = part.rstrip("0123456789")
        if hook in variables.HOOKS:
            parts.setdefault(hook, []).append(text)
        elif text:
            parts[part] = text
    return {**described, "vimages": {vimage.name: parts}}


def as_dict(vimage: Vimage) -> dict[str, Any]:
    """``vimage.to_dict()``, for those who do not call it yet."""
    return vimage.to_dict()


def _parts(vimage: Vimage) -> dict[str, str]:
    result: dict[str, str] = {
        "rootdir": vimage.rootdir,
        "hostname": vimage.hostname,
        "bridges": _bridges(vimage.links),
        "vnets": _words(vimage.vnets),
    }
    for link in vimage.links:
        result[f"mac{link.index}"] = (link.mac or "") if link.mac_from is MacFrom.GIVEN else ""
        result[f"addr{link.index}"] = _words(link.addresses)
    result |= {
        "defaultrouter": vimage.defaultrouter,
        "defaultrouter6": vimage.defaultrouter6,
        "depend": _words(vimage.depend),
        "boot": vimage.boot.value,
        "exec_start": _unless(EXEC_START[vimage.boot], vimage.exec_start),
        "exec_stop": _unless(EXEC_STOP[vimage.boot], vimage.exec_stop),
        "command": shlex.join(vimage.command),
        "afterstart_services": _words(vimage.afterstart_services),
    }
    for hook in HOST_HOOKS:
        result |= _numbered(hook, vimage.hooks.get(hook, ()))
    result |= _numbered("exec_afterstart", vimage.exec_afterstart)
    result |= {
        "start_timeout": _seconds(vimage.start_timeout),
        "stop_timeout": _seconds(vimage.stop_timeout),
        "health": vimage.health,
        "health_interval": _seconds(vimage.health_interval),
        "health_timeout": _seconds(vimage.health_timeout),
        "restart": vimage.restart,
        "consolelog": vimage.consolelog,
        "fstab": vimage.fstab,
        "devfs_enable": _yes_no(vimage.devfs_enable),
        "devfs_ruleset": str(vimage.devfs_ruleset),
        "fdescfs_enable": _yes_no(vimage.fdescfs_enable),
        "procfs_enable": _yes_no(vimage.procfs_enable),
    }
    result |= _of_parameters(vimage.parameters)
    result["securelevel"] = "" if vimage.securelevel is None else str(vimage.securelevel)
    result["parameters"] = _parameters(vimage.parameters)
    result["rctl"] = _words(vimage.rctl)
    result["cpus"] = vimage.cpus
    return result


def _words(words: Iterable[str]) -> str:
    return " ".join(words)


def _unless(default: str, command: str) -> str:
    return "" if command == default else command or _BLANK


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def _yes_no(value: object) -> str:
    return "YES" if value else "NO"


def _bridges(links: tuple[Link, ...]) -> str:
    """The words of ``bridges``: a link is at the place of its number."""
    words = ["-"] * (max((link.index for link in links), default=-1) + 1)
    for link in links:
        words[link.index] = _PREFIX.get(link.mac_from, "") + link.parent
    return " ".join(words)


def _numbered(hook: str, commands: tuple[str, ...]) -> dict[str, str]:
    return {f"{hook}{n}": command for n, command in enumerate(commands)}


def _of_parameters(parameters: Mapping[str, str | int | bool | None]) -> dict[str, str]:
    """The parameters that have a variable of their own."""
    return {
        "mount_enable": _yes_no(parameters.get("allow.mount")),
        "set_hostname_allow": _yes_no(parameters.get("allow.set_hostname")),
        "sysvipc_allow": _yes_no(parameters.get("allow.sysvipc")),
        "enforce_statfs": str(parameters.get("enforce_statfs", 2)),
        "osrelease": str(parameters.get("osrelease", "")),
        "osreldate": str(parameters.get("osreldate", "")),
    }


def _parameters(parameters: Mapping[str, str | int | bool | None]) -> str:
    """The others, as in ``vimage_NAME_parameters``."""
    words = []
    for name, value in parameters.items():
        if name in variables.PARAMETER_VARIABLES:
            continue
        if isinstance(value, bool):
            head, dot, last = name.rpartition(".")
            words.append(name if value else f"{head}{dot}no{last}")
        else:
            words.append(f"{name}={value}")
    return _words(words)
