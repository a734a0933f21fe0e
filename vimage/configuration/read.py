"""From variables to drafts: which variable is whose, and what its text says."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from vimage.configuration import names
from vimage.configuration import variables as table
from vimage.configuration.draft import Draft, VimageDraft, part_of, shown
from vimage.configuration.values import Parent
from vimage.messages import Problem
from vimage.model import HostBridge, Link, MacFrom

_ROOTDIR = re.compile("vimage_(.+)_rootdir")
_PREFIXES = {"=": MacFrom.PARENT, "!": MacFrom.KERNEL}


def read(draft: Draft) -> None:
    """Fill in the vimages, each by itself."""
    _read_globals(draft)
    _read_list(draft)
    _read_bridges(draft)
    _sort_out(draft)
    for vimage in draft.vimages.values():
        _read_vimage(draft, vimage)
    _charge_bridges(draft)


def _read_globals(draft: Draft) -> None:
    for row in table.GLOBALS.values():
        value = row.default_value({"cpus": draft.cpus})
        if row.form in draft.settings:
            try:
                value = row.type.parse(draft.settings[row.form])
            except ValueError as error:
                draft.bad_value(None, row.form, str(error), row)
        if value is not table.UNSET:
            draft.globals[row.part] = value
    _read_host(draft)
    for part in sorted(table.RESERVED):
        value = draft.settings.get(f"vimage_{part}")
        if value is None or part == "svcj" and value.lower() == "no":
            continue
        draft.error(None, "variable_reserved", variable=f"vimage_{part}", value=shown(value))


def _read_host(draft: Draft) -> None:
    """What is the host's own is not vimage's to refuse: the default stands for a bad value."""
    for row in table.OF_THE_HOST:
        draft.globals[row.part] = row.default_value({})
        text = draft.settings.get(row.form)
        if text is not None:
            try:
                draft.globals[row.part] = row.type.parse(text)
            except ValueError as error:
                draft.warn("value", **draft.about(row.form, error, row))


def _read_list(draft: Draft) -> None:
    for name in draft.globals["list"]:
        if name in draft.vimages:
            draft.error(draft.vimages[name], "name_twice", name=name)
        elif not names.is_vimage(name):
            draft.misnamed += (f"{names.variable(name)}_",)
            draft.problems.append(Problem.of("name_bad", vimage=name, name=shown(name),
                                             allowed=table.GLOBALS["list"].type.allowed))
        else:
            _add(draft, name, listed=True)
    unlisted = sorted(
        match[1] for match in map(_ROOTDIR.fullmatch, draft.settings) if match is not None)
    for name in unlisted:
        if names.is_vimage(name) and name not in draft.by_variable and not _like_bridge(name):
            _add(draft, name, listed=False)
    for vimages in draft.by_variable.values():
        if len(vimages) > 1:
            for vimage in vimages:
                draft.error(
                    vimage, "name_ambiguous", first=vimages[0].name, second=vimages[1].name,
                    prefix=vimage.prefix)


def _add(draft: Draft, name: str, *, listed: bool) -> None:
    vimage = VimageDraft(name, listed, values={"name": name})
    draft.vimages[name] = vimage
    draft.by_variable[names.variable(name)].append(vimage)
    if _like_bridge(names.variable(name)):
        draft.error(vimage, "name_bridge", name=name)


def _read_bridges(draft: Draft) -> None:
    seen: dict[str, str] = {}
    for name in draft.globals["bridge_list"]:
        if names.variable(name) in seen:
            draft.error(None, "name_ambiguous", first=seen[names.variable(name)], second=name,
                        prefix=f"vimage_bridge_{names.variable(name)}_")
            continue
        seen[names.variable(name)] = name
        values = {row.field: value for row in table.BRIDGE.values()
                  if (value := _of_bridge(draft, name, row)) is not None}
        draft.bridges[name] = HostBridge(**{"name": name, "mac": "", **values})


def _of_bridge(draft: Draft, name: str, row: table.Variable) -> Any:
    variable = f"vimage_bridge_{names.variable(name)}_{row.part}"
    if variable not in draft.settings:
        return None
    try:
        return row.type.parse(draft.settings[variable])
    except ValueError as error:
        draft.bridge_trouble.append((name, "value", draft.about(variable, error, row)))
        return None


def _charge_bridges(draft: Draft) -> None:
    """What is wrong with a host-only bridge keeps its vimages from starting."""
    users = draft.bridge_users() if draft.bridge_trouble else {}
    for name, key, fields in draft.bridge_trouble:
        draft.error_of(users.get(name, ()), key, **fields)


def _sort_out(draft: Draft) -> None:
    bridges = {names.variable(name) for name in draft.bridges}
    for variable in draft.settings:
        if not variable.startswith("vimage_"):
            continue
        rest = variable.removeprefix("vimage_")
        if rest in table.GLOBALS or rest in table.RESERVED:
            continue
        if not (rest.startswith(draft.misnamed) or _is_of_bridge(rest, bridges)
                or _sort(draft, variable, rest)):
            draft.unknown.append(variable)


def _sort(draft: Draft, variable: str, rest: str) -> bool:
    """Note whose ``variable`` is; False if it is nobody's."""
    part = part_of(rest)
    if part is not None:
        if part[0] in table.NUMBERED:
            draft.defaults[part[0]][part[1]] = variable
        return True
    at = rest.find("_")
    while at > 0:
        vimages = draft.by_variable.get(rest[:at])
        part = part_of(rest[at + 1:]) if vimages else None
        if vimages and part is not None:
            for vimage in vimages:
                if part[0] in table.NUMBERED:
                    vimage.numbered.setdefault(part[0], {})[part[1]] = variable
                else:
                    vimage.own[part[0]] = variable
            return True
        at = rest.find("_", at + 1)
    return False


