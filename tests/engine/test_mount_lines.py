"""Lines of fstab(5) in variables: what is mounted, in which order, and what is shown of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.engine.machine import ROOT, Machine
from tests.lib.snapshot import difference
from vimage import check, plan
from vimage.configuration import render, yamlfiles
from vimage.journal import Entry
from vimage.steps.kinds import from_entry
from vimage.steps.mounts import MountLinesStep

KIND = "lines of fstab"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, KIND)


def mounted(machine: Machine) -> list[tuple[str, str, str]]:
    return [(m.fstype, m.source, m.directory.removeprefix(ROOT)) for m in machine.kernel.mounts()
            if m.directory.startswith(ROOT)]


def planned(machine: Machine) -> list[str]:
    loaded = machine.loaded.configuration
    return [step.describe() for given in plan.start(loaded.vimages["a"], loaded)
            for step in given.expanded(machine.kernel) if step.kind == "mount"]


def test_they_are_mounted_and_shared(machine: Machine) -> None:
    assert machine.start().status == 0
    assert mounted(machine) == [("nullfs", f"{ROOT}/bin", "/etc"), ("tmpfs", "tmpfs", "/dev")]
    machine.variables["vimage_list"] = "b"
    assert machine.stop().status == 0
    assert difference(machine.before, machine.look()) == []


def test_before_those_of_the_file_as_jail_does(machine: Machine) -> None:
    fstab = Path(machine.kernel.path("/etc/fstab.a"))
    fstab.write_text(f"tmpfs {ROOT}/proc tmpfs rw 0 0 # the last\n/dev/x none swap sw 0 0\n")
    assert planned(machine) == [
        f"mount nullfs on {ROOT}/etc (ro,noatime)", f"mount tmpfs on {ROOT}/dev",
        f"mount tmpfs on {ROOT}/proc"]


def test_a_space_in_a_path(machine: Machine) -> None:
    os.mkdir(machine.kernel.path(f"{ROOT}/a b"))
    machine.variables["vimage_a_mount2"] = rf"tmpfs {ROOT}/a\040b tmpfs rw"
    assert machine.start().status == 0
    assert ("tmpfs", "tmpfs", "/a b") in mounted(machine)


def test_a_link_inside_is_not_followed(machine: Machine) -> None:
    os.rmdir(machine.kernel.path(f"{ROOT}/proc"))
    os.symlink("/etc", machine.kernel.path(f"{ROOT}/proc"))
    machine.variables["vimage_a_mount2"] = f"tmpfs {ROOT}/proc tmpfs rw"
    answer = machine.start()
    assert answer.status == 1
    assert any("symbolic link" in str(p) for r in answer.results for p in r.problems)
    assert machine.stop().status == 0
    assert mounted(machine) == []


def test_one_that_may_fail(machine: Machine) -> None:
    machine.variables["vimage_a_mount2"] = f"tmpfs {ROOT}/nosuch tmpfs rw,failok"
    assert machine.start().status == 0
    assert len(mounted(machine)) == 2


def test_printed_back(machine: Machine) -> None:
    machine.variables["vimage_a_mount2"] = rf"/a\\040 {ROOT}/a\040b  nullfs ro "
    vimage = machine.loaded.configuration.vimages["a"]
    lines = [f"{ROOT}/bin {ROOT}/etc nullfs ro,noatime 0 0", f"tmpfs {ROOT}/dev tmpfs rw",
             rf"/a\\040 {ROOT}/a\040b nullfs ro"]
    settings = render.settings(vimage)
    assert [settings[f"vimage_a_mount{number}"] for number in range(3)] == lines
    machine.variables = {"vimage_list": "a", **settings}
    assert machine.loaded.configuration.vimages["a"] == vimage
    assert render.for_yaml(vimage)["vimages"]["a"]["mount"] == lines


def test_a_list_in_yaml(machine: Machine, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    file = tmp_path / "a.yaml"
    file.write_text(f"vimages:\n  a:\n    rootdir: {ROOT}\n    mount:\n"
                    f"    - tmpfs {ROOT}/dev tmpfs rw\n    - tmpfs {ROOT}/etc tmpfs rw\n")
    found = yamlfiles.add({}, [str(file)])
    assert found["vimage_a_mount1"] == f"tmpfs {ROOT}/etc tmpfs rw"


def problems(machine: Machine) -> list[str]:
    configuration = machine.loaded.configuration
    return [p.key for p in check.vimage(machine.kernel, configuration.vimages["a"], configuration)]


def test_check_does_not_miss_what_a_mount_may_bring(machine: Machine) -> None:
    machine.variables["vimage_a_boot"] = "full"
    assert problems(machine) == []
    os.unlink(machine.kernel.path(f"{ROOT}/bin/sh"))
    assert problems(machine) == []
    del machine.variables["vimage_a_mount0"], machine.variables["vimage_a_mount1"]
    assert problems(machine) == ["no_shell"]
    Path(machine.kernel.path("/etc/fstab.a")).write_text("# nothing\n")
    assert problems(machine) == ["no_shell"]
    Path(machine.kernel.path("/etc/fstab.a")).write_text("nonsense\n")
    assert problems(machine) == ["fstab_line"]


def test_a_record_of_it_can_be_read() -> None:
    step = MountLinesStep(("a /j/b tmpfs rw",), "/j", 60)
    assert from_entry(Entry(step.kind, {**step.arguments(), "lines": list(step.lines)})) == step
