"""A bridge that jng made: used, never destroyed, its parent as it was afterwards."""

from __future__ import annotations

from pathlib import Path

from tests.engine.machine import PARENT, Machine
from tests.lib.snapshot import difference
from vimage.kernel import Iff


def _jng(machine: Machine) -> None:
    """What ``jng bridge other em1`` does."""
    kernel = machine.kernel
    kernel.if_set_flags(PARENT, on=Iff.UP)
    kernel.ng_ether_set(f"{PARENT}:", promisc=True, autosrc=False)
    kernel.ng_mkpeer(f"{PARENT}:", "bridge", "lower", "link0")
    kernel.ng_connect(f"{PARENT}:", "upper", f"{PARENT}:lower", "link1")
    kernel.ng_name(f"{PARENT}:lower", f"{PARENT}bridge")
    kernel.ng_mkpeer(f"{PARENT}bridge:", "eiface", "link2", "ether")
    kernel.ng_name(f"{PARENT}bridge:link2", "ng0_other")


def test_it_stays_as_it_was(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "bridge")
    _jng(machine)
    before = machine.look()
    assert machine.start().status == 0
    assert machine.stop().status == 0
    assert difference(before, machine.look()) == []


def test_others_on_our_bridge_keep_it_and_a_later_stop_takes_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "bridge")
    before = machine.look()
    assert machine.start().status == 0
    machine.kernel.ng_mkpeer(f"{PARENT}bridge:", "eiface", "link77", "ether")
    assert machine.stop().status == 0
    assert machine.kernel.ng_node(f"{PARENT}bridge:").hooks == 3
    machine.kernel.ng_shutdown(f"{PARENT}bridge:link77")
    assert machine.start().status == 0
    assert machine.stop().status == 0
    assert difference(before, machine.look()) == []


def test_a_parent_that_others_have_joined_stays_up(tmp_path: Path, monkeypatch) -> None:
    """Something else hangs on its hooks by the time our bridge has gone."""
    machine = Machine(tmp_path, "bridge")
    kernel, shutdown = machine.kernel, machine.kernel.ng_shutdown
    kernel.if_set_flags(PARENT, off=Iff.UP)
    assert machine.start().status == 0

    def and_another(path: str) -> None:
        ours = kernel.ng_node(path).name == f"{PARENT}bridge"
        shutdown(path)
        if ours:
            kernel.ng_mkpeer(f"{PARENT}:", "bridge", "lower", "link0")

    monkeypatch.setattr(kernel, "ng_shutdown", and_another)
    assert machine.stop().status == 0
    assert kernel.if_get(PARENT).flags & Iff.UP
