"""Interfaces of the host, and their way into a jail and back."""

from __future__ import annotations

import errno

import pytest

from tests.contract.any_host import address
from tests.contract.expect import fails
from tests.contract.registry import contract
from vimage.kernel import Cap, Iff, JailId

MISSING = "nosuch0"
SIMPLEX = 0x800


@contract("if_get")
@contract("if_list")
def test_a_new_eiface(host):
    _, name = host.eiface()
    interface = host.kernel.if_get(name)
    assert interface in host.kernel.if_list()
    assert (interface.name, interface.driver, interface.mtu) == (name, name, 1500)
    assert interface.flags == Iff.BROADCAST | Iff.MULTICAST | SIMPLEX
    assert len(interface.mac) == 17
    assert interface.mac == interface.mac.lower()


@contract("if_get")
def test_the_loopback_interface_has_no_mac(host):
    interface = host.kernel.if_get("lo0")
    assert interface.mac == ""
    assert interface.flags & Iff.LOOPBACK


@contract("if_get", errno.ENXIO)
@contract("if_users", errno.ENXIO)
@contract("if_rename", errno.ENXIO)
@contract("if_set_flags", errno.ENXIO)
@contract("if_set_mtu", errno.ENXIO)
@contract("if_mtu", errno.ENXIO)
@contract("if_set_mac", errno.ENXIO)
@contract("if_caps", errno.ENXIO)
@contract("if_set_caps", errno.ENXIO)
@pytest.mark.parametrize("operation", [
    lambda k: k.if_get(MISSING),
    lambda k: k.if_users(MISSING),
    lambda k: k.if_rename(MISSING, "nosuch1"),
    lambda k: k.if_set_flags(MISSING, on=Iff.UP),
    lambda k: k.if_set_mtu(MISSING, 1500),
    lambda k: k.if_mtu(MISSING),
    lambda k: k.if_set_mac(MISSING, "02:00:00:00:0a:01"),
    lambda k: k.if_caps(MISSING),
    lambda k: k.if_set_caps(MISSING, Cap(0)),
])
def test_no_such_interface(host, operation):
    with fails(errno.ENXIO):
        operation(host.kernel)


@contract("if_users")
def test_users_are_addresses(host):
    _, name = host.eiface()
    assert host.kernel.if_users(name) == []
    vnet = host.host_vnet()
    vnet.add_address(name, "192.0.2.77/32")
    assert host.kernel.if_users(name) == ["address 192.0.2.77"]
    vnet.add_address(name, "2001:db8::77/128")
    assert sorted(host.kernel.if_users(name)) == ["address 192.0.2.77", "address 2001:db8::77"]


@contract("if_users")
def test_users_are_what_lies_over_it(host):
    parent = host.parent()
    vlan = host.vlan(parent)
    assert host.kernel.if_users(parent) == [f"vlan {vlan}"]


# -- names, flags, MTU, MAC, capabilities ------------------------------------------------


@contract("if_rename")
def test_rename_leaves_driver_and_eiface_node_as_they_are(host):
    node, name = host.eiface()
    new = host.name("n")
    host.kernel.if_rename(name, new)
    assert host.kernel.if_get(new).driver == name
    assert host.kernel.ng_node(address(node)).name == name
    with fails(errno.ENXIO):
        host.kernel.if_get(name)


@contract("if_rename")
def test_rename_to_its_own_name_is_no_error(host):
    _, name = host.eiface()
    host.kernel.if_rename(name, name)


@contract("if_rename")
def test_an_ether_node_follows_a_rename(host):
    parent = host.parent()
    id = host.kernel.ng_node(f"{parent}:").id
    host.kernel.if_rename(parent, "wan.1")
    try:
        assert host.kernel.ng_node("wan_1:").id == id
    finally:
        host.kernel.if_rename("wan.1", parent)
    assert host.kernel.ng_node(f"{parent}:").id == id


@contract("if_rename")
def test_an_ether_node_keeps_its_name_when_another_node_has_the_new_one(host):
    parent = host.parent()
    taken, new = host.bridge(), host.name("n")
    host.kernel.ng_name(address(taken), new)
    id = host.kernel.ng_node(f"{parent}:").id
    host.kernel.if_rename(parent, new)
    assert host.kernel.ng_node(f"{new}:").id == taken.id
    assert host.kernel.ng_node(f"{parent}:").id == id
    host.kernel.if_rename(new, parent)


@contract("if_rename", errno.EEXIST)
def test_rename_to_a_taken_name(host):
    (_, first), (_, second) = host.eiface(), host.eiface()
    with fails(errno.EEXIST):
        host.kernel.if_rename(first, second)


@contract("if_rename", errno.EINVAL)
@pytest.mark.parametrize("new", ["", "a234567890123456"])
def test_rename_to_what_is_no_name(host, new):
    _, name = host.eiface()
    with fails(errno.EINVAL):
        host.kernel.if_rename(name, new)


