"""What others have made in the place of ours is left alone."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.engine.stage import PARENT, ROOT, Stage
from tests.lib.snapshot import difference
from vimage.kernel import JailId
from vimage.steps.interfaces import EifaceStep


def test_another_jail_of_the_same_name(tmp_path: Path) -> None:
    """Ours has gone, and somebody has made one that is called like it."""
    stage = Stage(tmp_path, "bridge")
    stage.start()
    stage.hand.remove_jail(stage.kernel.jail_get("a").jid)
    other = stage.kernel.jail_create({"name": "a", "path": ROOT, "persist": True})
    assert stage.stop().status == 0
    assert stage.kernel.jail_list() == {other}


def test_another_jail_under_the_same_number(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "bridge")
    stage.start()
    jid = stage.kernel.jail_get("a").jid
    stage.hand.remove_jail(jid)
    stage.kernel.jail_create({"name": "other", "path": ROOT, "persist": True, "jid": jid})
    stage.kernel.new_task(jid, ("/bin/other",))
    assert stage.stop().status == 0
    assert stage.kernel.jail_list() == {jid}


def test_others_on_a_host_only_bridge_keep_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "host-only bridge")
    before = stage.look()
    assert stage.start().status == 0
    stage.kernel.ng_mkpeer("lan0bridge:", "eiface", "link77", "ether")
    assert stage.stop().status == 0
    assert stage.kernel.ng_node("lan0bridge:").hooks == 2
    assert stage.kernel.if_get("lan0").name == "lan0"
    stage.kernel.ng_shutdown("lan0bridge:link77")
    assert stage.start().status == 0
    assert stage.stop().status == 0
    assert difference(before, stage.look()) == []


def test_a_host_only_bridge_without_its_interface(tmp_path: Path) -> None:
    """Somebody has shut the interface down."""
    stage = Stage(tmp_path, "host-only bridge")
    before = stage.look()
    stage.start()
    stage.kernel.ng_shutdown("lan0bridge:link0")
    assert stage.stop().status == 0
    assert difference(before, stage.look()) == []


def test_a_bridge_that_has_lost_its_parent_and_is_used_by_others(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "bridge")
    stage.start()
    stage.kernel.ng_mkpeer(f"{PARENT}bridge:", "eiface", "link77", "ether")
    stage.hand.detach(stage.kernel.if_get(PARENT).driver)
    assert stage.stop().status == 0
    assert stage.kernel.ng_node(f"{PARENT}bridge:").hooks == 1


def test_a_link_of_which_only_the_intent_is_known(tmp_path: Path) -> None:
    """It is ours if it has our name, or none yet."""
    stage = Stage(tmp_path, "bridge")
    stage.start()
    kernel = stage.kernel
    bridge = kernel.ng_node(f"{PARENT}bridge:").id
    kernel.ng_mkpeer(f"{PARENT}bridge:", "eiface", "link77", "ether")
    step = EifaceStep("ng0_x", PARENT, False, None, False)

    def found() -> bool:
        return step.find(kernel, {"bridge": bridge, "link": 77}) is not None

    assert found()
    kernel.ng_name(f"{PARENT}bridge:link77", "ng0_x")
    assert found()
    kernel.ng_name("ng0_x:", "ng0_other")
    assert not found()
    assert step.find(kernel, {}) is None


def test_a_jail_that_somebody_else_removes_at_the_same_time(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, "hooks, boot, services, command")
    stage.start()
    remove = stage.kernel.jail_remove

    def late(jail: JailId) -> None:
        remove(jail)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(stage.kernel, "jail_remove", late)
    assert stage.stop().status == 0
    assert difference(stage.before, stage.look()) == []


def test_commands_of_a_jail_that_has_gone_are_not_run(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "hooks, boot, services, command")
    stage.start()
    stage.hand.remove_jail(stage.kernel.jail_get("a").jid)
    assert stage.stop().status == 0
    assert difference(stage.before, stage.look()) == []


def test_a_jail_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where it exists already it is said to be another's."""
    stage = Stage(tmp_path, "bridge")

    def fails(parameters: object) -> JailId:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(stage.kernel, "jail_create", fails)
    problem = stage.start().results[0].problems[0]
    assert "Cannot allocate memory" in str(problem)
    assert difference(stage.before, stage.look()) == []
