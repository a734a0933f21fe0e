"""What the command says when it is interrupted, when nobody reads, and of odd octets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vimage.service import wire

ROOT = Path(__file__).parents[2]

#: The command, which asks the service at another socket than that of FreeBSD.
COMMAND = """
import sys
from vimage.service import wire
wire.SOCKET = sys.argv.pop(1)
from vimage.main import main
sys.exit(main())
"""


@pytest.fixture
def listener(tmp_path: Path):
    """A service that only listens."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "control"))
        server.listen()
        server.settimeout(30)
        yield server


def command(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", COMMAND, str(tmp_path / "control"), *words],
                            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_waits(tmp_path: Path, listener: socket.socket,
                                    number: signal.Signals) -> None:
    with command(tmp_path, "start", "a") as process:
        connection, _ = listener.accept()
        assert connection.recv(100)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert "Traceback" not in said and len(said.splitlines()) <= 1
        assert process.returncode in (1, 128 + number, -number), said


def test_nobody_reads_what_it_says(tmp_path: Path, listener: socket.socket) -> None:
    """vimage status | head"""
    with command(tmp_path, "status") as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        connection, _ = listener.accept()
        connection.recv(1000)
        rows = [{"name": f"v{n}", "state": "ready", "jid": n, "root": "/", "interfaces": [],
                 "note": "", "changed": False} for n in range(10_000)]
        connection.sendall(wire.event({"event": "status", "rows": rows}))
        connection.sendall(wire.event({"event": "end", "status": 0}))
        said = process.stderr.read()
        process.wait(60)
        assert "Traceback" not in said and "Exception" not in said, said


def test_a_service_that_ends_before_it_has_answered(tmp_path: Path,
                                                    listener: socket.socket) -> None:
    with command(tmp_path, "start", "a") as process:
        connection, _ = listener.accept()
        connection.recv(1000)
        connection.sendall(wire.event({"event": "begin", "verb": "start", "count": 1}))
        connection.close()
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1 and "Traceback" not in said and said


@pytest.mark.parametrize("words", [["check"], ["plan"], ["show", "a"], ["start"], ["status"],
                                   ["show", "a", "--format", "json"], ["stop"]], ids=" ".join)
def test_octets_that_are_not_utf_8(tmp_path: Path, words: list[str]) -> None:
    """A command in rc.conf may hold any; an error is reported in words."""
    conf = tmp_path / "rc.conf"
    conf.write_bytes(b'vimage_list="a"\nvimage_a_rootdir="/usr/jail/a"\n'
                     b'vimage_a_exec_start="echo f\xfcr"\n')
    done = subprocess.run(
        [sys.executable, "-m", "vimage", "--simulated-host", str(tmp_path / "host"),
         "-f", str(conf), *words], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"}, timeout=60, check=False)
    assert b"Traceback" not in done.stderr + done.stdout, done.stderr
    assert done.returncode in (0, 1, 2)
    assert done.returncode == 0 or done.stderr
