"""What others have made in the place of ours is left alone."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.engine.machine import PARENT, ROOT, Machine
from tests.lib.snapshot import difference
from vimage.kernel import JailId
from vimage.steps.interfaces import EifaceStep


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


def test_a_bridge_that_has_lost_its_parent_and_is_used_by_others(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "bridge")
    machine.start()
    machine.kernel.ng_mkpeer(f"{PARENT}bridge:", "eiface", "link77", "ether")
    machine.control.detach(machine.kernel.if_get(PARENT).driver)
    assert machine.stop().status == 0
    assert machine.kernel.ng_node(f"{PARENT}bridge:").hooks == 1


def test_a_link_of_which_only_the_intent_is_known(tmp_path: Path) -> None:
    """It is ours if it has our name, or none yet."""
    machine = Machine(tmp_path, "bridge")
    machine.start()
    kernel = machine.kernel
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
    machine = Machine(tmp_path, "hooks, boot, services, command")
    machine.start()
    remove = machine.kernel.jail_remove

    def late(jail: JailId) -> None:
        remove(jail)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(machine.kernel, "jail_remove", late)
    assert machine.stop().status == 0
    assert difference(machine.before, machine.look()) == []


def test_commands_of_a_jail_that_has_gone_are_not_run(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "hooks, boot, services, command")
    machine.start()
    machine.control.remove_jail(machine.kernel.jail_get("a").jid)
    assert machine.stop().status == 0
    assert difference(machine.before, machine.look()) == []


def test_a_jail_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where it exists already it is said to be another's."""
    machine = Machine(tmp_path, "bridge")

    def fails(parameters: object) -> JailId:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(machine.kernel, "jail_create", fails)
    problem = machine.start().results[0].problems[0]
    assert "Cannot allocate memory" in str(problem)
    assert difference(machine.before, machine.look()) == []


def test_resource_rules_that_somebody_has_added(tmp_path: Path) -> None:
    """With rctl(8), for the jail of a vimage that has rules of its own."""
    machine = Machine(tmp_path, "bridge")
    machine.control.set_sysctl("kern.racct.enable", 1)
    machine.variables["vimage_a_rctl"] = "maxproc:deny=10 vmemoryuse:deny=512m"
    assert machine.start().status == 0
    machine.kernel.rctl_add("jail:a:openfiles:deny=100")
    assert machine.stop().status == 0
    assert machine.control.rules() == ["jail:a:openfiles:deny=100"]


def test_a_jail_made_by_somebody_before_ours_was(tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """With our name and our root: a start that fails before it made its own leaves it."""
    machine = Machine(tmp_path, "bridge")
    made = []

    def fails(*_: object) -> None:
        made.append(machine.kernel.jail_create({"name": "a", "path": ROOT, "persist": True}))
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(machine.kernel, "ng_eiface_set_mac", fails)
    assert machine.start().status == 1
    assert machine.kernel.jail_list() == set(made) != set()
