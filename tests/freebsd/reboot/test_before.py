"""Before a reboot of the host: vimages that are to come up with it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.freebsd import stage
from tests.freebsd.test_example import RC_CONF

REMEMBERED = Path("/var/db/vimage-test.json")


def test_vimages_are_ready_before_the_reboot() -> None:
    parent = stage.parents()[0]
    root = stage.make_root("vj1", RC_CONF)
    stage.configure(f"""
        vimage_enable="YES"
        vimage_list="vj1 vj2"
        vimage_vj1_rootdir="{root}"
        vimage_vj1_bridges="{parent} {parent}"
        vimage_vj2_rootdir="{root}"
        vimage_vj2_bridges="{parent}"
        vimage_vj2_fstab="/etc/fstab.vj1"
        """)
    started = stage.service("start")
    assert (started.returncode, started.stderr) == (0, "")
    REMEMBERED.write_text(json.dumps(stage.macs("vj1") | stage.macs("vj2")))
