"""The state file: what a process did stays done, whatever becomes of the process."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.lib import snapshot
from vimage.kernel import HostCommand
from vimage.kernel.simulated import SimulatedKernel, SimulatedProcesses
from vimage.kernel.simulated.log import SimulationError
from vimage.kernel.simulated.virtual_time import run


def make_some(kernel):
    kernel.ng_mkpeer("em0:", "bridge", "lower", "link0")
    kernel.ng_name("em0:lower", "em0bridge")
    kernel.ng_mkpeer("em0bridge:", "eiface", "link2", "ether")
    kernel.if_rename("ngeth0", "ng0_vj1")
    jid = kernel.jail_create({"name": "vj1", "persist": True, "vnet": "new"})
    kernel.if_vmove("ng0_vj1", jid)
    return jid


def in_a_child(act):
    """Run ``act`` in a process of its own; how that ended."""
    child = os.fork()
    if child == 0:
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_later_process_finds_everything(kernel, again):
    make_some(kernel)
    assert snapshot.difference(snapshot.take(kernel), snapshot.take(again())) == []


def test_two_processes_see_each_other_at_once(kernel, again):
    other = again()
    kernel.if_rename("em1", "wan")
    assert other.if_get("wan").driver == "em1"
    other.if_rename("wan", "lan")
    assert kernel.if_get("lan").driver == "em1"


def test_what_a_killed_process_did_is_done(kernel):
    def act():
        make_some(SimulatedKernel(kernel.directory))
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(act) == -signal.SIGKILL
    assert kernel.jail_get("vj1").name == "vj1"
    assert kernel.ng_eiface_ifname("em0bridge:link2") == "ng0_vj1"


def test_what_a_killed_process_had_open_is_closed(kernel):
    jid = kernel.jail_create({"name": "vj1", "persist": True, "vnet": "new"})

    def act():
        other = SimulatedKernel(kernel.directory)
        other.ng_mkpeer(".:", "bridge", "hook", "link0")
        other.ng_name(".:hook", "loose")
        other.vnet(jid)
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(act) == -signal.SIGKILL
    with pytest.raises(FileNotFoundError):
        kernel.ng_node("loose:")
    kernel.jail_remove(jid)
    with pytest.raises(FileNotFoundError):
        kernel.jail_get(jid)


def test_processes_do_not_undo_each_other(kernel):
    def rename(name, times):
        def act():
            other = SimulatedKernel(kernel.directory)
            for number in range(times):
                other.if_set_mtu(name, 1000 + number)
                other.jail_create({"persist": True})
        return act

    children = []
    for name in ("em0", "em1", "igb0"):
        child = os.fork()
        if child == 0:
            try:
                rename(name, 40)()
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert [kernel.if_get(name).mtu for name in ("em0", "em1", "igb0")] == [1039] * 3
    assert kernel.jail_list() == set(range(1, 121))


def test_a_line_that_was_not_finished_is_cut_off(kernel, again):
    make_some(kernel)
    path = os.path.join(kernel.directory, "state")
    with open(path, "ab") as file:
        file.write(b'[["iface",1,{"id":1,')
    other = again()
    assert other.jail_get("vj1").name == "vj1"
    other.if_rename("em1", "wan")
    assert kernel.if_get("wan").driver == "em1"


def test_a_damaged_file_is_said_to_be_damaged(kernel):
    kernel.close()
    with open(os.path.join(kernel.directory, "state"), "ab") as file:
        file.write(b"nonsense\n")
    with pytest.raises(SimulationError, match="damaged"):
        SimulatedKernel(kernel.directory).if_list()


def test_the_file_does_not_grow_for_ever(kernel, again, monkeypatch):
    monkeypatch.setattr("vimage.kernel.simulated.log.SMALL", 20_000)
    other = again()
    other.if_list()
    for number in range(1000):
        kernel.if_set_mtu("em0", 1000 + number)
        if number % 100 == 0:
            assert other.if_get("em0").mtu == 1000 + number
    with open(os.path.join(kernel.directory, "state")) as file:
        lines = [json.loads(line) for line in file]
    assert len(lines) < 500
    assert other.if_get("em0").mtu == 1999
    other.if_rename("em1", "wan")
    assert kernel.if_get("wan").driver == "em1"


def test_an_operation_that_fails_is_kept_as_far_as_it_came(kernel, again):
    first = kernel.ng_node("em0:").id
    with pytest.raises(OSError):
        kernel.ng_mkpeer("em0:", "bridge", "nonsense", "link0")
    again().ng_mkpeer("em0:", "bridge", "lower", "link0")
    assert kernel.ng_node("em0:").id == first
    assert kernel.ng_node("em0:lower").type == "bridge"


def test_simulated_processes_outlive_the_real_one(kernel, again):
    async def main():
        return (await SimulatedProcesses(kernel).start(HostCommand(["/bin/sleep", "1000"]))).id

    started = run(main())
    other = again()
    assert other.process(started.pid) == started
    other.process_signal(started, 9)
    with pytest.raises(ProcessLookupError):
        kernel.process(started.pid)


def test_there_must_be_a_host(tmp_path):
    with pytest.raises(FileNotFoundError):
        SimulatedKernel(tmp_path)
    assert SimulatedKernel.open(tmp_path / "new").jail_list() == set()
