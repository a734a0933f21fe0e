"""The state directory: one process holds it, and its files say what there is."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.engine.machine import STATE, Machine
from tests.lib.snapshot import difference
from vimage.atomic import replace
from vimage.engine import Outcome
from vimage.kernel import JailId
from vimage.kernel.simulated.virtual_time import run
from vimage.messages import VimageError


def content(machine: Machine, name: str) -> dict[str, Any]:
    """The record of a vimage on the disk."""
    data: dict[str, Any] = json.loads(
        Path(machine.kernel.path(f"{STATE}/vimages/{name}.json")).read_bytes()[9:])
    return data


def kinds_of(machine: Machine, name: str) -> list[str]:
    """The steps that it holds."""
    return [entry["kind"] for entry in content(machine, name)["entries"]]


def test_two_processes_do_not_hold_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "bridge")
    first = machine.session()
    with pytest.raises(VimageError) as caught:
        machine.session()
    assert caught.value.problem.key == "state_busy"
    first.journal.close()
    machine.session().journal.close()


@pytest.mark.parametrize("at_once", [1, 7, 4096])
def test_a_write_may_write_less_than_it_was_given(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, octets: write(fd, bytes(octets)[:at_once]))
    replace(f"{tmp_path}/file", b"0123456789" * 10)
    assert (tmp_path / "file").read_bytes() == b"0123456789" * 10


def test_a_longer_file_that_a_dead_process_left_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file.new").write_bytes(b"x" * 1000)
    replace(f"{tmp_path}/file", b"short")
    assert (tmp_path / "file").read_bytes() == b"short"
    assert os.listdir(tmp_path) == ["file"]


def test_what_could_not_be_written_leaves_the_file_as_it_was(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def full(fd: int, octets: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        replace(f"{tmp_path}/file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_after_a_stop_that_failed_the_record_holds_what_is_left(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So its bridge is not kept for it when another has been the last to use it."""
    machine = Machine(tmp_path, "bridge")
    machine.start()

    def fails(jail: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(machine.kernel, "jail_remove", fails)
        answer = machine.stop()
        assert [result.outcome for result in answer.results] == [Outcome.FAILED]
        assert kinds_of(machine, "a") == ["jail"]
    assert machine.stop().status == 0
    assert difference(machine.before, machine.look()) == []


@pytest.mark.parametrize("sync", [True, False])
def test_what_has_to_outlive_the_host_is_synced(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    replace(f"{tmp_path}/file", b"text", sync=sync)
    assert bool(synced) is sync


def test_that_it_stops_is_written_before_anything_is_undone(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, "bridge")
    machine.start()
    states: list[str] = []
    clear = machine.kernel.jail_clear

    def look(jail: JailId, number: int) -> object:
        states.append(content(machine, "a")["state"])
        return clear(jail, number)

    monkeypatch.setattr(machine.kernel, "jail_clear", look)
    assert machine.stop().status == 0
    assert set(states) == {"stopping"}


def test_a_record_under_another_name_is_set_aside(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "bridge")
    machine.start()
    file = Path(machine.kernel.path(f"{STATE}/vimages/a.json"))
    file.with_name("b.json").write_bytes(file.read_bytes())
    session = machine.session()
    assert list(session.records) == ["a"]
    assert [problem.key for problem in session.journal.set_aside] == ["state_damaged"]
    assert os.listdir(machine.kernel.path(f"{STATE}/aside")) == ["vimages.b.json"]
    session.journal.close()


def test_state_of_another_boot_is_kept_beside(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "bridge")
    machine.start()
    file = Path(machine.kernel.path(f"{STATE}/vimages/a.json"))
    was = file.read_bytes()
    machine.control.reboot()
    file.parent.mkdir(parents=True)
    file.write_bytes(was)
    session = machine.session()
    assert session.records == {} and session.journal.set_aside == []
    assert not file.exists()
    assert Path(machine.kernel.path(f"{STATE}/aside/vimages.a.json")).read_bytes() == was
    session.journal.close()


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "bridge")
    machine.start()
    top = machine.kernel.path(STATE)
    for directory, _, files in os.walk(top):
        assert os.stat(directory).st_mode & 0o777 == 0o700, directory
        for file in files:
            assert os.stat(f"{directory}/{file}").st_mode & 0o777 == 0o600, file


def test_a_write_leaves_no_descriptor_open(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    closed: list[int] = []
    open_file, close_file = os.open, os.close

    def opening(*args: Any) -> int:
        opened.append(open_file(*args))
        return opened[-1]

    def closing(descriptor: int) -> None:
        closed.append(descriptor)
        close_file(descriptor)

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "close", closing)
    replace(f"{tmp_path}/file", b"text")
    assert opened and opened == closed


def test_a_command_is_on_the_disk_before_it_runs(tmp_path: Path) -> None:
    """Another process that finds it begun does not run it again."""
    machine = Machine(tmp_path, "bridge")
    machine.variables |= {
        "vimage_a_exec_prestart": "sleep 5", "vimage_a_exec_poststop": "sleep 5",
        "vimage_a_exec_poststop1": "sleep 6"}
    session = machine.session()

    async def play() -> None:
        start = asyncio.create_task(session.start(machine.loaded, []))
        await asyncio.sleep(1)
        assert kinds_of(machine, "a") == ["hook"]
        await start
        stop = asyncio.create_task(session.stop(machine.loaded, []))
        seen = set()
        while not stop.done():
            if machine.control.processes():
                hook, = (entry for entry in content(machine, "a")["entries"]
                         if entry["kind"] == "hook")
                (_, _, words), = machine.control.processes()
                seen.add((words.split()[-1], hook["results"].get("undone")))
            await asyncio.sleep(0.5)
        assert (await stop).status == 0
        assert seen == {("5", 1), ("6", 2)}

    run(play())
