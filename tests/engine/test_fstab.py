"""fstab(5) of a vimage: what it may mount, where, and once for all who ask for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.engine.stage import ROOT, Stage
from tests.lib.snapshot import difference
from vimage.engine import Outcome
from vimage.messages import VimageError
from vimage.steps import mounts
from vimage.steps.mounts import MountStep, read_fstab

FILE = "/etc/fstab.a"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, "bridge")


def write(stage: Stage, *lines: str) -> None:
    path = Path(stage.kernel.path(FILE))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def read(stage: Stage, *lines: str, root: str = "/jail/r") -> list[MountStep]:
    write(stage, *lines)
    return read_fstab(stage.kernel, FILE, root, 60)


def test_no_such_file(stage: Stage) -> None:
    assert read_fstab(stage.kernel, FILE, "/jail/r", 60) == []


def test_a_line(stage: Stage) -> None:
    step, = read(stage, "/src\t/jail/r/usr/src nullfs  ro,late,failok,rw,x=1  0 0 # comment")
    assert step == MountStep("nullfs", "/src", "/jail/r", "/usr/src",
                             {"ro": None, "x": "1"}, 60, True)


def test_comments_and_empty_lines(stage: Stage) -> None:
    assert read(stage, "", "   ", "# /src /jail/r/x nullfs rw", "  # x") == []


@pytest.mark.parametrize("line", [
    "/src /jail/r/x nullfs noauto", "/src /jail/r/x nullfs rw,noauto",
    "/dev/da0 none swap sw", "/src /jail/r/x ignore rw"])
def test_lines_that_mount_nothing(stage: Stage, line: str) -> None:
    assert read(stage, line) == []


@pytest.mark.parametrize("directory, path", [
    ("/jail/r", "/"), ("/jail/r/", "/"), ("/jail/r/x", "/x"), ("/jail/r//x/", "/x"),
    ("/jail/r/x/../y", "/y")])
def test_directories_below_the_root(stage: Stage, directory: str, path: str) -> None:
    for root in ("/jail/r", "/jail/r/"):
        step, = read(stage, f"/src {directory} nullfs rw", root=root)
        assert step.path == path and step.mandatory


@pytest.mark.parametrize("directory", ["/jail/r2", "/jail", "/", "/jail/r/../x", "/jail/x", "x"])
def test_directories_elsewhere_are_refused(stage: Stage, directory: str) -> None:
    with pytest.raises(VimageError) as caught:
        read(stage, "/src /jail/r/fine nullfs rw", f"/src {directory} nullfs rw")
    assert caught.value.problem.key == "fstab_line"
    assert f"{FILE}:2" in str(caught.value)


def test_too_few_words(stage: Stage) -> None:
    with pytest.raises(VimageError) as caught:
        read(stage, "/src /jail/r/x nullfs")
    assert caught.value.problem.key == "fstab_line"
    assert len(read(stage, "/src /jail/r/x nullfs rw")) == 1


@pytest.mark.parametrize("word, path", [
    ("a\\040b", "/a b"), ("\\040a", "/ a"), ("a\\011\\134b", "/a\t\\b"), ("a\\04", "/a\\04"),
    ("a\\089", "/a\\089"), ("a\\x40b", "/a\\x40b"), ("a\\0401", "/a 1")])
def test_escapes(stage: Stage, word: str, path: str) -> None:
    step, = read(stage, f"/src /jail/r/{word} nullfs rw")
    assert step.path == path


def test_a_file_that_cannot_be_read(stage: Stage) -> None:
    os.makedirs(stage.kernel.path(FILE))
    with pytest.raises(VimageError) as caught:
        read_fstab(stage.kernel, FILE, "/jail/r", 60)
    assert caught.value.problem.key == "fstab_unreadable"


# -- mounted --------------------------------------------------------------------------------------


def fstab_of(stage: Stage, *lines: str) -> None:
    """a and b have the same root, and these lines."""
    write(stage, *lines)
    for name in ("/src", f"{ROOT}/mnt"):
        os.makedirs(stage.kernel.path(name), exist_ok=True)
    path = Path(stage.kernel.path("/sbin/mount"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o755)
    stage.variables |= {
        "vimage_list": "a b", "vimage_parallel": "2", "vimage_b_boot": "none",
        "vimage_b_devfs_enable": "NO", "vimage_b_rootdir": ROOT,
        "vimage_a_fstab": FILE, "vimage_b_fstab": FILE}


def mounted(stage: Stage) -> list[str]:
    return sorted(m.directory for m in stage.kernel.mounts() if m.directory.startswith(ROOT))


@pytest.fixture(params=["by the kernel", "by a program"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How it is mounted; what a program does takes a while."""
    if request.param == "by a program":
        monkeypatch.setattr(mounts, "DIRECT", frozenset())
    return str(request.param)


