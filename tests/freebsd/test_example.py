"""The example of the seeds, to the letter: two vimages, one root, two wires."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.freebsd import system

RC_CONF = """
    ifconfig_ng0_vj1="inet 192.168.1.100 netmask 255.255.255.0"
    ifconfig_ng1_vj1="inet 10.0.0.1 netmask 255.255.255.0"
    ifconfig_ng0_vj2="inet 10.0.0.2 netmask 255.255.255.0"
    defaultrouter="192.168.1.1"
    """

SERVICE = """\
#!/bin/sh
# PROVIDE: lighthouse
. /etc/rc.subr
name=lighthouse
rcvar=lighthouse_enable
start_cmd='/usr/sbin/daemon -f -p /tmp/lighthouse.$(hostname) /bin/sleep 100000'
stop_cmd='kill $(cat /tmp/lighthouse.$(hostname)); rm -f /tmp/lighthouse.$(hostname)'
load_rc_config $name
run_rc_command "$1"
"""


@pytest.fixture
def example(clean_host: None) -> Iterator[str]:
    parent = system.parents()[0]
    root = system.make_root("vj1", RC_CONF)
    script = root / "etc/rc.d/lighthouse"
    script.write_text(SERVICE)
    script.chmod(0o555)
    system.configure(f"""
        vimage_enable="YES"
        vimage_list="vj1 vj2"
        vimage_afterstart_services="lighthouse"
        vimage_vj1_rootdir="{root}"
        vimage_vj1_bridges="{parent} {parent}"
        vimage_vj2_rootdir="{root}"
        vimage_vj2_bridges="{parent}"
        vimage_vj2_fstab="/etc/fstab.vj1"
        """)
    yield parent
    system.service("onestop")
    system.remove_root("vj1")


def test_it_works_to_the_letter(example: str) -> None:
    started = system.service("start")
    assert (started.returncode, started.stderr) == (0, "")
    assert started.stdout == "Starting vimages: vj1 vj2.\n" or \
        started.stdout == "Starting vimages: vj2 vj1.\n"
    vj1, vj2 = system.ifconfig("vj1"), system.ifconfig("vj2")
    assert vj1["ng0_vj1"]["inet"] == ["192.168.1.100"]
    assert vj1["ng1_vj1"]["inet"] == ["10.0.0.1"]
    assert vj2["ng0_vj2"]["inet"] == ["10.0.0.2"]
    assert vj1["lo0"]["inet"] == vj2["lo0"]["inet"] == ["127.0.0.1"]
    macs = [*system.macs("vj1").values(), *system.macs("vj2").values()]
    assert len(set(macs)) == 3
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)
    assert "/bin/sleep 100000" in system.sh("jexec vj1 /bin/ps -axww")
    assert system.pings("vj1", "10.0.0.2")
    assert system.pings("vj2", "10.0.0.1")
    assert system.service("status").returncode == 0


def test_the_same_macs_after_a_restart(example: str) -> None:
    system.service("start")
    first = system.macs("vj1") | system.macs("vj2")
    restarted = system.service("restart", "vj1")
    assert (restarted.returncode, restarted.stderr) == (0, "")
    assert system.macs("vj1") | system.macs("vj2") == first
    assert system.pings("vj1", "10.0.0.2")
