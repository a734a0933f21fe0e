"""Nodes, hooks, names and what the types of nodes make of them."""

from __future__ import annotations

import errno

import pytest

from tests.contract.any_host import address
from tests.contract.expect import fails
from tests.contract.registry import contract

NOWHERE = "[7ffffff1]:"


def hooks(host, path):
    return {hook.hook: (hook.peer.id, hook.peer_hook) for hook in host.kernel.ng_hooks(path)}


# -- nodes and paths -------------------------------------------------------------------


@contract("ng_node")
def test_node_by_name_by_id_and_by_hook(host):
    parent = host.parent()
    bridge = host.bridge()
    host.kernel.ng_name(address(bridge), host.name("br"))
    host.kernel.ng_connect(address(bridge), "link1", f"{parent}:", "lower")
    by_id = host.kernel.ng_node(address(bridge))
    assert by_id.type == "bridge"
    assert by_id.hooks == 2
    assert host.kernel.ng_node(f"{by_id.name}:") == by_id
    assert host.kernel.ng_node(f"{parent}:lower") == by_id
    assert host.kernel.ng_node(f"{address(bridge)}link1").name == parent
    assert host.kernel.ng_node(f"{parent}:lower.link1.lower") == by_id


@contract("ng_node", errno.ENOENT)
@pytest.mark.parametrize("path", ["no_such_node:", NOWHERE, ".:no_such_hook"])
def test_node_that_is_not_there(host, path):
    with fails(errno.ENOENT):
        host.kernel.ng_node(path)


@contract("ng_nodes")
def test_nodes_lists_every_node(host):
    bridge = host.bridge()
    node, _ = host.eiface()
    found = {node.id: node for node in host.kernel.ng_nodes()}
    assert found[bridge.id] == host.kernel.ng_node(address(bridge))
    assert found[node.id].type == "eiface"


@contract("ng_hooks")
def test_hooks_and_their_peers(host):
    bridge = host.bridge()
    eiface, _ = host.eiface()
    own = host.kernel.ng_node(".:").id
    hook = next(h.hook for h in host.kernel.ng_hooks(".:") if h.peer.id == eiface.id)
    host.kernel.ng_rmhook(".:", hook)
    host.kernel.ng_connect(address(bridge), "link7", address(eiface), "ether")
    found = {h.hook: h for h in host.kernel.ng_hooks(address(bridge))}
    assert set(found) == {"link0", "link7"}
    assert found["link7"].peer == host.kernel.ng_node(address(eiface))
    assert found["link7"].peer_hook == "ether"
    assert found["link0"].peer.id == own
    assert hooks(host, address(eiface)) == {"ether": (bridge.id, "link7")}


@contract("ng_hooks", errno.ENOENT)
def test_hooks_of_no_node(host):
    with fails(errno.ENOENT):
        host.kernel.ng_hooks(NOWHERE)


@contract("ng_name")
def test_a_name_moves_from_node_to_node(host):
    first, second = host.bridge(), host.bridge()
    name = host.name("br")
    host.kernel.ng_name(address(first), name)
    host.kernel.ng_name(address(first), name)
    host.kernel.ng_name(address(first), f"{name}b")
    host.kernel.ng_name(address(second), name)
    assert host.kernel.ng_node(f"{name}:").id == second.id
    assert host.kernel.ng_node(f"{name}b:").id == first.id


@contract("ng_name", errno.ENOENT)
def test_name_for_no_node(host):
    with fails(errno.ENOENT):
        host.kernel.ng_name(NOWHERE, host.name("br"))


@contract("ng_name", errno.EADDRINUSE)
def test_name_that_another_node_has(host):
    name = host.name("br")
    host.kernel.ng_name(address(host.bridge()), name)
    with fails(errno.EADDRINUSE):
        host.kernel.ng_name(address(host.bridge()), name)


@contract("ng_name", errno.EINVAL)
@pytest.mark.parametrize("name", ["em0.100", "a:b", "[2f]"])
def test_name_that_a_path_could_not_have(host, name):
    bridge = host.bridge()
    with fails(errno.EINVAL):
        host.kernel.ng_name(address(bridge), name)


# -- mkpeer ------------------------------------------------------------------------------


@contract("ng_mkpeer")
def test_mkpeer_on_a_bridge(host):
    bridge = host.bridge()
    host.kernel.ng_mkpeer(address(bridge), "eiface", "link3", "ether")
    node = host.kernel.ng_node(f"{address(bridge)}link3")
    host.on_close(host.kernel.ng_shutdown, address(node))
    assert node.type == "eiface"
    assert node.hooks == 1
    name = host.kernel.ng_eiface_ifname(address(node))
    assert node.name == name
    assert name.startswith("ngeth")
    assert host.kernel.if_get(name).driver == name


