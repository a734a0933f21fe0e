"""Figures: rows, what is made of them, tables, CSV."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields

#: Beside what the others are held, the first that is there.
BASELINES = ("floor", "boots", "python3 -c pass", "jls")

#: For each of these the less is the better and a ratio says something.
UNITS = {"s": "seconds", "CPU s": "seconds of CPU", "bytes": "bytes"}


@dataclass(frozen=True, slots=True)
class Row:
    """One figure."""

    mode: str
    count: int
    run: int
    who: str
    measure: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Spread:
    """Of some figures."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        if self.least == self.most:
            return short(self.median)
        return f"{short(self.median)} ({short(self.least)}..{short(self.most)})"


def short(value: float) -> str:
    """Three digits that count, below 1 two."""
    size = abs(value)
    if 0 < size < 0.1:
        return f"{value:#.2g}" if size >= 0.001 else f"{value:.1e}"
    return f"{value:.{max(0, 3 - len(str(int(size))))}f}"


Key = tuple[str, str, int, str]  # mode, measure, count, who


def grouped(rows: Iterable[Row]) -> dict[Key, dict[int, Row]]:
    """The runs of each measure."""
    found: dict[Key, dict[int, Row]] = {}
    for row in rows:
        found.setdefault((row.mode, row.measure, row.count, row.who), {})[row.run] = row
    return found


def ratios(rows: Iterable[Row]) -> dict[Key, Spread]:
    """Each beside the baseline of the same measure, run by run: what slowed the host down in
    one run slowed both."""
    groups = grouped(rows)
    found = {}
    for (mode, measure, count, who), runs in groups.items():
        base = baseline(groups, mode, measure, count)
        if base is None or base == who:
            continue
        other = groups[mode, measure, count, base]
        quotients = [runs[run].value / other[run].value
                     for run in runs if run in other and other[run].value]
        if quotients:
            found[mode, measure, count, who] = Spread.of(quotients)
    return found


def baseline(groups: Mapping[Key, object], mode: str, measure: str, count: int) -> str | None:
    return next((who for who in BASELINES if (mode, measure, count, who) in groups), None)


def tables(rows: Sequence[Row]) -> str:
    """One table for each mode and measure."""
    groups, beside = grouped(rows), ratios(rows)
    parts = []
    for mode, measure in dict.fromkeys((row.mode, row.measure) for row in rows):
        chosen = [key for key in groups if key[:2] == (mode, measure)]
        unit = next(iter(groups[chosen[0]].values())).unit
        bases = {baseline(groups, mode, measure, key[2]) for key in chosen} - {None}
        lines = [["N", "with", f"{UNITS.get(unit, unit)}, median (least..most)", "runs"]]
        if bases:
            lines[0].append(f"ratio to {' or '.join(sorted(map(str, bases)))}")
        for key in chosen:
            spread = Spread.of([row.value for row in groups[key].values()])
            ratio = beside.get(key)
            lines.append([str(key[2]), key[3], str(spread), str(len(groups[key]))]
                         + ([str(ratio) if ratio else "1"] if bases else []))
        parts.append(f"{mode}: {measure}\n{columns(lines)}\n")
    return "\n".join(parts)


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Text in columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  " + "  ".join(
        cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines)


# -- CSV -----------------------------------------------------------------------------------

HEAD = [field.name for field in fields(Row)]


def to_csv(rows: Iterable[Row], facts: Mapping[str, str]) -> str:
    """The facts as comments, then a line for each row."""
    text = io.StringIO()
    for name, value in facts.items():
        text.write(f"# {name}: {' '.join(value.split())}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    writer.writerows([*astuple(row)[:5], f"{row.value:.9g}", row.unit] for row in rows)
    return text.getvalue()


def from_csv(text: str) -> tuple[list[Row], dict[str, str]]:
    """What ``to_csv`` has written.  Raises ValueError."""
    lines = text.splitlines()
    comments = [line[2:].partition(": ") for line in lines if line.startswith("# ")]
    read = csv.reader(line for line in lines if not line.startswith("#"))
    if next(read, None) != HEAD:
        raise ValueError(f"its first line is not {','.join(HEAD)}")
    rows = [Row(mode, int(count), int(run), who, measure, float(value), unit)
            for mode, count, run, who, measure, value, unit in read]
    return rows, {name: value for name, _, value in comments}
