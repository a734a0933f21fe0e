"""What other hands do to the simulated host."""

from __future__ import annotations

import errno
import os

import pytest

from tests.contract.expect import fails
from vimage.kernel import HostCommand
from vimage.kernel.simulated import SimulatedProcesses
from vimage.kernel.simulated.virtual_time import run


def test_a_card_is_pulled_out_of_a_jail(kernel, control):
    jid = kernel.jail_create({"name": "j", "persist": True, "vnet": "new"})
    kernel.if_vmove("igb0", jid)
    control.detach("igb0")
    with fails(errno.ENXIO):
        kernel.if_reclaim("igb0", jid)


def test_a_bridged_card_is_pulled_out(kernel, control):
    kernel.ng_mkpeer("em0:", "bridge", "lower", "link0")
    kernel.ng_connect("em0:lower", "link1", "em0:", "upper")
    bridge = kernel.ng_node("em0:lower").id
    control.detach("em0")
    with fails(errno.ENOENT):
        kernel.ng_node("em0:")
    with fails(errno.ENOENT):
        kernel.ng_node(f"[{bridge:x}]:")


def test_reboot(kernel, control, again):
    before, uuid = kernel.boot_id(), kernel.sysctl("kern.hostuuid")
    kernel.jail_create({"name": "j", "persist": True, "vnet": "new"})
    kernel.if_rename("em0", "wan")
    for directory in ("/var/run/vimage", "/usr/jail/vj1"):
        os.makedirs(kernel.path(directory))
    control.reboot()
    assert kernel.boot_id() != before
    assert kernel.sysctl("kern.hostuuid") == uuid
    assert kernel.jail_list() == set()
    assert [interface.name for interface in again().if_list()] == [
        "em0", "em1", "igb0", "igb1", "vtnet0", "lo0"]
    assert [node for node in kernel.ng_nodes() if node.type == "ether"] == []
    assert not os.path.exists(kernel.path("/var/run/vimage"))
    assert os.path.isdir(kernel.path("/usr/jail/vj1"))


def test_a_directory_is_replaced_by_a_link(kernel, control):
    os.makedirs(kernel.path("/usr/jail/vj1/dev"))
    control.replace_by_link("/usr/jail/vj1/dev", "/etc")
    with fails(errno.ELOOP, errno.EMLINK):
        kernel.open_directory("/usr/jail/vj1", "/dev")


def test_a_kernel_without_a_module(kernel, control):
    control.without_module("ng_bridge")
    with fails(errno.ENOENT):
        kernel.ng_mkpeer("em0:", "bridge", "lower", "link0")
    with fails(errno.ENOENT):
        kernel.kld_load("ng_bridge")


def test_a_mount_that_is_in_use(kernel, control):
    directory = kernel.open_directory("/", "/tmp")
    fsid = kernel.mount("tmpfs", directory, {})
    os.close(directory)
    control.hold_mount(fsid)
    with fails(errno.EBUSY):
        kernel.unmount(fsid)
    kernel.unmount(fsid, force=True)


def test_a_process_dies(kernel, control):
    async def main():
        process = await SimulatedProcesses(kernel).start(HostCommand(["/bin/sleep", "1000"]))
        control.end_process(process.id.pid, 11)
        return await process.wait()

    assert run(main()) == 128 + 11


@pytest.mark.parametrize("release", [1302001, 1501502])
def test_a_kernel_with_jail_events_and_one_without(kernel, control, release):
    control.set_sysctl("kern.osreldate", release)
    events = kernel.events()
    jid = kernel.jail_create({"persist": True})
    events.watch_jail(jid)
    control.remove_jail(jid)
    assert events.read() == ([("jail", jid)] if release > 1500000 else [])
    events.close()


def test_a_real_process_counts_as_one_of_a_jail(kernel, control):
    jid = kernel.jail_create({"persist": True})
    control.put_in_jail(os.getpid(), jid)
    assert kernel.jail_of(os.getpid()) == jid
