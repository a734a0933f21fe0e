"""After the reboot: the same vimages, with the same MAC addresses."""

from __future__ import annotations

import json

from tests.freebsd import system
from tests.freebsd.reboot.test_before import REMEMBERED


def test_they_came_up_with_the_same_macs() -> None:
    try:
        status = system.service("status")
        assert status.returncode == 0, status.stdout + status.stderr
        assert [line.split()[:2] for line in status.stdout.splitlines()[1:]] == [
            ["vj1", "ready"], ["vj2", "ready"]]
        assert system.macs("vj1") | system.macs("vj2") == json.loads(REMEMBERED.read_text())
        assert system.pings("vj1", "10.0.0.2")
    finally:
        system.stop_service()
        REMEMBERED.unlink(missing_ok=True)
        system.CONFIGURATION.unlink(missing_ok=True)
        system.remove_root("vj1")
