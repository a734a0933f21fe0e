"""However a command ends, it ends with a line at most and the right exit status."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from vimage.commands import check
from vimage.main import main
from vimage.messages import VimageError
from vimage.service import wire

ROOT = Path(__file__).parents[2]
RC = 'vimage_list="a"\nvimage_a_rootdir="/usr/jail/a"\nvimage_a_bridges="em0"\n'

#: The command with another socket.
PROGRAM = """
import sys
from vimage import main
from vimage.service import wire
wire.SOCKET = {path!r}
sys.argv[0] = "vimage"
sys.exit(main.main())
"""


@pytest.fixture
def rc(tmp_path):
    path = tmp_path / "rc.conf"
    path.write_text(RC)
    return str(path)


class Service:
    """The other end of the control socket."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "control")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()

    def run(self, *words: str, **more: Any) -> subprocess.Popen[bytes]:
        """The command."""
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(path=self.path), *words], cwd=ROOT,
            stdin=subprocess.DEVNULL, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
                                         **more})

    def accept(self) -> tuple[socket.socket, dict[str, Any]]:
        """A client, and what it asks for."""
        self.listener.settimeout(30)
        client, _ = self.listener.accept()
        found = wire.split(client.recv(65536))
        assert found is not None
        return client, json.loads(found[1])


@pytest.fixture
def service(tmp_path):
    service = Service(tmp_path)
    yield service
    service.listener.close()


