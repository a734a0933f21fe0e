"""What a start sets inside the jail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.stage import Stage
from tests.lib.snapshot import difference
from vimage.kernel import Iff
from vimage.kernel.simulated import jails


def parameter(stage: Stage, name: str) -> object:
    """A parameter of the jail of a."""
    with stage.kernel.state.operation():
        return jails.find(stage.kernel.state, stage.kernel.jail_get("a").jid).parameters.get(name)


@pytest.mark.parametrize("level", ["0", "1", "3"])
def test_securelevel(tmp_path: Path, level: str) -> None:
    stage = Stage(tmp_path, "bridge")
    stage.variables["vimage_a_securelevel"] = level
    assert stage.start().status == 0
    assert str(parameter(stage, "securelevel")) == level


def test_addresses_and_routes(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "addresses")
    assert stage.start().status == 0
    jid = stage.kernel.jail_get("a").jid
    inside = stage.hand.addresses_inside(jid)
    assert inside["ng0_a"] == ("192.0.2.2/24", "2001:db8::2/64")
    assert "127.0.0.1/8" in inside["lo0"]
    assert stage.hand.default_route(jid) == "192.0.2.1"
    vnet = stage.kernel.vnet(jid)
    assert {i.name for i in vnet.interfaces() if i.flags & Iff.UP} == {"lo0", "ng0_a"}
    vnet.close()


@pytest.mark.parametrize("rctl, cpus", [
    ("maxproc:deny=10 vmemoryuse:deny=512m", ""), ("", "0"), ("maxproc:deny=10", "0")])
def test_limits(tmp_path: Path, rctl: str, cpus: str) -> None:
    stage = Stage(tmp_path, "bridge")
    stage.hand.set_sysctl("kern.racct.enable", 1)
    before = stage.look()
    stage.variables |= {"vimage_a_rctl": rctl, "vimage_a_cpus": cpus}
    assert stage.start().status == 0
    assert sorted(stage.hand.rules()) == sorted(f"jail:a:{rule}" for rule in rctl.split())
    assert stage.stop().status == 0
    assert difference(before, stage.look()) == []
