"""vimage start from nothing, and while a service ends, with stand-ins for daemon(8) and for
the service."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: daemon(8): locks its pid file or refuses, goes to the background, runs the service.
DAEMON = """#!{python}
import fcntl, os, sys
sys.path.insert(0, {root!r})
path = sys.argv[sys.argv.index("-P") + 1]
with open({directory!r} + "/calls", "a") as calls:
    print(" ".join(sys.argv[1:]), file=calls)
file = open(path, "a")
try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit("daemon: process already running")
if os.fork():
    os._exit(0)
os.setsid()
for number in (0, 1, 2):
    os.dup2(os.open(os.devnull, os.O_RDWR), number)
import json, socket, time
from vimage.service import wire
time.sleep(0.3)                         # the service takes its time to start
listener = socket.socket(socket.AF_UNIX)
listener.bind({directory!r} + "/control.new")
listener.listen()
os.rename({directory!r} + "/control.new", {directory!r} + "/control")
listener.settimeout(10)
while True:
    try:
        client, _ = listener.accept()
    except TimeoutError:
        break
    request = json.loads(wire.split(client.recv(65536))[1])
    if request["verb"] == "reexec":     # stands for: end
        break
    client.sendall(wire.event({{"event": "begin", "verb": "start", "count": 1}}) + wire.event(
        {{"event": "result", "name": "a", "outcome": "ready", "problems": []}}) + wire.event(
        {{"event": "end", "status": 0}}))
    client.close()
"""

PROGRAM = """
import os, sys
sys.path.insert(0, {root!r})
sys.platform = "freebsd15"
os.geteuid = lambda: 0
from vimage.service import launch, wire
launch.SUPERVISOR = {directory!r} + "/daemon"
wire.SOCKET = {directory!r} + "/control"
from vimage.main import main
sys.exit(main())
"""


class Host:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        daemon = directory / "daemon"
        daemon.write_text(DAEMON.format(python=sys.executable, root=str(ROOT),
                                        directory=str(directory)))
        daemon.chmod(0o755)
        program = directory / "vimage"
        program.write_text(PROGRAM.format(root=str(ROOT), directory=str(directory)))

    def run(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, self.directory / "vimage", *words], text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def calls(self) -> list[str]:
        return (self.directory / "calls").read_text().splitlines()


def answered(*commands: subprocess.Popen[str]) -> set[tuple[int, str, str]]:
    said = [command.communicate(timeout=60) for command in commands]
    return {(command.returncode, *each) for command, each in zip(commands, said, strict=True)}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    if (tmp_path / "control").exists():
        host.run("reexec").communicate(timeout=60)


READY = (0, "a ready\n", "")


def test_from_nothing(host: Host) -> None:
    """The file goes with the request; it is not the service's own."""
    assert answered(host.run("-f", "rc.conf", "start", "a")) == {READY}
    call, = host.calls()
    assert call.startswith(f"-r -f -P {host.directory}/supervisor.pid "
                           f"-p {host.directory}/service.pid -t vimage {sys.executable} ")
    assert call.endswith("/vimage service --supervised")
    assert answered(host.run("start", "a")) == {READY}
    assert len(host.calls()) == 1


def test_many_at_once_from_nothing(host: Host) -> None:
    verbs = ["start", "restart"] * 3
    assert {(status, err) for status, _, err in
            answered(*(host.run(verb, "a") for verb in verbs))} == {(0, "")}


def test_while_the_old_service_ends(host: Host) -> None:
    """Its socket has gone, its supervisor not yet."""
    with open(host.directory / "supervisor.pid", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        command = host.run("start", "a")
        time.sleep(0.5)
        assert command.poll() is None
        threading.Timer(0.3, fcntl.flock, [file, fcntl.LOCK_UN]).start()
        assert answered(command) == {READY}
    assert len(host.calls()) == 1


def test_a_socket_left_by_a_service_that_was_killed(host: Host) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(host.directory / "control"))
    assert answered(host.run("start", "a")) == {READY}
