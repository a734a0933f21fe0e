"""What several vimages must not have in common, and what they need of one another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from vimage.configuration import mac, names
from vimage.configuration.draft import Draft, VimageDraft
from vimage.model import Link, MacFrom


def run(draft: Draft) -> None:
    """Compare the vimages with one another, and give out MAC addresses."""
    _check_interfaces(draft)
    _check_node_names(draft)
    _check_addresses(draft)
    _check_devfs(draft)
    _assign_macs(draft)
    _check_depend(draft)


def _check_interfaces(draft: Draft) -> None:
    moved: dict[str, list[VimageDraft]] = defaultdict(list)
    for vimage in draft.vimages.values():
        for interface in vimage.values["vnets"]:
            moved[interface].append(vimage)
    if not moved:
        return
    bridged: dict[str, list[VimageDraft]] = defaultdict(list)
    for vimage in draft.vimages.values():
        for parent in dict.fromkeys(link.parent for link in vimage.links):
            if parent in moved:
                bridged[parent].append(vimage)
    for interface, owners in moved.items():
        first = owners[0]
        for other, part in [
            *((other, "vnets") for other in owners[1:]),
            *((other, "bridges") for other in bridged[interface]),
        ]:
            draft.error_of((first, other), "interface_twice", interface=interface,
                           first=draft.named(first, "vnets"), second=draft.named(other, part))
        if interface in draft.bridges:
            draft.error_of(owners, "interface_twice", interface=interface,
                           first=draft.named(first, "vnets"), second="vimage_bridge_list")


def _check_node_names(draft: Draft) -> None:
    """Every netgraph node has a name of its own, and so has every interface."""
    claims: dict[str, tuple[str, list[VimageDraft]]] = {}

    def claim(node: str, what: str, vimage: VimageDraft | None = None) -> None:
        before, owners = claims.setdefault(node, (what, []))
        mine = [vimage] if vimage else []
        if before != what:
            draft.error_of([*owners[:1], *mine], "node_twice",
                           node=node, first=before, second=what)
        elif mine and not owners:
            owners += mine

    for name in draft.bridges:
        claim(name, f"interface {name}")
        claim(names.bridge_node(name), f"the bridge of {name}")
    for vimage in draft.vimages.values():
        for link in vimage.links:
            claim(names.node(link.parent), f"interface {link.parent}", vimage)
            claim(names.bridge_node(link.parent), f"the bridge of {link.parent}", vimage)
            _claim_link(draft, claims, vimage, link)


def _claim_link(
    draft: Draft, claims: dict[str, tuple[str, list[VimageDraft]]], vimage: VimageDraft, link: Link
) -> None:
    what = f"link {link.index} of {vimage.name}"
    before, owners = claims.setdefault(link.name, (what, [vimage]))
    if before == what:
        return
    if before.startswith("link ") and owners[0] is not vimage:
        draft.error_of([owners[0], vimage], "name_cut", first=owners[0].name,
                       second=vimage.name, interface=link.name, most=names.MAX_INTERFACE)
    else:
        draft.error_of([*owners, vimage], "node_twice",
                       node=link.name, first=before, second=what)


def _check_addresses(draft: Draft) -> None:
    """No address twice within a vimage, nor on one bridge."""
    on_bridge: dict[tuple[str, str], tuple[str, VimageDraft | None]] = {}
    for bridge in draft.bridges.values():
        for address in bridge.addresses:
            variable = f"vimage_bridge_{names.variable(bridge.name)}_addr"
            on_bridge[bridge.name, address.split("/")[0]] = variable, None
    for vimage in draft.vimages.values():
        inside: dict[str, str] = {}
        for link in vimage.links:
            variable = _address_variable(draft, vimage, link.index)
            for text in link.addresses:
                address = text.split("/")[0]
                first, owner = on_bridge.setdefault(
                    (link.parent, address), (variable, vimage))
                if address in inside:
                    draft.error(vimage, "address_twice", address=address,
                                first=inside[address], second=variable)
                elif owner is not vimage:
                    draft.error_of([owner, vimage] if owner else [vimage], "address_twice",
                                   address=address, first=first, second=variable)
                inside.setdefault(address, variable)


def _address_variable(draft: Draft, vimage: VimageDraft, n: int) -> str:
    own = vimage.numbered.get("addr", {}).get(n)
    return own or f"vimage_addr{n} (for {vimage.name})"


def _check_devfs(draft: Draft) -> None:
    """One devfs is mounted for all vimages on a root: they have to agree on its ruleset."""
    first: dict[str, VimageDraft] = {}
    for vimage in draft.vimages.values():
        root = vimage.values.get("rootdir")
        if root is None or not vimage.values["devfs_enable"]:
            continue
        other = first.setdefault(root, vimage)
        ruleset, ruleset2 = (each.values["devfs_ruleset"] for each in (other, vimage))
        if ruleset != ruleset2:
            draft.error_of((other, vimage), "devfs_differs", root=root, first=other.name,
                           ruleset=ruleset, second=vimage.name, ruleset2=ruleset2)


def _assign_macs(draft: Draft) -> None:
    taken = _given_macs(draft)
    requests: list[mac.Owner] = [
        (mac.host_bridge(bridge.name), 0) for bridge in draft.bridges.values() if not bridge.mac]
    requests += [
        (vimage.name, link.index) for vimage in draft.vimages.values() for link in vimage.links
        if link.mac_from is MacFrom.DERIVED]
    if not requests or not _has_seed(draft, requests):
        return
    given = mac.assign(requests, taken, draft.recorded, seed=draft.seed())
    draft.resolved = {mac.key(owner): text for owner, text in given.resolved.items()}
    for name, bridge in draft.bridges.items():
        if not bridge.mac:
            draft.bridges[name] = replace(bridge, mac=given.macs[mac.host_bridge(name), 0])
    for vimage in draft.vimages.values():
        vimage.links = [
            replace(link, mac=given.macs[vimage.name, link.index])
            if link.mac_from is MacFrom.DERIVED else link for link in vimage.links]


def _given_macs(draft: Draft) -> set[str]:
    users = draft.bridge_users()
    given: dict[str, tuple[str, list[VimageDraft]]] = {}

    def give(text: str, variable: str, vimages: list[VimageDraft]) -> None:
        first, owners = given.setdefault(text, (variable, vimages))
        if first != variable:
            draft.error_of([*owners, *vimages], "mac_twice", mac=text,
                           first=first, second=variable)

    ours = {link.name for vimage in draft.vimages.values() for link in vimage.links}
    for name, text in draft.host_macs.items():
        if name not in ours and name not in draft.bridges:
            given.setdefault(text, (f"interface {name} of the host", []))
    for bridge in draft.bridges.values():
        if bridge.mac:
            give(bridge.mac, f"vimage_bridge_{names.variable(bridge.name)}_mac",
                 users[bridge.name])
    for vimage in draft.vimages.values():
        for link in vimage.links:
            if link.mac_from is MacFrom.GIVEN and link.mac:
                own = vimage.numbered.get("mac", {}).get(link.index)
                give(link.mac, own or f"vimage_mac{link.index} (for {vimage.name})", [vimage])
    return set(given)


def _has_seed(draft: Draft, requests: list[mac.Owner]) -> bool:
    if draft.seed():
        return True
    owners = {name for name, _ in requests}
    users = draft.bridge_users()
    vimages = [vimage for vimage in draft.vimages.values() if vimage.name in owners]
    for bridge in draft.bridges:
        if mac.host_bridge(bridge) in owners:
            vimages += users[bridge]
    for vimage in dict.fromkeys(vimage.name for vimage in vimages):
        draft.error(draft.vimages[vimage], "seed_missing", uuid=draft.hostuuid.strip())
    return False


def _check_depend(draft: Draft) -> None:
    needs = {vimage.name: _needs(draft, vimage) for vimage in draft.vimages.values()}
    for cycle in _cycles(needs):
        text = " -> ".join(_shortened(cycle))
        for name in cycle[:-1]:
            draft.error(draft.vimages[name], "depend_cycle", cycle=text,
                        variable=draft.source(draft.vimages[name], "depend"))
    dependents: dict[str, list[str]] = defaultdict(list)
    for name, others in needs.items():
        for other in others:
            dependents[other].append(name)
    queue = [name for name, vimage in draft.vimages.items() if vimage.bad]
    for other in queue:  # grows while it is walked
        for name in dependents[other]:
            vimage = draft.vimages[name]
            if not vimage.bad:
                draft.error(vimage, "depend_error", name=name, other=other,
                            variable=draft.source(vimage, "depend"))
                queue.append(name)


def _shortened(cycle: list[str]) -> list[str]:
    """A cycle as it is shown: of a long one the beginning and the end."""
    left_out = len(cycle) - 7
    return [*cycle[:4], f"({left_out} more)", *cycle[-3:]] if len(cycle) > 12 else cycle


def _needs(draft: Draft, vimage: VimageDraft) -> tuple[str, ...]:
    """The known ones of ``depend``.  A default need not leave out whom it names."""
    depend: tuple[str, ...] = vimage.values["depend"]
    if "depend" not in vimage.own:
        depend = tuple(name for name in depend if name != vimage.name)
        vimage.values["depend"] = depend
    for other in depend:
        if other not in draft.vimages:
            draft.error(vimage, "depend_unknown", name=vimage.name, other=other,
                        variable=draft.source(vimage, "depend"))
    return tuple(other for other in depend if other in draft.vimages)


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
