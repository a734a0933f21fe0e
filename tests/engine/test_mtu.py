"""The MTU of a link: as configured, else that of its parent."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.engine.stage import PARENT, Stage
from tests.lib.faulty import Faults
from vimage import check
from vimage.journal import Entry
from vimage.kernel import Interface
from vimage.kernel.simulated.virtual_time import run
from vimage.reload import reload
from vimage.steps.interfaces import EifaceStep
from vimage.steps.kinds import from_entry


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, "MTU")


def inside(stage: Stage) -> dict[str, Interface]:
    vnet = stage.kernel.vnet(stage.kernel.jail_get("a").jid)
    try:
        return {i.name: i for i in vnet.interfaces()}
    finally:
        vnet.close()


def mtus(stage: Stage) -> dict[str, int]:
    return {name: i.mtu for name, i in inside(stage).items() if name != "lo0"}


class Silent:
    """Whoever asked has gone."""

    def send(self, event: object) -> None:
        """Do nothing."""


def reloaded(stage: Stage, faults: Faults | None = None) -> int:
    session = stage.session(faults and faults.kernel(stage.kernel))
    try:
        return run(reload(session, stage.loaded, Silent()))
    finally:
        session.journal.close()


def test_the_configured_one(stage: Stage) -> None:
    stage.start()
    assert mtus(stage) == {"ng0_a": 1280, "ng1_a": 1400}


def test_else_that_of_the_parent(stage: Stage) -> None:
    stage.kernel.if_set_mtu(PARENT, 9000)
    del stage.variables["vimage_a_mtu1"]
    stage.start()
    assert mtus(stage) == {"ng0_a": 1280, "ng1_a": 9000}


def test_the_usual_one_beside_a_parent_with_another(stage: Stage) -> None:
    stage.kernel.if_set_mtu(PARENT, 9000)
    stage.variables["vimage_a_mtu1"] = "1500"
    stage.start()
    assert mtus(stage) == {"ng0_a": 1280, "ng1_a": 1500}


def test_plan_shows_it(stage: Stage) -> None:
    vimage = stage.loaded.configuration.vimages["a"]
    assert EifaceStep.of(vimage.links[0]).describe().endswith(", MTU 1280")
    assert "MTU" not in EifaceStep.of(type(vimage.links[0]).from_dict(
        {**vimage.links[0].to_dict(), "mtu": None})).describe()


def test_a_change_keeps_interface_and_addresses(stage: Stage) -> None:
    stage.start()
    before, addresses = inside(stage), stage.hand.addresses_inside(
        stage.kernel.jail_get("a").jid)
    stage.variables |= {"vimage_a_mtu0": "1300"}
    del stage.variables["vimage_a_mtu1"]
    assert reloaded(stage) == 0
    assert mtus(stage) == {"ng0_a": 1300, "ng1_a": 1500}
    after = inside(stage)
    assert [after[name].index for name in after] == [before[name].index for name in before]
    assert after["ng0_a"].flags == before["ng0_a"].flags
    assert stage.hand.addresses_inside(stage.kernel.jail_get("a").jid) == addresses
    assert stage.stop().status == 0


def test_a_change_finds_an_interface_that_the_jail_has_renamed(stage: Stage) -> None:
    stage.start()
    stage.hand.rename_inside(stage.kernel.jail_get("a").jid, "ng0_a", "uplink")
    stage.variables["vimage_a_mtu0"] = "1300"
    assert reloaded(stage) == 0
    assert mtus(stage) == {"uplink": 1300, "ng1_a": 1400}


def test_a_change_of_more_makes_the_link_anew(stage: Stage) -> None:
    stage.start()
    before = stage.kernel.ng_node("ng0_a:").id
    stage.variables |= {"vimage_a_mtu0": "1300", "vimage_a_mac0": "02:00:00:00:00:01"}
    assert reloaded(stage) == 0
    assert mtus(stage) == {"ng0_a": 1300, "ng1_a": 1400}
    assert stage.kernel.ng_node("ng0_a:").id != before


def test_a_change_that_fails_is_taken_back(stage: Stage) -> None:
    """Two links are changed; the second MTU is refused."""
    stage.start()
    stage.variables |= {"vimage_a_mtu0": "1300", "vimage_a_mtu1": "1500"}
    at = 0
    while True:
        at += 1
        faults = Faults(at=at, error=errno.EIO)
        status = reloaded(stage, faults)
        if faults.count < at:
            break
        assert status == 1
        assert mtus(stage) == {"ng0_a": 1280, "ng1_a": 1400}, faults.done
    assert (at, status) == (3, 0)
    assert mtus(stage) == {"ng0_a": 1300, "ng1_a": 1500}


def test_a_record_from_before_there_was_one(stage: Stage) -> None:
    step = from_entry(Entry("eiface", {"name": "ng0_a", "parent": "em1", "host_only": False,
                                       "mac": None, "mac_of_parent": False}))
    assert step == EifaceStep("ng0_a", "em1", False, None, False, None)


def warnings(stage: Stage) -> list[str]:
    configuration = stage.loaded.configuration
    return [str(p) for p in check.vimage(stage.kernel, configuration.vimages["a"], configuration)
            if p.warning]


def test_check_warns_of_one_greater_than_the_parent_has(stage: Stage) -> None:
    assert warnings(stage) == []
    stage.variables["vimage_a_mtu1"] = "1501"
    assert warnings(stage) == ['vimage_a_mtu1="1501": greater than the MTU of em1, 1500']
    stage.kernel.if_set_mtu(PARENT, 1501)
    assert warnings(stage) == []


def test_check_warns_of_one_greater_than_a_host_only_bridge_will_have(stage: Stage) -> None:
    stage.variables |= {"vimage_bridge_list": "lan0", "vimage_a_bridges": "em1 lan0",
                        "vimage_a_mtu1": "1501"}
    assert warnings(stage) == ['vimage_a_mtu1="1501": greater than the MTU of lan0, 1500']


def test_check_does_not_compare_with_a_parent_that_is_not_there(stage: Stage) -> None:
    stage.variables |= {"vimage_a_bridges": "em1 em9", "vimage_a_mtu1": "9000",
                        "vimage_a_exec_prepare": "true"}
    assert len(warnings(stage)) == 1 and "no interface em9" in warnings(stage)[0]
