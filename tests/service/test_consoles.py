"""A jail cannot fill the disk through its console log, nor have another file cut."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.service.conftest import Host, ask
from vimage.journal import Record
from vimage.kernel.simulated import SimulatedKernel
from vimage.service import consoles
from vimage.service.consoles import AT_LEISURE, AT_ONCE, EVERY, Consoles
from vimage.service.watch import TICK


def test_a_log_that_grows_is_cut(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consoles, "LIMIT", 1000)

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            log = Path(host.machine.kernel.path("/var/log/vimage_a_console.log"))
            with log.open("ab") as writer:
                writer.write(b"x" * 5000)
                writer.flush()
                await asyncio.sleep(TICK * EVERY + 1)
                assert log.stat().st_size == 0
                writer.write(b"more")
                writer.flush()
                assert log.read_bytes() == b"more"

    host.play(play)


def test_a_log_turned_into_a_link_is_not_followed(host: Host,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consoles, "LIMIT", 10)
    host.machine.variables["vimage_a_exec_afterstart"] = "echo hello"

    async def play() -> None:
        log = Path(host.machine.kernel.path("/var/log/vimage_a_console.log"))
        precious = Path(host.machine.kernel.path("/etc/precious"))
        precious.write_bytes(b"precious" * 100)
        log.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(precious, log)
        async with host.serving():
            reply = await ask(host.machine, "start")
            assert "console log /var/log/vimage_a_console.log: " in reply.err
            await asyncio.sleep(TICK * EVERY + 1)
        assert precious.read_bytes() == b"precious" * 100

    host.play(play)


class Disk:
    """The free space that statvfs(2) tells, and the logs that lstat(2) was asked about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = 1 << 40
        self.looks = 0
        self.lstat = os.lstat
        monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(
            f_bavail=self.free // 512, f_frsize=512))
        monkeypatch.setattr(os, "lstat", self.look)

    def look(self, path: str) -> os.stat_result:
        self.looks += 1
        return self.lstat(path)


def many(count: int) -> dict[str, Record]:
    return {f"v{n}": Record(f"v{n}", configuration={"consolelog": f"/var/log/v{n}.log"})
            for n in range(count)}


def taken(watcher: Consoles) -> list[str]:
    """The next look that is taken."""
    return [name for _ in range(EVERY) for name in watcher.look()]


def test_many_logs_cost_little_unless_the_disk_fills(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = SimulatedKernel.open(tmp_path)
    long = f"v{2 * AT_ONCE + 7}"
    log = Path(kernel.path(f"/var/log/{long}.log"))
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    disk = Disk(monkeypatch)
    watcher = Consoles(kernel, many(3 * AT_ONCE))
    for _ in range(3):
        assert taken(watcher) == []
    assert disk.looks == 3 * AT_LEISURE
    with log.open("ab") as writer:
        writer.truncate(consoles.LIMIT + 1)
    disk.free -= consoles.LIMIT
    assert taken(watcher) == []
    assert disk.looks == 3 * AT_LEISURE + AT_ONCE
    assert watcher.look() == []
    assert watcher.look() == [long]
    assert disk.looks == 3 * AT_LEISURE + 3 * AT_ONCE
    assert log.stat().st_size == 0
    assert taken(watcher) == []
    assert disk.looks == 4 * AT_LEISURE + 3 * AT_ONCE


def test_space_that_is_lost_slowly_counts_too(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = SimulatedKernel.open(tmp_path)
    disk = Disk(monkeypatch)
    watcher = Consoles(kernel, many(10))
    taken(watcher)
    for _ in range(3):
        disk.free -= consoles.LIMIT // 4
        taken(watcher)
    assert disk.looks == 4 * AT_LEISURE
    disk.free -= consoles.LIMIT // 4
    taken(watcher)
    assert disk.looks == 4 * AT_LEISURE + 10
