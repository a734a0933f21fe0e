"""From variables to drafts: which variable is whose, and what its text says."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from vimage.configuration import names
from vimage.configuration import variables as table
from vimage.configuration.sheet import Draft, Sheet, part_of, shown
from vimage.messages import Problem
from vimage.model import HostBridge, Link, MacFrom

_ROOTDIR = re.compile("vimage_(.+)_rootdir")
_PREFIXES = {"=": MacFrom.PARENT, "!": MacFrom.KERNEL}


def read(sheet: Sheet) -> None:
    """Fill in the drafts, each by itself."""
    _read_globals(sheet)
    _read_list(sheet)
    _read_bridges(sheet)
    _sort_out(sheet)
    for draft in sheet.drafts.values():
        _read_vimage(sheet, draft)
    _charge_bridges(sheet)


def _read_globals(sheet: Sheet) -> None:
    for part, row in table.GLOBALS.items():
        variable = f"vimage_{part}"
        if variable not in sheet.settings:
            continue
        try:
            sheet.globals[part] = row.type.parse(sheet.settings[variable])
        except ValueError as error:
            sheet.bad_value(None, variable, str(error), row.type.allowed)
    for part in sorted(table.RESERVED):
        value = sheet.settings.get(f"vimage_{part}")
        if value is None or part == "svcj" and value.lower() == "no":
            continue
        sheet.error(None, "variable_reserved", variable=f"vimage_{part}", value=shown(value))


def _read_list(sheet: Sheet) -> None:
    for name in sheet.globals.get("list", ()):
        if name in sheet.drafts:
            sheet.error(sheet.drafts[name], "name_twice", name=name)
        elif not names.is_vimage(name):
            sheet.misnamed += (f"{names.variable(name)}_",)
            sheet.problems.append(Problem.of(
                "name_bad", vimage=name, name=shown(name), allowed=table.LIST.allowed))
        else:
            _add(sheet, name, listed=True)
    unlisted = sorted(
        match[1] for match in map(_ROOTDIR.fullmatch, sheet.settings) if match is not None)
    for name in unlisted:
        if names.is_vimage(name) and name not in sheet.by_variable and not _like_bridge(name):
            _add(sheet, name, listed=False)
    for drafts in sheet.by_variable.values():
        if len(drafts) > 1:
            for draft in drafts:
                sheet.error(
                    draft, "name_ambiguous", first=drafts[0].name, second=drafts[1].name,
                    prefix=f"vimage_{names.variable(draft.name)}_")


def _add(sheet: Sheet, name: str, *, listed: bool) -> None:
    draft = Draft(name, listed)
    sheet.drafts[name] = draft
    sheet.by_variable[names.variable(name)].append(draft)
    if _like_bridge(names.variable(name)):
        sheet.error(draft, "name_bridge", name=name)


def _read_bridges(sheet: Sheet) -> None:
    seen: dict[str, str] = {}
    for name in sheet.globals.get("bridge_list", ()):
        if names.variable(name) in seen:
            sheet.error(None, "name_ambiguous", first=seen[names.variable(name)], second=name,
                        prefix=f"vimage_bridge_{names.variable(name)}_")
            continue
        seen[names.variable(name)] = name
        values = {part: _of_bridge(sheet, name, part) for part in table.BRIDGE}
        sheet.bridges[name] = HostBridge(name, values["mac"] or "", values["addr"] or ())


def _of_bridge(sheet: Sheet, name: str, part: str) -> Any:
    variable = f"vimage_bridge_{names.variable(name)}_{part}"
    if variable not in sheet.settings:
        return None
    type = table.BRIDGE[part].type
    try:
        return type.parse(sheet.settings[variable])
    except ValueError as error:
        sheet.bridge_trouble.append((name, "value", {
            "variable": variable, "value": shown(sheet.settings[variable]),
            "reason": str(error), "allowed": type.allowed}))
        return None


def _charge_bridges(sheet: Sheet) -> None:
    """What is wrong with a host-only bridge keeps its vimages from starting."""
    users = sheet.bridge_users() if sheet.bridge_trouble else {}
    for name, key, fields in sheet.bridge_trouble:
        sheet.error_of(users.get(name, ()), key, **fields)


def _sort_out(sheet: Sheet) -> None:
    bridges = {names.variable(name) for name in sheet.bridges}
    for variable in sheet.settings:
        if not variable.startswith("vimage_"):
            continue
        rest = variable.removeprefix("vimage_")
        if rest in table.GLOBALS or rest in table.RESERVED:
            continue
        if not (rest.startswith(sheet.misnamed) or _is_of_bridge(rest, bridges)
                or _sort(sheet, variable, rest)):
            sheet.unknown.append(variable)


def _sort(sheet: Sheet, variable: str, rest: str) -> bool:
    """Note whose ``variable`` is; False if it is nobody's."""
    part = part_of(rest)
    if part is not None:
        if part[0] in table.NUMBERED:
            sheet.defaults[part[0]][part[1]] = variable
        return True
    at = rest.find("_")
    while at > 0:
        drafts = sheet.by_variable.get(rest[:at])
        part = part_of(rest[at + 1:]) if drafts else None
        if drafts and part is not None:
            for draft in drafts:
                if part[0] in table.NUMBERED:
                    draft.numbered.setdefault(part[0], {})[part[1]] = variable
                else:
                    draft.own[part[0]] = variable
            return True
        at = rest.find("_", at + 1)
    return False


