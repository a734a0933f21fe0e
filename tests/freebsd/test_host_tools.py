"""The comparison by FreeBSD's own tools sees a leak of each sort."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.freebsd import host_tools
from vimage.kernel import HostCommand, Iff


@pytest.fixture(scope="module")
def this_machine():
    from tests.contract.freebsd_host import FreeBSDHost
    host = FreeBSDHost()
    yield host
    host.shut()


@pytest.fixture
def host(this_machine):
    this_machine.begin()
    yield this_machine
    assert this_machine.end() == []


def node(host):
    host.kernel.ng_name(f"[{host.bridge().id:x}]:", "leftbridge")


def hook(host):
    bridge = host.bridge()
    host.kernel.ng_connect(f"[{bridge.id:x}]:", "link1", "leaky:", "lower")


def interface(host):
    _, name = host.eiface()
    host.kernel.if_rename(name, "left0")


def flags(host):
    host.kernel.if_set_flags("leaky", on=Iff.UP)


def options(host):
    subprocess.run(["/sbin/ifconfig", "lo0", "-txcsum"], check=True)
    host.on_close(subprocess.run, ["/sbin/ifconfig", "lo0", "txcsum"])


def address(host):
    host.host_vnet().add_address("leaky", "198.18.78.1/32")


def jail(host):
    host.jail(name="left")


def dying_jail(host):
    jid = host.jail(name="left")
    vnet = host.vnet(jid)
    host.on_close(vnet.close)
    host.kernel.jail_remove(jid)


def mount(host):
    root = host.root()
    os.mkdir(f"{root}/dev")
    directory = host.kernel.open_directory(root, "/dev")
    fsid = host.kernel.mount("devfs", directory, {})
    os.close(directory)
    host.on_close(host.kernel.unmount, fsid)


def process(host):
    async def main():
        return await host.processes.start(HostCommand(["/bin/sleep", "4321"]))

    started = host.run(main())
    host.on_close(host.kernel.process_signal, started.id, 9)


def file(host):
    with open(f"{host.directory}/left", "w"):
        pass
    host.on_close(os.unlink, f"{host.directory}/left")


@pytest.mark.parametrize(("act", "found"), [
    (node, "node leftbridge is left: bridge"),
    (hook, "node leaky changed: ether"),
    (interface, "interface left0 is left:"),
    (flags, "interface leaky changed: flags="),
    (options, "interface lo0 changed: flags="),
    (address, "interface leaky changed: flags="),
    (jail, "is left: left, "),
    (dying_jail, ", dying"),
    (mount, "is left: devfs from devfs"),
    (process, "is left: in jail 0, /bin/sleep 4321"),
    (file, "left is left: there"),
])
def test_a_planted_leak_is_seen(host, act, found):
    parent = host.parent()
    host.kernel.if_rename(parent, "leaky")
    host.on_close(host.kernel.if_rename, "leaky", parent)
    before = host_tools.take([host.directory])
    act(host)
    lines = host_tools.difference(before, host_tools.take([host.directory]))
    assert any(found in line for line in lines), lines


def test_looking_changes_nothing(host):
    before = host_tools.take([host.directory])
    assert host_tools.difference(before, host_tools.take([host.directory])) == []
