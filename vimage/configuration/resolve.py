"""From variables to a frozen `Configuration`, and every problem at once.  Pure.

A vimage with an error is left out of the result, and so are those that depend on it.  An
error that several vimages share is told once for each of them, with the same text; one
that belongs to no vimage leaves all of them out.
"""

from __future__ import annotations

import ipaddress
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from vimage.configuration import mac, names
from vimage.configuration import variables as table
from vimage.messages import Problem
from vimage.model import HOST_HOOKS, Boot, Configuration, HostBridge, Link, MacFrom, Vimage

#: The command of boot=network.  netif(8) exits 0 whatever becomes of an interface, and
#: routing exits 1 when the kernel refuses a route, as it does with a default route of a
#: shared rc.conf in a vimage that is not on that network; rc(8) heeds neither.  What fails
#: is a script that is missing or cannot be run.
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

_NUMBERED = re.compile(f"({'|'.join(table.NUMBERED)})(0|[1-9][0-9]{{0,8}})", re.ASCII)
_ROOTDIR = re.compile("vimage_(.+)_rootdir")
_NO_UUID = re.compile(r"[0-]*")
_PREFIXES = {"=": MacFrom.PARENT, "!": MacFrom.KERNEL}

#: A variable that means nothing is compared with what there is, at most so many times.
_MOST_HINTS = 100


@dataclass(slots=True)
class _Draft:
    """A vimage while it is being resolved."""

    name: str
    listed: bool
    own: dict[str, str] = field(default_factory=dict)  # part -> variable
    numbered: dict[str, dict[int, str]] = field(default_factory=dict)  # part -> N -> variable
    values: dict[str, Any] = field(default_factory=dict)  # part -> value, of those that are set
    broken: set[str] = field(default_factory=set)  # parts whose value is bad
    links: list[Link] = field(default_factory=list)
    bad: bool = False


def resolve(
    variables: Mapping[str, str],
    *,
    hostuuid: str,
    cpus: int,
    recorded_macs: Mapping[str, str] | None = None,
    host_macs: Mapping[str, str] | None = None,
) -> tuple[Configuration, list[Problem]]:
    """What ``variables`` (as ``rcconf.read`` gives them) say.

    ``hostuuid`` is kern.hostuuid, ``cpus`` the number of CPUs of the host.
    ``recorded_macs`` are earlier ``Configuration.resolved_macs``.  ``host_macs`` gives the
    interfaces of the host that have a MAC address, name to address, less those that vimage
    has made: a vimage gets none of these addresses.  Raises nothing: what is
    wrong is in the list of problems, each with its text in ``vimage.messages``.
    """
    return _Resolver(variables, hostuuid, cpus, recorded_macs or {},
                     host_macs or {}).run()


def lines(problems: Iterable[Problem]) -> list[str]:
    """The texts, each once, in order: what several vimages share is printed once."""
    return list(dict.fromkeys(map(str, problems)))


@lru_cache(maxsize=4096)
def _part(tail: str) -> tuple[str, int] | None:
    """``mac0`` as (``mac``, 0), ``rootdir`` as (``rootdir``, -1); None if it is no part."""
    if tail in table.VIMAGE:
        return tail, -1
    match = _NUMBERED.fullmatch(tail)
    return (match[1], int(match[2])) if match else None