def _parse(sheet: Sheet, draft: Draft, variable: str, row: table.Variable) -> Any:
    """The value of a variable, or None after an error has been noted."""
    if variable not in sheet.shared:
        try:
            sheet.shared[variable] = row.type.parse(sheet.settings[variable]), ""
        except ValueError as error:
            sheet.shared[variable] = None, str(error)
    value, reason = sheet.shared[variable]
    if reason:
        draft.broken.add(row.part)
        sheet.bad_value(draft, variable, reason, row.type.allowed)
    return value


def _read_vimage(sheet: Sheet, draft: Draft) -> None:
    for part, row in table.VIMAGE.items():
        if row.scope is table.Scope.HOOK:
            draft.values[part] = _commands(sheet, draft, row)
            continue
        variable = sheet.source(draft, part)
        if variable:
            value = _parse(sheet, draft, variable, row)
            if part not in draft.broken:
                draft.values[part] = value
    if "rootdir" not in draft.values and "rootdir" not in draft.broken:
        sheet.error(draft, "value_required", allowed=table.PATH.allowed,
                    variable=f"vimage_{names.variable(draft.name)}_rootdir")
    _read_links(sheet, draft)
    _check_root(sheet, draft)
    _check_router(sheet, draft, "defaultrouter", 4)
    _check_router(sheet, draft, "defaultrouter6", 6)
    _check_cpus(sheet, draft)


def _commands(sheet: Sheet, draft: Draft, row: table.Variable) -> tuple[str, ...]:
    """The commands of a hook: the one without a number, then 0, 1, 2 ...; 0 may be
    missing, as with extract_var of rc.d/jail."""
    found = {**sheet.defaults.get(row.part, {}), **draft.numbered.get(row.part, {})}
    commands = []
    expected = 0
    for number in sorted(found):
        if number > max(expected, 1):
            missing = f"vimage_{names.variable(draft.name)}_{row.part}{max(expected, 1)}"
            sheet.error(draft, "hook_gap", variable=found[number], missing=missing)
            break
        commands.append(_parse(sheet, draft, found[number], row))
        expected = number + 1
    return tuple(command for command in commands if command)


def _read_links(sheet: Sheet, draft: Draft) -> None:
    if "bridges" in draft.broken:
        return
    parents = draft.values.get("bridges", ())
    for n, parent in enumerate(parents):
        if parent is not None:
            draft.links.append(_link(sheet, draft, n, parent))
    for part in table.LINK:
        for n, variable in sorted(draft.numbered.get(part, {}).items()):
            if n >= len(parents) or parents[n] is None:
                sheet.error(draft, "link_unknown", variable=variable, n=n, name=draft.name,
                            value=shown(sheet.settings[variable]))


def _link(sheet: Sheet, draft: Draft, n: int, parent: table.Parent) -> Link:
    values = {}
    for part, row in table.LINK.items():
        own = draft.numbered.get(part, {}).get(n)
        variable = own or sheet.defaults.get(part, {}).get(n)
        if part == "mac" and parent.prefix:
            if own:
                sheet.error(draft, "mac_prefix", variable=own, parent=parent.name,
                            value=shown(sheet.settings[own]), prefix=parent.prefix)
            variable = None
        values[part] = _parse(sheet, draft, variable, row) if variable else None
    mac_from = _PREFIXES.get(
        parent.prefix, MacFrom.GIVEN if values["mac"] else MacFrom.DERIVED)
    return Link(n, parent.name, parent.name in sheet.bridges, names.link(n, draft.name),
                mac_from, values["mac"], values["addr"] or ())


def _check_root(sheet: Sheet, draft: Draft) -> None:
    if draft.values.get("rootdir") != "/":
        return
    for part in ("devfs_enable", "fdescfs_enable", "procfs_enable", "fstab"):
        if draft.values.get(part):
            variable = sheet.source(draft, part)
            sheet.error(draft, "root_mount", variable=variable, name=draft.name,
                        value=shown(sheet.settings[variable]))


def _check_router(sheet: Sheet, draft: Draft, part: str, version: int) -> None:
    router = draft.values.get(part)
    if not router or draft.broken & {"addr", "bridges"}:
        return
    hosts = [ipaddress.ip_interface(address) for link in draft.links
             for address in link.addresses]
    hosts = [host for host in hosts if host.version == version]
    variable = sheet.source(draft, part)
    if not hosts:
        if part in draft.own:
            sheet.error(draft, "router_no_address", variable=variable, value=router,
                        version=version)
        else:  # a default means those that have an address
            del draft.values[part]
        return
    gateway = ipaddress.ip_address(router)
    if isinstance(gateway, ipaddress.IPv6Address) and gateway.scope_id:
        if gateway.scope_id not in [link.name for link in draft.links]:
            sheet.error(draft, "router_scope", variable=variable, value=router,
                        interface=gateway.scope_id)
    elif any(host.ip == gateway for host in hosts):
        sheet.error(draft, "router_itself", variable=variable, value=router)
    elif not any(gateway in host.network for host in hosts):
        sheet.error(draft, "router_elsewhere", variable=variable, value=router,
                    networks=" ".join(dict.fromkeys(str(host.network) for host in hosts)))


def _check_cpus(sheet: Sheet, draft: Draft) -> None:
    text = draft.values.get("cpus")
    if text and int(re.split("[-,]", text)[-1]) >= sheet.cpus:
        sheet.bad_value(draft, sheet.source(draft, "cpus"),
                        f"this host has CPUs 0 to {sheet.cpus - 1}", table.CPUS.allowed)


def _like_bridge(variable: str) -> bool:
    return variable == "bridge" or variable.startswith("bridge_")


def _is_of_bridge(rest: str, bridges: set[str]) -> bool:
    head, _, part = rest.removeprefix("bridge_").rpartition("_")
    return rest.startswith("bridge_") and part in table.BRIDGE and head in bridges
