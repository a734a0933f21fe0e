"""Lines of fstab(5) in variables: what is mounted, in which order, and what is shown of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.engine.stage import ROOT, Stage
from tests.lib.snapshot import difference
from vimage import check, plan
from vimage.configuration import render, yamlfiles
from vimage.journal import Entry
from vimage.steps.kinds import from_entry
from vimage.steps.mounts import MountLinesStep

KIND = "lines of fstab"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, KIND)


def mounted(stage: Stage) -> list[tuple[str, str, str]]:
    return [(m.fstype, m.source, m.directory.removeprefix(ROOT)) for m in stage.kernel.mounts()
            if m.directory.startswith(ROOT)]


def planned(stage: Stage) -> list[str]:
    loaded = stage.loaded.configuration
    return [step.describe() for given in plan.start(loaded.vimages["a"], loaded)
            for step in given.expanded(stage.kernel) if step.kind == "mount"]


def test_they_are_mounted_and_shared(stage: Stage) -> None:
    assert stage.start().status == 0
    assert mounted(stage) == [("nullfs", f"{ROOT}/bin", "/etc"), ("tmpfs", "tmpfs", "/dev")]
    stage.variables["vimage_list"] = "b"
    assert stage.stop().status == 0
    assert difference(stage.before, stage.look()) == []


def test_before_those_of_the_file_as_jail_does(stage: Stage) -> None:
    fstab = Path(stage.kernel.path("/etc/fstab.a"))
    fstab.write_text(f"tmpfs {ROOT}/proc tmpfs rw 0 0 # the last\n/dev/x none swap sw 0 0\n")
    assert planned(stage) == [
        f"mount nullfs on {ROOT}/etc (ro,noatime)", f"mount tmpfs on {ROOT}/dev",
        f"mount tmpfs on {ROOT}/proc"]


def test_a_space_in_a_path(stage: Stage) -> None:
    os.mkdir(stage.kernel.path(f"{ROOT}/a b"))
    stage.variables["vimage_a_mount2"] = rf"tmpfs {ROOT}/a\040b tmpfs rw"
    assert stage.start().status == 0
    assert ("tmpfs", "tmpfs", "/a b") in mounted(stage)


def test_a_link_inside_is_not_followed(stage: Stage) -> None:
    os.rmdir(stage.kernel.path(f"{ROOT}/proc"))
    os.symlink("/etc", stage.kernel.path(f"{ROOT}/proc"))
    stage.variables["vimage_a_mount2"] = f"tmpfs {ROOT}/proc tmpfs rw"
    answer = stage.start()
    assert answer.status == 1
    assert any("symbolic link" in str(p) for r in answer.results for p in r.problems)
    assert stage.stop().status == 0
    assert mounted(stage) == []


def test_one_that_may_fail(stage: Stage) -> None:
    stage.variables["vimage_a_mount2"] = f"tmpfs {ROOT}/nosuch tmpfs rw,failok"
    assert stage.start().status == 0
    assert len(mounted(stage)) == 2


def test_printed_back(stage: Stage) -> None:
    stage.variables["vimage_a_mount2"] = rf"/a\\040 {ROOT}/a\040b  nullfs ro "
    vimage = stage.loaded.configuration.vimages["a"]
    lines = [f"{ROOT}/bin {ROOT}/etc nullfs ro,noatime 0 0", f"tmpfs {ROOT}/dev tmpfs rw",
             rf"/a\\040 {ROOT}/a\040b nullfs ro"]
    settings = render.settings(vimage)
    assert [settings[f"vimage_a_mount{number}"] for number in range(3)] == lines
    stage.variables = {"vimage_list": "a", **settings}
    assert stage.loaded.configuration.vimages["a"] == vimage
    assert render.for_yaml(vimage)["vimages"]["a"]["mount"] == lines


def test_a_list_in_yaml(stage: Stage, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    file = tmp_path / "a.yaml"
    file.write_text(f"vimages:\n  a:\n    rootdir: {ROOT}\n    mount:\n"
                    f"    - tmpfs {ROOT}/dev tmpfs rw\n    - tmpfs {ROOT}/etc tmpfs rw\n")
    found = yamlfiles.add({}, [str(file)])
    assert found["vimage_a_mount1"] == f"tmpfs {ROOT}/etc tmpfs rw"


def problems(stage: Stage) -> list[str]:
    configuration = stage.loaded.configuration
    return [p.key for p in check.vimage(stage.kernel, configuration.vimages["a"], configuration)]


def test_check_does_not_miss_what_a_mount_may_bring(stage: Stage) -> None:
    stage.variables["vimage_a_boot"] = "full"
    assert problems(stage) == []
    os.unlink(stage.kernel.path(f"{ROOT}/bin/sh"))
    assert problems(stage) == []
    del stage.variables["vimage_a_mount0"], stage.variables["vimage_a_mount1"]
    assert problems(stage) == ["no_shell"]
    Path(stage.kernel.path("/etc/fstab.a")).write_text("# nothing\n")
    assert problems(stage) == ["no_shell"]
    Path(stage.kernel.path("/etc/fstab.a")).write_text("nonsense\n")
    assert problems(stage) == ["fstab_line"]


def test_a_record_of_it_can_be_read() -> None:
    step = MountLinesStep(("a /j/b tmpfs rw",), "/j", 60)
    assert from_entry(Entry(step.kind, {**step.arguments(), "lines": list(step.lines)})) == step