def _parse(draft: Draft, vimage: VimageDraft, variable: str, row: table.Variable,
           known: Mapping[str, Any]) -> Any:
    """The value of a variable, or None after an error has been noted.

    ``known`` are the values of the parts above the row.
    """
    if variable not in draft.shared:
        try:
            draft.shared[variable] = row.type.parse(draft.settings[variable]), ""
        except ValueError as error:
            draft.shared[variable] = None, str(error)
    value, reason = draft.shared[variable]
    if not reason and row.conflict is not None:
        reason = row.conflict(value, known)
    if not reason:
        return value
    vimage.broken.add(row.part)
    draft.bad_value(vimage, variable, reason, row)
    return None


def _read_vimage(draft: Draft, vimage: VimageDraft) -> None:
    for part, row in table.VIMAGE.items():
        if row.scope is table.Scope.SERIES:
            vimage.values[part] = _series(draft, vimage, row)
            continue
        variable = draft.source(vimage, part)
        value = (_parse(draft, vimage, variable, row, vimage.values) if variable
                 else table.UNSET)
        if value is table.UNSET or part in vimage.broken:
            value = row.default_value(vimage.values)
        if value is not table.UNSET:
            vimage.values[part] = value
        elif row.default is table.REQUIRED and part not in vimage.broken:
            draft.error(vimage, "value_required", allowed=row.type.allowed,
                        variable=vimage.prefix + part)
    _read_links(draft, vimage)
    _check_root(draft, vimage)
    _check_router(draft, vimage, "defaultrouter", 4)
    _check_router(draft, vimage, "defaultrouter6", 6)
    _check_cpus(draft, vimage)


def _series(draft: Draft, vimage: VimageDraft, row: table.Variable) -> tuple[str, ...]:
    """The values of a row, such as the commands of a hook: the one without a number, then 0, 1,
    2 ...; 0 may be missing, as with extract_var of rc.d/jail."""
    found = {**draft.defaults.get(row.part, {}), **vimage.numbered.get(row.part, {})}
    values = []
    expected = 0
    for number in sorted(found):
        if number > max(expected, 1):
            missing = f"{vimage.prefix}{row.part}{max(expected, 1)}"
            draft.error(vimage, "number_gap", variable=found[number], missing=missing)
            break
        values.append(_parse(draft, vimage, found[number], row, vimage.values))
        expected = number + 1
    return tuple(value for value in values if value)


