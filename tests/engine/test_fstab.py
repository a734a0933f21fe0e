"""fstab(5) of a vimage: what it may mount, where, and once for all who ask for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.engine.machine import ROOT, Machine
from tests.lib.snapshot import difference
from vimage.engine import Outcome
from vimage.messages import VimageError
from vimage.steps import mounts
from vimage.steps.mounts import MountStep, read_fstab

FILE = "/etc/fstab.a"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "bridge")


def write(machine: Machine, *lines: str) -> None:
    path = Path(machine.kernel.path(FILE))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def read(machine: Machine, *lines: str, root: str = "/jail/r") -> list[MountStep]:
    write(machine, *lines)
    return read_fstab(machine.kernel, FILE, root, 60)


def test_no_such_file(machine: Machine) -> None:
    assert read_fstab(machine.kernel, FILE, "/jail/r", 60) == []


def test_a_line(machine: Machine) -> None:
    step, = read(machine, "/src\t/jail/r/usr/src nullfs  ro,late,failok,rw,x=1  0 0 # comment")
    assert step == MountStep("nullfs", "/src", "/jail/r", "/usr/src",
                             {"ro": None, "x": "1"}, 60, True)


def test_comments_and_empty_lines(machine: Machine) -> None:
    assert read(machine, "", "   ", "# /src /jail/r/x nullfs rw", "  # x") == []


@pytest.mark.parametrize("line", [
    "/src /jail/r/x nullfs noauto", "/src /jail/r/x nullfs rw,noauto",
    "/dev/da0 none swap sw", "/src /jail/r/x ignore rw"])
def test_lines_that_mount_nothing(machine: Machine, line: str) -> None:
    assert read(machine, line) == []


@pytest.mark.parametrize("directory, path", [
    ("/jail/r", "/"), ("/jail/r/", "/"), ("/jail/r/x", "/x"), ("/jail/r//x/", "/x"),
    ("/jail/r/x/../y", "/y")])
def test_directories_below_the_root(machine: Machine, directory: str, path: str) -> None:
    for root in ("/jail/r", "/jail/r/"):
        step, = read(machine, f"/src {directory} nullfs rw", root=root)
        assert step.path == path and step.mandatory


@pytest.mark.parametrize("directory", ["/jail/r2", "/jail", "/", "/jail/r/../x", "/jail/x", "x"])
def test_directories_elsewhere_are_refused(machine: Machine, directory: str) -> None:
    with pytest.raises(VimageError) as caught:
        read(machine, "/src /jail/r/fine nullfs rw", f"/src {directory} nullfs rw")
    assert caught.value.problem.key == "fstab_line"
    assert f"{FILE}:2" in str(caught.value)


def test_too_few_words(machine: Machine) -> None:
    with pytest.raises(VimageError) as caught:
        read(machine, "/src /jail/r/x nullfs")
    assert caught.value.problem.key == "fstab_line"
    assert len(read(machine, "/src /jail/r/x nullfs rw")) == 1


@pytest.mark.parametrize("word, path", [
    ("a\\040b", "/a b"), ("\\040a", "/ a"), ("a\\011\\134b", "/a\t\\b"), ("a\\04", "/a\4"),
    ("a\\189", "/a\00189"), ("a\\x40b", "/a\\x40b"), ("a\\0401", "/a 1")])
def test_escapes(machine: Machine, word: str, path: str) -> None:
    step, = read(machine, f"/src /jail/r/{word} nullfs rw")
    assert step.path == path


def test_no_name_contains_a_nul(machine: Machine) -> None:
    with pytest.raises(VimageError) as caught:
        read(machine, "/src /jail/r/a\\089 nullfs rw")
    assert caught.value.problem.key == "fstab_line"


def test_a_file_that_cannot_be_read(machine: Machine) -> None:
    os.makedirs(machine.kernel.path(FILE))
    with pytest.raises(VimageError) as caught:
        read_fstab(machine.kernel, FILE, "/jail/r", 60)
    assert caught.value.problem.key == "fstab_unreadable"


# -- mounted --------------------------------------------------------------------------------------


def fstab_of(machine: Machine, *lines: str) -> None:
    """a and b have the same root, and these lines."""
    write(machine, *lines)
    for name in ("/src", f"{ROOT}/mnt"):
        os.makedirs(machine.kernel.path(name), exist_ok=True)
    path = Path(machine.kernel.path("/sbin/mount"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o755)
    machine.variables |= {
        "vimage_list": "a b", "vimage_parallel": "2", "vimage_b_boot": "none",
        "vimage_b_devfs_enable": "NO", "vimage_b_rootdir": ROOT,
        "vimage_a_fstab": FILE, "vimage_b_fstab": FILE}


def mounted(machine: Machine) -> list[str]:
    return sorted(m.directory for m in machine.kernel.mounts() if m.directory.startswith(ROOT))


@pytest.fixture(params=["by the kernel", "by a program"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How it is mounted; what a program does takes a while."""
    if request.param == "by a program":
        monkeypatch.setattr(mounts, "DIRECT", frozenset())
    return str(request.param)


