"""The state directory: one process holds it, and its files say what there is."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from tests.engine.stage import STATE, Stage
from tests.lib.snapshot import difference
from vimage.atomic import replace
from vimage.engine import Outcome
from vimage.messages import VimageError


def kinds_of(stage: Stage, name: str) -> list[str]:
    """The steps that the record of a vimage on the disk holds."""
    file = Path(stage.kernel.path(f"{STATE}/vimages/{name}.json"))
    return [entry["kind"] for entry in json.loads(file.read_bytes()[9:])["entries"]]


def test_two_processes_do_not_hold_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "bridge")
    first = stage.session()
    with pytest.raises(VimageError) as caught:
        stage.session()
    assert caught.value.problem.key == "state_busy"
    first.journal.close()
    stage.session().journal.close()


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
    stage = Stage(tmp_path, "bridge")
    stage.start()

    def fails(jail: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(stage.kernel, "jail_remove", fails)
        answer = stage.stop()
        assert [result.outcome for result in answer.results] == [Outcome.FAILED]
        assert kinds_of(stage, "a") == ["jail"]
    assert stage.stop().status == 0
    assert difference(stage.before, stage.look()) == []
