"""sysctl, boot id, modules, processes, paths."""

from __future__ import annotations

import errno
import os

from tests.contract.expect import fails
from tests.contract.registry import contract
from vimage.kernel import HostCommand, JailCommand


@contract("sysctl")
def test_sysctl_gives_integers_and_text(host):
    assert host.kernel.sysctl("kern.features.vimage") == 1
    assert host.kernel.sysctl("kern.osreldate") >= 1302000
    assert host.kernel.sysctl("hw.ncpu") >= 1
    assert host.kernel.sysctl("kern.hz") >= 1
    assert host.kernel.sysctl("security.jail.jailed") == 0
    assert host.kernel.sysctl("kern.securelevel") == -1
    assert host.kernel.sysctl("kern.ostype") == "FreeBSD"
    assert len(host.kernel.sysctl("kern.hostuuid")) == 36
    assert host.kernel.sysctl("kern.osrelease")[0].isdigit()


@contract("sysctl", errno.ENOENT)
def test_sysctl_of_no_variable(host):
    with fails(errno.ENOENT):
        host.kernel.sysctl("kern.no_such_variable")


@contract("boot_id")
def test_boot_id_stays_the_same(host):
    first = host.kernel.boot_id()
    assert first
    assert host.kernel.boot_id() == first


@contract("kld_load")
def test_module_that_is_loaded_already(host):
    host.kernel.kld_load("ng_ether")
    host.kernel.kld_load("ng_ether")


@contract("kld_load", errno.ENOENT)
def test_module_that_does_not_exist(host):
    with fails(errno.ENOENT):
        host.kernel.kld_load("no_such_module")


@contract("kld_load", errno.EPERM)
def test_no_module_at_a_raised_securelevel(host):
    assert host.kld_load_at_securelevel(1, "no_such_module") == errno.EPERM


@contract("path")
def test_path_is_where_open_finds_it(host):
    root = host.root()
    with open(host.kernel.path(f"{root}/file"), "w") as file:
        file.write("x")
    assert os.listdir(host.kernel.path(root)).count("file") == 1


# -- processes -----------------------------------------------------------------------


@contract("process")
def test_process_is_the_same_twice(host):
    own = host.kernel.process(os.getpid())
    assert own.pid == os.getpid()
    assert host.kernel.process(os.getpid()) == own


@contract("process", errno.ESRCH)
@contract("jail_of", errno.ESRCH)
def test_no_process_of_that_pid(host):
    with fails(errno.ESRCH):
        host.kernel.process(99_999_999)
    with fails(errno.ESRCH):
        host.kernel.jail_of(99_999_999)


@contract("jail_of")
def test_jail_of_a_process(host):
    jid = host.jail()

    async def main():
        process = await host.processes.start(JailCommand(jid, ["/bin/sleep", "1000"]))
        jail = host.kernel.jail_of(process.id.pid)
        process.kill(9)
        await process.wait()
        return jail

    assert host.run(main()) == jid
    assert host.kernel.jail_of(os.getpid()) is None


@contract("process_signal")
def test_signal_reaches_a_process_known_from_before(host):
    async def main():
        process = await host.processes.start(HostCommand(["/bin/sleep", "1000"]))
        host.kernel.process_signal(process.id, 15)
        return await process.wait()

    assert host.run(main()) == 128 + 15


@contract("process_signal", errno.ESRCH)
def test_signal_for_a_process_that_has_ended(host):
    async def main():
        process = await host.processes.start(HostCommand(["/bin/sleep", "0"]))
        await process.wait()
        return process.id

    gone = host.run(main())
    with fails(errno.ESRCH):
        host.kernel.process_signal(gone, 15)


@contract("process_signal", errno.ESRCH)
def test_signal_is_not_for_another_process_of_that_pid(host):
    async def main():
        process = await host.processes.start(HostCommand(["/bin/sleep", "1000"]))
        other = type(process.id)(process.id.pid, "1.000000")
        with fails(errno.ESRCH):
            host.kernel.process_signal(other, 9)
        process.kill(15)
        return await process.wait()

    assert host.run(main()) == 128 + 15
