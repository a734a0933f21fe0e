"""Links on a bridge: their numbers, their interfaces, and where these are at stop."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest

from tests.engine.machine import PARENT, Machine
from tests.lib.snapshot import difference
from vimage.kernel import Interface
from vimage.kernel.simulated.virtual_time import run


def hooks(machine: Machine) -> list[str]:
    """The hooks of the bridge that are taken."""
    return sorted(hook.hook for hook in machine.kernel.ng_hooks(f"{PARENT}bridge:"))


def test_the_links_of_a_bridge_that_is_made_anew_begin_anew(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "bridge")
    session = machine.session()

    async def play() -> None:
        for _ in range(2):
            await session.start(machine.loaded, [])
            assert hooks(machine) == ["link0", "link1", "link2"]
            await session.stop(machine.loaded, [])

    run(play())


def test_a_link_that_somebody_else_has_taken_is_passed_over(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "same parent twice, copied and kernel's MAC")
    session = machine.session()

    async def play() -> None:
        await session.start(machine.loaded, ["a"])
        machine.kernel.ng_mkpeer(f"{PARENT}bridge:", "eiface", "link4", "ether")
        assert (await session.start(machine.loaded, ["b"])).status == 0
        assert hooks(machine) == ["link0", "link1", "link2", "link3", "link4", "link5", "link6"]
        machine.kernel.ng_shutdown(f"{PARENT}bridge:link4")
        await session.stop(machine.loaded, [])

    run(play())
    assert difference(machine.before, machine.look()) == []


class Moving:
    """The kernel takes a while to give the host back the interfaces of a jail that is gone."""

    def __init__(self, machine: Machine, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.seconds = seconds
        self.shut: list[float] = []
        kernel = machine.kernel
        if_get, ng_shutdown = kernel.if_get, kernel.ng_shutdown

        def get(name: str) -> Interface:
            if name == "ng0_a" and asyncio.get_running_loop().time() < self.seconds:
                raise OSError(errno.ENXIO, "Device not configured")
            return if_get(name)

        def shutdown(path: str) -> Any:
            if kernel.ng_node(path).type == "eiface":
                self.shut.append(asyncio.get_running_loop().time())
            return ng_shutdown(path)

        monkeypatch.setattr(kernel, "if_get", get)
        monkeypatch.setattr(kernel, "ng_shutdown", shutdown)


def test_an_interface_that_is_on_its_way_back_is_waited_for(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To shut its node down meanwhile can panic the kernel."""
    machine = Machine(tmp_path, "bridge")
    machine.start()
    machine.control.remove_jail(machine.kernel.jail_get("a").jid)
    moving = Moving(machine, monkeypatch, seconds=2.0)
    assert machine.stop().status == 0
    assert len(moving.shut) == 1 and moving.shut[0] >= 2.0
    assert difference(machine.before, machine.look()) == []


def test_an_interface_that_does_not_come_back_is_left_for_the_next_stop(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, "bridge")
    machine.start()
    machine.control.remove_jail(machine.kernel.jail_get("a").jid)
    moving = Moving(machine, monkeypatch, seconds=1000.0)
    answer = machine.stop()
    assert answer.status == 1 and moving.shut == []
    assert machine.kernel.ng_node("ng0_a:").type == "eiface"
    moving.seconds = 0.0
    assert machine.stop().status == 0
    assert difference(machine.before, machine.look()) == []


def test_an_interface_of_a_dead_jail_keeps_its_address(tmp_path: Path) -> None:
    """It is on the host under another name: it is nobody else's, and is no clash."""
    machine = Machine(tmp_path, "bridge")
    mac = machine.loaded.configuration.vimages["a"].links[0].mac
    machine.start()
    jid = machine.kernel.jail_get("a").jid
    machine.control.rename_inside(jid, "ng0_a", "inner0")
    machine.control.remove_jail(jid)
    assert mac in [i.mac for i in machine.kernel.if_list()]
    assert machine.loaded.configuration.vimages["a"].links[0].mac == mac
