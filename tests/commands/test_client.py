"""Asking a service that answers, ends, is about to come, or is not there."""

from __future__ import annotations

import fcntl
import io
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vimage import client
from vimage.commands.output import Printer
from vimage.messages import VimageError
from vimage.service import launch, wire

READY = {"event": "result", "name": "a", "outcome": "ready", "problems": []}
BEGIN = {"event": "begin", "verb": "start", "count": 1}
END = {"event": "end", "status": 0}
AGAIN = {"event": "again"}
OLD = wire.frame(b"e", b"vimage: the service: the service speaks version 1\n") + wire.frame(
    b"x", b"2")


def frames(*events: dict[str, Any]) -> bytes:
    return b"".join(map(wire.event, events))


class Service:
    """A service that gives one client after another an answer of octets, then hangs up."""

    def __init__(self, path: str, *answers: bytes) -> None:
        self.path = path
        self.requests: list[bytes] = []
        self._answers = answers
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{path}.new")
        self._listener.listen()
        self._listener.settimeout(0.05)
        os.rename(f"{path}.new", path)
        self._ended = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        answers = list(self._answers)
        while answers and not self._ended:
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            answer = answers.pop(0)
            self.requests.append(connection.recv(65536))
            connection.sendall(answer)
            connection.close()
        self._listener.close()

    def end(self) -> None:
        self._ended = True
        self._thread.join(30)


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Service]]:
    """Starts services one after another on the socket of the command."""
    monkeypatch.setattr(wire, "SOCKET", str(tmp_path / "control"))
    monkeypatch.setattr(client, "PATIENCE", 2.0)
    monkeypatch.setattr(client, "REFUSALS", 1)
    services: list[Service] = []

    def serve(*answers: bytes) -> Service:
        services.append(Service(wire.SOCKET, *answers))
        return services[-1]

    yield serve
    for service in services:
        service.end()


class Screen:
    """What is printed."""

    def __init__(self, verb: str = "start", *, rc: bool = False) -> None:
        self._out = io.StringIO()
        self.printer = Printer(verb, out=self._out, rc=rc)

    @property
    def text(self) -> str:
        return self._out.getvalue()


REQUEST = wire.request("start", ["a"])


def test_an_answer(serve):
    service, screen = serve(frames(BEGIN, READY, END)), Screen()
    assert client.ask(REQUEST, screen.printer) == 0
    assert (screen.text, service.requests) == ("a ready\n", [REQUEST])


@pytest.mark.parametrize("first", [b"", frames(AGAIN), frames(END)[:3]])
def test_a_service_that_ends_is_asked_again(serve, first):
    service, screen = serve(first, frames(BEGIN, READY, END)), Screen(rc=True)
    assert client.ask(REQUEST, screen.printer) == 0
    assert screen.text == "Starting vimages: a.\n"
    assert service.requests == [REQUEST] * 2


def test_a_service_that_answers_before_it_is_asked():
    """One that does not admit the client, say."""
    ours, theirs = socket.socketpair()
    theirs.sendall(frames({"event": "end", "status": 2}))
    theirs.close()
    with ours:
        talk = client._Talk(ours, Screen().printer, in_version_1=False)
        assert talk.exchange(REQUEST, False) == 2


@pytest.mark.parametrize("rc", [True, False])
def test_a_service_that_dies_at_work(serve, capsys, rc):
    serve(frames(BEGIN, READY))
    screen = Screen(rc=rc)
    assert client.ask(REQUEST, screen.printer) == 1
    assert screen.text == ("Starting vimages: a\n" if rc else "a ready\n")
    assert capsys.readouterr().err == "vimage: the service ended before it had answered\n"


def test_no_service(serve):
    assert client.ask(REQUEST, Screen().printer) is None


def test_a_socket_that_a_dead_service_has_left(serve):
    serve().end()
    assert client.ask(REQUEST, Screen().printer) is None


def test_one_that_is_started(serve):
    started = []

    def start() -> None:
        started.append(serve(frames(BEGIN, READY, END)))

    screen = Screen()
    assert client.ask(REQUEST, screen.printer, start) == 0
    assert (len(started), screen.text) == (1, "a ready\n")


