"""A host compared before and after: every sort of leak is seen and named."""

from __future__ import annotations

import os

import pytest

from tests.lib import snapshot
from vimage.kernel import Cap, HostCommand, Iff
from vimage.kernel.simulated import HostControl, SimulatedKernel, SimulatedProcesses
from vimage.kernel.simulated.virtual_time import run


@pytest.fixture
def kernel(tmp_path):
    kernel = SimulatedKernel.create(tmp_path / "host")
    kernel.kld_load("ng_ether")
    os.makedirs(kernel.path("/var/run/vimage"))
    yield kernel
    kernel.close()


def leaks(kernel, act):
    before = snapshot.take(kernel, ["/var/run"])
    act(kernel)
    return snapshot.difference(before, snapshot.take(kernel, ["/var/run"]))


def node(kernel):
    kernel.ng_mkpeer("em0:", "bridge", "lower", "link0")
    kernel.ng_name("em0:lower", "em0bridge")


def promiscuous(kernel):
    kernel.ng_ether_set("em0:", promisc=True, autosrc=True)


def interface(kernel):
    kernel.ng_mkpeer(".:", "eiface", "hook", "ether")


def renamed(kernel):
    kernel.if_rename("em0", "wan")


def flags(kernel):
    kernel.if_set_flags("igb0", off=Iff.UP)


def options(kernel):
    kernel.if_set_caps("em0", kernel.if_caps("em0") & ~Cap.LRO)


def mtu(kernel):
    kernel.if_set_mtu("em0", 9000)


def mac(kernel):
    kernel.if_set_mac("em0", "02:00:00:00:00:05")


def lost_address(kernel):
    vnet = kernel.host_vnet()
    vnet.remove_address("em0", "192.0.2.10/24")
    vnet.close()


def jail(kernel):
    kernel.jail_create({"name": "j", "persist": True, "vnet": "new"})


def dying_jail(kernel):
    jid = kernel.jail_create({"name": "j", "persist": True, "vnet": "new"})
    HostControl(kernel).hold_tcp(jid)
    kernel.jail_remove(jid)


def mount(kernel):
    directory = kernel.open_directory("/", "/dev")
    kernel.mount("devfs", directory, {"ruleset": "5"})
    os.close(directory)


def process(kernel):
    async def main():
        await SimulatedProcesses(kernel).start(HostCommand(["/bin/sleep", "1000"]))

    run(main())


def rule(kernel):
    HostControl(kernel).set_sysctl("kern.racct.enable", 1)
    kernel.rctl_add("jail:j:maxproc:deny=5")


def file(kernel):
    with open(kernel.path("/var/run/vimage/vj1"), "w") as written:
        written.write("state")


@pytest.mark.parametrize(("act", "lines"), [
    (node, ["node em0bridge is left: bridge, link0 to em0:lower",
            "node em0 changed: ether -> ether, lower to em0bridge:link0"]),
    (promiscuous, ["node em0 changed: ether -> ether, promisc, autosrc",
                   "interface em0 changed: flags 8843 -> flags 8943"]),
    (interface, ["node ngeth0 is left: eiface", "interface ngeth0 is left: driver ngeth0"]),
    (renamed, ["node wan is left: ether", "node em0 is missing: ether",
               "interface wan is left", "interface em0 is missing"]),
    (flags, ["interface igb0 changed: flags 8843 -> flags 8802"]),
    (options, ["interface em0 changed: options"]),
    (mtu, ["interface em0 changed: mtu 1500 -> mtu 9000"]),
    (mac, ["interface em0 changed: ether 08:00:27:00:00:01 -> ether 02:00:00:00:00:05"]),
    (lost_address, ["interface em0 changed: address 192.0.2.10"]),
    (jail, ["jail 1 is left: j, /"]),
    (dying_jail, ["jail 1 is left: j, /, dying"]),
    (mount, ["mount /dev (2) is left: devfs from devfs"]),
    (process, ["process 100000001 is left: in jail 0, /bin/sleep 1000"]),
    (rule, ["rule jail:j:maxproc:deny=5 is left: there"]),
    (file, ["file /var/run/vimage/vj1 is left: 5 bytes"]),
])
def test_a_planted_leak_is_seen(kernel, act, lines):
    found = leaks(kernel, act)
    assert len(found) == len(lines), found
    for line, wanted in zip(found, lines, strict=True):
        kind, _, rest = wanted.partition(": ")
        assert line.startswith(kind), found
        for word in rest.split(" -> "):
            assert word in line, found


def test_looking_changes_nothing(kernel):
    assert leaks(kernel, lambda kernel: None) == []


def test_what_was_undone_is_not_seen(kernel):
    def there_and_back(kernel):
        kernel.ng_mkpeer("em0:", "bridge", "lower", "link0")
        kernel.ng_mkpeer("em0:lower", "eiface", "link1", "ether")
        kernel.ng_shutdown("ngeth0:")
        kernel.ng_shutdown("em0:lower")
        kernel.jail_remove(kernel.jail_create({"name": "j", "persist": True}))
        kernel.if_rename("em0", "wan")
        kernel.if_rename("wan", "em0")

    assert leaks(kernel, there_and_back) == []


def test_two_interfaces_of_one_name_are_two(kernel):
    def returned(kernel):
        jid = kernel.jail_create({"name": "j", "persist": True, "vnet": "new"})
        kernel.if_vmove("igb1", jid)
        HostControl(kernel).rename_inside(jid, "igb1", "em0")
        kernel.jail_remove(jid)

    found = leaks(kernel, returned)
    assert any(line.startswith("interface em0 (2) is left: driver igb1") for line in found)
    assert any(line.startswith("interface igb1 is missing") for line in found)
