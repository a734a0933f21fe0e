"""What goes wrong, the one line it gives, and its exit status.

In each case the host is as before afterwards, and the other vimage of the list is ready.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.freebsd import system

ROOT = system.JAILS / "r"


@dataclass(frozen=True)
class Case:
    """``configuration`` is about vimage ``a``; ``good`` is there as well."""

    configuration: str
    stderr: str
    status: int = 1
    before: str = ":"
    after: str = ":"
    good_is_ready: bool = True
    alone: bool = False  # without the service, which would have made its own directory


CASES = {
    "a boot command that fails": Case(
        'vimage_a_exec_start="exit 3"',
        "vimage: a: exec_start: exit status 3\n"),
    "a boot command that is killed": Case(
        'vimage_a_exec_start="kill -9 $$"'.replace("$$", "\\$\\$"),
        "vimage: a: exec_start: killed by SIGKILL\n"),
    "a boot command that hangs": Case(
        'vimage_a_exec_start="sleep 1000"\nvimage_a_start_timeout="2"',
        "vimage: a: exec_start: not finished within 2 s, ended\n"),
    "a boot command that reads its terminal": Case(
        'vimage_a_exec_start="read answer </dev/tty"\nvimage_a_devfs_enable="YES"',
        "vimage: a: exec_start: exit status 2\n"),
    "a missing parent": Case(
        'vimage_a_bridges="nosuch0"',
        "vimage: vimage_a_bridges: no interface nosuch0 on this host (known: ETHERNET)\n"),
    "a missing whole interface": Case(
        'vimage_a_vnets="nosuch0"',
        "vimage: vimage_a_vnets: no interface nosuch0 on this host (known: ETHERNET)\n"),
    "a missing root": Case(
        'vimage_a_rootdir="/nonexistent"',
        'vimage: vimage_a_rootdir="/nonexistent": No such file or directory; allowed: an '
        "existing directory\n"),
    "an interface of that name": Case(
        'vimage_a_bridges="PARENT"',
        "vimage: a: interface ng0_a exists already\n",
        before="ifconfig epair77 create; ifconfig epair77a name ng0_a",
        after="ifconfig ng0_a destroy"),
    "a node of that name": Case(
        'vimage_a_bridges="PARENT"',
        "vimage: a: netgraph node ng0_a exists already\n",
        before="printf 'mkpeer eiface e ether\\nname .:e ng0_a\\n' | ngctl -f -",
        after="ngctl shutdown ng0_a:"),
    "a jail of that name": Case(
        "",
        "vimage: a: a jail of that name exists already (jid 7777)\n",
        before="jail -c jid=7777 name=a path=/ persist", after="jail -r a"),
    "a symbolic link for dev": Case(
        'vimage_a_devfs_enable="YES"',
        f"vimage: a: mount point {ROOT}/dev: a symbolic link, which is not followed\n",
        before=f"rmdir {ROOT}/dev; ln -s /tmp {ROOT}/dev",
        after=f"rm {ROOT}/dev; mkdir {ROOT}/dev"),
    "a symbolic link put there between check and mount": Case(
        'vimage_a_devfs_enable="YES"\n'
        f'vimage_a_exec_prepare="rmdir {ROOT}/dev; ln -s /tmp {ROOT}/dev"',
        f"vimage: a: mount point {ROOT}/dev: a symbolic link, which is not followed\n",
        after=f"rm {ROOT}/dev; mkdir {ROOT}/dev"),
    "a devfs ruleset that is not loaded": Case(
        'vimage_a_devfs_enable="YES"\nvimage_a_devfs_ruleset="77"',
        'vimage: vimage_a_devfs_ruleset="77": the ruleset has no rules; allowed: a ruleset '
        "that is loaded (devfs rule showsets)\n"),
    "a program that is not there": Case(
        'vimage_a_command="/no/such/program"',
        "vimage: a: command: /no/such/program: No such file or directory\n"),
    "a parameter the kernel does not know": Case(
        'vimage_a_parameters="allow.bogus"',
        "vimage: a: jail a: vnet, persist, path=ROOT, host.hostname=a: unknown parameter: "
        "allow.bogus\n"),
    "a kernel without a module": Case(
        "", "vimage: kernel module ng_eiface: No such file or directory\n", status=2,
        before="kldunload ng_eiface && mv /boot/kernel/ng_eiface.ko /boot/kernel/ng_eiface.away",
        after="mv /boot/kernel/ng_eiface.away /boot/kernel/ng_eiface.ko; kldload ng_eiface",
        good_is_ready=False),
    "a full disk for the state": Case(
        'vimage_list="a"',
        "vimage: a: /var/run/vimage/vimages/a.json: cannot write the state: No space left on "
        "device\n",
        before="mkdir -p /var/run/vimage; mount -t tmpfs -o size=200k tmpfs /var/run/vimage; "
               "cd /var/run/vimage; mkdir vimages shared service aside returning; "
               "touch lock; cd /; "
               "dd if=/dev/zero of=/var/run/vimage/full bs=512 2>/dev/null; :",
        after="umount /var/run/vimage", good_is_ready=False, alone=True),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, served_host: None) -> Iterator[Case]:
    root = system.make_root("r")
    case = CASES[request.param]
    system.configure(f"""
