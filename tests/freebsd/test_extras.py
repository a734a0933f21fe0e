"""What comes with vimage for other programs of the host: a daily report, rotation of logs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.freebsd import recipes, system


@pytest.fixture
def running(clean_host: None) -> Iterator[str]:
    """A vimage that runs; its name is one that no other log has."""
    system.configure("""
        vimage_list="vj77"
        vimage_vj77_rootdir="/"
        vimage_vj77_boot="none"
        """)
    assert system.service("onestart").returncode == 0
    yield "vj77"
    for log in Path("/var/log").glob("vimage_vj77_console.log*"):
        log.unlink()


def test_the_daily_report(running, tmp_path):
    """By periodic(8), from the directory where it is installed."""
    conf, output = Path("/etc/periodic.conf"), tmp_path / "output"
    with recipes.kept(conf):
        def report(enabled: str) -> str:
            conf.write_text(f'daily_status_vimage_enable="{enabled}"\ndaily_output="{output}"\n')
            output.write_text("")
            system.sh("periodic /usr/local/etc/periodic/daily")
            return output.read_text()

        assert "vimages" not in report("NO")
        assert "Status of vimages:\nAll are ready.\n" in report("YES")
        system.sh(f"jail -r {running}")
        deadline = time.monotonic() + 60
        while "All are ready." in (last := report("YES")):
            assert time.monotonic() < deadline
        assert f"\n{running} " in last


def test_the_console_logs_are_rotated(running):
    """By newsyslog(8), which finds the file by itself."""
    log = Path(f"/var/log/vimage_{running}_console.log")
    log.write_text("a line\n")
    assert f"{log} <5>: size" in system.sh("newsyslog -nv")
    system.sh(f"newsyslog -F -f /usr/local/etc/newsyslog.conf.d/vimage.conf {log}")
    assert "a line\n" in log.with_name(f"{log.name}.0").read_text()
    assert "a line\n" not in log.read_text() and log.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("script", ["rc.d/vimage", "periodic/daily/470.status-vimage"])
def test_the_shell_of_the_host_can_read_it(script):
    system.sh(f"sh -n /usr/local/etc/{script}")
