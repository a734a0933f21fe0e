"""rc.d/vimage with a stand-in for rc.subr, under every shell at hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.rc.script import SCRIPT, RcScript, called

SHELLS = [name for name in ("sh", "dash", "bash", "busybox") if shutil.which(name)]


@pytest.fixture
def script(tmp_path):
    return RcScript(tmp_path, str(Path(__file__).with_name("rc.subr")))


@pytest.mark.parametrize("shell", [s for s in SHELLS if s != "busybox"])
def test_verb_and_names_are_passed_on(script, shell):
    result = script("start", "vj1", "a name; $(reboot) 'quoted'", "", shell=shell)
    assert called(result) == ["--rc", "start", "vj1", "a name; $(reboot) 'quoted'", ""]
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("verb", [
    "start", "stop", "restart", "status", "reload", "reexec", "plan", "check", "graph", "show",
    "exec", "console"])
def test_every_verb(script, verb):
    assert called(script(verb, "vj1")) == ["--rc", verb, "vj1"]


@pytest.mark.parametrize("status", [0, 1, 2, 130])
def test_exit_status_is_the_program_s(script, status):
    script.environment["FAKE_STATUS"] = str(status)
    assert script("start").returncode == status


@pytest.mark.parametrize("prefix", ["fast", "quiet"])
def test_nothing_is_said_or_started_unless_enabled(script, prefix):
    script.configuration = ""
    result = script(f"{prefix}start")
    assert (called(result), result.stdout, result.returncode) == ([], "", 0)


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "reload", "reexec", "exec"])
def test_acting_verbs_need_vimage_enable(script, verb):
    script.configuration = ""
    assert called(script(verb)) == []
    assert called(script(f"one{verb}", "vj1")) == ["--rc", verb, "vj1"]
    assert called(script(f"force{verb}", "vj1")) == ["--rc", verb, "vj1"]


@pytest.mark.parametrize("verb", ["status", "plan", "check", "graph", "show"])
def test_looking_does_not(script, verb):
    script.configuration = ""
    assert called(script(verb)) == ["--rc", verb]


def test_refuses_in_a_jail(script):
    script.jailed = 1
    for verb in ("start", "onestart", "faststart", "stop", "status"):
        result = script(verb)
        assert (called(result), result.returncode) == ([], 2)
        assert "vimage does not run in a jail" in result.stderr


TABLE = ("NAME  STATE    JID  ROOT  INTERFACES\nvj1   ready    1    /     ng0_vj1\n"
         "vj2   stopped  -    /     -\nvj3   ready, its command has ended  3  /  -\n")


@pytest.mark.parametrize("parent", ["pkg", "pkg-static"])
def test_pkg_stops_the_service_and_not_the_vimages(script, parent):
    script.parent = parent
    assert called(script("onestatus")) == ["--rc", "status"]
    for verb in ("stop", "forcestop", "faststop"):
        assert called(script(verb)) == ["--rc", "stop", "--service-only"]


@pytest.mark.parametrize("verb", ["start", "quietstart", "restart"])
def test_pkg_brings_the_service_back_and_starts_no_vimage(script, verb):
    script.parent = "pkg"
    script.environment |= {"FAKE_TABLE": TABLE, "FAKE_STATUS": "1"}
    result = script(verb)
    assert script.calls() == ["status", "--rc start vj1 vj3"]
    assert (result.stdout, result.stderr) == ("", "")
    script.environment |= {"FAKE_STATUS": "0"}  # it runs
    script(verb)
    script.environment |= {"FAKE_STATUS": "1", "FAKE_TABLE": TABLE.splitlines()[0]}
    script(verb)
    assert script.calls() == ["status", "--rc start vj1 vj3", "status", "status"]


def test_pkg_after_the_program_has_gone(script):
    script.parent = "pkg"
    path = script.install()
    (script.directory / "program").unlink()
    for verb in ("faststop", "restart"):
        result = script.run("sh", str(path), verb)
        assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


@pytest.mark.parametrize("parent", ["sh", "pkgfile", "service"])
def test_an_administrator_means_the_vimages(script, parent):
    script.parent = parent
    for verb in ("stop", "forcestop", "faststop"):
        assert called(script(verb)) == ["--rc", "stop"]
    for verb in ("start", "restart"):
        assert called(script(verb)) == ["--rc", verb]


def test_boot_and_shutdown_are_nobody_else_s(script):
    """Whatever the parent of rc(8) may be called."""
    script.parent = "pkg"
    assert called(script("faststart", before="autoboot=yes")) == ["--rc", "start"]
    assert called(script("faststop", before="rc_shutdown=single")) == ["--rc", "stop"]


def test_shutdown_is_told_when_the_host_goes_down(script):
    assert called(script("faststop", before="rc_shutdown=reboot")) == ["--rc", "stop", "--shutdown"]
    assert called(script("faststop", before="rc_shutdown=single")) == ["--rc", "stop"]
    assert called(script("faststart", before="autoboot=yes")) == ["--rc", "start"]


def test_unknown_verb(script):
    result = script("dance")
    assert (called(result), result.returncode) == ([], 1)
    assert "unknown directive 'dance'" in result.stderr


def test_rcorder_lines():
    lines = [line[2:] for line in SCRIPT.read_text().splitlines() if line[2:].startswith(
        ("PROVIDE:", "REQUIRE:", "BEFORE:", "KEYWORD:"))]
    assert lines == ["PROVIDE: vimage", "REQUIRE: LOGIN FILESYSTEMS jail",
                     "BEFORE: securelevel", "KEYWORD: nojail shutdown"]


def test_the_sample_sets_nothing():
    sample = SCRIPT.parents[1] / "rc.conf.d" / "vimage"
    assert [line for line in sample.read_text().splitlines() if not line.startswith("#")] == []
