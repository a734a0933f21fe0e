"""The log of the service in a file of its own."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pytest

from tests.service.conftest import Host, ask
from vimage.service.logs import LogFile


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


@pytest.fixture
def talkative(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="test")


def test_configured_and_changed_by_reload(host: Host, talkative: None) -> None:
    host.stage.variables["vimage_logfile"] = "/var/log/one.log"

    async def play() -> None:
        async with host.serving():
            await ask(host.stage, "start")
            host.stage.variables["vimage_logfile"] = "/var/log/two.log"
            await ask(host.stage, "reload")
            await ask(host.stage, "stop", "a")
            await ask(host.stage, "stop", "b")

    host.play(play)
    one, two = (Path(host.stage.kernel.path(f"/var/log/{name}.log")).read_text()
                for name in ("one", "two"))
    assert "a: ready" in one and "b: ready" in one and "stopped" not in one
    assert "a: stopped" in two and "b: stopped" in two


def test_after_a_take_over_it_is_written_to_again(host: Host, talkative: None) -> None:
    host.stage.variables["vimage_logfile"] = "/var/log/one.log"
    path = Path(host.stage.kernel.path("/var/log/one.log"))

    async def play() -> None:
        async with host.serving():
            await ask(host.stage, "start", "a")
        path.unlink()
        async with host.serving():
            assert ": a: taken over, jail " in path.read_text()

    host.play(play)
