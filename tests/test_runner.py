"""The runner of the FreeBSD tests, against a QEMU that only pretends."""

from __future__ import annotations

import os
import sys
import tarfile
from pathlib import Path

import pytest

from tests.freebsd import runner

#: Listens on the console's socket and answers as a FreeBSD guest does.
FAKE_QEMU = r'''
import io, os, re, socket, sys, tarfile, time

arguments = " ".join(sys.argv)
console = re.search(r"path=([^,]+),", arguments)[1]
image, tree, results = re.findall(r"-drive file=([^,]+),", arguments)
mode = os.environ["FAKE_GUEST"]
if mode == "no-start":
    sys.exit("qemu: no such machine")
server = socket.socket(socket.AF_UNIX)
server.bind(console)
server.listen()
guest, _ = server.accept()
lines = guest.makefile("r")


def say(text):
    guest.sendall(text.encode())


def write_results(command):
    with tarfile.open(results, "w") as tar:
        content = {"freebsd.xml": "<testsuites/>", "status": os.environ.get("FAKE_STATUS", "0"),
                   "uname": "FreeBSD vmhost 13.2", "arguments": command}
        if "--benchmark" in command and mode != "no-figures":
            content["figures.csv"] = "mode,count"
        for name, text in content.items():
            info = tarfile.TarInfo("./" + name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))


def log_in():
    say("Loading kernel...\r\nFreeBSD/amd64 (vmhost) (ttyu0)\r\n\r\nlogin: ")
    assert lines.readline() == "root\n"
    if mode == "password":
        say("Password:")
        time.sleep(30)
    say("root\r\n\r\nWelcome\r\nroot@vmhost:~ # ")
    line = lines.readline()
    assert line.startswith("exec /bin/sh"), line
    say(line + "vimage-shell\r\n# ")


log_in()
for line in lines:
    status = 0
    if "shutdown -p" in line:
        break
    if "shutdown -r" in line:
        log_in()
        continue
    if "run-in-guest" in line:
        say("tests/freebsd/test_it.py::test_it PASSED\r\n")
        if mode == "panic":
            say("\r\npanic: page fault\r\ncpuid = 0\r\n")
            time.sleep(30)
        if mode != "no-results":
            write_results(line)
    if "--find-python" in line and mode == "no-python":
        status = 2
    if "pkg install" in line:
        open(os.path.join(os.path.dirname(image), "pkg-was-run"), "w").close()
    say(line.replace("\n", "\r\n") + f"vimage-status-{status}-\r\n# ")
'''


@pytest.fixture
def guest(tmp_path, monkeypatch):
    """A fake QEMU first in PATH, and an image for it; call it with what is to happen."""
    program = tmp_path / "bin" / runner.QEMU
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{FAKE_QEMU}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    image = tmp_path / "freebsd.qcow2"
    image.write_bytes(b"")

    def run(mode: str, *arguments: str, status: int = 0) -> int:
        monkeypatch.setenv("FAKE_GUEST", mode)
        monkeypatch.setenv("FAKE_STATUS", str(status))
        return runner.main(["--image", str(image), "--results", str(tmp_path / "results"),
                            "--timeout", "60", *arguments])

    return run


def test_status_and_results_come_back(guest, tmp_path, capsys):
    assert guest("good", "--", "-k", "some test", status=1) == 1
    results = tmp_path / "results"
    assert (results / "freebsd-freebsd.xml").exists()
    assert "run-in-guest.sh -k 'some test'" in (results / "freebsd-arguments").read_text()
    assert b"Loading kernel" in (results / "console.log").read_bytes()
    output = capsys.readouterr().out
    assert "test_it PASSED" in output
    assert "FreeBSD vmhost 13.2" in output


def test_figures_of_the_benchmark_come_back(guest, tmp_path, capsys):
    words = ("--benchmark", "--", "--count", "10", "--modes", "network")
    assert guest("good", *words) == 0
    results = tmp_path / "results"
    assert (results / "freebsd-figures.csv").read_text() == "mode,count"
    assert ("run-in-guest.sh --benchmark --count 10 --modes network"
            in (results / "freebsd-arguments").read_text())
    assert guest("no-figures", *words) == 2
    assert "the guest gave no results" in capsys.readouterr().err


def test_python_is_installed_only_where_it_is_missing(guest, tmp_path):
    assert guest("good", "x") == 0
    assert not (tmp_path / "pkg-was-run").exists()
    assert guest("no-python", "x") == 0
    assert (tmp_path / "pkg-was-run").exists()


@pytest.mark.parametrize("mode, error", [
    ("panic", "the kernel of the guest: panic: page fault"),
    ("no-results", "the guest gave no results"),
    ("password", "root of the image has a password"),
    ("no-start", "qemu: no such machine"),
])
def test_failures_are_told_from_failed_tests(guest, capsys, mode, error):
    assert guest(mode, "x") == 2
    assert error in capsys.readouterr().err


def test_reboot_runs_the_second_half(guest, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "REBOOT", ("tests/test_runner.py", "tests/after.py"))
    assert guest("good") == 0
    names = {path.name for path in (tmp_path / "results").glob("*arguments")}
    assert names == {"freebsd-arguments", "freebsd-before-arguments", "freebsd-after-arguments"}


def test_time_for_everything_is_bounded(guest, capsys, monkeypatch):
    monkeypatch.setattr(runner.Console, "log_in", lambda self, timeout:
                        self.expect(b"this never comes", timeout))
    assert guest("good", "--timeout", "1", "x") == 2
    assert "the time for the whole run is over" in capsys.readouterr().err


def test_the_tree_is_packed_without_what_tools_leave(tmp_path):
    runner.pack_tree(tmp_path / "tree.tar")
    with tarfile.open(tmp_path / "tree.tar") as tar:
        names = tar.getnames()
    assert {"run-in-guest.sh", "Makefile", "rc.d/vimage", "tests/freebsd/guest.sh"} <= set(names)
    unwanted = (".venv/", ".git/", "build/", "__pycache__/")
    assert not [n for n in names if any(part in f"/{n}" for part in unwanted)]


def test_the_image_is_the_named_one_or_none(tmp_path, monkeypatch):
    monkeypatch.setenv("VIMAGE_FREEBSD_IMAGE", str(tmp_path / "missing.img"))
    assert runner.find_image() is None
    assert "missing.img" in runner.where()
    (tmp_path / "missing.img").write_bytes(b"")
    assert runner.find_image() == tmp_path / "missing.img"
    monkeypatch.delenv("VIMAGE_FREEBSD_IMAGE")
    monkeypatch.setattr(runner, "CACHE", Path(tmp_path / "cache"))
    assert runner.find_image() is None


def test_the_image_is_never_written_to():
    machine = runner.Machine(Path("/a,b.qcow2"), Path("/tmp"), 1024, 1)
    drives = [a for a in machine.command() if a.startswith("file=")]
    assert drives[0].startswith("file=/a,,b.qcow2,format=qcow2,snapshot=on")
