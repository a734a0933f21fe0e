"""Of the settings of a parent exactly what was changed is put back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.stage import PARENT, Stage
from tests.lib.snapshot import difference
from vimage.kernel import UNBRIDGEABLE, Cap, Iff


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, "bridge")


def set_up(stage: Stage, *, up: bool, promisc: bool, autosrc: bool, caps: bool) -> None:
    """The parent as its administrator wants it."""
    kernel = stage.kernel
    kernel.if_set_flags(PARENT, on=Iff.UP if up else Iff(0), off=Iff(0) if up else Iff.UP)
    kernel.ng_ether_set(f"{PARENT}:", promisc=promisc, autosrc=autosrc)
    now = kernel.if_caps(PARENT)
    kernel.if_set_caps(PARENT, now | UNBRIDGEABLE if caps else now.without(UNBRIDGEABLE))


@pytest.mark.parametrize("caps", [True, False], ids=["offloads", "no offloads"])
@pytest.mark.parametrize("autosrc", [True, False], ids=["autosrc", "no autosrc"])
@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_as_before(stage: Stage, up: bool, autosrc: bool, caps: bool) -> None:
    kernel = stage.kernel
    set_up(stage, up=up, promisc=False, autosrc=autosrc, caps=caps)
    before = stage.look()
    assert stage.start().status == 0
    assert kernel.if_get(PARENT).flags & Iff.UP
    assert kernel.ng_ether_get(f"{PARENT}:") == (True, False)
    assert kernel.if_caps(PARENT) & UNBRIDGEABLE == Cap(0)
    assert stage.stop().status == 0
    assert difference(before, stage.look()) == []


def test_what_somebody_has_changed_meanwhile_stays(stage: Stage) -> None:
    kernel = stage.kernel
    set_up(stage, up=False, promisc=False, autosrc=True, caps=True)
    stage.start()
    kernel.if_set_flags(PARENT, off=Iff.UP)
    kernel.ng_ether_set(f"{PARENT}:", promisc=False, autosrc=True)
    assert stage.stop().status == 0
    assert not kernel.if_get(PARENT).flags & Iff.UP
    assert kernel.ng_ether_get(f"{PARENT}:") == (False, True)


def test_a_parent_with_something_on_top_stays_up(stage: Stage) -> None:
    set_up(stage, up=False, promisc=False, autosrc=True, caps=True)
    stage.start()
    stage.hand.use(PARENT, "vlan em1.100")
    assert stage.stop().status == 0
    assert stage.kernel.if_get(PARENT).flags & Iff.UP


def test_another_card_of_the_same_name_is_left_alone(stage: Stage) -> None:
    """The parent was pulled out; what is called like it by now is not ours."""
    set_up(stage, up=False, promisc=False, autosrc=True, caps=True)
    stage.start()
    stage.hand.detach(stage.kernel.if_get(PARENT).driver)
    stage.hand.attach("re7", "02:00:00:00:00:99")
    stage.kernel.if_rename("re7", PARENT)
    stage.kernel.if_set_flags(PARENT, on=Iff.UP)
    assert stage.stop().status == 0
    assert stage.kernel.if_get(PARENT).flags & Iff.UP


@pytest.mark.parametrize("name", ["em1bridge", "other"])
def test_a_parent_that_hangs_on_something_else(stage: Stage, name: str) -> None:
    """A bridge under another name, or a node of that name elsewhere: nothing is touched."""
    kernel = stage.kernel
    parent = PARENT if name == "other" else "igb1"
    kernel.ng_mkpeer(f"{parent}:", "bridge", "lower", "link0")
    kernel.ng_name(f"{parent}:lower", name)
    before = stage.look()
    assert stage.start().status == 1
    assert difference(before, stage.look()) == []


def test_links_have_the_mtu_of_the_parent(stage: Stage) -> None:
    kernel = stage.kernel
    kernel.if_set_mtu(PARENT, 9000)
    before = stage.look()
    stage.start()
    vnet = kernel.vnet(kernel.jail_get("a").jid)
    assert {i.name: i.mtu for i in vnet.interfaces() if i.name == "ng0_a"} == {"ng0_a": 9000}
    vnet.close()
    stage.stop()
    assert difference(before, stage.look()) == []
