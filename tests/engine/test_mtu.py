"""The MTU of a link: as configured, else that of its parent."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.engine.machine import PARENT, Machine
from tests.lib.faulty import Faults
from vimage import check
from vimage.journal import Entry
from vimage.kernel import Interface
from vimage.kernel.simulated.virtual_time import run
from vimage.reload import reload
from vimage.steps.interfaces import EifaceStep
from vimage.steps.kinds import from_entry


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "MTU")


def inside(machine: Machine) -> dict[str, Interface]:
    vnet = machine.kernel.vnet(machine.kernel.jail_get("a").jid)
    try:
        return {i.name: i for i in vnet.interfaces()}
    finally:
        vnet.close()


def mtus(machine: Machine) -> dict[str, int]:
    return {name: i.mtu for name, i in inside(machine).items() if name != "lo0"}


class Silent:
    """Whoever asked has gone."""

    def send(self, event: object) -> None:
        """Do nothing."""


def reloaded(machine: Machine, faults: Faults | None = None) -> int:
    session = machine.session(faults and faults.kernel(machine.kernel))
    try:
        return run(reload(session, machine.loaded, Silent()))
    finally:
        session.journal.close()


def test_the_configured_one(machine: Machine) -> None:
    machine.start()
    assert mtus(machine) == {"ng0_a": 1280, "ng1_a": 1400}


def test_else_that_of_the_parent(machine: Machine) -> None:
    machine.kernel.if_set_mtu(PARENT, 9000)
    del machine.variables["vimage_a_mtu1"]
    machine.start()
    assert mtus(machine) == {"ng0_a": 1280, "ng1_a": 9000}


def test_the_usual_one_beside_a_parent_with_another(machine: Machine) -> None:
    machine.kernel.if_set_mtu(PARENT, 9000)
    machine.variables["vimage_a_mtu1"] = "1500"
    machine.start()
    assert mtus(machine) == {"ng0_a": 1280, "ng1_a": 1500}


def test_plan_shows_it(machine: Machine) -> None:
    vimage = machine.loaded.configuration.vimages["a"]
    assert EifaceStep.of(vimage.links[0]).describe().endswith(", MTU 1280")
    assert "MTU" not in EifaceStep.of(type(vimage.links[0]).from_dict(
        {**vimage.links[0].to_dict(), "mtu": None})).describe()


def test_a_change_keeps_interface_and_addresses(machine: Machine) -> None:
    machine.start()
    before, addresses = inside(machine), machine.control.addresses_inside(
        machine.kernel.jail_get("a").jid)
    machine.variables |= {"vimage_a_mtu0": "1300"}
    del machine.variables["vimage_a_mtu1"]
    assert reloaded(machine) == 0
    assert mtus(machine) == {"ng0_a": 1300, "ng1_a": 1500}
    after = inside(machine)
    assert [after[name].index for name in after] == [before[name].index for name in before]
    assert after["ng0_a"].flags == before["ng0_a"].flags
    assert machine.control.addresses_inside(machine.kernel.jail_get("a").jid) == addresses
    assert machine.stop().status == 0


def test_a_change_finds_an_interface_that_the_jail_has_renamed(machine: Machine) -> None:
    machine.start()
    machine.control.rename_inside(machine.kernel.jail_get("a").jid, "ng0_a", "uplink")
    machine.variables["vimage_a_mtu0"] = "1300"
    assert reloaded(machine) == 0
    assert mtus(machine) == {"uplink": 1300, "ng1_a": 1400}


def test_a_change_of_more_makes_the_link_anew(machine: Machine) -> None:
    machine.start()
    before = machine.kernel.ng_node("ng0_a:").id
    machine.variables |= {"vimage_a_mtu0": "1300", "vimage_a_mac0": "02:00:00:00:00:01"}
    assert reloaded(machine) == 0
    assert mtus(machine) == {"ng0_a": 1300, "ng1_a": 1400}
    assert machine.kernel.ng_node("ng0_a:").id != before


def test_a_change_that_fails_is_taken_back(machine: Machine) -> None:
    """Two links are changed; the second MTU is refused."""
    machine.start()
    machine.variables |= {"vimage_a_mtu0": "1300", "vimage_a_mtu1": "1500"}
    at = 0
    while True:
        at += 1
        faults = Faults(at=at, error=errno.EIO)
        status = reloaded(machine, faults)
        if faults.count < at:
            break
        assert status == 1
        assert mtus(machine) == {"ng0_a": 1280, "ng1_a": 1400}, faults.done
    assert (at, status) == (3, 0)
    assert mtus(machine) == {"ng0_a": 1300, "ng1_a": 1500}


def test_a_record_from_before_there_was_one(machine: Machine) -> None:
    step = from_entry(Entry("eiface", {"name": "ng0_a", "parent": "em1", "host_only": False,
                                       "mac": None, "mac_of_parent": False}))
    assert step == EifaceStep("ng0_a", "em1", False, None, False, None)


def warnings(machine: Machine) -> list[str]:
    configuration = machine.loaded.configuration
    return [str(p) for p in check.vimage(machine.kernel, configuration.vimages["a"], configuration)
            if p.warning]


def test_check_warns_of_one_greater_than_the_parent_has(machine: Machine) -> None:
    assert warnings(machine) == []
    machine.variables["vimage_a_mtu1"] = "1501"
    assert warnings(machine) == ['vimage_a_mtu1="1501": greater than the MTU of em1, 1500']
    machine.kernel.if_set_mtu(PARENT, 1501)
    assert warnings(machine) == []


def test_check_warns_of_one_greater_than_a_host_only_bridge_will_have(machine: Machine) -> None:
    machine.variables |= {"vimage_bridge_list": "lan0", "vimage_a_bridges": "em1 lan0",
                        "vimage_a_mtu1": "1501"}
    assert warnings(machine) == ['vimage_a_mtu1="1501": greater than the MTU of lan0, 1500']


def test_check_does_not_compare_with_a_parent_that_is_not_there(machine: Machine) -> None:
    machine.variables |= {"vimage_a_bridges": "em1 em9", "vimage_a_mtu1": "9000",
                        "vimage_a_exec_prepare": "true"}
    assert len(warnings(machine)) == 1 and "no interface em9" in warnings(machine)[0]