def test_two_vimages_that_start_at_once_mount_it_once(stage: Stage, way: str) -> None:
    fstab_of(stage, f"/src {ROOT}/mnt nullfs rw")
    before = stage.look()
    answer = stage.start()
    assert [str(p) for result in answer.results for p in result.problems] == []
    assert mounted(stage) == [f"{ROOT}/mnt"]
    assert stage.stop().status == 0
    assert difference(before, stage.look()) == []


def test_what_cannot_be_mounted_fails_the_vimage(stage: Stage) -> None:
    fstab_of(stage, f"/nosuch {ROOT}/mnt nullfs rw")
    before = stage.look()
    answer = stage.start()
    assert [result.outcome for result in answer.results] == [Outcome.FAILED] * 2
    assert difference(before, stage.look()) == []


def test_what_may_fail_does_not(stage: Stage, way: str) -> None:
    fstab_of(stage, f"/nosuch {ROOT}/mnt nullfs rw,failok", f"/src {ROOT}/mnt nullfs ro")
    before = stage.look()
    assert stage.start().status == 0
    assert mounted(stage) == [f"{ROOT}/mnt"]
    assert stage.stop().status == 0
    assert difference(before, stage.look()) == []


def test_two_that_mean_different_mounts(stage: Stage) -> None:
    fstab_of(stage, f"/src {ROOT}/mnt nullfs rw")
    other = Path(stage.kernel.path("/etc/fstab.b"))
    other.write_text(f"/src {ROOT}/mnt nullfs ro\n")
    stage.variables |= {"vimage_b_fstab": "/etc/fstab.b", "vimage_b_depend": "a"}
    before = stage.look()
    outcomes = {result.name: result.outcome for result in stage.start().results}
    assert outcomes == {"a": Outcome.READY, "b": Outcome.FAILED}
    assert mounted(stage) == [f"{ROOT}/mnt"]
    assert stage.stop().status == 0
    assert difference(before, stage.look()) == []


def test_one_that_is_in_use_is_unmounted_by_force(stage: Stage) -> None:
    fstab_of(stage, f"/src {ROOT}/mnt nullfs rw")
    before = stage.look()
    stage.start()
    fsid, = (m.fsid for m in stage.kernel.mounts() if m.directory == f"{ROOT}/mnt")
    stage.hand.hold_mount(fsid)
    assert stage.stop().status == 0
    assert difference(before, stage.look()) == []


def test_one_that_somebody_unmounted_is_no_error(stage: Stage) -> None:
    fstab_of(stage, f"/src {ROOT}/mnt nullfs rw")
    before = stage.look()
    stage.start()
    fsid, = (m.fsid for m in stage.kernel.mounts() if m.directory == f"{ROOT}/mnt")
    stage.kernel.unmount(fsid)
    assert stage.stop().status == 0
    assert difference(before, stage.look()) == []


def test_a_program_that_mounts_elsewhere(
        stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that all went well, and nothing lies on the directory."""
    fstab_of(stage, f"/src {ROOT}/mnt nullfs rw")
    Path(stage.kernel.path("/sbin/mount")).write_text("#!simulated\ntrue\n")
    monkeypatch.setattr(mounts, "DIRECT", frozenset())
    before = stage.look()
    answer = stage.start()
    assert {p.key for result in answer.results for p in result.problems} == {"step_failed"}
    assert "mnt" in str(answer.results[0].problems[0])
    assert difference(before, stage.look()) == []


def test_what_lies_there_already_is_not_taken_for_ours(stage: Stage) -> None:
    fstab_of(stage, f"/src {ROOT}/mnt nullfs rw")
    directory = stage.kernel.open_directory(ROOT, "/mnt")
    fsid = stage.kernel.mount("nullfs", directory, {"from": "/src"})
    os.close(directory)
    answer = stage.start()
    assert [result.outcome for result in answer.results] == [Outcome.FAILED] * 2
    assert [m.fsid for m in stage.kernel.mounts() if m.directory == f"{ROOT}/mnt"] == [fsid]
