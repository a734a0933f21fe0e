"""What others have made in the place of ours is left alone."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.engine.machine import ROOT, Machine
from tests.lib.snapshot import difference


def test_another_jail_of_the_same_name(tmp_path: Path) -> None:
    """Ours has gone, and somebody has made one that is called like it."""
    machine = Machine(tmp_path, "bridge")
    machine.start()
    machine.control.remove_jail(machine.kernel.jail_get("a").jid)
    other = machine.kernel.jail_create({"name": "a", "path": ROOT, "persist": True})
    assert machine.stop().status == 0
    assert machine.kernel.jail_list() == {other}


def test_another_jail_under_the_same_number(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "bridge")
    machine.start()
    jid = machine.kernel.jail_get("a").jid
    machine.control.remove_jail(jid)
    machine.kernel.jail_create({"name": "other", "path": ROOT, "persist": True, "jid": jid})
    machine.kernel.new_task(jid, ("/bin/other",))
    assert machine.stop().status == 0
    assert machine.kernel.jail_list() == {jid}
    assert [words for _, of, words in machine.control.processes() if of == jid] == ["/bin/other"]


def test_another_jail_of_the_name_of_one_that_was_not_yet_made(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start fails before it comes to its jail, and undoes what it has done."""
    machine = Machine(tmp_path, "bridge")
    made = []

    def fails(*_: object) -> None:
        made.append(machine.kernel.jail_create({"name": "a", "path": "/", "persist": True}))
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(machine.kernel, "ng_eiface_set_mac", fails)
    assert machine.start().status == 1
    assert machine.kernel.jail_list() == set(made) != set()


def test_others_on_a_host_only_bridge_keep_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "host-only bridge")
    before = machine.look()
    assert machine.start().status == 0
    machine.kernel.ng_mkpeer("lan0bridge:", "eiface", "link77", "ether")
    assert machine.stop().status == 0
    assert machine.kernel.ng_node("lan0bridge:").hooks == 2
    assert machine.kernel.if_get("lan0").name == "lan0"
    machine.kernel.ng_shutdown("lan0bridge:link77")
    assert machine.start().status == 0
    assert machine.stop().status == 0
    assert difference(before, machine.look()) == []


def test_a_host_only_bridge_without_its_interface(tmp_path: Path) -> None:
    """Somebody has shut the interface down."""
    machine = Machine(tmp_path, "host-only bridge")
    before = machine.look()
    machine.start()
    machine.kernel.ng_shutdown("lan0bridge:link0")
    assert machine.stop().status == 0
    assert difference(before, machine.look()) == []


def test_resource_rules_that_somebody_has_added(tmp_path: Path) -> None:
    """With rctl(8), for the jail of a vimage that has rules of its own."""
    machine = Machine(tmp_path, "bridge")
    machine.control.set_sysctl("kern.racct.enable", 1)
    machine.variables["vimage_a_rctl"] = "maxproc:deny=10 vmemoryuse:deny=512m"
    assert machine.start().status == 0
    machine.kernel.rctl_add("jail:a:openfiles:deny=100")
    assert machine.stop().status == 0
    assert machine.control.rules() == ["jail:a:openfiles:deny=100"]
