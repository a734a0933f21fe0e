"""One hundred times up and down, five vimages of different kinds: nothing stays."""

from __future__ import annotations

import os

from tests.freebsd import system

CYCLES = int(os.environ.get("VIMAGE_TEST_CYCLES", "100"))


def test_cycles_leave_nothing(clean_host: None) -> None:
    parent, other = system.parents()
    root = system.make_root("r", 'ifconfig_ng0_netboot="inet 10.1.0.1/24"\n')
    service = root / "etc/rc.d/lighthouse"
    service.write_text("#!/bin/sh\ncase $1 in\n"
                       "onestart) /usr/sbin/daemon -f -p /tmp/l.pid /bin/sleep 100000 ;;\n"
                       "onestop) kill $(cat /tmp/l.pid) ;;\nesac\n")
    service.chmod(0o555)
    nano = system.nano_root("nano", "sleep")
    system.configure(f"""
        vimage_list="mounts whole shared netboot nano"
        vimage_boot="none"
        vimage_devfs_enable="NO"
        vimage_mounts_rootdir="{root}"
        vimage_mounts_fstab="/etc/fstab.r"
        vimage_mounts_devfs_enable="YES"
        vimage_mounts_bridges="{parent}"
        vimage_whole_rootdir="{nano}"
        vimage_whole_vnets="{other}"
        vimage_shared_rootdir="{nano}"
        vimage_shared_bridges="{parent} {parent}"
        vimage_netboot_rootdir="{root}"
        vimage_netboot_fstab="/etc/fstab.r"
        vimage_netboot_devfs_enable="YES"
        vimage_netboot_boot="network"
        vimage_netboot_bridges="{parent}"
        vimage_netboot_afterstart_services="lighthouse"
        vimage_nano_rootdir="{nano}"
        vimage_nano_command="/sleep 100000"
        vimage_nano_bridges="{parent}"
        vimage_nano_addr0="10.2.0.1/24"
        """)
    before = system.look_before()
    names = "mounts", "whole", "shared", "netboot", "nano"
    for cycle in range(CYCLES):
        started = system.vimage("start", *names)
        assert (started.stderr, started.returncode) == ("", 0), f"cycle {cycle}"
        stopped = system.vimage("stop", *names)
        assert (stopped.stderr, stopped.returncode) == ("", 0), f"cycle {cycle}"
    system.stop_service()
    assert system.left(before) == []
    print(f"{CYCLES} cycles")
    system.remove_root("r")
    system.remove_root("nano")
