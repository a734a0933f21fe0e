"""A jail cannot fill the disk through its console log, nor have another file cut."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.service.conftest import Host, ask
from vimage.service import consoles
from vimage.service.watch import TICK


def test_a_log_that_grows_is_cut(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consoles, "LIMIT", 1000)

    async def play() -> None:
        async with host.serving():
            await ask(host.stage, "start")
            log = Path(host.stage.kernel.path("/var/log/vimage_a_console.log"))
            with log.open("ab") as writer:
                writer.write(b"x" * 5000)
                writer.flush()
                await asyncio.sleep(TICK * 2)
                assert log.stat().st_size == 0
                writer.write(b"more")
                writer.flush()
                assert log.read_bytes() == b"more"

    host.play(play)


def test_a_log_turned_into_a_link_is_not_followed(host: Host,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consoles, "LIMIT", 10)
    host.stage.variables["vimage_a_exec_afterstart"] = "echo hello"

    async def play() -> None:
        log = Path(host.stage.kernel.path("/var/log/vimage_a_console.log"))
        precious = Path(host.stage.kernel.path("/etc/precious"))
        precious.write_bytes(b"precious" * 100)
        log.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(precious, log)
        async with host.serving():
            reply = await ask(host.stage, "start")
            assert "console log /var/log/vimage_a_console.log: " in reply.err
            await asyncio.sleep(TICK * 2)
        assert precious.read_bytes() == b"precious" * 100

    host.play(play)