def _shown(value: str) -> str:
    """A value as it is shown in an error: one line of bounded length."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)
    return text if len(text) <= 200 else f"{text[:197]}..."


class _Resolver:
    def __init__(
        self, variables: Mapping[str, str], hostuuid: str, cpus: int, recorded: Mapping[str, str],
        host_macs: Mapping[str, str],
    ) -> None:
        self.settings = {name: value for name, value in variables.items() if value != ""}
        self.hostuuid = hostuuid
        self.cpus = cpus
        self.recorded = recorded
        self.host_macs = host_macs
        self.problems: list[Problem] = []
        self.drafts: dict[str, _Draft] = {}
        self.by_variable: dict[str, list[_Draft]] = defaultdict(list)
        self.defaults: dict[str, dict[int, str]] = defaultdict(dict)  # part -> N -> variable
        self.shared: dict[str, tuple[Any, str]] = {}  # variable -> value, reason
        self.unknown: list[str] = []
        self.misnamed: tuple[str, ...] = ()  # how variables of names that are none begin
        self.bridges: dict[str, HostBridge] = {}
        self.bridge_trouble: list[tuple[str, str, dict[str, Any]]] = []  # bridge, key, fields
        self.globals: dict[str, Any] = {}
        self.resolved: dict[str, str] = {}
        self.stopped = False  # by an error that belongs to no vimage

    def run(self) -> tuple[Configuration, list[Problem]]:
        self._read_globals()
        self._read_list()
        self._read_bridges()
        self._sort_out()
        for draft in self.drafts.values():
            self._read_vimage(draft)
        self._charge_bridges()
        self._check_interfaces()
        self._check_node_names()
        self._check_addresses()
        self._check_devfs()
        self._assign_macs()
        self._check_depend()
        self._warn_unknown()
        return self._configuration(), self.problems

    # -- problems ----------------------------------------------------------------------

    def _error(self, draft: _Draft | None, key: str, /, **fields: Any) -> None:
        if draft is None:
            self.stopped = True
            self.problems.append(Problem.of(key, **fields))
        else:
            draft.bad = True
            self.problems.append(Problem.of(key, vimage=draft.name, **fields))

    def _warn(self, key: str, vimage: str = "", /, **fields: Any) -> None:
        self.problems.append(Problem.of(key, vimage=vimage, warning=True, **fields))

    def _error_of(self, drafts: Iterable[_Draft], key: str, /, **fields: Any) -> None:
        """An error in which several vimages have a part.

        One that is not listed yields to those that are: it may be there as a spare.
        """
        parties = list({draft.name: draft for draft in drafts}.values())
        listed = [draft for draft in parties if draft.listed]
        if len(listed) == 1 and len(parties) > 1:
            parties.remove(listed[0])
        for draft in parties:
            self._error(draft, key, **fields)
        if not parties:
            self._error(None, key, **fields)

    def _bad_value(
        self, draft: _Draft | None, variable: str, reason: str, allowed: str, shown: str = ""
    ) -> None:
        self._error(draft, "value", variable=variable, reason=reason, allowed=allowed,
                    value=shown or _shown(self.settings[variable]))

    # -- what is of no single vimage ---------------------------------------------------

    def _read_globals(self) -> None:
        for part, row in table.GLOBALS.items():
            variable = f"vimage_{part}"
            if variable not in self.settings:
                continue
            try:
                self.globals[part] = row.type.parse(self.settings[variable])
            except ValueError as error:
                self._bad_value(None, variable, str(error), row.type.allowed)
        for part in sorted(table.RESERVED):
            value = self.settings.get(f"vimage_{part}")
            if value is None or part == "svcj" and value.lower() == "no":
                continue
            self._error(None, "variable_reserved", variable=f"vimage_{part}", value=_shown(value))

    def _read_list(self) -> None:
        for name in self.globals.get("list", ()):
            if name in self.drafts:
                self._error(self.drafts[name], "name_twice", name=name)
            elif not names.is_vimage(name):
                self.misnamed += (f"{names.variable(name)}_",)
                self.problems.append(Problem.of(
                    "name_bad", vimage=name, name=_shown(name), allowed=table.LIST.allowed))
            else:
                self._add(name, listed=True)
        unlisted = sorted(
            match[1] for match in map(_ROOTDIR.fullmatch, self.settings) if match is not None)
        for name in unlisted:
            if names.is_vimage(name) and name not in self.by_variable and not _like_bridge(name):
                self._add(name, listed=False)
        for drafts in self.by_variable.values():
            if len(drafts) > 1:
                for draft in drafts:
                    self._error(
                        draft, "name_ambiguous", first=drafts[0].name, second=drafts[1].name,
                        prefix=f"vimage_{names.variable(draft.name)}_")

    def _add(self, name: str, *, listed: bool) -> None:
        draft = _Draft(name, listed)
        self.drafts[name] = draft
        self.by_variable[names.variable(name)].append(draft)
        if _like_bridge(names.variable(name)):
            self._error(draft, "name_bridge", name=name)

    def _read_bridges(self) -> None:
        seen: dict[str, str] = {}
        for name in self.globals.get("bridge_list", ()):
            if names.variable(name) in seen:
                self._error(None, "name_ambiguous", first=seen[names.variable(name)], second=name,
                            prefix=f"vimage_bridge_{names.variable(name)}_")
                continue
            seen[names.variable(name)] = name
            values = {part: self._of_bridge(name, part) for part in table.BRIDGE}
            self.bridges[name] = HostBridge(name, values["mac"] or "", values["addr"] or ())

    def _of_bridge(self, name: str, part: str) -> Any:
        variable = f"vimage_bridge_{names.variable(name)}_{part}"
        if variable not in self.settings:
            return None
        type = table.BRIDGE[part].type
        try:
            return type.parse(self.settings[variable])
        except ValueError as error:
            self.bridge_trouble.append((name, "value", {
                "variable": variable, "value": _shown(self.settings[variable]),
                "reason": str(error), "allowed": type.allowed}))
            return None

    def _charge_bridges(self) -> None:
        """What is wrong with a host-only bridge keeps its vimages from starting."""
        users = self._bridge_users() if self.bridge_trouble else {}
        for name, key, fields in self.bridge_trouble:
            self._error_of(users.get(name, ()), key, **fields)

    def _bridge_users(self) -> dict[str, list[_Draft]]:
        users: dict[str, list[_Draft]] = defaultdict(list)
        for draft in self.drafts.values():
            for parent in dict.fromkeys(link.parent for link in draft.links if link.host_only):
                users[parent].append(draft)
        return users

    # -- which variable belongs to whom ------------------------------------------------

    def _sort_out(self) -> None:
        bridges = {names.variable(name) for name in self.bridges}
        for variable in self.settings:
            if not variable.startswith("vimage_"):
                continue
            rest = variable.removeprefix("vimage_")
            if rest in table.GLOBALS or rest in table.RESERVED:
                continue
            if not (rest.startswith(self.misnamed) or _is_of_bridge(rest, bridges)
                    or self._sort(variable, rest)):
                self.unknown.append(variable)

    def _sort(self, variable: str, rest: str) -> bool:
        """Note whose ``variable`` is; False if it is nobody's."""
        part = _part(rest)
        if part is not None:
            if part[0] in table.NUMBERED:
                self.defaults[part[0]][part[1]] = variable
            return True
        at = rest.find("_")
        while at > 0:
            drafts = self.by_variable.get(rest[:at])
            part = _part(rest[at + 1:]) if drafts else None
            if drafts and part is not None:
                for draft in drafts:
                    if part[0] in table.NUMBERED:
                        draft.numbered.setdefault(part[0], {})[part[1]] = variable
                    else:
                        draft.own[part[0]] = variable
                return True
            at = rest.find("_", at + 1)
        return False

    # -- one vimage --------------------------------------------------------------------

    def _source(self, draft: _Draft, part: str) -> str:
        """The variable that gives ``part``; "" if none does."""
        variable = draft.own.get(part) or f"vimage_{part}"
        return variable if variable in self.settings else ""

    def _named(self, draft: _Draft, part: str) -> str:
        """The variable that gives ``part``, with the name of the vimage if it does not tell."""
        variable = self._source(draft, part)
        return variable if part in draft.own else f"{variable} (for {draft.name})"

    def _parse(self, draft: _Draft, variable: str, row: table.Variable) -> Any:
        """The value of a variable, or None after an error has been noted."""
        if variable not in self.shared:
            try:
                self.shared[variable] = row.type.parse(self.settings[variable]), ""
            except ValueError as error:
                self.shared[variable] = None, str(error)
        value, reason = self.shared[variable]
        if reason:
            draft.broken.add(row.part)
            self._bad_value(draft, variable, reason, row.type.allowed)
        return value

    def _read_vimage(self, draft: _Draft) -> None:
        for part, row in table.VIMAGE.items():
            if row.scope is table.Scope.HOOK:
                draft.values[part] = self._commands(draft, row)
                continue
            variable = self._source(draft, part)
            if variable:
                value = self._parse(draft, variable, row)
                if part not in draft.broken:
                    draft.values[part] = value
        if "rootdir" not in draft.values and "rootdir" not in draft.broken:
            self._error(draft, "value_required", allowed=table.PATH.allowed,
                        variable=f"vimage_{names.variable(draft.name)}_rootdir")
        self._read_links(draft)
        self._check_root(draft)
        self._check_router(draft, "defaultrouter", 4)
        self._check_router(draft, "defaultrouter6", 6)
        self._check_cpus(draft)

    def _commands(self, draft: _Draft, row: table.Variable) -> tuple[str, ...]:
        """The commands of a hook: the one without a number, then 0, 1, 2 ...; 0 may be
        missing, as with extract_var of rc.d/jail."""
        found = {**self.defaults.get(row.part, {}), **draft.numbered.get(row.part, {})}
        commands = []
        expected = 0
        for number in sorted(found):
            if number > max(expected, 1):
                missing = f"vimage_{names.variable(draft.name)}_{row.part}{max(expected, 1)}"
                self._error(draft, "hook_gap", variable=found[number], missing=missing)
                break
            commands.append(self._parse(draft, found[number], row))
            expected = number + 1
        return tuple(command for command in commands if command)

    def _read_links(self, draft: _Draft) -> None:
        if "bridges" in draft.broken:
            return
        parents = draft.values.get("bridges", ())
        for n, parent in enumerate(parents):
            if parent is not None:
                draft.links.append(self._link(draft, n, parent))
        for part in table.LINK:
            for n, variable in sorted(draft.numbered.get(part, {}).items()):
                if n >= len(parents) or parents[n] is None:
                    self._error(draft, "link_unknown", variable=variable, n=n, name=draft.name,
                                value=_shown(self.settings[variable]))

    def _link(self, draft: _Draft, n: int, parent: table.Parent) -> Link:
        values = {}
        for part, row in table.LINK.items():
            own = draft.numbered.get(part, {}).get(n)
            variable = own or self.defaults.get(part, {}).get(n)
            if part == "mac" and parent.prefix:
                if own:
                    self._error(draft, "mac_prefix", variable=own, parent=parent.name,
                                value=_shown(self.settings[own]), prefix=parent.prefix)
                variable = None
            values[part] = self._parse(draft, variable, row) if variable else None
        mac_from = _PREFIXES.get(
            parent.prefix, MacFrom.GIVEN if values["mac"] else MacFrom.DERIVED)
        return Link(n, parent.name, parent.name in self.bridges, names.link(n, draft.name),
                    mac_from, values["mac"], values["addr"] or ())

    def _check_root(self, draft: _Draft) -> None:
        if draft.values.get("rootdir") != "/":
            return
        for part in ("devfs_enable", "fdescfs_enable", "procfs_enable", "fstab"):
            if draft.values.get(part):
                variable = self._source(draft, part)
                self._error(draft, "root_mount", variable=variable, name=draft.name,
                            value=_shown(self.settings[variable]))

    def _check_router(self, draft: _Draft, part: str, version: int) -> None:
        router = draft.values.get(part)
        if not router or draft.broken & {"addr", "bridges"}:
            return
        hosts = [ipaddress.ip_interface(address) for link in draft.links
                 for address in link.addresses]
        hosts = [host for host in hosts if host.version == version]
        variable = self._source(draft, part)
        if not hosts:
            if part in draft.own:
                self._error(draft, "router_no_address", variable=variable, value=router,
                            version=version)
            else:  # a default means those that have an address
                del draft.values[part]
            return
        gateway = ipaddress.ip_address(router)
        if isinstance(gateway, ipaddress.IPv6Address) and gateway.scope_id:
            if gateway.scope_id not in [link.name for link in draft.links]:
                self._error(draft, "router_scope", variable=variable, value=router,
                            interface=gateway.scope_id)
        elif any(host.ip == gateway for host in hosts):
            self._error(draft, "router_itself", variable=variable, value=router)
        elif not any(gateway in host.network for host in hosts):
            self._error(draft, "router_elsewhere", variable=variable, value=router,
                        networks=" ".join(dict.fromkeys(str(host.network) for host in hosts)))

    def _check_cpus(self, draft: _Draft) -> None:
        text = draft.values.get("cpus")
        if text and int(re.split("[-,]", text)[-1]) >= self.cpus:
            self._bad_value(draft, self._source(draft, "cpus"),
                            f"this host has CPUs 0 to {self.cpus - 1}", table.CPUS.allowed)

    # -- several vimages ---------------------------------------------------------------

    def _check_interfaces(self) -> None:
        moved: dict[str, list[_Draft]] = defaultdict(list)
        for draft in self.drafts.values():
            for interface in draft.values.get("vnets", ()):
                moved[interface].append(draft)
        if not moved:
            return
        bridged: dict[str, list[_Draft]] = defaultdict(list)
        for draft in self.drafts.values():
            for parent in dict.fromkeys(link.parent for link in draft.links):
                if parent in moved:
                    bridged[parent].append(draft)
        for interface, owners in moved.items():
            first = owners[0]
            for other, part in [
                *((other, "vnets") for other in owners[1:]),
                *((other, "bridges") for other in bridged[interface]),
            ]:
                self._error_of((first, other), "interface_twice", interface=interface,
                               first=self._named(first, "vnets"), second=self._named(other, part))
            if interface in self.bridges:
                self._error_of(owners, "interface_twice", interface=interface,
                               first=self._named(first, "vnets"), second="vimage_bridge_list")

    def _check_node_names(self) -> None:
        """Every netgraph node has a name of its own, and so has every interface."""
        claims: dict[str, tuple[str, list[_Draft]]] = {}

        def claim(node: str, what: str, draft: _Draft | None = None) -> None:
            before, owners = claims.setdefault(node, (what, []))
            mine = [draft] if draft else []
            if before != what:
                self._error_of([*owners[:1], *mine], "node_twice",
                               node=node, first=before, second=what)
            elif mine and not owners:
                owners += mine

        for name in self.bridges:
            claim(name, f"interface {name}")
            claim(names.bridge_node(name), f"the bridge of {name}")
        for draft in self.drafts.values():
            for link in draft.links:
                claim(names.node(link.parent), f"interface {link.parent}", draft)
                claim(names.bridge_node(link.parent), f"the bridge of {link.parent}", draft)
                self._claim_link(claims, draft, link)

    def _claim_link(
        self, claims: dict[str, tuple[str, list[_Draft]]], draft: _Draft, link: Link
    ) -> None:
        what = f"link {link.index} of {draft.name}"
        before, owners = claims.setdefault(link.name, (what, [draft]))
        if before == what:
            return
        if before.startswith("link ") and owners[0] is not draft:
            self._error_of([owners[0], draft], "name_cut", first=owners[0].name,
                           second=draft.name, interface=link.name, most=names.MAX_INTERFACE)
        else:
            self._error_of([*owners, draft], "node_twice",
                           node=link.name, first=before, second=what)

    def _check_addresses(self) -> None:
        """No address twice within a vimage, nor on one bridge."""
        on_bridge: dict[tuple[str, str], tuple[str, _Draft | None]] = {}
        for bridge in self.bridges.values():
            for address in bridge.addresses:
                variable = f"vimage_bridge_{names.variable(bridge.name)}_addr"
                on_bridge[bridge.name, address.split("/")[0]] = variable, None
        for draft in self.drafts.values():
            inside: dict[str, str] = {}
            for link in draft.links:
                variable = self._address_variable(draft, link.index)
                for text in link.addresses:
                    address = text.split("/")[0]
                    first, owner = on_bridge.setdefault(
                        (link.parent, address), (variable, draft))
                    if address in inside:
                        self._error(draft, "address_twice", address=address,
                                    first=inside[address], second=variable)
                    elif owner is not draft:
                        self._error_of([owner, draft] if owner else [draft], "address_twice",
                                       address=address, first=first, second=variable)
                    inside.setdefault(address, variable)

    def _address_variable(self, draft: _Draft, n: int) -> str:
        own = draft.numbered.get("addr", {}).get(n)
        return own or f"vimage_addr{n} (for {draft.name})"

    def _check_devfs(self) -> None:
        """One devfs is mounted for all vimages on a root: they have to agree on its ruleset."""
        first: dict[str, _Draft] = {}
        for draft in self.drafts.values():
            root = draft.values.get("rootdir")
            if root is None or not _devfs(draft):
                continue
            other = first.setdefault(root, draft)
            if _ruleset(other) != _ruleset(draft):
                self._error_of((other, draft), "devfs_differs", root=root,
                               first=other.name, ruleset=_ruleset(other),
                               second=draft.name, ruleset2=_ruleset(draft))

    # -- MAC addresses -----------------------------------------------------------------

    def _assign_macs(self) -> None:
        taken = self._given_macs()
        requests: list[mac.Owner] = [
            (mac.host_bridge(bridge.name), 0) for bridge in self.bridges.values() if not bridge.mac]
        requests += [
            (draft.name, link.index) for draft in self.drafts.values() for link in draft.links
            if link.mac_from is MacFrom.DERIVED]
        if not requests or not self._has_seed(requests):
            return
        given = mac.assign(requests, taken, self.recorded, seed=self._seed())
        self.resolved = {mac.key(owner): text for owner, text in given.resolved.items()}
        for name, bridge in self.bridges.items():
            text = bridge.mac or given.macs[mac.host_bridge(name), 0]
            self.bridges[name] = HostBridge(name, text, bridge.addresses)
        for draft in self.drafts.values():
            draft.links = [
                Link(link.index, link.parent, link.host_only, link.name, link.mac_from,
                     given.macs.get((draft.name, link.index), link.mac), link.addresses)
                for link in draft.links]

    def _given_macs(self) -> set[str]:
        users = self._bridge_users()
        given: dict[str, tuple[str, list[_Draft]]] = {}

        def give(text: str, variable: str, drafts: list[_Draft]) -> None:
            first, owners = given.setdefault(text, (variable, drafts))
            if first != variable:
                self._error_of([*owners, *drafts], "mac_twice", mac=text,
                               first=first, second=variable)

        ours = {link.name for draft in self.drafts.values() for link in draft.links}
        for name, text in self.host_macs.items():
            if name not in ours and name not in self.bridges:
                given.setdefault(text, (f"interface {name} of the host", []))
        for bridge in self.bridges.values():
            if bridge.mac:
                give(bridge.mac, f"vimage_bridge_{names.variable(bridge.name)}_mac",
                     users[bridge.name])
        for draft in self.drafts.values():
            for link in draft.links:
                if link.mac_from is MacFrom.GIVEN and link.mac:
                    own = draft.numbered.get("mac", {}).get(link.index)
                    give(link.mac, own or f"vimage_mac{link.index} (for {draft.name})", [draft])
        return set(given)

    def _seed(self) -> str:
        """vimage_mac_seed, else kern.hostuuid; "" if there is neither."""
        seed: str = self.globals.get("mac_seed", "")
        uuid = self.hostuuid.strip()
        return seed or ("" if _NO_UUID.fullmatch(uuid) else uuid)

    def _has_seed(self, requests: list[mac.Owner]) -> bool:
        if self._seed():
            return True
        owners = {name for name, _ in requests}
        users = self._bridge_users()
        drafts = [draft for draft in self.drafts.values() if draft.name in owners]
        for bridge in self.bridges:
            if mac.host_bridge(bridge) in owners:
                drafts += users[bridge]
        for draft in dict.fromkeys(draft.name for draft in drafts):
            self._error(self.drafts[draft], "seed_missing", uuid=self.hostuuid.strip())
        return False

    # -- dependencies ------------------------------------------------------------------

    def _check_depend(self) -> None:
        needs = {draft.name: self._needs(draft) for draft in self.drafts.values()}
        for cycle in _cycles(needs):
            for name in cycle[:-1]:
                self._error(self.drafts[name], "depend_cycle", cycle=" -> ".join(cycle),
                            variable=self._source(self.drafts[name], "depend"))
        dependents: dict[str, list[str]] = defaultdict(list)
        for name, others in needs.items():
            for other in others:
                dependents[other].append(name)
        queue = [name for name, draft in self.drafts.items() if draft.bad]
        for other in queue:  # grows while it is walked
            for name in dependents[other]:
                draft = self.drafts[name]
                if not draft.bad:
                    self._error(draft, "depend_error", name=name, other=other,
                                variable=self._source(draft, "depend"))
                    queue.append(name)

    def _needs(self, draft: _Draft) -> tuple[str, ...]:
        """The known ones of ``depend``.  A default need not leave out whom it names."""
        depend: tuple[str, ...] = draft.values.get("depend", ())
        if "depend" not in draft.own:
            depend = tuple(name for name in depend if name != draft.name)
            draft.values["depend"] = depend
        for other in depend:
            if other not in self.drafts:
                self._error(draft, "depend_unknown", name=draft.name, other=other,
                            variable=self._source(draft, "depend"))
        return tuple(other for other in depend if other in self.drafts)

    # -- variables that mean nothing ---------------------------------------------------

    def _warn_unknown(self) -> None:
        for variable in self.unknown[_MOST_HINTS:]:
            self._warn("variable_unknown", variable=variable)
        known = [*self.by_variable]
        for variable in sorted(self.unknown[:_MOST_HINTS]):
            nearest = self._nearest(variable.removeprefix("vimage_"), known)
            if nearest:
                self._warn("variable_unknown_near", self._whose(variable),
                           variable=variable, nearest=f"vimage_{nearest}")
            else:
                self._warn("variable_unknown", self._whose(variable), variable=variable)

    def _whose(self, variable: str) -> str:
        head = self._head(variable.removeprefix("vimage_"))
        return self.by_variable[head][0].name if head else ""

    def _head(self, rest: str) -> str:
        """The longest name of a vimage that ``rest`` begins with."""
        at = rest.rfind("_")
        while at > 0:
            if rest[:at] in self.by_variable:
                return rest[:at]
            at = rest.rfind("_", 0, at)
        return ""

    def _nearest(self, rest: str, known: list[str]) -> str:
        head = self._head(rest)
        if head:
            tail = rest.removeprefix(f"{head}_")
            return "".join(f"{head}_{part}" for part in _close(tail, _PARTS))
        for at in (at for at, c in enumerate(rest) if c == "_"):
            if _part(rest[at + 1:]):
                close = _close(rest[:at], known)
                if close:
                    return f"{close[0]}{rest[at:]}"
        plain = [*table.GLOBALS, *_PARTS]
        plain += [f"bridge_{names.variable(name)}_{part}"
                  for name in self.bridges for part in table.BRIDGE]
        return "".join(_close(rest, plain))

    # -- the result --------------------------------------------------------------------

    def _configuration(self) -> Configuration:
        good = {} if self.stopped else {
            draft.name: _vimage(draft) for draft in self.drafts.values() if not draft.bad}
        return Configuration(
            enable=self.globals.get("enable", False),
            list=tuple(dict.fromkeys(
                name for name in self.globals.get("list", ()) if name in self.drafts)),
            parallel=self.globals.get("parallel", 4 * self.cpus),
            vimages=good,
            bridges=self.bridges,
            mac_seed=self._seed(),
            resolved_macs=self.resolved,
            logfile=self.globals.get("logfile", ""),
            shutdown_timeout=self._shutdown_timeout(),
        )

    def _shutdown_timeout(self) -> float:
        """rcshutdown_timeout of rc.conf(5), whose default is 90 seconds."""
        text = self.settings.get("rcshutdown_timeout", "90")
        try:
            return float(table.SECONDS.parse(text))
        except ValueError as error:
            self._warn("value", variable="rcshutdown_timeout", value=_shown(text),
                       reason=str(error), allowed=table.SECONDS.allowed)
            return 90


