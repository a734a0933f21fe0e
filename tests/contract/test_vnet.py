"""Sockets in the VNET of a jail."""

from __future__ import annotations

import errno

import pytest

from tests.contract.expect import fails
from tests.contract.registry import contract
from vimage.kernel import Iff, JailId


@pytest.fixture
def inside(host):
    """A jail with one interface of its own: (vnet, name, jid)."""
    _, name = host.eiface()
    jid = host.jail()
    host.kernel.if_vmove(name, jid)
    return host.vnet(jid), name, jid


def interface(vnet, name):
    return next(i for i in vnet.interfaces() if i.name == name)


@contract("vnet")
@contract("Vnet.interfaces")
def test_a_new_vnet_has_its_own_loopback(host):
    found = host.vnet(host.jail()).interfaces()
    # 13 numbers the interfaces of each VNET from 1, 15 those of all VNETs together.
    assert [(i.name, i.mac) for i in found] == [("lo0", "")]
    assert found[0].index > 0
    assert not found[0].flags & Iff.UP
    assert found[0].flags & Iff.LOOPBACK


@contract("host_vnet")
def test_the_vnet_of_the_host(host):
    assert host.host_vnet().interfaces() == host.kernel.if_list()


@contract("vnet", errno.ENOENT)
def test_vnet_of_no_jail(host):
    with fails(errno.ENOENT):
        host.kernel.vnet(JailId(999_998))


@contract("Vnet.set_up")
def test_set_up(inside):
    vnet, name, _ = inside
    vnet.set_up(name)
    vnet.set_up("lo0")
    assert interface(vnet, name).flags & Iff.UP
    assert interface(vnet, "lo0").flags & Iff.UP


@contract("Vnet.set_up", errno.ENXIO)
@contract("Vnet.add_address", errno.ENXIO)
@contract("Vnet.remove_address", errno.ENXIO)
@contract("Vnet.rename", errno.ENXIO)
@contract("Vnet.set_mtu", errno.ENXIO)
def test_interfaces_of_the_host_are_not_seen(host, inside):
    vnet, _, _ = inside
    _, outside = host.eiface()
    with fails(errno.ENXIO):
        vnet.set_up(outside)
    with fails(errno.ENXIO):
        vnet.add_address(outside, "192.0.2.77/32")
    with fails(errno.ENXIO):
        vnet.add_address(outside, "2001:db8::77/64")
    with fails(errno.ENXIO):
        vnet.remove_address(outside, "192.0.2.77/32")
    with fails(errno.ENXIO):
        vnet.rename(outside, "eth0")
    with fails(errno.ENXIO):
        vnet.set_mtu(outside, 1400)


@contract("Vnet.add_address")
def test_addresses_of_both_families_bring_the_interface_up(inside):
    vnet, name, _ = inside
    vnet.add_address(name, "192.0.2.77/24")
    assert interface(vnet, name).flags & Iff.UP
    vnet.add_address(name, "2001:db8::77/64")
    vnet.add_address(name, "192.0.2.78/32")
    vnet.add_address("lo0", "127.0.0.1/8")
    assert interface(vnet, "lo0").flags & Iff.UP


@contract("Vnet.add_address")
def test_the_same_address_on_the_same_interface_again(inside):
    vnet, name, _ = inside
    vnet.add_address(name, "192.0.2.77/24")
    vnet.add_address(name, "192.0.2.77/24")


@contract("Vnet.add_address")
def test_an_ipv4_address_that_another_interface_has_is_no_error(host, inside):
    vnet, name, jid = inside
    _, second = host.eiface()
    host.kernel.if_vmove(second, jid)
    vnet.add_address(name, "192.0.2.77/24")
    vnet.add_address(second, "192.0.2.77/24")
    vnet.remove_address(second, "192.0.2.77/24")


@contract("Vnet.remove_address")
def test_an_address_is_taken_away(host, inside):
    vnet, name, _ = inside
    for address in ("192.0.2.77/24", "2001:db8::77/64"):
        vnet.add_address(name, address)
        vnet.remove_address(name, address)
        with fails(errno.EADDRNOTAVAIL):
            vnet.remove_address(name, address)


@contract("Vnet.remove_address", errno.EADDRNOTAVAIL)
def test_an_address_that_is_not_there(inside):
    vnet, name, _ = inside
    vnet.add_address(name, "192.0.2.78/24")
    with fails(errno.EADDRNOTAVAIL):
        vnet.remove_address(name, "192.0.2.77/24")
    with fails(errno.EADDRNOTAVAIL):
        vnet.remove_address(name, "2001:db8::77/64")


@contract("Vnet.add_default_route")
def test_default_routes(inside):
    vnet, name, _ = inside
    vnet.add_address(name, "192.0.2.77/24")
    vnet.add_default_route("192.0.2.1")
    vnet.set_up(name)
    vnet.add_address(name, "2001:db8::77/64")
    vnet.add_default_route("2001:db8::1")


@contract("Vnet.add_default_route", errno.EEXIST)
def test_the_same_default_route_again(inside):
    vnet, name, _ = inside
    vnet.add_address(name, "192.0.2.77/24")
    vnet.add_default_route("192.0.2.1")
    with fails(errno.EEXIST):
        vnet.add_default_route("192.0.2.1")


@contract("Vnet.add_default_route")
def test_another_default_route_is_one_more_path(host, inside):
    vnet, name, _ = inside
    vnet.add_address(name, "192.0.2.77/24")
    vnet.add_default_route("192.0.2.1")
    vnet.add_default_route("192.0.2.2")


@contract("Vnet.add_default_route", errno.ENETUNREACH)
def test_a_gateway_on_no_connected_network(inside):
    vnet, name, _ = inside
    vnet.add_address(name, "192.0.2.77/24")
    with fails(errno.ENETUNREACH):
        vnet.add_default_route("198.51.100.1")
    with fails(errno.ENETUNREACH):
        vnet.add_default_route("2001:db8:1::1")


@contract("Vnet.rename")
def test_rename_inside(inside):
    vnet, name, _ = inside
    vnet.rename(name, "eth0")
    assert interface(vnet, "eth0").driver == name


@contract("Vnet.rename", errno.EEXIST)
def test_rename_inside_to_a_taken_name(inside):
    vnet, name, _ = inside
    with fails(errno.EEXIST):
        vnet.rename(name, "lo0")


@contract("Vnet.set_mtu")
def test_an_mtu_set_inside(inside):
    vnet, name, _ = inside
    vnet.add_address(name, "192.0.2.77/24")
    vnet.set_mtu(name, 1400)
    assert interface(vnet, name).mtu == 1400
    assert interface(vnet, name).flags & Iff.UP


@contract("Vnet.set_mtu", errno.EINVAL)
@pytest.mark.parametrize("mtu", [71, 9019])
def test_an_mtu_inside_that_is_out_of_range(inside, mtu):
    vnet, name, _ = inside
    with fails(errno.EINVAL):
        vnet.set_mtu(name, mtu)
    assert interface(vnet, name).mtu == 1500


@contract("Vnet.close")
def test_close_twice(inside):
    vnet, _, _ = inside
    vnet.close()
    vnet.close()


@contract("Vnet.close")
def test_an_open_socket_keeps_a_jail_dying(host, inside):
    vnet, name, jid = inside
    host.kernel.jail_remove(jid)
    assert host.kernel.jail_get(jid).dying
    with fails(errno.ENXIO):
        host.kernel.if_get(name)
    vnet.close()
    host.freed(jid)
    assert host.kernel.if_get(name).name == name
