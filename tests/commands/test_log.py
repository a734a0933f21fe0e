"""log: the end of a console log, and what is added to it."""

from __future__ import annotations

import contextlib
import itertools
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vimage.commands.context import Context
from vimage.main import main

ROOT = Path(__file__).parents[2]
LOG = "/var/log/vimage_a_console.log"
RC = 'vimage_list="a b"\nvimage_a_rootdir="/usr/jail/a"\nvimage_a_boot="none"\n' \
     'vimage_a_devfs_enable="NO"\nvimage_b_rootdir="/usr/jail/a"\nvimage_b_hostname="!"\n'


class Host:
    """A simulated host, and commands on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.rc = directory / "rc.conf"
        self.rc.write_text(RC)
        self.log = directory / "host/root" / LOG[1:]
        assert self("show", "a") == 0
        self.log.parent.mkdir(parents=True, exist_ok=True)

    @property
    def words(self) -> tuple[str, ...]:
        return "--simulated-host", str(self.directory / "host"), "-f", str(self.rc)

    def __call__(self, *words: str) -> int:
        return main([*self.words, *words])

    def ran(self, *words: str) -> tuple[int, bytes, bytes]:
        """The exit status, stdout and stderr of the command as a process of its own."""
        with self.running(*words) as command:
            out, err = command.communicate(timeout=60)
            return command.returncode, out, err

    @contextlib.contextmanager
    def running(self, *words: str, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
        """The command as a process of its own."""
        with subprocess.Popen(
                [sys.executable, "-m", "vimage", *self.words, *words], cwd=ROOT,
                stdin=subprocess.DEVNULL, **{"stdout": subprocess.PIPE,
                                             "stderr": subprocess.PIPE, **more}) as command:
            try:
                yield command
            finally:
                command.kill()


@pytest.fixture
def host(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Host:
    host = Host(tmp_path)
    capfd.readouterr()
    return host


# -- what is shown ---------------------------------------------------------------------------


TWENTY = b"".join(b"line %d\n" % n for n in range(1, 21))


@pytest.mark.parametrize("content, words, shown", [
    (TWENTY, [], TWENTY[TWENTY.index(b"line 11"):]),
    (TWENTY, ["-n", "2"], b"line 19\nline 20\n"),
    (TWENTY, ["-n2"], b"line 19\nline 20\n"),
    (TWENTY, ["-n", "0"], b""),
    (TWENTY, ["-n", "20"], TWENTY),
    (TWENTY, ["-n", "1000000"], TWENTY),
    (TWENTY[:-1], ["-n", "1"], b"line 20"),
    (b"", [], b""),
    (b"\n", ["-n", "1"], b"\n"),
    (b"a\n\n\n", ["-n", "2"], b"\n\n"),
    (b"x" * 200_000 + b"\n" + b"y" * 200_000 + b"\n", ["-n", "1"], b"y" * 200_000 + b"\n"),
    (b"\n" * 300_000, ["-n", "131073"], b"\n" * 131_073),
    (b"\x1b[2J\xff\x00\r\n", [], b"\x1b[2J\xff\x00\r\n"),
], ids=itertools.count())
def test_the_last_lines(host: Host, content: bytes, words: list[str], shown: bytes) -> None:
    host.log.write_bytes(content)
    assert host.ran("log", *words, "a") == (0, shown, b"")


def test_where_the_configuration_says(host: Host) -> None:
    """Of a vimage that has never run; below its root no link is followed on the way."""
    host.rc.write_text(RC + 'vimage_a_consolelog="/usr/jail/a/var/log/console"\n')
    log = host.directory / "host/root/usr/jail/a/var/log/console"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"here\n")
    assert host.ran("log", "a") == (0, b"here\n", b"")
    (log.parent.parent / "tmp").symlink_to(log.parent)
    host.rc.write_text(RC + 'vimage_a_consolelog="/usr/jail/a/var/tmp/console"\n')
    status, out, err = host.ran("log", "a")
    assert (status, out) == (1, b"")
    assert b"symbolic link" in err


def test_where_a_vimage_that_runs_was_started_with(host: Host) -> None:
    """rc.conf may have changed since, or be unreadable."""
    assert host("start", "a") == 0
    host.log.write_bytes(b"here\n")
    host.rc.write_text(RC + 'vimage_a_consolelog="/var/log/other"\n')
    assert host.ran("log", "a") == (0, b"here\n", b"")
    host.rc.write_text("exit 3 (")
    assert host.ran("log", "a") == (0, b"here\n", b"")


# -- what is refused -------------------------------------------------------------------------


def test_no_log_yet(host: Host) -> None:
    for words in (["log", "a"], ["log", "-f", "a"]):
        status, out, err = host.ran(*words)
        assert (status, out) == (1, b"")
        assert err == f"vimage: a: no console log {LOG} yet\n".encode()


@pytest.mark.parametrize("words, text", [
    (["nosuch"], "nosuch: no such vimage (known: a b)"),
    (["b"], 'vimage_b_hostname="!": not a host name'),
    (["-n", "x", "a"], "-n needs a number of lines, not 'x'"),
    (["-n", "-1", "a"], "-n needs LINES"),
    (["-n", "1.5", "a"], "not '1.5'"),
    (["a", "b"], "log takes one NAME"),
    ([], "log needs NAME"),
])
def test_usage(host: Host, capfd: pytest.CaptureFixture[str], words: list[str],
               text: str) -> None:
    assert host("log", *words) == 2
    out, err = capfd.readouterr()
    assert out == "" and text in err


def test_only_root(host: Host, capfd: pytest.CaptureFixture[str],
                   monkeypatch: pytest.MonkeyPatch) -> None:
    host.log.write_bytes(b"secret\n")
    monkeypatch.setattr(Context, "privileged", False)
    assert host("log", "a") == 2
    assert capfd.readouterr() == ("", "vimage: only root may do this\n")


def _link(log: Path) -> None:
    (log.parent / "secret").write_bytes(b"secret\n")
    log.symlink_to(log.parent / "secret")


@pytest.mark.parametrize("make, why", [
    (_link, "a symbolic link, which is not followed"),
    (lambda log: os.mkfifo(log), "not a regular file"),
    (lambda log: log.mkdir(), "not a regular file"),
])
def test_what_is_not_a_log(host: Host, make: Callable[[Path], None], why: str) -> None:
    make(host.log)
    for words in (["log", "a"], ["log", "-f", "a"]):
        assert host.ran(*words) == (1, b"", f"vimage: a: console log {LOG}: {why}\n".encode())


# -- a terminal ------------------------------------------------------------------------------


def on_a_terminal(host: Host, *words: str) -> tuple[str, int]:
    """What the command writes to its terminal."""
    ours, its = pty.openpty()
    with host.running(*words, stdout=its,
                      env={**os.environ, "PYTHONIOENCODING": "utf-8"}) as command:
        os.close(its)
        octets = b""
        with contextlib.suppress(OSError):  # EIO: nobody has it open any more
            while found := os.read(ours, 65536):
                octets += found
        status = command.wait(30)
    os.close(ours)
    return octets.replace(b"\r\n", b"\n").decode(), status


def test_a_jail_sends_nothing_to_the_terminal(host: Host) -> None:
    host.log.write_bytes(
        b"a\x1b]0;title\x07b\x00\x7f\x9b31m\r\n\ttab \xc2\x9b2J \xe2\x80\xae\xff \xc3\xa4\x08\n")
    assert on_a_terminal(host, "log", "a") == (
        "a\\x1b]0;title\\x07b\\x00\\x7f\\x9b31m\\r\n"
        "\ttab \\x9b2J \\u202e\\xff \N{LATIN SMALL LETTER A WITH DIAERESIS}\\x08\n", 0)


def test_a_character_in_two_blocks(host: Host) -> None:
    host.log.write_bytes(b"x" + 300_000 * b"\xc3\xa4" + b"\xc3")
    shown, _ = on_a_terminal(host, "log", "a")
    assert shown == "x" + 300_000 * b"\xc3\xa4".decode() + "\\xc3"


# -- following -------------------------------------------------------------------------------


class Following:
    """A command that follows the log, and what it has written."""

    def __init__(self, command: subprocess.Popen[bytes]) -> None:
        self.command = command
        assert command.stdout is not None
        self.stdout = command.stdout

    def shows(self, expected: bytes) -> None:
        """Wait for these octets, and no others before them."""
        found = b""
        while len(found) < len(expected):
            octets = os.read(self.stdout.fileno(), len(expected) - len(found))
            assert octets, found
            found += octets
        assert found == expected


@pytest.fixture
def following(host: Host) -> Iterator[Following]:
    host.log.write_bytes(TWENTY)
    with host.running("log", "-f", "-n", "1", "a") as command:
        found = Following(command)
        found.shows(b"line 20\n")
        yield found


def add(host: Host, octets: bytes) -> None:
    with host.log.open("ab") as log:
        log.write(octets)


def test_what_is_added(host: Host, following: Following) -> None:
    add(host, b"one\n")
    following.shows(b"one\n")
    add(host, b"tw")
    following.shows(b"tw")
    add(host, b"o\n")
    following.shows(b"o\n")


def test_a_log_that_is_rotated(host: Host, following: Following) -> None:
    """The rest of the old one, then all of the new one; between them there may be none."""
    with host.log.open("ab") as old:
        host.log.rename(host.log.with_suffix(".0"))
        old.write(b"old\n")
        old.flush()
        following.shows(b"old\n")
        time.sleep(1)
        host.log.write_bytes(b"new\n")
        following.shows(b"new\n")
    add(host, b"newer\n")
    following.shows(b"newer\n")


def test_a_log_that_is_cut_back(host: Host, following: Following) -> None:
    os.truncate(host.log, 0)
    time.sleep(1)
    add(host, b"again\n")
    following.shows(b"again\n")


def test_a_log_that_becomes_a_link(host: Host, following: Following) -> None:
    host.log.unlink()
    _link(host.log)
    assert following.command.wait(30) == 1
    assert following.command.stderr is not None
    assert b"symbolic link" in following.command.stderr.read()
    assert following.stdout.read() == b""


def test_control_c(following: Following) -> None:
    following.command.send_signal(signal.SIGINT)
    assert following.command.wait(30) == 130
    assert following.command.stderr is not None
    assert following.command.stderr.read() == b""


def test_the_reader_goes_while_nothing_is_added(following: Following) -> None:
    following.stdout.close()
    assert following.command.wait(30) == 141
    assert following.command.stderr is not None
    assert following.command.stderr.read() == b""