def test_two_vimages_that_start_at_once_mount_it_once(machine: Machine, way: str) -> None:
    fstab_of(machine, f"/src {ROOT}/mnt nullfs rw")
    before = machine.look()
    answer = machine.start()
    assert [str(p) for result in answer.results for p in result.problems] == []
    assert mounted(machine) == [f"{ROOT}/mnt"]
    assert machine.stop().status == 0
    assert difference(before, machine.look()) == []


def test_what_cannot_be_mounted_fails_the_vimage(machine: Machine) -> None:
    fstab_of(machine, f"/nosuch {ROOT}/mnt nullfs rw")
    before = machine.look()
    answer = machine.start()
    assert [result.outcome for result in answer.results] == [Outcome.FAILED] * 2
    assert difference(before, machine.look()) == []


def test_what_may_fail_does_not(machine: Machine, way: str) -> None:
    fstab_of(machine, f"/nosuch {ROOT}/mnt nullfs rw,failok", f"/src {ROOT}/mnt nullfs ro")
    before = machine.look()
    assert machine.start().status == 0
    assert mounted(machine) == [f"{ROOT}/mnt"]
    assert machine.stop().status == 0
    assert difference(before, machine.look()) == []


def test_two_that_mean_different_mounts(machine: Machine) -> None:
    fstab_of(machine, f"/src {ROOT}/mnt nullfs rw")
    other = Path(machine.kernel.path("/etc/fstab.b"))
    other.write_text(f"/src {ROOT}/mnt nullfs ro\n")
    machine.variables |= {"vimage_b_fstab": "/etc/fstab.b", "vimage_b_depend": "a"}
    before = machine.look()
    outcomes = {result.name: result.outcome for result in machine.start().results}
    assert outcomes == {"a": Outcome.READY, "b": Outcome.FAILED}
    assert mounted(machine) == [f"{ROOT}/mnt"]
    assert machine.stop().status == 0
    assert difference(before, machine.look()) == []


def test_one_that_is_in_use_is_unmounted_by_force(machine: Machine) -> None:
    fstab_of(machine, f"/src {ROOT}/mnt nullfs rw")
    before = machine.look()
    machine.start()
    fsid, = (m.fsid for m in machine.kernel.mounts() if m.directory == f"{ROOT}/mnt")
    machine.control.hold_mount(fsid)
    assert machine.stop().status == 0
    assert difference(before, machine.look()) == []


def test_one_that_somebody_unmounted_is_no_error(machine: Machine) -> None:
    fstab_of(machine, f"/src {ROOT}/mnt nullfs rw")
    before = machine.look()
    machine.start()
    fsid, = (m.fsid for m in machine.kernel.mounts() if m.directory == f"{ROOT}/mnt")
    machine.kernel.unmount(fsid)
    assert machine.stop().status == 0
    assert difference(before, machine.look()) == []


def test_a_program_that_mounts_elsewhere(
        machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that all went well, and nothing lies on the directory."""
    fstab_of(machine, f"/src {ROOT}/mnt nullfs rw")
    Path(machine.kernel.path("/sbin/mount")).write_text("#!simulated\ntrue\n")
    monkeypatch.setattr(mounts, "DIRECT", frozenset())
    before = machine.look()
    answer = machine.start()
    assert {p.key for result in answer.results for p in result.problems} == {"step_failed"}
    assert "mnt" in str(answer.results[0].problems[0])
    assert difference(before, machine.look()) == []


def test_what_lies_there_already_is_not_taken_for_ours(machine: Machine) -> None:
    fstab_of(machine, f"/src {ROOT}/mnt nullfs rw")
    directory = machine.kernel.open_directory(ROOT, "/mnt")
    fsid = machine.kernel.mount("nullfs", directory, {"from": "/src"})
    os.close(directory)
    answer = machine.start()
    assert [result.outcome for result in answer.results] == [Outcome.FAILED] * 2
    assert [m.fsid for m in machine.kernel.mounts() if m.directory == f"{ROOT}/mnt"] == [fsid]
