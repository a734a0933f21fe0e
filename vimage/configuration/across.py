"""What several vimages must not have in common, and what they need of one another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from vimage.configuration import mac, names
from vimage.configuration.sheet import Draft, Sheet, devfs, ruleset
from vimage.model import HostBridge, Link, MacFrom


def check(sheet: Sheet) -> None:
    """Hold the drafts against one another, and give out MAC addresses."""
    _check_interfaces(sheet)
    _check_node_names(sheet)
    _check_addresses(sheet)
    _check_devfs(sheet)
    _assign_macs(sheet)
    _check_depend(sheet)


def _check_interfaces(sheet: Sheet) -> None:
    moved: dict[str, list[Draft]] = defaultdict(list)
    for draft in sheet.drafts.values():
        for interface in draft.values.get("vnets", ()):
            moved[interface].append(draft)
    if not moved:
        return
    bridged: dict[str, list[Draft]] = defaultdict(list)
    for draft in sheet.drafts.values():
        for parent in dict.fromkeys(link.parent for link in draft.links):
            if parent in moved:
                bridged[parent].append(draft)
    for interface, owners in moved.items():
        first = owners[0]
        for other, part in [
            *((other, "vnets") for other in owners[1:]),
            *((other, "bridges") for other in bridged[interface]),
        ]:
            sheet.error_of((first, other), "interface_twice", interface=interface,
                           first=sheet.named(first, "vnets"), second=sheet.named(other, part))
        if interface in sheet.bridges:
            sheet.error_of(owners, "interface_twice", interface=interface,
                           first=sheet.named(first, "vnets"), second="vimage_bridge_list")


def _check_node_names(sheet: Sheet) -> None:
    """Every netgraph node has a name of its own, and so has every interface."""
    claims: dict[str, tuple[str, list[Draft]]] = {}

    def claim(node: str, what: str, draft: Draft | None = None) -> None:
        before, owners = claims.setdefault(node, (what, []))
        mine = [draft] if draft else []
        if before != what:
            sheet.error_of([*owners[:1], *mine], "node_twice",
                           node=node, first=before, second=what)
        elif mine and not owners:
            owners += mine

    for name in sheet.bridges:
        claim(name, f"interface {name}")
        claim(names.bridge_node(name), f"the bridge of {name}")
    for draft in sheet.drafts.values():
        for link in draft.links:
            claim(names.node(link.parent), f"interface {link.parent}", draft)
            claim(names.bridge_node(link.parent), f"the bridge of {link.parent}", draft)
            _claim_link(sheet, claims, draft, link)


def _claim_link(
    sheet: Sheet, claims: dict[str, tuple[str, list[Draft]]], draft: Draft, link: Link
) -> None:
    what = f"link {link.index} of {draft.name}"
    before, owners = claims.setdefault(link.name, (what, [draft]))
    if before == what:
        return
    if before.startswith("link ") and owners[0] is not draft:
        sheet.error_of([owners[0], draft], "name_cut", first=owners[0].name,
                       second=draft.name, interface=link.name, most=names.MAX_INTERFACE)
    else:
        sheet.error_of([*owners, draft], "node_twice",
                       node=link.name, first=before, second=what)


def _check_addresses(sheet: Sheet) -> None:
    """No address twice within a vimage, nor on one bridge."""
    on_bridge: dict[tuple[str, str], tuple[str, Draft | None]] = {}
    for bridge in sheet.bridges.values():
        for address in bridge.addresses:
            variable = f"vimage_bridge_{names.variable(bridge.name)}_addr"
            on_bridge[bridge.name, address.split("/")[0]] = variable, None
    for draft in sheet.drafts.values():
        inside: dict[str, str] = {}
        for link in draft.links:
            variable = _address_variable(sheet, draft, link.index)
            for text in link.addresses:
                address = text.split("/")[0]
                first, owner = on_bridge.setdefault(
                    (link.parent, address), (variable, draft))
                if address in inside:
                    sheet.error(draft, "address_twice", address=address,
                                first=inside[address], second=variable)
                elif owner is not draft:
                    sheet.error_of([owner, draft] if owner else [draft], "address_twice",
                                   address=address, first=first, second=variable)
                inside.setdefault(address, variable)


def _address_variable(sheet: Sheet, draft: Draft, n: int) -> str:
    own = draft.numbered.get("addr", {}).get(n)
    return own or f"vimage_addr{n} (for {draft.name})"


def _check_devfs(sheet: Sheet) -> None:
    """One devfs is mounted for all vimages on a root: they have to agree on its ruleset."""
    first: dict[str, Draft] = {}
    for draft in sheet.drafts.values():
        root = draft.values.get("rootdir")
        if root is None or not devfs(draft):
            continue
        other = first.setdefault(root, draft)
        if ruleset(other) != ruleset(draft):
            sheet.error_of((other, draft), "devfs_differs", root=root,
                           first=other.name, ruleset=ruleset(other),
                           second=draft.name, ruleset2=ruleset(draft))


def _assign_macs(sheet: Sheet) -> None:
    taken = _given_macs(sheet)
    requests: list[mac.Owner] = [
        (mac.host_bridge(bridge.name), 0) for bridge in sheet.bridges.values() if not bridge.mac]
    requests += [
        (draft.name, link.index) for draft in sheet.drafts.values() for link in draft.links
        if link.mac_from is MacFrom.DERIVED]
    if not requests or not _has_seed(sheet, requests):
        return
    given = mac.assign(requests, taken, sheet.recorded, seed=sheet.seed())
    sheet.resolved = {mac.key(owner): text for owner, text in given.resolved.items()}
    for name, bridge in sheet.bridges.items():
        text = bridge.mac or given.macs[mac.host_bridge(name), 0]
        sheet.bridges[name] = HostBridge(name, text, bridge.addresses)
    for draft in sheet.drafts.values():
        draft.links = [
            Link(link.index, link.parent, link.host_only, link.name, link.mac_from,
                 given.macs.get((draft.name, link.index), link.mac), link.addresses)
            for link in draft.links]


def _given_macs(sheet: Sheet) -> set[str]:
    users = sheet.bridge_users()
    given: dict[str, tuple[str, list[Draft]]] = {}

    def give(text: str, variable: str, drafts: list[Draft]) -> None:
        first, owners = given.setdefault(text, (variable, drafts))
        if first != variable:
            sheet.error_of([*owners, *drafts], "mac_twice", mac=text,
                           first=first, second=variable)

    ours = {link.name for draft in sheet.drafts.values() for link in draft.links}
    for name, text in sheet.host_macs.items():
        if name not in ours and name not in sheet.bridges:
            given.setdefault(text, (f"interface {name} of the host", []))
    for bridge in sheet.bridges.values():
        if bridge.mac:
            give(bridge.mac, f"vimage_bridge_{names.variable(bridge.name)}_mac",
                 users[bridge.name])
    for draft in sheet.drafts.values():
        for link in draft.links:
            if link.mac_from is MacFrom.GIVEN and link.mac:
                own = draft.numbered.get("mac", {}).get(link.index)
                give(link.mac, own or f"vimage_mac{link.index} (for {draft.name})", [draft])
    return set(given)


def _has_seed(sheet: Sheet, requests: list[mac.Owner]) -> bool:
    if sheet.seed():
        return True
    owners = {name for name, _ in requests}
    users = sheet.bridge_users()
    drafts = [draft for draft in sheet.drafts.values() if draft.name in owners]
    for bridge in sheet.bridges:
        if mac.host_bridge(bridge) in owners:
            drafts += users[bridge]
    for draft in dict.fromkeys(draft.name for draft in drafts):
        sheet.error(sheet.drafts[draft], "seed_missing", uuid=sheet.hostuuid.strip())
    return False


def _check_depend(sheet: Sheet) -> None:
    needs = {draft.name: _needs(sheet, draft) for draft in sheet.drafts.values()}
    for cycle in _cycles(needs):
        for name in cycle[:-1]:
            sheet.error(sheet.drafts[name], "depend_cycle", cycle=" -> ".join(cycle),
                        variable=sheet.source(sheet.drafts[name], "depend"))
    dependents: dict[str, list[str]] = defaultdict(list)
    for name, others in needs.items():
        for other in others:
            dependents[other].append(name)
    queue = [name for name, draft in sheet.drafts.items() if draft.bad]
    for other in queue:  # grows while it is walked
        for name in dependents[other]:
            draft = sheet.drafts[name]
            if not draft.bad:
                sheet.error(draft, "depend_error", name=name, other=other,
                            variable=sheet.source(draft, "depend"))
                queue.append(name)


def _needs(sheet: Sheet, draft: Draft) -> tuple[str, ...]:
    """The known ones of ``depend``.  A default need not leave out whom it names."""
    depend: tuple[str, ...] = draft.values.get("depend", ())
    if "depend" not in draft.own:
        depend = tuple(name for name in depend if name != draft.name)
        draft.values["depend"] = depend
    for other in depend:
        if other not in sheet.drafts:
            sheet.error(draft, "depend_unknown", name=draft.name, other=other,
                        variable=sheet.source(draft, "depend"))
    return tuple(other for other in depend if other in sheet.drafts)


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
