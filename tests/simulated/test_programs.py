"""Simulated commands: what they do, and that waiting for them takes no time."""

from __future__ import annotations

import asyncio
import os

import pytest

from vimage.kernel import HostCommand, JailCommand
from vimage.kernel.simulated import SimulatedProcesses
from vimage.kernel.simulated.virtual_time import run

ROOT = "/usr/jail/vj1"
NETWORK = ["/bin/sh", "-c", "/bin/sh /etc/rc.d/netif start || exit; "
           "/bin/sh /etc/rc.d/routing start; [ $? -le 1 ]"]


@pytest.fixture
def jail(kernel):
    """A jail with two interfaces, as in the example of the manual."""
    os.makedirs(kernel.path(f"{ROOT}/etc"))
    kernel.ng_mkpeer("igb0:", "bridge", "lower", "link0")
    for number in (0, 1):
        kernel.ng_mkpeer("igb0:lower", "eiface", f"link{number + 2}", "ether")
        kernel.if_rename("ngeth" + str(number), f"ng{number}_vj1")
    jid = kernel.jail_create({"name": "vj1", "path": ROOT, "persist": True, "vnet": "new"})
    for number in (0, 1):
        kernel.if_vmove(f"ng{number}_vj1", jid)
    return jid


def write(kernel, path, text, mode=0o644):
    with open(kernel.path(ROOT + path), "w") as file:
        file.write(text)
    os.chmod(kernel.path(ROOT + path), mode)


def play(kernel, argv, jid=None, **given):
    """(exit status, output, virtual seconds)"""
    async def main():
        read, write = os.pipe()
        process = await SimulatedProcesses(kernel).start(
            HostCommand(argv, output=write, **given) if jid is None
            else JailCommand(jid, argv, output=write, **given))
        os.close(write)
        status = await process.wait()
        with os.fdopen(read) as output:
            return status, output.read(), asyncio.get_running_loop().time()

    return run(main())


def test_the_network_boots_as_rc_conf_says(kernel, control, jail):
    write(kernel, "/etc/rc.conf", """
ifconfig_ng0_vj1="inet 192.168.1.100 netmask 255.255.255.0"
ifconfig_ng1_vj1="inet 10.0.0.1 netmask 0xffffff00"
ifconfig_ng1_vj1_ipv6="inet6 2001:db8::1 prefixlen 64"
ifconfig_ng0_vj2="inet 10.0.0.2 netmask 255.255.255.0"
defaultrouter="192.168.1.1"
""")
    status, output, _ = play(kernel, NETWORK, jail)
    assert (status, output) == (0, "")
    assert control.addresses_inside(jail) == {
        "lo0": ("127.0.0.1/8",),
        "ng0_vj1": ("192.168.1.100/24",),
        "ng1_vj1": ("10.0.0.1/24", "2001:db8::1/64"),
    }
    assert control.default_route(jail) == "192.168.1.1"
    assert control.default_route(jail, 6) == ""


def test_rc_conf_is_read_by_a_shell(kernel, control, jail):
    write(kernel, "/etc/rc.conf", 'net=10.9.0\nifconfig_ng0_vj1="inet ${net}.7/16"\n')
    play(kernel, ["/bin/sh", "/etc/rc.d/netif", "start"], jail)
    assert control.addresses_inside(jail)["ng0_vj1"] == ("10.9.0.7/16",)


def test_a_router_that_cannot_be_reached(kernel, jail):
    write(kernel, "/etc/rc.conf", 'defaultrouter="192.0.2.1"\n')
    status, output, _ = play(kernel, NETWORK, jail)
    assert (status, output) == (0, "route: writing to routing socket: Network is unreachable\n")


def test_full_boot_starts_the_enabled_services_and_shutdown_stops_them(kernel, control, jail):
    write(kernel, "/etc/rc.conf", 'sshd_enable="YES"\ncron_enable="NO"\n')
    play(kernel, ["/bin/sh", "/etc/rc"], jail)
    assert [command for _, _, command in control.processes()] == ["/usr/sbin/sshd"]
    play(kernel, ["/bin/sh", "/etc/rc.shutdown", "jail"], jail)
    assert control.processes() == []