@contract("if_set_flags")
def test_up_and_down(host):
    _, name = host.eiface()
    host.kernel.if_set_flags(name, on=Iff.UP)
    flags = host.kernel.if_get(name).flags
    assert flags & Iff.UP
    assert flags & Iff.RUNNING
    host.kernel.if_set_flags(name, off=Iff.UP)
    flags = host.kernel.if_get(name).flags
    assert not flags & Iff.UP
    assert not flags & Iff.RUNNING


@contract("if_set_flags")
def test_promiscuous_for_good(host):
    _, name = host.eiface()
    host.kernel.if_set_flags(name, on=Iff.PPROMISC)
    assert host.kernel.if_get(name).flags & Iff.PROMISC
    host.kernel.if_set_flags(name, off=Iff.PPROMISC)
    assert not host.kernel.if_get(name).flags & (Iff.PROMISC | Iff.PPROMISC)


@contract("if_set_flags")
def test_promiscuous_cannot_be_set_as_a_flag(host):
    _, name = host.eiface()
    host.kernel.if_set_flags(name, on=Iff.PROMISC | Iff.LOOPBACK)
    assert not host.kernel.if_get(name).flags & Iff.PROMISC


@contract("if_set_mtu")
@contract("if_mtu")
@pytest.mark.parametrize("mtu", [72, 1400, 9000, 9018])
def test_mtu(host, mtu):
    _, name = host.eiface()
    host.kernel.if_set_mtu(name, mtu)
    assert host.kernel.if_get(name).mtu == host.kernel.if_mtu(name) == mtu


@contract("if_set_mtu", errno.EINVAL)
@pytest.mark.parametrize("mtu", [-1, 0, 71, 9019, 65536])
def test_mtu_out_of_range(host, mtu):
    _, name = host.eiface()
    with fails(errno.EINVAL):
        host.kernel.if_set_mtu(name, mtu)
    assert host.kernel.if_get(name).mtu == 1500


@contract("if_set_mac")
def test_mac(host):
    parent = host.parent()
    host.kernel.if_set_mac(parent, "02:00:00:00:0A:07")
    assert host.kernel.if_get(parent).mac == "02:00:00:00:0a:07"


@contract("if_set_mac", errno.EINVAL)
def test_mac_of_a_group_or_of_what_has_none(host):
    _, name = host.eiface()
    with fails(errno.EINVAL):
        host.kernel.if_set_mac(name, "03:00:00:00:0a:07")
    with fails(errno.EINVAL):
        host.kernel.if_set_mac("lo0", "02:00:00:00:0a:07")


@contract("if_caps")
@contract("if_set_caps")
def test_capabilities_off_and_on(host):
    before = host.kernel.if_caps("lo0")
    assert before & Cap.TXCSUM
    host.on_close(host.kernel.if_set_caps, "lo0", before)
    host.kernel.if_set_caps("lo0", before & ~Cap.TXCSUM)
    assert host.kernel.if_caps("lo0") == before & ~Cap.TXCSUM
    host.kernel.if_set_caps("lo0", before)
    assert host.kernel.if_caps("lo0") == before


@contract("if_set_caps", errno.EINVAL)
def test_a_capability_that_the_hardware_lacks(host):
    _, name = host.eiface()
    caps = host.kernel.if_caps(name)
    with fails(errno.EINVAL):
        host.kernel.if_set_caps(name, caps | Cap.LRO)
    with fails(errno.EINVAL):
        host.kernel.if_set_caps("lo0", host.kernel.if_caps("lo0") | Cap.LRO)
    assert host.kernel.if_caps(name) == caps


# -- into a jail and back -------------------------------------------------------------------


def names(vnet):
    return sorted(interface.name for interface in vnet.interfaces())


@contract("if_vmove")
@contract("if_reclaim")
def test_there_and_back(host):
    _, name = host.eiface()
    jid = host.jail()
    host.host_vnet().add_address(name, "192.0.2.77/32")
    host.kernel.if_set_mtu(name, 1400)
    host.kernel.if_vmove(name, jid)
    with fails(errno.ENXIO):
        host.kernel.if_get(name)
    inside = next(i for i in host.vnet(jid).interfaces() if i.name == name)
    assert (inside.driver, inside.mtu) == (name, 1400)
    assert not inside.flags & Iff.UP
    host.vnet(jid).add_address(name, "192.0.2.78/32")
    host.kernel.if_reclaim(name, jid)
    assert not host.kernel.if_get(name).flags & Iff.UP
    assert host.kernel.if_users(name) == []
    assert names(host.vnet(jid)) == ["lo0"]


@contract("if_vmove")
def test_an_ether_node_ends_with_the_way_out_and_a_new_one_comes_back(host):
    parent = host.parent()
    before = host.kernel.ng_node(f"{parent}:").id
    jid = host.jail()
    host.kernel.if_vmove(parent, jid)
    with fails(errno.ENOENT):
        host.kernel.ng_node(f"{parent}:")
    host.kernel.if_reclaim(parent, jid)
    after = host.kernel.ng_node(f"{parent}:")
    assert after.type == "ether"
    assert after.id != before


