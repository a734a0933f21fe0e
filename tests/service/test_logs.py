"""The log of the service in a file of its own."""

from __future__ import annotations

import logging
import os
import socket
import stat
from pathlib import Path

import pytest

from tests.service.conftest import Host, ask
from vimage.service.logs import LogFile, Syslog


@pytest.fixture
def log() -> logging.Logger:
    made = logging.Logger("of this test", logging.INFO)
    made.propagate = False
    return made


def test_lines_with_time_and_process(log: logging.Logger, tmp_path: Path) -> None:
    file = LogFile(log)
    path = tmp_path / "vimage.log"
    file.use(str(path))
    log.warning("a: %s", "its jail has gone")
    file.close()
    log.warning("not there any more")
    line, = path.read_text().splitlines()
    assert line.endswith(f" vimage[{os.getpid()}]: a: its jail has gone")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_one_that_was_rotated_is_opened_anew(log: logging.Logger, tmp_path: Path) -> None:
    file = LogFile(log)
    path = tmp_path / "vimage.log"
    file.use(str(path))
    log.info("before")
    path.rename(tmp_path / "vimage.log.0")
    log.info("after")
    file.close()
    assert path.read_text().endswith(": after\n")


def test_a_link_is_not_followed_and_the_service_goes_on(
        log: logging.Logger, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log.addHandler(caplog.handler)
    precious = tmp_path / "precious"
    precious.write_text("precious")
    os.symlink(precious, tmp_path / "vimage.log")
    LogFile(log).use(str(tmp_path / "vimage.log"))
    log.info("goes on")
    assert precious.read_text() == "precious"
    assert [r.getMessage().split(": ")[0] for r in caplog.records] == [
        "vimage_logfile", "goes on"]


def test_one_that_cannot_be_opened_again_ends_nothing(
        log: logging.Logger, tmp_path: Path) -> None:
    file = LogFile(log)
    directory = tmp_path / "log"
    directory.mkdir()
    file.use(str(directory / "vimage.log"))
    log.info("before")
    directory.rename(tmp_path / "elsewhere")
    log.info("lost")
    directory.mkdir()
    log.info("after")
    file.close()
    assert (directory / "vimage.log").read_text().endswith(": after\n")


class Syslogd:
    """The other end of /var/run/log."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(10)

    def read(self) -> bytes:
        return self._socket.recv(65536)

    def end(self) -> None:
        self._socket.close()


def test_syslog(log: logging.Logger, tmp_path: Path) -> None:
    path = tmp_path / "log"
    handler = Syslog(str(path))
    handler.setFormatter(logging.Formatter("vimage[7]: %(message)s"))
    log.addHandler(handler)
    log.error("nobody is there yet")
    first = Syslogd(path)
    log.info("%s: ready", "a")
    assert first.read() == b"<30>vimage[7]: a: ready"
    log.error("f\udcfcr \N{SNOWMAN}")
    assert first.read() == b"<27>vimage[7]: f\\udcfcr \xe2\x98\x83"
    first.end()
    log.error("lost")
    second = Syslogd(path)
    log.warning("after")
    assert second.read() == b"<28>vimage[7]: after"
    second.end()
    handler.close()


@pytest.fixture
def talkative(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="test")


def test_configured_and_changed_by_reload(host: Host, talkative: None) -> None:
    host.machine.variables["vimage_logfile"] = "/var/log/one.log"

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            host.machine.variables["vimage_logfile"] = "/var/log/two.log"
            await ask(host.machine, "reload")
            await ask(host.machine, "stop", "a")
            await ask(host.machine, "stop", "b")

    host.play(play)
    one, two = (Path(host.machine.kernel.path(f"/var/log/{name}.log")).read_text()
                for name in ("one", "two"))
    assert "a: ready" in one and "b: ready" in one and "stopped" not in one
    assert "a: stopped" in two and "b: stopped" in two


def test_after_a_take_over_it_is_written_to_again(host: Host, talkative: None) -> None:
    host.machine.variables["vimage_logfile"] = "/var/log/one.log"
    path = Path(host.machine.kernel.path("/var/log/one.log"))

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
        path.unlink()
        async with host.serving():
            assert ": a: taken over, jail " in path.read_text()

    host.play(play)
