"""Every kind of vimage, up and down again, and the host as it was."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.kinds import KINDS
from tests.engine.stage import Stage
from tests.lib.snapshot import difference
from vimage.engine import Outcome
from vimage.kernel import JailId


@pytest.fixture(params=KINDS)
def stage(request: pytest.FixtureRequest, tmp_path) -> Stage:
    return Stage(tmp_path, request.param)


def test_up_and_down(stage: Stage) -> None:
    before = stage.look()
    answer = stage.start()
    assert [str(p) for r in answer.results for p in r.problems] == []
    assert {result.outcome for result in answer.results} == {Outcome.READY}
    assert difference(before, stage.look()) != []
    answer = stage.stop()
    assert {result.outcome for result in answer.results} == {Outcome.STOPPED}
    assert difference(before, stage.look()) == []


def test_no_jail_is_looked_for_while_others_are_made(
        stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel locks its list of jails while it makes one: the loop would spin meanwhile."""
    calls: list[str] = []

    def note(name: str) -> None:
        made = getattr(stage.kernel, name)

        def call(argument: Any) -> Any:
            calls.append(name)
            return made(argument)

        monkeypatch.setattr(stage.kernel, name, call)

    note("jail_get")
    note("jail_create")
    assert stage.start().status == 0
    assert "jail_get" not in calls[calls.index("jail_create"):]


def test_ready_vimages_are_not_touched_by_another_start(stage: Stage) -> None:
    stage.start()
    before = stage.look()
    answer = stage.start()
    assert {result.outcome for result in answer.results} == {Outcome.ALREADY_READY}
    assert difference(before, stage.look()) == []


def test_stop_follows_the_record_not_the_configuration(stage: Stage) -> None:
    before = stage.look()
    stage.start()
    stage.variables = {"vimage_list": ""}
    stage.stop()
    assert difference(before, stage.look()) == []


def test_state_of_another_boot_is_set_aside(stage: Stage) -> None:
    stage.start()
    stage.hand.reboot()
    stage.kernel.kld_load("ng_ether")
    before = stage.look()
    answer = stage.start()
    assert {result.outcome for result in answer.results} == {Outcome.READY}
    stage.stop()
    left = [line for line in difference(before, stage.look()) if not line.startswith("file ")]
    assert left == []


def test_the_same_macs_after_a_reboot(stage: Stage) -> None:
    stage.start()
    first = _macs(stage)
    stage.hand.reboot()
    stage.kernel.kld_load("ng_ether")
    stage.start()
    assert _macs(stage) == first


def _macs(stage: Stage) -> dict[str, str]:
    found: dict[str, str] = {}
    for jid in stage.kernel.jail_list():
        vnet = stage.kernel.vnet(JailId(jid))
        found |= {i.name: i.mac for i in vnet.interfaces() if i.name.startswith("ng0_a")}
        vnet.close()
    return found