@contract("if_vmove")
def test_a_bridge_loses_the_interface_that_moves_away(host):
    parent = host.parent()
    bridge = host.bridge()
    host.kernel.ng_connect(address(bridge), "link1", f"{parent}:", "lower")
    jid = host.jail()
    host.kernel.if_vmove(parent, jid)
    assert host.kernel.ng_node(address(bridge)).hooks == 1
    host.kernel.if_reclaim(parent, jid)
    assert host.kernel.ng_node(f"{parent}:").hooks == 0


@contract("if_vmove")
def test_promiscuous_mode_set_through_the_node_outlives_it(host):
    parent = host.parent()
    host.kernel.ng_ether_set(f"{parent}:", promisc=True)
    jid = host.jail()
    host.kernel.if_vmove(parent, jid)
    host.kernel.if_reclaim(parent, jid)
    assert host.kernel.ng_ether_get(f"{parent}:") == (False, False)
    assert host.kernel.if_get(parent).flags & Iff.PROMISC


@contract("if_vmove", errno.ENXIO)
def test_move_of_nothing_or_to_nowhere(host):
    _, name = host.eiface()
    jid = host.jail()
    with fails(errno.ENXIO):
        host.kernel.if_vmove(MISSING, jid)
    with fails(errno.ENXIO):
        host.kernel.if_vmove(name, JailId(999_998))


@contract("if_vmove", errno.EEXIST)
def test_move_to_a_jail_that_has_one_of_that_name(host):
    (_, first), (_, second) = host.eiface(), host.eiface()
    jid = host.jail()
    host.kernel.if_vmove(first, jid)
    host.vnet(jid).rename(first, second)
    with fails(errno.EEXIST):
        host.kernel.if_vmove(second, jid)
    assert host.kernel.if_get(second).name == second


@contract("if_vmove", errno.EEXIST)
def test_move_to_a_jail_without_a_vnet(host):
    _, name = host.eiface()
    jid = host.jail(vnet=None)
    with fails(errno.EEXIST):
        host.kernel.if_vmove(name, jid)


@contract("if_reclaim", errno.ENXIO)
def test_reclaim_of_nothing_or_from_nowhere(host):
    jid = host.jail()
    with fails(errno.ENXIO):
        host.kernel.if_reclaim(MISSING, jid)
    with fails(errno.ENXIO):
        host.kernel.if_reclaim(MISSING, JailId(999_998))


@contract("if_reclaim", errno.EEXIST)
def test_reclaim_of_a_name_that_the_host_has(host):
    (_, first), (_, second) = host.eiface(), host.eiface()
    jid = host.jail()
    host.kernel.if_vmove(first, jid)
    host.vnet(jid).rename(first, second)
    with fails(errno.EEXIST):
        host.kernel.if_reclaim(second, jid)
    assert second in names(host.vnet(jid))


# -- what a jail leaves behind ----------------------------------------------------------------


@contract("jail_remove")
def test_interfaces_come_back_when_the_jail_goes(host):
    node, name = host.eiface()
    jid = host.jail()
    host.kernel.if_vmove(name, jid)
    vnet = host.kernel.vnet(jid)
    vnet.add_address(name, "192.0.2.78/24")
    vnet.close()
    host.remove(jid)
    back = host.kernel.if_get(name)
    assert back.driver == name
    assert not back.flags & Iff.UP
    assert host.kernel.if_users(name) == []
    assert host.kernel.ng_eiface_ifname(address(node)) == name


@contract("jail_remove")
def test_an_interface_comes_back_with_a_name_that_the_host_has(host):
    (_, first), (_, second) = host.eiface(), host.eiface()
    jid = host.jail()
    host.kernel.if_vmove(first, jid)
    vnet = host.kernel.vnet(jid)
    vnet.rename(first, second)
    vnet.close()
    host.remove(jid)
    twins = [i.driver for i in host.kernel.if_list() if i.name == second]
    assert sorted(twins) == sorted([first, second])
    assert host.kernel.if_get(second).driver == second


@contract("jail_remove")
def test_an_eiface_whose_node_has_another_name_comes_back_with_a_second_node(host):
    node, name = host.eiface()
    new = host.name("n")
    host.kernel.if_rename(name, new)
    jid = host.jail()
    host.kernel.if_vmove(new, jid)
    host.remove(jid)
    assert host.kernel.ng_node(f"{new}:").type == "ether"
    assert host.kernel.ng_node(f"{name}:").type == "eiface"
    host.kernel.ng_shutdown(address(node))
    with fails(errno.ENOENT):
        host.kernel.ng_node(f"{new}:")


@contract("jail_remove")
def test_an_eiface_whose_node_has_its_name_comes_back_without_another_node(host):
    node, name = host.eiface()
    new = host.name("n")
    host.kernel.if_rename(name, new)
    host.kernel.ng_name(address(node), new)
    jid = host.jail()
    host.kernel.if_vmove(new, jid)
    host.remove(jid)
    assert host.kernel.ng_node(f"{new}:").id == node.id
