"""A whole interface comes back from its jail as it went in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.engine.machine import OTHER, STATE, Machine
from tests.lib.snapshot import difference
from vimage.engine import Outcome
from vimage.kernel.simulated.virtual_time import run


def changed_inside(machine: Machine, **changes: Any) -> None:
    """The jail's root changes it."""
    with machine.kernel.state.operation():
        card, = (i for i in machine.kernel.state.ifaces() if i.name == OTHER)
        assert card.vnet != 0
        machine.kernel.state.retag(card, **changes)


@pytest.mark.parametrize("changes", [
    {"mtu": 9000}, {"mac": "02:00:00:00:00:77"}, {"caps": 0},
    {"mtu": 1400, "mac": "02:00:00:00:00:77"}], ids=lambda changes: " ".join(changes))
def test_what_the_jail_has_changed_is_put_back(tmp_path: Path, changes: dict[str, Any]) -> None:
    machine = Machine(tmp_path, "whole interface")
    assert machine.start().status == 0
    changed_inside(machine, **changes)
    assert machine.stop().status == 0
    assert difference(machine.before, machine.look()) == []


def test_the_name_that_the_jail_gave_it_is_put_back(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "whole interface")
    machine.start()
    machine.control.rename_inside(machine.kernel.jail_get("a").jid, OTHER, "wan0")
    assert machine.stop().status == 0
    assert difference(machine.before, machine.look()) == []


def test_one_of_a_jail_that_has_gone_is_configured_again(tmp_path: Path) -> None:
    """Its name, too, where the jail's root had given it another."""
    machine = Machine(tmp_path, "whole interface")
    machine.start()
    jid = machine.kernel.jail_get("a").jid
    changed_inside(machine, mtu=9000)
    machine.control.rename_inside(jid, OTHER, "wan0")
    machine.control.remove_jail(jid)
    answer = machine.stop()
    assert [result.outcome for result in answer.results] == [Outcome.STOPPED]
    assert difference(machine.before, machine.look()) == []


def test_one_that_was_pulled_out_keeps_nothing_from_stopping(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "whole interface")
    machine.start()
    driver = next(i.driver for i in machine.kernel.state.ifaces() if i.name == OTHER)
    machine.control.detach(driver)
    assert machine.stop().status == 0
    assert machine.kernel.jail_list() == set()


@pytest.mark.parametrize("takes", [True, False], ids=["devd takes it", "devd is slow"])
def test_devd_is_told_to_leave_it_to_us(tmp_path: Path, takes: bool) -> None:
    """By a file that it consumes; one that it does not is not left behind."""
    machine = Machine(tmp_path, "whole interface")
    devd = machine.kernel.new_task(0, ("/sbin/devd",))
    machine.start()
    Path(machine.kernel.path("/var/run/devd.pid")).write_text(f"{devd.pid}\n")
    marker = Path(machine.kernel.path(f"{STATE}/returning/{OTHER}"))
    session = machine.session()

    async def play() -> float:
        stop = asyncio.create_task(session.stop(machine.loaded, []))
        while not marker.exists():
            await asyncio.sleep(0.01)
        begun = asyncio.get_running_loop().time()
        if takes:
            await asyncio.sleep(1)
            marker.unlink()
        assert (await stop).status == 0
        return asyncio.get_running_loop().time() - begun

    seconds = run(play())
    assert not marker.exists()
    assert seconds < 4 if takes else 4.9 <= seconds < 9
