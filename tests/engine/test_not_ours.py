"""What others have made in the place of ours is left alone."""

from __future__ import annotations

from pathlib import Path

from tests.engine.stage import ROOT, Stage
from tests.lib.snapshot import difference


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