#: The parts as they may be written, with the first number where one is needed.
_PARTS = [*table.VIMAGE, *(f"{part}0" for part in table.LINK)]


def _close(word: str, words: Iterable[str]) -> list[str]:
    import difflib  # for what is wrong only

    return difflib.get_close_matches(word, words, n=1, cutoff=0.7)


def _like_bridge(variable: str) -> bool:
    return variable == "bridge" or variable.startswith("bridge_")


def _is_of_bridge(rest: str, bridges: set[str]) -> bool:
    head, _, part = rest.removeprefix("bridge_").rpartition("_")
    return rest.startswith("bridge_") and part in table.BRIDGE and head in bridges


def _cycles(needs: Mapping[str, tuple[str, ...]]) -> list[list[str]]:
    """Cycles, each as ``[a, b, a]``, such that whoever is on none but cannot start
    either depends on one of them."""
    waiting = {name: set(others) for name, others in needs.items()}
    dependents: dict[str, list[str]] = defaultdict(list)
    for name, others in needs.items():
        for other in others:
            dependents[other].append(name)
    free = [name for name, others in waiting.items() if not others]
    for other in free:  # grows while it is walked
        for name in dependents[other]:
            waiting[name].discard(other)
            if not waiting[name]:
                free.append(name)
    stuck = {name: next(o for o in needs[name] if waiting[o]) for name in needs if waiting[name]}
    cycles = []
    seen: set[str] = set()
    for start in stuck:
        path: dict[str, None] = {}
        name = start
        while name not in seen and name not in path:
            path[name] = None
            name = stuck[name]
        if name in path:
            walk = list(path)
            cycles.append([*walk[walk.index(name):], name])
        seen.update(path)
    return cycles