vimage_list="good a"
vimage_boot="none"
vimage_devfs_enable="NO"
vimage_fstab="/etc/fstab.r"
vimage_good_rootdir="{root}"
vimage_good_bridges="{system.parents()[0]}"
vimage_a_rootdir="{root}"
""" + case.configuration.replace("PARENT", system.parents()[0]) + "\n")
    yield case
    if system.running():
        system.vimage("stop", *system.running())
    system.remove_root("r")


def test_the_line_and_the_host(case: Case) -> None:
    alone = ("--without-service",) * case.alone
    system.sh(case.before)
    try:
        before = system.look_before()
        started = system.vimage(*alone, "start")
        ready = "good ready" in started.stdout
        if system.running():
            system.vimage(*alone, "stop", *system.running())
        left = system.left(before)
    finally:
        system.sh(case.after)
    ethernet = " ".join(
        name for name in system.sh("ifconfig -l").split()
        if "ether" in system.sh(f"ifconfig {name}"))
    expected = case.stderr.replace("ETHERNET", ethernet).replace("ROOT", str(ROOT))
    assert (started.stderr, started.returncode) == (expected, case.status)
    assert ready == case.good_is_ready
    assert left == []


def test_named_with_an_error_nothing_is_touched(served_host: None) -> None:
    system.configure("""
        vimage_list="a"
        vimage_a_rootdir="/"
        vimage_a_bridges="nosuch0"
        """)
    before = system.look_before()
    assert system.vimage("start", "a").returncode == 2
    assert system.left(before) == []


def test_two_vimages_on_one_root_each_with_devfs(served_host: None) -> None:
    root = system.make_root("r")
    system.configure(f"""
        vimage_list="a b"
        vimage_boot="none"
        vimage_devfs_enable="YES"
        vimage_fstab="/etc/fstab.r"
        vimage_a_rootdir="{root}"
        vimage_b_rootdir="{root}"
        """)
    before = system.look_before()
    started = system.vimage("start")
    assert (started.stderr, started.returncode) == ("", 0)
    mounted = re.compile(rf"\s{root}/dev\s")
    assert len(mounted.findall(system.sh("mount -p"))) == 1
    system.vimage("stop", "a")
    assert len(mounted.findall(system.sh("mount -p"))) == 1
    system.vimage("stop", "b")
    assert system.left(before) == []
    system.remove_root("r")


LISTEN = """
import socket
server = socket.create_server(("10.9.0.1", 7))
print("listening", flush=True)
connection, _ = server.accept()
print("connected", flush=True)
connection.recv(1)
import time
time.sleep(1000)
"""


def test_a_peer_that_holds_a_connection_does_not_hold_the_jail(served_host: None) -> None:
    root = system.make_root("r")
    system.configure(f"""
        vimage_list="a"
        vimage_bridge_list="lan0"
        vimage_bridge_lan0_addr="10.9.0.1/24"
        vimage_boot="none"
        vimage_devfs_enable="NO"
        vimage_fstab="/etc/fstab.r"
        vimage_a_rootdir="{root}"
        vimage_a_bridges="lan0"
        vimage_a_addr0="10.9.0.2/24"
        """)
    before = system.look_before()
    assert system.vimage("start").returncode == 0
    with subprocess.Popen([sys.executable, "-c", LISTEN], stdout=subprocess.PIPE,
                          text=True) as peer:
        assert peer.stdout is not None and peer.stdout.readline() == "listening\n"
        # Not a child of this process: as a zombie it would hold the jail.
        system.sh("daemon -f sh -c 'sleep 4321 | jexec a /usr/bin/nc 10.9.0.1 7'")
        assert peer.stdout.readline() == "connected\n"
        stopped = system.vimage("stop", "a")
        peer.kill()
        system.sh("pkill -f 'sleep 4321'")
    assert (stopped.stderr, stopped.returncode) == ("", 0)
    assert system.left(before) == []
    system.remove_root("r")


def test_an_interface_renamed_by_the_jails_root(served_host: None) -> None:
    root = system.make_root("r")
    parent = system.parents()[0]
    system.configure(f"""
        vimage_list="a"
        vimage_boot="none"
        vimage_devfs_enable="NO"
        vimage_fstab="/etc/fstab.r"
        vimage_a_rootdir="{root}"
        vimage_a_bridges="{parent}"
        """)
    before = system.look_before()
    system.vimage("start")
    system.sh(f"jexec a /sbin/ifconfig ng0_a name {parent}")
    stopped = system.vimage("stop", "a")
    assert (stopped.stderr, stopped.returncode) == ("", 0)
    assert system.left(before) == []
    system.remove_root("r")