@contract("ng_mkpeer")
def test_mkpeer_on_an_interface(host):
    parent = host.parent()
    host.kernel.ng_mkpeer(f"{parent}:", "bridge", "lower", "link0")
    bridge = host.kernel.ng_node(f"{parent}:lower")
    assert (bridge.type, bridge.name, bridge.hooks) == ("bridge", "", 1)
    host.kernel.ng_shutdown(address(bridge))


@contract("ng_mkpeer", errno.ENOENT)
def test_mkpeer_on_no_node(host):
    with fails(errno.ENOENT):
        host.kernel.ng_mkpeer(NOWHERE, "eiface", "link0", "ether")


@contract("ng_mkpeer", errno.ENOENT)
def test_mkpeer_of_a_type_for_which_there_is_no_module(host):
    with fails(errno.ENOENT):
        host.kernel.ng_mkpeer(".:", "nosuchtype", "hook", "hook")


@contract("ng_mkpeer", errno.EEXIST)
def test_mkpeer_on_a_taken_hook_leaves_nothing(host):
    bridge = host.bridge()
    before = len(host.kernel.if_list())
    with fails(errno.EEXIST):
        host.kernel.ng_mkpeer(address(bridge), "eiface", "link0", "ether")
    assert len(host.kernel.if_list()) == before
    assert host.kernel.ng_node(address(bridge)).hooks == 1


@contract("ng_mkpeer", errno.EINVAL)
@pytest.mark.parametrize("hook", [
    "foo", "link", "linkx", "link01", "link-1", "uplink0", "uplink", "link1 ",
])
def test_hook_names_that_a_bridge_does_not_know(host, hook):
    if hook in ("link", "uplink") and host.kernel.sysctl("kern.osreldate") >= 1_400_000:
        pytest.skip("this kernel finds the number itself")
    bridge = host.bridge()
    with fails(errno.EINVAL):
        host.kernel.ng_mkpeer(address(bridge), "eiface", hook, "ether")
    assert set(hooks(host, address(bridge))) == {"link0"}


@contract("ng_mkpeer")
@pytest.mark.parametrize("hook", ["link1", "link1000", "uplink1", "uplink12"])
def test_hook_names_that_a_bridge_knows(host, hook):
    bridge = host.bridge()
    host.kernel.ng_mkpeer(address(bridge), "eiface", hook, "ether")
    node = host.kernel.ng_node(f"{address(bridge)}{hook}")
    assert node.type == "eiface"
    host.kernel.ng_shutdown(address(node))


@contract("ng_mkpeer", errno.EINVAL)
def test_an_ether_node_cannot_be_made(host):
    with fails(errno.EINVAL):
        host.kernel.ng_mkpeer(".:", "ether", "hook", "lower")


@contract("ng_mkpeer", errno.EINVAL)
def test_hook_names_that_an_ether_node_does_not_know(host):
    parent = host.parent()
    with fails(errno.EINVAL):
        host.kernel.ng_mkpeer(f"{parent}:", "bridge", "side", "link0")
    assert hooks(host, f"{parent}:") == {}


@contract("ng_mkpeer", errno.EPFNOSUPPORT)
def test_an_eiface_knows_one_hook_name_only(host):
    before = len(host.kernel.if_list())
    with fails(errno.EPFNOSUPPORT):
        host.kernel.ng_mkpeer(".:", "eiface", "hook", "link0")
    assert len(host.kernel.if_list()) == before


# -- connect, rmhook, shutdown ----------------------------------------------------------------


@contract("ng_connect")
def test_bridge_below_and_above_an_interface(host):
    parent = host.parent()
    bridge = host.bridge()
    host.kernel.ng_connect(f"{parent}:", "lower", address(bridge), "link1")
    host.kernel.ng_connect(address(bridge), "link2", f"{parent}:", "upper")
    id = host.kernel.ng_node(f"{parent}:").id
    assert hooks(host, f"{parent}:") == {
        "lower": (bridge.id, "link1"), "upper": (bridge.id, "link2")}
    assert hooks(host, address(bridge))["link2"] == (id, "upper")


