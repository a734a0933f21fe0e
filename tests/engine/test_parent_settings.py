"""Of the settings of a parent exactly what was changed is put back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.machine import PARENT, Machine
from tests.lib.snapshot import difference
from vimage.kernel import UNBRIDGEABLE, Cap, Iff


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "bridge")


def set_up(machine: Machine, *, up: bool, promisc: bool, autosrc: bool, caps: bool) -> None:
    """The parent as its administrator wants it."""
    kernel = machine.kernel
    kernel.if_set_flags(PARENT, on=Iff.UP if up else Iff(0), off=Iff(0) if up else Iff.UP)
    kernel.ng_ether_set(f"{PARENT}:", promisc=promisc, autosrc=autosrc)
    now = kernel.if_caps(PARENT)
    kernel.if_set_caps(PARENT, now | UNBRIDGEABLE if caps else now.without(UNBRIDGEABLE))


@pytest.mark.parametrize("caps", [True, False], ids=["offloads", "no offloads"])
@pytest.mark.parametrize("autosrc", [True, False], ids=["autosrc", "no autosrc"])
@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_as_before(machine: Machine, up: bool, autosrc: bool, caps: bool) -> None:
    kernel = machine.kernel
    set_up(machine, up=up, promisc=False, autosrc=autosrc, caps=caps)
    before = machine.look()
    assert machine.start().status == 0
    assert kernel.if_get(PARENT).flags & Iff.UP
    assert kernel.ng_ether_get(f"{PARENT}:") == (True, False)
    assert kernel.if_caps(PARENT) & UNBRIDGEABLE == Cap(0)
    assert machine.stop().status == 0
    assert difference(before, machine.look()) == []


def test_what_somebody_has_changed_meanwhile_stays(machine: Machine) -> None:
    kernel = machine.kernel
    set_up(machine, up=False, promisc=False, autosrc=True, caps=True)
    machine.start()
    kernel.if_set_flags(PARENT, off=Iff.UP)
    kernel.ng_ether_set(f"{PARENT}:", promisc=False, autosrc=True)
    assert machine.stop().status == 0
    assert not kernel.if_get(PARENT).flags & Iff.UP
    assert kernel.ng_ether_get(f"{PARENT}:") == (False, True)


def test_a_parent_with_something_on_top_stays_up(machine: Machine) -> None:
    set_up(machine, up=False, promisc=False, autosrc=True, caps=True)
    machine.start()
    machine.control.use(PARENT, "vlan em1.100")
    assert machine.stop().status == 0
    assert machine.kernel.if_get(PARENT).flags & Iff.UP


def test_another_card_of_the_same_name_is_left_alone(machine: Machine) -> None:
    """The parent was pulled out; what is called like it by now is not ours."""
    set_up(machine, up=False, promisc=False, autosrc=True, caps=True)
    machine.start()
    machine.control.detach(machine.kernel.if_get(PARENT).driver)
    machine.control.attach("re7", "02:00:00:00:00:99")
    machine.kernel.if_rename("re7", PARENT)
    machine.kernel.if_set_flags(PARENT, on=Iff.UP)
    assert machine.stop().status == 0
    assert machine.kernel.if_get(PARENT).flags & Iff.UP


@pytest.mark.parametrize("name", ["em1bridge", "other"])
def test_a_parent_that_hangs_on_something_else(machine: Machine, name: str) -> None:
    """A bridge under another name, or a node of that name elsewhere: nothing is touched."""
    kernel = machine.kernel
    parent = PARENT if name == "other" else "igb1"
    kernel.ng_mkpeer(f"{parent}:", "bridge", "lower", "link0")
    kernel.ng_name(f"{parent}:lower", name)
    before = machine.look()
    assert machine.start().status == 1
    assert difference(before, machine.look()) == []


def test_links_have_the_mtu_of_the_parent(machine: Machine) -> None:
    kernel = machine.kernel
    kernel.if_set_mtu(PARENT, 9000)
    before = machine.look()
    machine.start()
    vnet = kernel.vnet(kernel.jail_get("a").jid)
    assert {i.name: i.mtu for i in vnet.interfaces() if i.name == "ng0_a"} == {"ng0_a": 9000}
    vnet.close()
    machine.stop()
    assert difference(before, machine.look()) == []
