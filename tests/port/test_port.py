"""The port's files say what is true of the sources."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

import vimage
from tests.freebsd import recipes

ROOT = Path(__file__).parents[2]

_spec = importlib.util.spec_from_file_location("plist", ROOT / "port/plist.py")
assert _spec is not None and _spec.loader is not None
plist = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(plist)


def run(*argv, **more):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False, **more)


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_the_list_of_files_is_what_make_puts_in_place():
    listed = plist.expanded((ROOT / "pkg-plist").read_text())
    assert sorted(listed) == sorted(plist.staged()), "python3 port/plist.py"


def test_the_version_is_that_of_the_program():
    assert re.findall(r"^DISTVERSION=\t(.*)$", (ROOT / "Makefile").read_text(), re.M) == [
        vimage.__version__]


def test_the_message_has_the_lines_of_the_readme_and_of_the_manual():
    message = (ROOT / "pkg-message").read_text()
    lines = [line.strip() for line in message.splitlines() if "sysrc " in line]
    assert len(lines) == 3
    readme = (ROOT / "README.md").read_text()
    manual = (ROOT / "man/vimage.8").read_text()
    for line in lines:
        assert line in readme
        assert line in manual


def test_what_is_typed_on_a_freebsd_host_is_found_in_the_documents():
    """The tests on FreeBSD run these commands and no others."""
    readme = recipes.commands(recipes.section((ROOT / "README.md").read_text(),
                                              "On a FreeBSD host"))
    assert [line.split()[0] for line in readme] == [
        "pkg", "make", "service", "sysrc", "sysrc", "sysrc", "vimage", "vimage", "service",
        "jexec", "vimage", "service", "sysrc", "make", "service"]
    assert [line.split()[0] for line in recipes.of_the_message()] == [
        "sysrc", "sysrc", "sysrc", "service", "vimage", "service"]
    assert recipes.for_card(["a=em0 b=em01"], "igb0") == ["a=igb0 b=em01"]


@pytest.mark.skipif(not shutil.which("bmake"), reason="needs bmake")
def test_what_is_the_port_and_what_is_not(tmp_path):
    """In a ports tree, with USE_PORT, or without the sources it is the port."""
    def has_port(directory, *arguments):
        shown = run("bmake", "-C", directory, "-V", "PORTNAME", "-m", framework, *arguments)
        assert shown.returncode == 0, shown.stderr
        return shown.stdout.strip() == "vimage"

    framework = tmp_path / "ports/Mk"
    framework.mkdir(parents=True)
    for name in ("sys.mk", "bsd.port.mk"):
        (framework / name).touch()
    (framework / "bsd.port.options.mk").write_text("PORT_OPTIONS=\n")
    assert not has_port(ROOT)
    assert has_port(ROOT, "USE_PORT=yes")
    alone = tmp_path / "alone"
    inside = tmp_path / "ports/sysutils/vimage"
    for directory in (alone, inside):
        directory.mkdir(parents=True)
        shutil.copy(ROOT / "Makefile", directory)
        assert has_port(directory)
    (inside / "vimage").mkdir()
    (inside / "vimage/__init__.py").touch()
    assert has_port(inside)


# -- completions ---------------------------------------------------------------------------

SHELLS = ("bash-completion/completions/vimage", "zsh/site-functions/_vimage")


def test_completions_rc_script_and_synopses_follow_from_the_table_of_verbs():
    spec = importlib.util.spec_from_file_location("verbs", ROOT / "port/verbs.py")
    assert spec is not None and spec.loader is not None
    verbs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(verbs)
    for name, write in verbs.FILES.items():
        text = (ROOT / name).read_text()
        assert write(text) == text, f"{name}: python3 port/verbs.py"


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize("line, expected", [
    ("vimage sta", ["start", "status"]),
    ("vimage graph --format s", ["svg"]),
    ("vimage show --format ", ["rc", "yaml", "json"]),
    ("vimage stop v", ["vj1", "vj2"]),
    ("vimage --json plan st", ["start", "stop"]),
    ("vimage demo --k", ["--keep"]),
    ("vimage show --j", ["--json"]),
    ("vimage reload ", []),
    ("vimage log -f v", ["vj1", "vj2"]),
    ("vimage log -n ", []),
    ("vimage log -n 3 v", ["vj1", "vj2"]),
])
def test_bash_completes(tmp_path, line, expected):
    (tmp_path / "sysrc").write_text("#!/bin/sh\necho vj1 vj2\n")
    (tmp_path / "sysrc").chmod(0o755)
    words = line.split(" ")
    script = f"""
        . {ROOT}/share/{SHELLS[0]}
        COMP_WORDS=({' '.join(f"'{word}'" for word in words)})
        COMP_CWORD={len(words) - 1}
        _vimage
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = run("bash", "-c", script, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert (done.stdout.split(), done.stderr) == (expected, "")


@pytest.mark.skipif(not shutil.which("zsh"), reason="needs zsh")
def test_zsh_reads_its_completion():
    done = run("zsh", "-n", ROOT / "share" / SHELLS[1])
    assert (done.returncode, done.stderr) == (0, "")


# -- scripts -------------------------------------------------------------------------------

HEAD = "NAME  STATE    JID  ROOT  INTERFACES\n"


@pytest.fixture
def periodic(tmp_path):
    def periodic(table, status=0, enable="YES"):
        fake = tmp_path / "vimage"
        (tmp_path / "table").write_text(table)
        fake.write_text(f"#!/bin/sh\ncat {tmp_path}/table\nexit {status}\n")
        fake.chmod(0o755)
        text = (ROOT / "periodic/daily/470.status-vimage").read_text()
        script = tmp_path / "script"
        script.write_text(text.replace("/usr/local/sbin/vimage", str(fake))
                          .replace("/etc/defaults/periodic.conf", "/none"))
        return run("sh", script, env={**os.environ, "daily_status_vimage_enable": enable})
    return periodic


def test_periodic_says_nothing_unless_enabled(periodic):
    assert periodic(f"{HEAD}a     gone     -    -     -\n", enable="NO").stdout == ""


def test_periodic_when_all_is_well(periodic):
    done = periodic(f"{HEAD}a     ready    1    /a    ng0_a\n")
    assert (done.returncode, done.stdout) == (0, "\nStatus of vimages:\nAll are ready.\n")


def test_periodic_shows_what_is_not_ready(periodic):
    done = periodic(f"{HEAD}a     ready    1    /a    ng0_a\n"
                    "b     ready, its command has ended  2  /b  -\nc     stopped  -    -  -\n")
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == ["NAME", "b", "c"]


def test_periodic_without_the_service(periodic):
    done = periodic("vimage: no\n", status=1)
    assert done.returncode == 3
    assert "does not run" in done.stdout and "vimage: no" in done.stdout


@pytest.fixture
def package_script(tmp_path):
    """Runs a script of the package as pkg(8) does, and tells what it called."""
    control = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(control))

        def package_script(name, argument, **environment):
            sbin = tmp_path / "sbin"
            sbin.mkdir(exist_ok=True)
            (sbin / "vimage").write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/called\n')
            (sbin / "vimage").chmod(0o755)
            text = (ROOT / name).read_text().replace("/var/run/vimage/control", str(control))
            done = run("sh", "-c", f"set -- vimage-2.0.0 {argument}\n{text}",
                       env={"PKG_PREFIX": str(tmp_path), "PKG_ROOTDIR": "/", **environment})
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
            called = tmp_path / "called"
            return called.read_text().splitlines() if called.exists() else []

        yield package_script, control