@contract("ng_connect", errno.ENOENT)
def test_connect_with_no_node(host):
    bridge = host.bridge()
    with fails(errno.ENOENT):
        host.kernel.ng_connect(NOWHERE, "link0", address(bridge), "link1")
    with fails(errno.ENOENT):
        host.kernel.ng_connect(address(bridge), "link1", NOWHERE, "link0")


@contract("ng_connect", errno.EEXIST)
def test_connect_on_a_taken_hook(host):
    first, second = host.bridge(), host.bridge()
    with fails(errno.EEXIST):
        host.kernel.ng_connect(address(first), "link1", address(second), "link0")
    with fails(errno.EEXIST):
        host.kernel.ng_connect(address(first), "link0", address(second), "link1")
    assert host.kernel.ng_node(address(first)).hooks == 1
    assert host.kernel.ng_node(address(second)).hooks == 1


@contract("ng_rmhook")
def test_rmhook_takes_both_ends(host):
    first, second = host.bridge(), host.bridge()
    host.kernel.ng_connect(address(first), "link1", address(second), "link1")
    host.kernel.ng_rmhook(address(first), "link1")
    assert set(hooks(host, address(first))) == {"link0"}
    assert set(hooks(host, address(second))) == {"link0"}


@contract("ng_rmhook")
def test_rmhook_of_a_hook_that_is_not_there_is_no_error(host):
    bridge = host.bridge()
    host.kernel.ng_rmhook(address(bridge), "link9")
    assert set(hooks(host, address(bridge))) == {"link0"}


@contract("ng_rmhook", errno.ENOENT)
def test_rmhook_of_no_node(host):
    with fails(errno.ENOENT):
        host.kernel.ng_rmhook(NOWHERE, "link0")


@contract("ng_rmhook")
def test_a_bridge_goes_with_its_last_hook(host):
    bridge = host.bridge()
    host.kernel.ng_rmhook(address(bridge), "link0")
    with fails(errno.ENOENT):
        host.kernel.ng_node(address(bridge))


@contract("ng_rmhook")
def test_an_eiface_stays_without_hooks(host):
    node, name = host.eiface()
    host.kernel.ng_rmhook(address(node), "ether")
    assert host.kernel.ng_node(address(node)).hooks == 0
    assert host.kernel.if_get(name).name == name


@contract("ng_rmhook")
def test_an_ether_node_without_hooks_is_no_longer_promiscuous(host):
    parent = host.parent()
    bridge = host.bridge()
    host.kernel.ng_connect(address(bridge), "link1", f"{parent}:", "lower")
    host.kernel.ng_connect(address(bridge), "link2", f"{parent}:", "upper")
    host.kernel.ng_ether_set(f"{parent}:", promisc=True, autosrc=True)
    host.kernel.ng_rmhook(f"{parent}:", "lower")
    assert host.kernel.ng_ether_get(f"{parent}:") == (True, True)
    host.kernel.ng_rmhook(f"{parent}:", "upper")
    assert host.kernel.ng_ether_get(f"{parent}:") == (False, True)
    host.kernel.ng_ether_set(f"{parent}:", autosrc=False)


@contract("ng_shutdown")
def test_shutdown_of_a_bridge_frees_the_hooks_of_others(host):
    bridge = host.bridge()
    node, name = host.eiface()
    host.kernel.ng_rmhook(address(node), "ether")
    host.kernel.ng_connect(address(bridge), "link1", address(node), "ether")
    host.kernel.ng_shutdown(address(bridge))
    with fails(errno.ENOENT):
        host.kernel.ng_node(address(bridge))
    assert host.kernel.ng_node(address(node)).hooks == 0


@contract("ng_shutdown")
def test_shutdown_of_an_eiface_takes_its_interface(host):
    node, name = host.eiface()
    host.kernel.ng_shutdown(address(node))
    with fails(errno.ENXIO):
        host.kernel.if_get(name)
    with fails(errno.ENOENT):
        host.kernel.ng_node(address(node))


@contract("ng_shutdown")
def test_shutdown_of_an_eiface_takes_its_interface_out_of_a_jail(host):
    node, name = host.eiface()
    jid = host.jail()
    host.kernel.if_vmove(name, jid)
    vnet = host.vnet(jid)
    assert name in [interface.name for interface in vnet.interfaces()]
    host.kernel.ng_shutdown(address(node))
    assert name not in [interface.name for interface in vnet.interfaces()]
    with fails(errno.ENOENT):
        host.kernel.ng_node(address(node))


