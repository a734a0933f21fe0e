"""The ``jail_*`` variables of rc.d/jail and those of vimage 1.4, as a shell has read them."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from vimage.configuration import names, variables
from vimage.importing.jail import Jail, left, order, switched
from vimage.messages import Problem

#: Of rc.d/jail as a whole; vimage behaves so anyway, or the variable does nothing any more.
_OF_ALL = frozenset((
    "enable", "list", "conf", "confwarn", "parallel_start", "reverse_stop",
    "socket_unixiproute_only"))

_PLAIN = {
    "rootdir": "path", "hostname": "host.hostname", "interface": "interface",
    "consolelog": "exec.consolelog", "fstab": "mount.fstab", "exec": "exec.start",
    "exec_start": "exec.start", "exec_stop": "exec.stop", "enforce_statfs": "enforce_statfs",
    "osrelease": "osrelease", "osreldate": "osreldate", "securelevel": "securelevel",
}
_SWITCHES = {
    "devfs_enable": "mount.devfs", "fdescfs_enable": "mount.fdescfs",
    "procfs_enable": "mount.procfs", "mount_enable": "allow.mount",
    "set_hostname_allow": "allow.set_hostname", "sysvipc_allow": "allow.sysvipc",
}
_NUMBERED = re.compile(
    "(exec_(?:prestart|poststart|prestop|poststop|afterstart)|ip_multi)([0-9]*)")

#: The names that /etc/defaults/devfs.rules gives.
_RULESETS = {
    "devfsrules_hide_all": "1", "devfsrules_unhide_basic": "2", "devfsrules_unhide_login": "3",
    "devfsrules_jail": "4", "devfsrules_jail_vnet": "5",
}


@dataclass(slots=True)
class Found:
    """What the files have said so far."""

    enable: bool = False
    listed: tuple[str, ...] | None = None  # jail_list, if there is one
    jails: list[Jail] = field(default_factory=list)
    vimages: tuple[str, ...] = ()  # names of vimage 1.4
    settings: dict[str, str] = field(default_factory=dict)  # of vimage 1.4
    problems: list[Problem] = field(default_factory=list)


def is_yes(text: str) -> bool:
    """checkyesno of rc.subr(8)."""
    return text.lower() in ("yes", "true", "on", "1")


def jails(values: Mapping[str, str], file: str, found: Found) -> None:
    """rc.d/jail."""
    values = {name: text for name, text in values.items() if name.startswith("jail_") and text}
    if is_yes(values.get("jail_enable", "")):
        found.enable = True
    listed = tuple(values.get("jail_list", "").split())
    if listed:
        found.listed = listed
    conf = values.get("jail_conf", "/etc/jail.conf")
    if conf != "/etc/jail.conf":
        found.problems.append(left(
            os.path.basename(file), f"jail_conf={conf}", "give this file to import, too"))
    for name in _names(values, listed):
        own = f"jail_{names.variable(name)}_"
        if f"{own}rootdir" in values:
            found.jails.append(_jail(name, own, values, found.problems))


def _names(values: Mapping[str, str], listed: tuple[str, ...]) -> list[str]:
    known = {names.variable(name) for name in listed}
    others = [match[1] for match in map(re.compile("jail_(.+)_rootdir").fullmatch, values)
              if match is not None and match[1] not in known]
    return [*dict.fromkeys(listed), *others]


def _jail(name: str, own: str, values: Mapping[str, str], problems: list[Problem]) -> Jail:
    parts = {variable.removeprefix("jail_"): text for variable, text in values.items()
             if _is_default(variable.removeprefix("jail_"))}
    parts |= {variable.removeprefix(own): text for variable, text in values.items()
              if variable.startswith(own)}
    jail = Jail(name)
    put = jail.parameters
    for part, text in sorted(parts.items(), key=lambda item: _place(item[0])):
        numbered = _NUMBERED.fullmatch(part)
        if part in _PLAIN:
            put[_PLAIN[part]] = [text]
        elif part in _SWITCHES:
            put[_SWITCHES[part]] = ["true" if is_yes(text) else "false"]
        elif part in ("vnet_interface", "vnet_interfaces"):
            put["vnet.interface"] = text.split()
        elif part == "ip" or numbered and numbered[1] == "ip_multi":
            for address in text.split(","):
                kind = "ip6.addr" if ":" in address else "ip4.addr"
                put.setdefault(kind, []).append(address.strip())
        elif numbered:
            hook = numbered[1].replace("_", ".", 1)
            put.setdefault(hook, []).append(text)
        elif part == "devfs_ruleset":
            put[part] = [_RULESETS.get(text, text)]
        elif part == "parameters":
            put |= dict(map(_parameter, text.split()))
        else:
            problems.append(left(name, f"{own}{part}={text}", "has no counterpart"))
    _complete(put)
    return jail


def _complete(put: dict[str, list[str]]) -> None:
    """The defaults of rc.d/jail."""
    if "exec.start" not in put:
        put["exec.start"] = ["/bin/sh /etc/rc"]
    put["exec.start"] = [*put["exec.start"], *put.pop("exec.afterstart", [])]


def _is_default(part: str) -> bool:
    """Whether ``jail_PART`` is for all jails."""
    return part not in _OF_ALL and (
        part in _PLAIN or part in _SWITCHES or part in ("devfs_ruleset", "parameters", "fib")
        or bool(_NUMBERED.fullmatch(part)))


def _place(part: str) -> tuple[str, int]:
    match = _NUMBERED.fullmatch(part)
    return (match[1], int(match[2] or 0)) if match else (part, 0)


def _parameter(word: str) -> tuple[str, list[str]]:
    name, equals, text = word.removesuffix(";").partition("=")
    if equals:
        return name, [text]
    name, text = switched(name)
    return name, [text]


def vimages(values: Mapping[str, str], file: str, found: Found) -> None:
    """vimage 1.4: the variables are the same, save for a few."""
    values = {name: text for name, text in values.items() if name.startswith("vimage_") and text}
    listed = tuple(values.pop("vimage_list", "").split())
    found.vimages += listed
    found.enable = found.enable or is_yes(values.pop("vimage_enable", ""))
    owners = {names.variable(name): place for place, name in enumerate(listed)}
    known: list[tuple[tuple[int, tuple[int, int]], str]] = []
    for variable, text in values.items():
        owner, part = _owner(variable.removeprefix("vimage_"), owners)
        text = _RULESETS.get(text, text) if part == "devfs_ruleset" else text
        why = _wrong(owner, part, text)
        if why:
            found.problems.append(left(os.path.basename(file), f"{variable}={text}", why))
        else:
            known.append(((owner, order(part)), variable))
            found.settings[variable] = text
    for name, place in owners.items():
        if "vimage_devfs_enable" not in values and values.get(f"vimage_{name}_rootdir") != "/":
            variable = f"vimage_{name}_devfs_enable"
            if variable not in values:  # its default was NO
                known.append(((place, order("devfs_enable")), variable))
                found.settings[variable] = "NO"
    found.settings = {variable: found.settings[variable] for _, variable in sorted(known)}


def _owner(rest: str, owners: Mapping[str, int]) -> tuple[int, str]:
    """The place of the vimage in the list (-1: all) and the part."""
    fitting = [name for name in owners if rest.startswith(f"{name}_")]
    if not fitting:
        return -1, rest
    name = max(fitting, key=len)
    return owners[name], rest.removeprefix(f"{name}_")


def _wrong(owner: int, part: str, text: str) -> str:
    """Why a variable of 1.4 cannot stay; "" if it can."""
    plain = part if part in variables.VIMAGE else part.rstrip("0123456789")
    row = variables.VIMAGE.get(plain) or variables.LINK.get(plain)
    if row is None and owner < 0:
        row = variables.GLOBALS.get(part)
    if row is None:
        return "has no counterpart"
    try:
        row.type.parse(text)
    except ValueError as error:
        return f"{error}; allowed: {row.type.allowed}"
    return ""
