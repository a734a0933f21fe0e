"""The benchmark on a FreeBSD host: every mode yields figures, nothing stays, and a kernel call
more than before is seen.  How long anything takes is not looked at."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmark import host, modes, report, service, trace
from tests.freebsd import system

ROOT = Path(__file__).resolve().parents[2]


def benchmark(csv: Path, *words: str) -> set[tuple[str, str, str]]:
    """Run it for two vimages; (mode, who, measure) of its figures."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmark/run.py"), "--count", "2", "--runs", "1", "--cold",
         "--parent", system.parents()[0], "--csv", str(csv), *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows, facts = report.from_csv(csv.read_text())
    assert facts["kern.hz"] and facts["devd"]
    assert {row.count for row in rows} == {2}
    return {(row.mode, row.who, row.measure) for row in rows}


@pytest.mark.parametrize("mode, with_", [
    ("network", ["vimage", "running", "floor", "jng", "jib"]),
    ("address", ["vimage", "running", "floor", "jng", "jib"]),
    ("bridges", ["vimage", "running"]),
    ("boot", ["vimage", "boots", "jng"])])
def test_start_and_stop(clean_host: None, tmp_path: Path, mode: str, with_: list[str]) -> None:
    found = benchmark(tmp_path / "f.csv", "--modes", mode, "--with", ",".join(with_))
    for who in with_:
        for measure in ("start", "stop", "start, CPU of the host", "stop, CPU of the host"):
            assert (mode, who, measure) in found
    assert (mode, "vimage", "start, service memory") in found


def test_among_others(clean_host: None, tmp_path: Path) -> None:
    found = benchmark(tmp_path / "f.csv", "--modes", "stop,restart,status,command,idle,plan,check",
                      "--with", "vimage,floor", "--idle", "2")
    assert {mode for mode, _, _ in found} == {
        "stop", "restart", "status", "command", "idle", "plan", "check"}
    assert ("restart", "floor", "restart") in found
    assert ("status", "jls", "answer") in found
    assert ("command", "python3 -c pass", "CPU of the command") in found
    assert ("plan", "vimage", "CPU") in found
    assert ("stop", "vimage", "start") not in found


def test_profile(clean_host: None, tmp_path: Path) -> None:
    file = tmp_path / "profile"
    benchmark(tmp_path / "f.csv", "--modes", "network", "--with", "vimage",
              "--profile", str(file))
    said = system.sh(f"{sys.executable} -m pstats {file} <<'END'\nstats 5\nEND")
    assert "function calls" in said


def test_a_host_in_use_is_left_alone(clean_host: None) -> None:
    system.configure('vimage_list=""\n')
    assert system.vimage("start").returncode == 0
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmark/run.py"), "--parent", system.parents()[0]],
        capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "benchmark: vimage runs on this host (service vimage stop)\n"


def test_what_is_left_is_seen(clean_host: None) -> None:
    parent = system.parents()[0]
    assert host.left(parent) == []
    system.sh("jail -c name=bm7 persist")
    try:
        assert host.left(parent) == ["jail bm7"]
        done = subprocess.run(
            [sys.executable, str(ROOT / "benchmark/run.py"), "--parent", parent],
            capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (1, "benchmark: in the way: jail bm7\n")
    finally:
        system.sh("jail -r bm7")


@contextmanager
def prepared(directory: Path) -> Iterator[tuple[modes.Plan, host.Parent, host.Root]]:
    parent = host.Parent(system.parents()[0])
    parent.prepare()
    root = host.Root(str(directory / "root"))
    try:
        yield modes.Plan([], 1, ["network"], [], parent.name, directory), parent, root
    finally:
        root.close()
        parent.restore()


def test_a_planted_call_is_counted(clean_host: None, tmp_path: Path) -> None:
    with prepared(tmp_path) as (plan, parent, root):
        before = trace.counted(plan, "network", (2, 4), parent, root)
        plan.program = service.variant(tmp_path, before=(
            "import os\n"
            "from vimage.steps.interfaces import MoveIn\n"
            "plain = MoveIn.do\n"
            "async def planted(self, work):\n"
            "    os.getppid()\n"
            "    await plain(self, work)\n"
            "MoveIn.do = planted\n"))
        after = trace.counted(plan, "network", (2, 4), parent, root, plant="getppid")
    floor, vimage = before["start"]
    assert trace.check_floor(floor, False, "start") == []
    assert trace.check_floor(before["stop"][0], False, "stop") == []
    assert vimage["jail_set"] == vimage["ioctl SIOCSIFVNET"] == 1
    assert vimage["sendto NGM_MKPEER"] == vimage["sendto NGM_EIFACE_SET"] == 1
    more_floor, more_vimage = after["start"]
    assert more_floor == {**floor, "getppid": 1}
    assert more_vimage["getppid"] == vimage.get("getppid", 0) + 1
    assert trace.check_floor(more_floor, False, "start") == [
        "floor, start: getppid 1 times for one vimage, not 0"]
    assert "vimage, start: getppid 1.00 times for one vimage, accepted 0.00" in \
        trace.check_vimage(more_vimage, vimage, "start")