@pytest.fixture(params=[True, False], ids=["buffered", "unbuffered"])
def buffered(request, monkeypatch):
    """As it is called, and as it may be called where somebody has set this."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    if not request.param:
        monkeypatch.setenv("PYTHONUNBUFFERED", "1")


def vimage(*words: str | bytes, **more: Any) -> subprocess.CompletedProcess[bytes]:
    how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.run([sys.executable, "-m", "vimage", *words], cwd=ROOT, check=False,
                          stdin=subprocess.DEVNULL, **how)


# -- Ctrl-C ----------------------------------------------------------------------------------

@pytest.mark.parametrize("verb, said", [
    ("start", b"vimage: interrupted; the service goes on with it\n"),
    ("stop", b"vimage: interrupted; the service goes on with it\n"),
    ("status", b"vimage: interrupted\n")])
def test_interrupted_while_the_service_works(service, verb, said):
    command = service.run(verb)
    client, _ = service.accept()
    time.sleep(0.2)
    command.send_signal(signal.SIGINT)
    assert command.communicate(timeout=30) == (b"", said)
    assert command.returncode == 130
    client.close()


def test_interrupted_in_the_line_for_rc(service):
    command = service.run("--rc", "start")
    client, _ = service.accept()
    client.sendall(wire.event({"event": "begin", "verb": "start", "count": 2}))
    assert command.stdout.read(len("Starting vimages:")) == b"Starting vimages:"
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=30)
    assert (out, err.count(b"\n"), command.returncode) == (b"\n", 1, 130)
    client.close()


def test_interrupted_while_this_process_works(tmp_path):
    fifo = tmp_path / "rc.conf"
    os.mkfifo(fifo)
    with subprocess.Popen(
            [sys.executable, "-m", "vimage", "--simulated-host", tmp_path / "host", "-f", fifo,
             "status"], cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True) as command:
        end = os.open(fifo, os.O_WRONLY)  # somebody reads it
        time.sleep(0.2)
        os.killpg(command.pid, signal.SIGINT)
        assert command.communicate(timeout=30)[1] == b"vimage: interrupted\n"
        assert command.returncode == 130
        os.close(end)


# -- streams ---------------------------------------------------------------------------------

def test_the_reader_has_gone_while_the_service_answers(service, buffered):
    command = service.run("status")
    command.stdout.close()
    client, _ = service.accept()
    row = {"name": "a", "state": "ready", "jid": 1, "root": "/", "interfaces": ["x" * 100_000]}
    client.sendall(wire.event({"event": "status", "rows": [row]}))
    with contextlib.suppress(BrokenPipeError):  # it has left by then
        client.sendall(wire.event({"event": "end", "status": 0}))
    assert command.stderr.read() == b""
    assert command.wait(30) == 141
    client.close()


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["plan"], ["show", "a"],
                                   ["check"], ["graph"], ["status"], ["start"]])
def test_the_reader_has_gone(rc, tmp_path, words, buffered):
    read, write = os.pipe()
    os.close(read)
    done = vimage("--simulated-host", str(tmp_path / "host"), "-f", rc, *words, stdout=write,
                  stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")
    if words == ["start"]:  # what was under way was finished
        shown = vimage("--simulated-host", str(tmp_path / "host"), "-f", rc, "status")
        assert b" ready " in shown.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["--help"], ["plan"], ["status"], ["start"]])
def test_the_disk_is_full(rc, tmp_path, words, buffered):
    with open("/dev/full", "wb") as full:
        done = vimage("--simulated-host", str(tmp_path / "host"), "-f", rc, *words, stdout=full,
                      stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == b"vimage: standard output: No space left on device\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize("words, status", [("plan", 0), ("status", 0), ("start a x", 2),
                                           ("nonsense", 2)])
def test_closed_streams(rc, tmp_path, closed, words, status):
    line = f"{sys.executable} -m vimage --simulated-host {tmp_path}/host -f {rc} {words} {closed}"
    done = subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, check=False,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == status
    assert b"Traceback" not in done.stderr and b"error" not in done.stderr


# -- octets ----------------------------------------------------------------------------------

ENCODINGS = ["utf-8:strict", "ascii:strict", "latin-1:strict"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("words", [
    [b"start", b"f\xfcr"], [b"status", b"f\xfcr"], [b"show", b"f\xfcr"], [b"plan", b"f\xfcr"],
    [b"check", b"f\xfcr"], [b"graph", b"f\xfcr"], [b"exec", b"f\xfcr", b"ls"], [b"f\xfcr"],
    [b"--f\xfcr"], [b"graph", b"--format", b"f\xfcr"], [b"--json", b"status", b"f\xfcr"],
    [b"--json", b"start", b"f\xfcr"], ["show", "\N{SNOWMAN}"], ["--json", "start", "\N{SNOWMAN}"],
])
def test_names_of_any_octets(rc, tmp_path, words, encoding):
    done = vimage("--simulated-host", str(tmp_path / "host"), "-f", rc, *words,
                  env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.returncode in (1, 2), done
    assert b"Traceback" not in done.stderr and b"internal error" not in done.stderr
    assert (done.stderr or done.stdout).isascii() or encoding != "ascii:strict"


@pytest.mark.parametrize("words", [["check"], ["plan"], ["show", "a"], ["start"],
                                   ["--json", "show", "a"], ["show", "--format", "yaml", "a"]])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_values_of_any_octets(tmp_path, words, encoding):
    rc = tmp_path / "rc.conf"
    rc.write_bytes(RC.encode() + b'vimage_a_exec_start="true f\xfcr"\n')
    done = vimage("--simulated-host", str(tmp_path / "host"), "-f", rc, *words,
                  env={**os.environ, "PYTHONIOENCODING": encoding})
    assert b"Traceback" not in done.stderr and b"internal error" not in done.stderr


def test_a_request_of_any_octets(service):
    command = service.run("start", "f\udcfcr", "\N{SNOWMAN}")
    client, request = service.accept()
    assert request["names"] == ["f\udcfcr", "\N{SNOWMAN}"]
    problem = {"key": "", "vimage": None, "text": "f\udcfcr: no such vimage", "warning": False}
    client.sendall(wire.event({"event": "problem", "problem": problem}))
    client.sendall(wire.event({"event": "end", "status": 2}))
    assert command.communicate(timeout=30) == (b"", b"vimage: f\\udcfcr: no such vimage\n")
    assert command.returncode == 2
    client.close()


# -- mistakes --------------------------------------------------------------------------------

@pytest.mark.parametrize("words", [["check"], ["--simulate", "check"]])
def test_a_mistake_of_vimage_is_one_line(monkeypatch, capsys, words):
    def broken(context: object, line: object) -> int:
        raise KeyError("a\nb")

    monkeypatch.delenv("VIMAGE_DEBUG", raising=False)
    monkeypatch.setattr(check, "run", broken)
    assert main(words) == 2  # check touches nothing
    err = capsys.readouterr().err
    assert err.startswith("vimage: internal error: KeyError: 'a\\nb' in test_main.py, line ")
    assert err.endswith("; please report it with the output of the same command run with "
                        "VIMAGE_DEBUG=1\n")
    assert err.count("\n") == 1
    monkeypatch.setenv("VIMAGE_DEBUG", "1")
    main(words)
    assert "Traceback" in capsys.readouterr().err


def test_a_mistake_of_a_verb_that_acts(monkeypatch, capsys):
    from vimage.commands import lifecycle

    def broken(context: object, line: object) -> int:
        raise RuntimeError("x")

    monkeypatch.setattr(lifecycle, "run", broken)
    assert main(["--simulate", "start"]) == 1
    assert capsys.readouterr().err.startswith("vimage: internal error: RuntimeError: x in ")


@pytest.mark.parametrize("error, logged", [
    (RuntimeError("x"), "the service ended because of an internal error"),
    (VimageError("not_root"), "only root may do this")])
@pytest.mark.parametrize("supervised", [True, False])
def test_why_the_service_ends_is_in_the_log(monkeypatch, caplog, tmp_path, error, logged,
                                            supervised):
    def broken(context: object, supervised: bool) -> int:
        raise error

    from vimage.commands import service

    monkeypatch.setattr(service, "serve", broken)
    words = ["--simulated-host", str(tmp_path), "service"]
    assert main([*words, *(["--supervised"] if supervised else [])]) in (1, 2)
    assert [record.getMessage() for record in caplog.records] == [logged] * supervised
    assert ("Traceback" in caplog.text) == (supervised and isinstance(error, RuntimeError))


def test_usage_errors(capsys):
    assert main(["stop", "--shutdown", "a"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "vimage: --shutdown takes no names"
    assert err.splitlines()[1].startswith("usage: vimage stop ")


def test_no_abbreviation_stops_anything(rc, tmp_path, capsys):
    host = ["--simulated-host", str(tmp_path / "host"), "-f", rc]
    assert main([*host, "start"]) == 0
    for words in (["stop", "--service"], ["stop", "--service-only"], ["stop", "--shutdown", "a"],
                  ["stop", "--s"]):
        assert main([*host, *words]) == 2
    capsys.readouterr()
    assert main([*host, "status"]) == 0
    assert " ready " in capsys.readouterr().out


def test_an_unknown_name_in_status(rc, tmp_path, capsys):
    host = ["--simulated-host", str(tmp_path / "host"), "-f", rc]
    assert main([*host, "status", "a", "x"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.split(";")[0]) == ("", "vimage: x: no such vimage")


def test_without_a_service_there_is_none_to_reload(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(wire, "SOCKET", str(tmp_path / "control"))
    for verb in ("reload", "reexec"):
        assert main([verb]) == 2
        assert capsys.readouterr().err == "vimage: the service is not running\n"


def test_nothing_more_is_loaded_than_a_quick_answer_needs(service):
    code = PROGRAM.replace("sys.exit(main.main())", "main.main(); print(*sys.modules)")
    command = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c",
         f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + code.format(path=service.path),
         "status"], stdout=subprocess.PIPE)
    client, _ = service.accept()
    client.sendall(wire.event({"event": "status", "rows": []}))
    client.sendall(wire.event({"event": "end", "status": 0}))
    loaded = set(command.communicate(timeout=30)[0].decode().split())
    before = set(subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import sys; print(*sys.modules)"],
        stdout=subprocess.PIPE, check=True).stdout.decode().split())
    assert {name for name in loaded - before if not name.startswith("vimage")} == {
        "_json", "_socket"}
    assert {name for name in loaded if name.startswith("vimage")} == {
        "vimage", "vimage.main", "vimage.client", "vimage.commands", "vimage.commands.line",
        "vimage.commands.output", "vimage.commands.verbs", "vimage.service",
        "vimage.service.wire"}
    client.close()