def test_one_that_is_started_after_another_has_ended(serve):
    """The old one sends its client away and is gone; daemon(8) refuses for a while."""
    old = serve(frames(AGAIN))
    tries: list[None] = []

    def start() -> None:
        tries.append(None)
        if len(tries) == 3:
            serve(frames(END))

    threading.Timer(0.3, os.unlink, [wire.SOCKET]).start()
    assert client.ask(REQUEST, Screen().printer, start) == 0
    assert len(tries) == 3
    assert old.requests == [REQUEST]


def test_one_that_never_answers(serve, monkeypatch):
    tries: list[None] = []
    with pytest.raises(VimageError) as caught:
        client.ask(REQUEST, Screen().printer, lambda: tries.append(None))
    assert str(caught.value) == "the service did not answer within 2 s; see the system log"
    assert 3 <= len(tries) <= 5  # every half second


def test_one_that_dies_again_and_again(serve):
    serve(*[b""] * 10_000)  # far more than fit into the time

    with pytest.raises(VimageError, match="did not answer within 2 s"):
        client.ask(REQUEST, Screen().printer)


def test_one_that_ends_for_good(serve):
    service = serve(frames(AGAIN))
    threading.Timer(0.1, os.unlink, [wire.SOCKET]).start()
    assert client.ask(REQUEST, Screen("stop").printer) is None
    assert service.requests == [REQUEST]


def test_one_that_comes_back_is_waited_for(serve, tmp_path):
    """reexec, or daemon(8) that starts it again: the lock of its pid file says so."""
    serve(frames(AGAIN))
    with open(tmp_path / "supervisor.pid", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        threading.Timer(0.2, os.unlink, [wire.SOCKET]).start()
        threading.Timer(0.6, lambda: serve(frames(END))).start()
        assert client.ask(REQUEST, Screen("stop").printer) == 0


def test_a_reader_that_has_gone(serve):
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    serve(frames(BEGIN, READY, END))
    with pytest.raises(BrokenPipeError):
        client.ask(REQUEST, Printer("start", out=Gone()))


# -- a service of version 1 --------------------------------------------------------------------

def test_a_service_of_version_1_is_replaced(serve, capsys):
    service = serve(OLD, wire.frame(b"o", b"the installed version takes over\n")
                    + wire.frame(b"x", b"0"))
    screen = Screen("reexec")
    assert client.ask(wire.request("reexec"), screen.printer, in_version_1=("reexec",)) == 0
    assert screen.text == "the installed version takes over\n"
    assert service.requests[1] == b"q\0\0\0\x0a1\0\0\0reexec"
    assert capsys.readouterr().err == ""


def test_a_service_of_version_1_is_asked_nothing_else(serve, capsys):
    serve(OLD)
    assert client.ask(REQUEST, Screen().printer) == 2
    assert capsys.readouterr().err == (
        "vimage: the service that runs is of an older version; "
        "vimage reexec puts the installed version in its place\n")


# -- launching ----------------------------------------------------------------------------------

DAEMON = """#!/bin/sh
echo "$@" >> {log}
exit 1
"""


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    """Stands for daemon(8); returns the list of its calls."""
    log, program = tmp_path / "calls", tmp_path / "daemon"
    program.write_text(DAEMON.format(log=log))
    program.chmod(0o755)
    monkeypatch.setattr(launch, "SUPERVISOR", str(program))
    monkeypatch.setattr(wire, "SOCKET", str(tmp_path / "state/control"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return lambda: log.read_text().splitlines() if log.exists() else []


def test_how_daemon_is_called(daemon, tmp_path):
    """Without the file of a request: the service itself goes by rc.conf."""
    launch.start()
    (call,) = daemon()
    assert call.startswith(f"-r -f -P {tmp_path}/state/supervisor.pid "
                           f"-p {tmp_path}/state/service.pid -t vimage ")
    assert call.endswith(" service --supervised")
    assert os.stat(tmp_path / "state").st_mode & 0o777 == 0o700


def test_no_second_daemon(daemon, tmp_path):
    (tmp_path / "state").mkdir()
    with open(tmp_path / "state/supervisor.pid", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert launch.supervised()
        launch.start()
        assert daemon() == []
        fcntl.flock(file, fcntl.LOCK_UN)
    assert not launch.supervised()
    launch.start()
    assert len(daemon()) == 1


def test_only_root_starts_a_service(daemon, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    with pytest.raises(VimageError, match="only root"):
        launch.start()


def test_no_directory_for_the_state(daemon, tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(VimageError, match="cannot write the state"):
        launch.start()
