"""rc.d/vimage with the rc.subr(8) and the rcorder(8) of this host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.rc.script import SCRIPT, RcScript, called


@pytest.fixture
def script(tmp_path):
    """The script with the real rc.subr; its settings come from the environment, since
    rc.subr reads the host's own rc.conf, in which nothing of vimage is set."""
    return RcScript(tmp_path, "/etc/rc.subr")


def rcorder(*arguments: str) -> list[str]:
    scripts = [f"/etc/rc.d/{name}" for name in os.listdir("/etc/rc.d")]
    result = subprocess.run(["rcorder", *arguments, *scripts, str(SCRIPT)],
                            capture_output=True, text=True)
    # Its status is 1 when a script of this host requires one that is not installed.
    assert "vimage" not in result.stderr
    return [os.path.basename(line) for line in result.stdout.splitlines()]


def test_rcorder_places_it_after_jail_and_before_securelevel():
    order = rcorder()
    assert order.index("LOGIN") < order.index("vimage")
    assert order.index("jail") < order.index("vimage") < order.index("securelevel")


def test_it_is_stopped_before_jail_when_the_host_goes_down():
    stops = list(reversed(rcorder("-k", "shutdown")))
    assert stops.index("vimage") < stops.index("jail")


def test_it_is_left_out_within_jails():
    assert "vimage" not in rcorder("-s", "nojail")


@pytest.mark.parametrize("prefix", ["one", "force"])
def test_verbs_names_and_status(script, prefix):
    script.environment["FAKE_STATUS"] = "2"
    for verb in ("start", "stop", "restart", "reload", "reexec", "exec", "console"):
        result = script(prefix + verb, "vj1", "a; b 'c'")
        assert called(result) == ["--rc", verb, "vj1", "a; b 'c'"]
        assert result.returncode == 2


def test_without_vimage_enable(script):
    result = script("start", "vj1")
    assert called(result) == []
    assert "Cannot 'start' vimage" in result.stdout
    assert (script("faststart").stdout, script("quietstart").stdout) == ("", "")
    assert called(script("status", "vj1")) == ["--rc", "status", "vj1"]


def test_enabled_in_rc_conf(script, tmp_path):
    """As at boot: rc(8) sources the script in a subshell of its own."""
    before = '. /etc/rc.subr; load_rc_config; vimage_enable="YES"; autoboot=yes'
    assert called(script("faststart", before=before)) == ["--rc", "start"]
    assert called(script("faststop", before=before + "; rc_shutdown=reboot")) == [
        "--rc", "stop", "--shutdown"]


def test_refuses_in_a_jail(script):
    script.jailed = 1
    result = script("onestart")
    assert (called(result), result.returncode) == ([], 2)
    assert "vimage does not run in a jail" in result.stderr


@pytest.mark.parametrize("verb", ["stop", "forcestop", "faststop"])
def test_pkg_is_told_from_an_administrator(script, tmp_path, verb):
    """With the real ps(1), and service(8)'s way to start a script."""
    path = script.install()
    (tmp_path / "ps").unlink()
    service = (f"env -i HOME=/ PATH={tmp_path}:/sbin:/bin:/usr/sbin:/usr/bin vimage_enable=YES "
               f"{path} {verb}")
    for name, expected in (("pkg", ["--rc", "stop", "--service-only"]),
                           ("pkg-static", ["--rc", "stop", "--service-only"]),
                           ("anything", ["--rc", "stop"])):
        # A copy of a program under that name, which starts the script as its child.
        parent = tmp_path / name
        parent.write_bytes(Path("/bin/sh").read_bytes())
        parent.chmod(0o755)
        result = subprocess.run([parent, "-c", f"{service}; exit $?"], text=True,
                                capture_output=True, stdin=subprocess.DEVNULL)
        assert called(result) == expected, result.stderr


def test_service_knows_its_commands():
    result = subprocess.run(["service", "vimage", "oneextracommands"], capture_output=True,
                            text=True)
    assert {"status", "reload", "reexec", "plan", "check", "graph"} <= set(result.stdout.split())


def test_the_sample_is_read_and_sets_nothing():
    result = subprocess.run(["sh", "-c", ". /etc/rc.subr; load_rc_config vimage; set"],
                            capture_output=True, text=True, check=True)
    assert [line for line in result.stdout.splitlines() if line.startswith("vimage_")] == []
