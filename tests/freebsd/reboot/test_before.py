"""Before a reboot of the host: vimages that are to come up with it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.freebsd import system
from tests.freebsd.test_example import RC_CONF

REMEMBERED = Path("/var/db/vimage-test.json")


def test_vimages_are_ready_before_the_reboot() -> None:
    parent = system.parents()[0]
    root = system.make_root("vj1", RC_CONF)
    system.configure(f"""
        vimage_enable="YES"
        vimage_list="vj1 vj2"
        vimage_vj1_rootdir="{root}"
        vimage_vj1_bridges="{parent} {parent}"
        vimage_vj2_rootdir="{root}"
        vimage_vj2_bridges="{parent}"
        vimage_vj2_fstab="/etc/fstab.vj1"
        """)
    started = system.service("start")
    assert (started.returncode, started.stderr) == (0, "")
    REMEMBERED.write_text(json.dumps(system.macs("vj1") | system.macs("vj2")))
