"""Figures: statistics, tables, CSV, the picture."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmark import picture, report
from benchmark.report import Row, Spread

GOLDEN = Path(__file__).parent / "golden"

FACTS = {"uname": "FreeBSD host 14.3-RELEASE GENERIC amd64", "python": "3.11.9", "cpus": "4",
         "hw.ncpu": "4", "hw.model": "Some  CPU", "kern.hz": "1000", "kern.vm_guest": "none"}


def rows() -> list[Row]:
    """Three runs of two counts; the second run was slow for all."""
    found = []
    for count in (10, 100):
        for run, slow in ((1, 1.0), (2, 3.0), (3, 1.0)):
            for who, seconds in (("vimage", 1.5), ("floor", 1.0), ("jng", 20.0 * count / 10)):
                for measure, times in (("start", 1.0), ("stop", 0.5)):
                    noise = 1 + 0.1 * (run if who == "vimage" else 0)
                    found.append(Row("network", count, run, who, measure,
                                     seconds * slow * times * noise * count / 10, "s"))
    return found


def test_spread() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert Spread.of([1.0, 2.0]) == Spread(1.5, 1.0, 2.0)
    assert str(Spread(2.0, 1.0, 3.0)) == "2.00 (1.00..3.00)"
    assert str(Spread(2.0, 2.0, 2.0)) == "2.00"


@pytest.mark.parametrize("value, shown", [
    (0.0, "0.00"), (0.0004, "4.0e-04"), (0.123, "0.12"), (0.0167, "0.017"), (0.9999, "1.00"),
    (9.876, "9.88"), (12.34, "12.3"),
    (123.4, "123"), (47108096.0, "47108096")])
def test_short(value: float, shown: str) -> None:
    assert report.short(value) == shown


def test_ratios_are_made_run_by_run() -> None:
    found = report.ratios(rows())
    assert "floor" not in {who for *_, who in found}
    spread = found["network", "start", 10, "vimage"]
    assert [round(x, 6) for x in (spread.least, spread.median, spread.most)] == [1.65, 1.8, 1.95]
    assert found["network", "start", 100, "jng"].median == pytest.approx(200)


def test_ratio_needs_a_baseline_of_the_same_run() -> None:
    assert report.ratios([Row("network", 10, 1, "vimage", "start", 1.0, "s"),
                          Row("network", 10, 2, "floor", "start", 1.0, "s"),
                          Row("network", 20, 1, "floor", "start", 1.0, "s")]) == {}


def test_table() -> None:
    chosen = [row for row in rows() if (row.count, row.measure) == (10, "stop")]
    assert report.tables(chosen) == (
        "network: stop\n"
        "  N   with    seconds, median (least..most)  runs  ratio to floor\n"
        "  10  vimage  0.97 (0.82..2.70)              3     1.80 (1.65..1.95)\n"
        "  10  floor   0.50 (0.50..1.50)              3     1\n"
        "  10  jng     10.0 (10.0..30.0)              3     20.0\n")


def test_csv_there_and_back() -> None:
    text = report.to_csv(rows(), FACTS)
    assert text.splitlines()[0] == "# uname: FreeBSD host 14.3-RELEASE GENERIC amd64"
    assert text.splitlines()[7] == "mode,count,run,who,measure,value,unit"
    read, facts = report.from_csv(text)
    assert facts == {**FACTS, "hw.model": "Some CPU"}
    assert [row.value for row in read] == pytest.approx([row.value for row in rows()])
    assert report.to_csv(read, facts) == text


def test_csv_of_something_else() -> None:
    with pytest.raises(ValueError, match="its first line is not mode,count"):
        report.from_csv("a,b\n1,2\n")


@pytest.mark.parametrize("name, chosen", [
    ("ratios", rows()),
    ("one", [row for row in rows() if row.measure == "start" and row.count == 10]),
    ("none", [])])
def test_picture(name: str, chosen: list[Row]) -> None:
    drawn = picture.render(chosen, FACTS)
    ElementTree.fromstring(drawn)
    golden = GOLDEN / f"{name}.svg"
    if os.environ.get("VIMAGE_WRITE_GOLDEN"):
        golden.write_text(drawn)
    assert drawn == golden.read_text()


def test_picture_quotes_what_it_shows() -> None:
    drawn = picture.render([], FACTS | {"hw.model": "<&>"})
    assert "&lt;&amp;&gt;" in drawn
    ElementTree.fromstring(drawn)