@pytest.mark.parametrize("program", ["service", "/usr/sbin/service"])
def test_services(kernel, control, jail, program):
    def service(*args):
        return play(kernel, [program, *args], jail)[:2]

    assert service("sshd", "onestart") == (0, "Starting sshd.\n")
    assert service("sshd", "onestart") == (0, "")
    assert [(jid, command) for _, jid, command in control.processes()] == [(jail, "/usr/sbin/sshd")]
    assert service("sshd", "onestatus")[0] == 0
    assert service("sshd", "onestop") == (0, "Stopping sshd.\n")
    assert service("sshd", "onestatus")[0] == 1
    assert control.processes() == []
    assert service("no_such", "onestart")[0] == 1


def test_a_service_of_the_root_may_be_a_script(kernel, jail):
    os.makedirs(kernel.path(f"{ROOT}/etc/rc.d"))
    write(kernel, "/etc/rc.d/mine", "#!simulated\necho mine\nexit 9\n", 0o755)
    assert play(kernel, ["service", "mine", "onestart"], jail)[:2] == (9, "mine\n")


def test_waiting_takes_no_time(kernel):
    status, _, seconds = play(kernel, ["/bin/sh", "-c", "sleep 86400; sleep 0.5; exit 3"])
    assert status == 3
    assert seconds == pytest.approx(86400.5)


@pytest.mark.parametrize(("text", "status", "output"), [
    ("echo a b   'c  d'", 0, "a b c  d\n"),
    ("echo -n x", 0, "x"),
    ("true && echo yes || echo no", 0, "yes\n"),
    ("false && echo yes || echo no", 0, "no\n"),
    ("false; exit", 1, ""),
    ("exit 2 # done", 2, ""),
    ("false; [ $? -le 1 ]", 0, ""),
    ("[ 3 -gt 4 ]", 1, ""),
    ("no_such_command", 127, "sh: no_such_command: not found\n"),
    ("/bin/sh -c 'exit 6'", 6, ""),
    ("exec /bin/sh -c 'exit 6'", 6, ""),
    ("echo 'unclosed", 2, "sh: No closing quotation\n"),
    ("test -d /etc && echo there", 0, "there\n"),
    ("sleep long", 1, "usage: sleep number\n"),
])
def test_the_shell(kernel, text, status, output):
    assert play(kernel, ["/bin/sh", "-c", text])[:2] == (status, output)


def test_a_program_of_the_root_may_be_a_script(kernel, jail):
    write(kernel, "/daemon", "#!simulated\necho up\nsleep 3\nexit 2\n", 0o755)
    assert play(kernel, ["/daemon"], jail) == (2, "up\n", 3.0)


def test_any_other_program_of_the_root_does_nothing(kernel, jail):
    write(kernel, "/daemon", "\x7fELF", 0o755)
    assert play(kernel, ["/daemon", "-x"], jail)[:2] == (0, "")


def test_a_program_that_ignores_a_signal(kernel, jail):
    write(kernel, "/stubborn", "#!simulated\ntrap '' TERM HUP\nsleep forever\n", 0o755)

    async def main():
        process = await SimulatedProcesses(kernel).start(JailCommand(jail, ["/stubborn"]))
        await asyncio.sleep(1)
        process.kill(15)
        kernel.jail_clear(jail, 15)
        await asyncio.sleep(1)
        alive = kernel.jail_clear(jail, 0) is None
        process.kill(9)
        return alive, await process.wait()

    assert run(main()) == (True, 128 + 9)


def test_mount_from_the_command_line(kernel):
    os.makedirs(kernel.path(f"{ROOT}/proc"))
    assert play(kernel, ["/sbin/mount", "-t", "procfs", "-o", "ro", "proc", f"{ROOT}/proc"]) \
        == (0, "", 0.0)
    assert kernel.mounts()[-1].directory == f"{ROOT}/proc"
    status, output, _ = play(kernel, ["/sbin/mount", "-t", "procfs", "proc", f"{ROOT}/none"])
    assert (status, output) == (1, f"mount: {ROOT}/none: No such file or directory\n")


def test_a_jail_that_does_not_persist_goes_with_its_last_process(kernel, jail):
    async def main():
        process = await SimulatedProcesses(kernel).start(
            JailCommand(jail, ["/bin/sh", "-c", "sleep 5"]))
        kernel.jail_update(jail, {"persist": False})
        assert kernel.jail_list() == {jail}
        await process.wait()

    run(main())
    assert kernel.jail_list() == set()
