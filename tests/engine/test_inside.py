"""What a start sets inside the jail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.machine import ROOT, Machine
from tests.lib.snapshot import difference
from vimage.kernel import Iff
from vimage.kernel.simulated import jails


def parameter(machine: Machine, name: str) -> object:
    """A parameter of the jail of a."""
    with machine.kernel.state.operation():
        jail = jails.find(machine.kernel.state, machine.kernel.jail_get("a").jid)
        return jail.parameters.get(name)


@pytest.mark.parametrize("level", ["0", "1", "3"])
def test_securelevel(tmp_path: Path, level: str) -> None:
    machine = Machine(tmp_path, "bridge")
    machine.variables["vimage_a_securelevel"] = level
    assert machine.start().status == 0
    assert str(parameter(machine, "securelevel")) == level


def test_addresses_and_routes(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "addresses")
    assert machine.start().status == 0
    jid = machine.kernel.jail_get("a").jid
    inside = machine.control.addresses_inside(jid)
    assert inside["ng0_a"] == ("192.0.2.2/24", "2001:db8::2/64")
    assert "127.0.0.1/8" in inside["lo0"]
    assert machine.control.default_route(jid) == "192.0.2.1"
    vnet = machine.kernel.vnet(jid)
    assert {i.name for i in vnet.interfaces() if i.flags & Iff.UP} == {"lo0", "ng0_a"}
    vnet.close()


@pytest.mark.parametrize("rctl, cpus", [
    ("maxproc:deny=10 vmemoryuse:deny=512m", ""), ("", "0"), ("maxproc:deny=10", "0")])
def test_limits(tmp_path: Path, rctl: str, cpus: str) -> None:
    machine = Machine(tmp_path, "bridge")
    machine.control.set_sysctl("kern.racct.enable", 1)
    before = machine.look()
    machine.variables |= {"vimage_a_rctl": rctl, "vimage_a_cpus": cpus}
    assert machine.start().status == 0
    assert sorted(machine.control.rules()) == sorted(f"jail:a:{rule}" for rule in rctl.split())
    assert machine.stop().status == 0
    assert difference(before, machine.look()) == []


def test_file_systems(tmp_path: Path) -> None:
    """Each that is asked for, on its directory, and none that is not."""
    machine = Machine(tmp_path, "devfs, fdescfs, procfs, shared")
    for part in ("devfs", "fdescfs", "procfs"):
        machine.variables.pop(f"vimage_{part}_enable", None)

    def mounted() -> dict[str, str]:
        return {m.directory.removeprefix(ROOT): m.fstype for m in machine.kernel.mounts()
                if m.directory.startswith(ROOT)}

    for parts in (("devfs",), ("devfs", "fdescfs"), ("procfs",), ("devfs", "fdescfs", "procfs")):
        machine.variables |= {f"vimage_{part}_enable": "YES" if part in parts else "NO"
                              for part in ("devfs", "fdescfs", "procfs")}
        assert machine.start().status == 0
        where = {"devfs": "/dev", "fdescfs": "/dev/fd", "procfs": "/proc"}
        assert mounted() == {where[part]: part for part in parts}
        assert machine.stop().status == 0
        assert mounted() == {}
