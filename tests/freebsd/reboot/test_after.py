"""After the reboot: the same vimages, with the same MAC addresses."""

from __future__ import annotations

import json

from tests.freebsd import stage
from tests.freebsd.reboot.test_before import REMEMBERED


def test_they_came_up_with_the_same_macs() -> None:
    try:
        status = stage.service("status")
        assert status.returncode == 0, status.stdout + status.stderr
        assert [line.split()[:2] for line in status.stdout.splitlines()[1:]] == [
            ["vj1", "ready"], ["vj2", "ready"]]
        assert stage.macs("vj1") | stage.macs("vj2") == json.loads(REMEMBERED.read_text())
        assert stage.pings("vj1", "10.0.0.2")
    finally:
        stage.stop_service()
        REMEMBERED.unlink(missing_ok=True)
        stage.CONFIGURATION.unlink(missing_ok=True)
        stage.remove_root("vj1")