def _boot(draft: _Draft) -> Boot:
    return Boot(draft.values.get("boot", "network"))


def _devfs(draft: _Draft) -> bool:
    default = draft.values.get("rootdir") != "/" and _boot(draft) is not Boot.NONE
    return bool(draft.values.get("devfs_enable", default))


def _ruleset(draft: _Draft) -> int:
    return int(draft.values.get("devfs_ruleset", 5))


def _jail_parameters(draft: _Draft) -> dict[str, str | int | bool | None]:
    value = draft.values.get
    result: dict[str, str | int | bool | None] = {
        "allow.mount": value("mount_enable", False),
        "allow.set_hostname": value("set_hostname_allow", False),
        "allow.sysvipc": value("sysvipc_allow", False),
        "enforce_statfs": value("enforce_statfs", 2),
    }
    if _devfs(draft):
        result["devfs_ruleset"] = _ruleset(draft)
    for part in ("osrelease", "osreldate"):
        if value(part) is not None:
            result[part] = value(part)
    result.update(value("parameters", {}))
    return result


#: Parts whose values go into the field of the same name as they are.
_PLAIN = (
    "vnets", "defaultrouter", "defaultrouter6", "depend", "command", "afterstart_services",
    "exec_afterstart", "start_timeout", "stop_timeout", "health", "health_interval",
    "health_timeout", "restart", "devfs_ruleset", "fdescfs_enable", "procfs_enable",
    "securelevel", "rctl", "cpus",
)


def _vimage(draft: _Draft) -> Vimage:
    value, boot = draft.values.get, _boot(draft)
    root = draft.values["rootdir"]
    return Vimage(
        name=draft.name,
        rootdir=root,
        hostname=value("hostname", draft.name),
        links=tuple(draft.links),
        boot=boot,
        exec_start=value("exec_start", EXEC_START[boot]),
        exec_stop=value("exec_stop", EXEC_STOP[boot]),
        hooks={hook: draft.values[hook] for hook in HOST_HOOKS if value(hook)},
        consolelog=value("consolelog", f"/var/log/vimage_{draft.name}_console.log"),
        fstab=value("fstab", "" if root == "/" else f"/etc/fstab.{draft.name}"),
        devfs_enable=_devfs(draft),
        parameters=_jail_parameters(draft),
        **{part: draft.values[part] for part in _PLAIN if part in draft.values},
    )
