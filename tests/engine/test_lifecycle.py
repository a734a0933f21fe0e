"""Every kind of vimage, up and down again, and the host as it was."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.configurations import CONFIGURATIONS
from tests.engine.machine import Machine
from tests.lib.snapshot import difference
from vimage.engine import Outcome
from vimage.kernel import JailId


@pytest.fixture(params=CONFIGURATIONS)
def machine(request: pytest.FixtureRequest, tmp_path) -> Machine:
    return Machine(tmp_path, request.param)


def test_up_and_down(machine: Machine) -> None:
    before = machine.look()
    answer = machine.start()
    assert [str(p) for r in answer.results for p in r.problems] == []
    assert {result.outcome for result in answer.results} == {Outcome.READY}
    assert difference(before, machine.look()) != []
    answer = machine.stop()
    assert {result.outcome for result in answer.results} == {Outcome.STOPPED}
    assert difference(before, machine.look()) == []


def test_no_jail_is_looked_for_while_others_are_made(
        machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel locks its list of jails while it makes one: the loop would spin meanwhile."""
    calls: list[str] = []

    def note(name: str) -> None:
        made = getattr(machine.kernel, name)

        def call(argument: Any) -> Any:
            calls.append(name)
            return made(argument)

        monkeypatch.setattr(machine.kernel, name, call)

    note("jail_get")
    note("jail_create")
    assert machine.start().status == 0
    assert "jail_get" not in calls[calls.index("jail_create"):]


def test_ready_vimages_are_not_touched_by_another_start(machine: Machine) -> None:
    machine.start()
    before = machine.look()
    answer = machine.start()
    assert {result.outcome for result in answer.results} == {Outcome.ALREADY_READY}
    assert difference(before, machine.look()) == []


def test_stop_follows_the_record_not_the_configuration(machine: Machine) -> None:
    before = machine.look()
    machine.start()
    machine.variables = {"vimage_list": ""}
    machine.stop()
    assert difference(before, machine.look()) == []


def test_state_of_another_boot_is_set_aside(machine: Machine) -> None:
    machine.start()
    machine.control.reboot()
    machine.kernel.kld_load("ng_ether")
    before = machine.look()
    answer = machine.start()
    assert {result.outcome for result in answer.results} == {Outcome.READY}
    machine.stop()
    left = [line for line in difference(before, machine.look()) if not line.startswith("file ")]
    assert left == []


def test_the_same_macs_after_a_reboot(machine: Machine) -> None:
    machine.start()
    first = _macs(machine)
    machine.control.reboot()
    machine.kernel.kld_load("ng_ether")
    machine.start()
    assert _macs(machine) == first


def _macs(machine: Machine) -> dict[str, str]:
    found: dict[str, str] = {}
    for jid in machine.kernel.jail_list():
        vnet = machine.kernel.vnet(JailId(jid))
        found |= {i.name: i.mac for i in vnet.interfaces() if i.name.startswith("ng0_a")}
        vnet.close()
    return found
