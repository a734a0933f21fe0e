"""The wrapper that makes a kernel fail."""

from __future__ import annotations

import asyncio
import errno
import os

import pytest

from tests.contract import registry
from tests.lib import faulty
from tests.lib.faulty import Faults, Killed, When
from vimage.kernel import HelperGone, HostCommand
from vimage.kernel.simulated import SimulatedKernel, SimulatedProcesses
from vimage.kernel.simulated.virtual_time import run


@pytest.fixture
def real(tmp_path):
    kernel = SimulatedKernel.create(tmp_path / "host")
    yield kernel
    kernel.close()


def rename_twice(kernel):
    kernel.if_rename("em0", "wan")
    kernel.if_rename("wan", "wan2")


def names(kernel):
    return [interface.name for interface in kernel.if_list()]


def test_every_operation_of_the_contract_is_known_to_change_or_to_look():
    operations = {name for protocol in registry.PROTOCOLS
                  for name in registry.operations(protocol)}
    assert operations == faulty.CHANGING | faulty.LOOKING
    assert faulty.CHANGING.isdisjoint(faulty.LOOKING)


def test_without_a_fault_operations_are_counted_and_listed(real):
    faults = Faults()
    kernel = faults.kernel(real)
    kernel.if_get("em0")
    rename_twice(kernel)
    assert faults.count == 2
    assert faults.done == ["if_rename('em0', 'wan')", "if_rename('wan', 'wan2')"]


def test_an_error_is_raised_in_place_of_the_operation_and_only_there(real):
    kernel = Faults(at=2, error=errno.EIO).kernel(real)
    with pytest.raises(OSError) as caught:
        rename_twice(kernel)
    assert caught.value.errno == errno.EIO
    assert "wan" in names(real)
    kernel.if_rename("wan", "wan2")
    assert "wan2" in names(real)


@pytest.mark.parametrize(("when", "left"), [(When.BEFORE, "em0"), (When.AFTER, "wan")])
def test_a_killed_process_does_nothing_more(real, when, left):
    kernel = Faults(at=1, when=when).kernel(real)
    with pytest.raises(Killed):
        try:
            rename_twice(kernel)
        finally:
            with pytest.raises(Killed):
                kernel.if_rename(left, "lan")
            with pytest.raises(Killed):
                kernel.if_list()
    assert left in names(real)


def test_operations_inside_a_vnet_count_too(real):
    faults = Faults(at=2, error=errno.ENOMEM)
    kernel = faults.kernel(real)
    jid = kernel.jail_create({"name": "j", "persist": True, "vnet": "new"})
    vnet = kernel.vnet(jid)
    with pytest.raises(OSError):
        vnet.set_up("lo0")
    vnet.set_up("lo0")
    vnet.close()


def test_commands_count_too(real):
    faults = Faults(at=2, error=errno.EAGAIN)
    processes = faults.processes(SimulatedProcesses(real))

    async def main():
        process = await processes.start(HostCommand(["/bin/sh", "-c", "exit 3"]))
        status = await process.wait()
        with pytest.raises(OSError):
            await processes.start(HostCommand(["/bin/sh", "-c", "exit 3"]))
        return status

    assert run(main()) == 3
    assert faults.count == 2


def test_whoever_waited_for_a_command_is_killed_as_well(real):
    faults = Faults(at=2)
    kernel, processes = faults.kernel(real), faults.processes(SimulatedProcesses(real))

    async def main():
        process = await processes.start(HostCommand(["/bin/sleep", "1000"]))
        waiting = asyncio.ensure_future(process.wait())
        await asyncio.sleep(0)
        with pytest.raises(Killed):
            kernel.if_rename("em0", "wan")
        real.process_signal(process.wrapped.id, 9)
        with pytest.raises(Killed):
            await waiting

    try:
        run(main())
    except Killed:
        pass


@pytest.mark.parametrize(("when", "left"), [(When.BEFORE, "em0"), (When.AFTER, "wan")])
def test_the_real_process_ends(real, when, left):
    child = os.fork()
    if child == 0:
        try:
            rename_twice(Faults(at=1, when=when, exit=True).kernel(real))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == faulty.KILLED_STATUS
    assert left in names(real)


def test_look_ups_are_counted_and_fail_too(real):
    faults = Faults(at=2, error=errno.ETIMEDOUT, looks=True)
    kernel = faults.kernel(real)
    kernel.if_get("em0")
    with pytest.raises(TimeoutError):
        kernel.ng_nodes()
    kernel.ng_nodes()
    assert kernel.path("/etc")
    assert faults.done == ["if_get('em0')", "ng_nodes()", "ng_nodes()"]


def test_look_ups_of_what_an_operation_returned_fail_too(real):
    faults = Faults(at={3, 4}, error=errno.EIO, looks=True)
    kernel = faults.kernel(real)
    vnet, events = kernel.host_vnet(), kernel.events()
    with pytest.raises(OSError):
        vnet.interfaces()
    with pytest.raises(OSError):
        events.read()
    events.read()
    events.close()
    vnet.close()
    assert faults.done[-1] == "Events.read()"


def test_two_faults_in_one_operation(real):
    faults = Faults(at=(1, 3), error=errno.EIO)
    kernel = faults.kernel(real)
    with pytest.raises(OSError):
        kernel.if_rename("em0", "wan")
    kernel.if_rename("em0", "wan")
    with pytest.raises(OSError):
        kernel.if_rename("wan", "wan2")
    assert "wan" in names(real)


def test_a_wait_fails_as_it_does_when_the_helper_dies(real):
    faults = Faults(at=2, error=errno.EIO, looks=True)
    processes = faults.processes(SimulatedProcesses(real))

    async def main():
        process = await processes.start(HostCommand(["/bin/sh", "-c", "exit 3"]))
        with pytest.raises(HelperGone):
            await process.wait()
        return await process.wait()

    assert run(main()) == 3


def test_everything_that_may_fail_does(real):
    """Every operation but those that have nothing to fail."""
    every = faulty.CHANGING | faulty.LOOKING
    assert {name for name in every if not Faults(looks=True).counts(name)} == \
        faulty.NEVER_FAILING
    assert faulty.NEVER_FAILING <= faulty.LOOKING
