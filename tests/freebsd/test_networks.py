"""What the network of a vimage can do, seen from inside and from the host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.freebsd import host_tools, system


RC_CONF = Path("/etc/rc.conf")


@pytest.fixture
def roots(clean_host: None) -> Iterator[None]:
    yield
    system.vimage("--without-service", "stop")
    for path in system.JAILS.iterdir() if system.JAILS.is_dir() else ():
        system.remove_root(path.name)


def start(*names: str) -> None:
    started = system.vimage("--without-service", "start", *names)
    assert (started.returncode, started.stderr) == (0, "")


def test_a_nano_vimage_answers_ping_and_runs_its_program(roots: None) -> None:
    root = system.nano_root("nano", "sleep")
    system.configure(f"""
        vimage_list="nano"
        vimage_bridge_list="lan0"
        vimage_bridge_lan0_addr="10.9.0.1/24"
        vimage_nano_rootdir="{root}"
        vimage_nano_boot="none"
        vimage_nano_bridges="lan0"
        vimage_nano_addr0="10.9.0.2/24"
        vimage_nano_defaultrouter="10.9.0.1"
        vimage_nano_command="/sleep 98765"
        """)
    start()
    assert system.pings("", "10.9.0.2")
    processes = [p for p in host_tools.processes() if "98765" in p.command]
    jails = {jail.name: jail.jid for jail in host_tools.jails()}
    assert [p.jid for p in processes] == [jails["nano"]]


def test_host_and_two_vimages_on_a_host_only_bridge(roots: None) -> None:
    root = system.make_root("r")
    system.configure(f"""
        vimage_list="a b"
        vimage_bridge_list="lan0"
        vimage_bridge_lan0_addr="10.9.0.1/24"
        vimage_devfs_enable="YES"
        vimage_fstab="/etc/fstab.r"
        vimage_boot="none"
        vimage_a_rootdir="{root}"
        vimage_b_rootdir="{root}"
        vimage_a_bridges="lan0"
        vimage_a_addr0="10.9.0.2/24 2001:db8::2/64"
        vimage_b_bridges="lan0"
        vimage_b_addr0="10.9.0.3/24 2001:db8::3/64"
        """)
    start()
    assert system.pings("", "10.9.0.2")
    assert system.pings("a", "10.9.0.3")
    assert system.pings("b", "10.9.0.1")


def test_whole_interfaces_get_their_addresses_back(roots: None) -> None:
    _, other = system.parents()
    root = system.make_root("r")
    rc_conf = RC_CONF.read_text()
    RC_CONF.write_text(rc_conf + f'ifconfig_{other}="inet 10.77.0.1/24"\n')
    system.sh(f"service netif start {other}")
    try:
        before = system.look_before()
        system.configure(f"""
            vimage_list="w"
            vimage_w_rootdir="{root}"
            vimage_w_fstab="/etc/fstab.r"
            vimage_w_boot="none"
            vimage_w_vnets="{other}"
            """)
        start()
        assert other in system.ifconfig("w")
        assert other not in system.sh("ifconfig -l").split()
        system.sh(f"jexec w /sbin/ifconfig {other} name gotcha0 mtu 1400")
        stopped = system.vimage("--without-service", "stop")
        assert (stopped.returncode, stopped.stderr) == (0, "")
        assert system.left(before) == []
        assert "10.77.0.1" in system.sh(f"ifconfig {other}")
    finally:
        RC_CONF.write_text(rc_conf)
        system.sh(f"ifconfig {other} -alias; ifconfig {other} down", check=False)


def test_copied_and_kernel_macs(roots: None) -> None:
    parent, _ = system.parents()
    root = system.make_root("r")
    system.configure(f"""
        vimage_list="a"
        vimage_a_rootdir="{root}"
        vimage_a_fstab="/etc/fstab.r"
        vimage_a_boot="none"
        vimage_a_bridges="={parent} !{parent} - {parent}"
        vimage_a_mac3="02:11:22:33:44:55"
        """)
    start()
    own = system.sh(f"ifconfig {parent} | awk '/ether/ {{print $2}}'").strip()
    macs = system.macs("a")
    assert macs["ng0_a"] == own
    assert macs["ng1_a"] not in (own, "02:11:22:33:44:55")
    assert macs["ng3_a"] == "02:11:22:33:44:55"
    assert sorted(macs) == ["ng0_a", "ng1_a", "ng3_a"]


def test_a_bridge_shared_with_jng_stays(roots: None) -> None:
    parent, _ = system.parents()
    root = system.make_root("r")
    jng = "sh /usr/share/examples/jails/jng"
    system.sh(f"{jng} bridge other {parent}")
    try:
        before = system.look_before()
        system.configure(f"""
            vimage_list="a"
            vimage_a_rootdir="{root}"
            vimage_a_fstab="/etc/fstab.r"
            vimage_a_boot="none"
            vimage_a_bridges="{parent} {parent}"
            """)
        start()
        system.vimage("--without-service", "stop")
        assert system.left(before) == []
    finally:
        system.sh(f"{jng} shutdown other; ngctl shutdown {parent}bridge:; "
                 f"ngctl msg {parent}: setpromisc 0; ngctl msg {parent}: setautosrc 1; "
                 f"ifconfig {parent} down", check=False)
