"""The command line, as far as it goes without FreeBSD."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import modes, report, run
from tests.benchmark.test_report import FACTS, rows

ON_FREEBSD = sys.platform.startswith("freebsd")
RUN = Path(run.__file__)


@pytest.mark.parametrize("words, complaint", [
    (["--modes", "nonsense"], "'nonsense' is none of network"),
    (["--with", "bastille"], "'bastille' is none of vimage"),
    (["--count", "0"], "argument --count"),
    (["--count", "ten"], "argument --count")])
def test_usage(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run.main(words)
    assert end.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.skipif(ON_FREEBSD, reason="this is FreeBSD")
def test_needs_freebsd(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--modes", "network,plan", "--parent", "em0"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("benchmark: these modes need FreeBSD, this is ")
    assert err.endswith("anywhere: plan, check\n")


def test_help_is_for_people() -> None:
    done = subprocess.run([sys.executable, str(RUN), "--help"], capture_output=True, text=True,
                          check=True, cwd="/")
    for word in (*modes.MODES, *modes.WITH, "--trace", "--profile", "docs/performance.md"):
        assert word in done.stdout


def test_figures_are_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given, svg, again = tmp_path / "in.csv", tmp_path / "out.svg", tmp_path / "out.csv"
    given.write_text(report.to_csv(rows(), FACTS))
    assert run.main(["--read", str(given), "--svg", str(svg), "--csv", str(again)]) == 0
    assert again.read_text() == given.read_text()
    assert svg.read_text().startswith("<svg ")
    assert "network: start" in capsys.readouterr().out


def test_figures_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_text("what\n")
    assert run.main(["--read", str(tmp_path / "x")]) == 1
    assert run.main(["--read", str(tmp_path / "missing")]) == 1
    assert "its first line is not" in capsys.readouterr().err


def test_plan_and_check_on_the_simulated_host(tmp_path: Path) -> None:
    csv = tmp_path / "figures.csv"
    done = subprocess.run(
        [sys.executable, str(RUN), "--modes", "plan,check", "--count", "2,4", "--runs", "1",
         "--csv", str(csv)], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    read, _ = report.from_csv(csv.read_text())
    found = {(row.mode, row.count, row.measure) for row in read if row.who == "simulated host"}
    assert found == {(mode, count, measure) for mode in ("plan", "check") for count in (2, 4)
                     for measure in ("time", "CPU")}
    assert all(row.value > 0 for row in read)


def test_the_tools_are_left_out_where_they_take_too_long() -> None:
    plan = modes.Plan([10, 1000], 1, ["network"], ["vimage", "floor", "boots", "jng", "jib"])
    assert modes.people("network", 10, plan) == ["vimage", "floor", "jng", "jib"]
    assert modes.people("network", 1000, plan) == ["vimage", "floor"]
    assert modes.people("boot", 10, plan) == ["vimage", "boots", "jng"]
    assert modes.people("bridges", 10, plan) == ["vimage"]