def test_the_new_version_takes_over_after_an_upgrade(package_script):
    package_script, _ = package_script
    assert package_script("pkg-install", "PRE-INSTALL") == []
    assert package_script("pkg-install", "POST-INSTALL", PKG_ROOTDIR="/mnt") == []
    assert package_script("pkg-install", "POST-INSTALL", PKG_UPGRADE="true") == ["reexec"]


def test_nothing_is_started_where_no_service_runs(package_script):
    package_script, control = package_script
    control.unlink()
    assert package_script("pkg-install", "POST-INSTALL") == []
    assert package_script("pkg-deinstall", "DEINSTALL") == []


def test_the_service_ends_when_the_package_goes(package_script):
    package_script, _ = package_script
    assert package_script("pkg-deinstall", "DEINSTALL", PKG_UPGRADE="true") == []
    assert package_script("pkg-deinstall", "POST-DEINSTALL") == []
    assert package_script("pkg-deinstall", "DEINSTALL") == ["stop --service-only"]


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck")
@pytest.mark.parametrize("script, shell", [
    ("pkg-install", "sh"), ("pkg-deinstall", "sh"), ("periodic/daily/470.status-vimage", "sh"),
    (f"share/{SHELLS[0]}", "bash")])
def test_shellcheck(script, shell):
    done = run("shellcheck", "-s", shell, ROOT / script)
    assert (done.returncode, done.stdout) == (0, "")


def test_newsyslog_lines():
    files = {}
    for line in (ROOT / "newsyslog.conf.d/vimage.conf").read_text().splitlines():
        if not line.startswith("#"):
            file, mode, count, size, when, files[file] = line.split()
            assert (mode, count.isdigit(), size.isdigit(), when) == ("600", True, True, "*")
    assert files == {"/var/log/vimage_*_console.log": "GN", "/var/log/vimage.log": "N"}