@contract("ng_shutdown")
def test_shutdown_of_an_ether_node_only_resets_it(host):
    parent = host.parent()
    bridge = host.bridge()
    host.kernel.ng_connect(address(bridge), "link1", f"{parent}:", "lower")
    host.kernel.ng_ether_set(f"{parent}:", promisc=True)
    id = host.kernel.ng_node(f"{parent}:").id
    host.kernel.ng_shutdown(f"{parent}:")
    node = host.kernel.ng_node(f"{parent}:")
    assert (node.id, node.hooks) == (id, 0)
    assert host.kernel.ng_ether_get(f"{parent}:")[0] is False


@contract("ng_shutdown", errno.ENOENT)
def test_shutdown_of_no_node(host):
    with fails(errno.ENOENT):
        host.kernel.ng_shutdown(NOWHERE)


# -- eiface and ether ---------------------------------------------------------------------------


@contract("ng_eiface_ifname")
def test_ifname_follows_a_rename_also_inside_a_jail(host):
    node, name = host.eiface()
    new = host.name("n")
    host.kernel.if_rename(name, new)
    assert host.kernel.ng_eiface_ifname(address(node)) == new
    assert host.kernel.ng_node(address(node)).name == name
    jid = host.jail()
    host.kernel.if_vmove(new, jid)
    host.vnet(jid).rename(new, "eth0")
    assert host.kernel.ng_eiface_ifname(address(node)) == "eth0"


@contract("ng_eiface_ifname", errno.ENOENT)
def test_ifname_of_no_node(host):
    with fails(errno.ENOENT):
        host.kernel.ng_eiface_ifname(NOWHERE)


@contract("ng_eiface_ifname", errno.EINVAL)
def test_ifname_of_a_bridge(host):
    bridge = host.bridge()
    with fails(errno.EINVAL):
        host.kernel.ng_eiface_ifname(address(bridge))


@contract("ng_eiface_set_mac")
def test_mac_of_an_eiface_wherever_it_is(host):
    node, name = host.eiface()
    host.kernel.ng_eiface_set_mac(address(node), "02:00:00:00:0a:01")
    assert host.kernel.if_get(name).mac == "02:00:00:00:0a:01"
    jid = host.jail()
    host.kernel.if_vmove(name, jid)
    host.kernel.ng_eiface_set_mac(address(node), "02:00:00:00:0a:02")
    inside = {i.name: i for i in host.vnet(jid).interfaces()}
    assert inside[name].mac == "02:00:00:00:0a:02"


@contract("ng_eiface_set_mac", errno.ENOENT)
def test_mac_of_no_node(host):
    with fails(errno.ENOENT):
        host.kernel.ng_eiface_set_mac(NOWHERE, "02:00:00:00:0a:01")


@contract("ng_eiface_set_mac", errno.EINVAL)
def test_mac_of_a_bridge(host):
    bridge = host.bridge()
    with fails(errno.EINVAL):
        host.kernel.ng_eiface_set_mac(address(bridge), "02:00:00:00:0a:01")


@contract("ng_ether_get")
@contract("ng_ether_set")
def test_promisc_and_autosrc(host):
    parent = host.parent()
    assert host.kernel.ng_ether_get(f"{parent}:") == (False, False)
    host.kernel.ng_ether_set(f"{parent}:", promisc=True)
    assert host.kernel.ng_ether_get(f"{parent}:") == (True, False)
    assert host.kernel.if_get(parent).flags & 0x100
    host.kernel.ng_ether_set(f"{parent}:", promisc=True)
    host.kernel.ng_ether_set(f"{parent}:", autosrc=True)
    assert host.kernel.ng_ether_get(f"{parent}:") == (True, True)
    host.kernel.ng_ether_set(f"{parent}:", promisc=False, autosrc=False)
    assert host.kernel.ng_ether_get(f"{parent}:") == (False, False)
    assert not host.kernel.if_get(parent).flags & 0x100


@contract("ng_ether_get", errno.ENOENT)
@contract("ng_ether_set", errno.ENOENT)
def test_ether_messages_to_no_node(host):
    with fails(errno.ENOENT):
        host.kernel.ng_ether_get(NOWHERE)
    with fails(errno.ENOENT):
        host.kernel.ng_ether_set(NOWHERE, promisc=True)


@contract("ng_ether_get", errno.EINVAL)
@contract("ng_ether_set", errno.EINVAL)
def test_ether_messages_to_a_bridge(host):
    bridge = host.bridge()
    with fails(errno.EINVAL):
        host.kernel.ng_ether_get(address(bridge))
    with fails(errno.EINVAL):
        host.kernel.ng_ether_set(address(bridge), promisc=True)