def _read_links(draft: Draft, vimage: VimageDraft) -> None:
    if "bridges" in vimage.broken:
        return
    parents = vimage.values["bridges"]
    for n, parent in enumerate(parents):
        if parent is not None:
            vimage.links.append(_link(draft, vimage, n, parent))
    for part in table.LINK:
        for n, variable in sorted(vimage.numbered.get(part, {}).items()):
            if n >= len(parents) or parents[n] is None:
                draft.error(vimage, "link_unknown", variable=variable, n=n, name=vimage.name,
                            value=shown(draft.settings[variable]))


def _link(draft: Draft, vimage: VimageDraft, n: int, parent: Parent) -> Link:
    values: dict[str, Any] = {"mac": None}  # by field
    known: dict[str, Any] = {}  # by part
    for part, row in table.LINK.items():
        own = vimage.numbered.get(part, {}).get(n)
        variable = own or draft.defaults.get(part, {}).get(n)
        if part == "mac" and parent.prefix:
            if own:
                draft.error(vimage, "mac_prefix", variable=own, parent=parent.name,
                            value=shown(draft.settings[own]), prefix=parent.prefix)
            variable = None
        value = _parse(draft, vimage, variable, row, known) if variable else None
        if value is not None:
            values[row.field] = known[part] = value
    mac_from = _PREFIXES.get(
        parent.prefix, MacFrom.GIVEN if values["mac"] else MacFrom.DERIVED)
    return Link(index=n, parent=parent.name, host_only=parent.name in draft.bridges,
                name=names.link(n, vimage.name), mac_from=mac_from, **values)


def _check_root(draft: Draft, vimage: VimageDraft) -> None:
    if vimage.values.get("rootdir") != "/":
        return
    for part in ("devfs_enable", "fdescfs_enable", "procfs_enable", "fstab"):
        variable = draft.source(vimage, part)
        if variable and vimage.values[part]:
            draft.error(vimage, "root_mount", variable=variable, name=vimage.name,
                        value=shown(draft.settings[variable]))


def _check_router(draft: Draft, vimage: VimageDraft, part: str, version: int) -> None:
    router = vimage.values[part]
    if not router or vimage.broken & {"addr", "bridges"}:
        return
    hosts = [ipaddress.ip_interface(address) for link in vimage.links
             for address in link.addresses]
    hosts = [host for host in hosts if host.version == version]
    variable = draft.source(vimage, part)
    if not hosts:
        if part in vimage.own:
            first = vimage.links[0].index if vimage.links else 0
            draft.error(vimage, "router_no_address", variable=variable, value=router,
                        version=version, missing=f"{vimage.prefix}addr{first}")
        else:  # a default means those that have an address
            vimage.values[part] = ""
        return
    gateway = ipaddress.ip_address(router)
    if isinstance(gateway, ipaddress.IPv6Address) and gateway.scope_id:
        if gateway.scope_id not in [link.name for link in vimage.links]:
            draft.error(vimage, "router_scope", variable=variable, value=router,
                        interface=gateway.scope_id)
    elif any(host.ip == gateway for host in hosts):
        draft.error(vimage, "router_itself", variable=variable, value=router)
    elif not any(gateway in host.network for host in hosts):
        draft.error(vimage, "router_elsewhere", variable=variable, value=router,
                    networks=" ".join(dict.fromkeys(str(host.network) for host in hosts)))


def _check_cpus(draft: Draft, vimage: VimageDraft) -> None:
    text = vimage.values["cpus"]
    if text and int(re.split("[-,]", text)[-1]) >= draft.cpus:
        draft.bad_value(vimage, draft.source(vimage, "cpus"),
                        f"this host has CPUs 0 to {draft.cpus - 1}",
                        table.VIMAGE["cpus"])


def _like_bridge(variable: str) -> bool:
    return variable == "bridge" or variable.startswith("bridge_")


def _is_of_bridge(rest: str, bridges: set[str]) -> bool:
    head, _, part = rest.removeprefix("bridge_").rpartition("_")
    return rest.startswith("bridge_") and part in table.BRIDGE and head in bridges
