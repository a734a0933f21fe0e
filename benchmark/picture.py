"""Ratios over N as an SVG that a browser shows by itself, in light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

from benchmark.report import Key, Row, Spread, ratios

#: One colour for each who: in light and in dark.
COLORS = (("#2563eb", "#60a5fa"), ("#0d9488", "#2dd4bf"), ("#d97706", "#fbbf24"),
          ("#7c3aed", "#a78bfa"), ("#db2777", "#f472b6"))

PICTURED = ("network", "address", "stop", "boot", "restart")

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 220, 44, 12, 34, 34
MARGIN, HEAD, LEGEND = 20, 66, 26

STYLE = """\
text { font: 11px ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif }
text { fill: #0f172a }
.title { font-size: 17px; font-weight: 600 }
.name { font-size: 13px; font-weight: 600 }
.dim { fill: #64748b }
.page { fill: #f8fafc }
.card { fill: #ffffff; stroke: #cbd5e1 }
.grid { stroke: #e2e8f0 }
.one { stroke: #94a3b8; stroke-dasharray: 4 3 }
.line { fill: none; stroke-width: 2; stroke-linejoin: round }
.spread { stroke-width: 1.5 }
"""

STYLE_DARK = """\
text { fill: #e2e8f0 }
.dim { fill: #94a3b8 }
.page { fill: #0b1120 }
.card { fill: #131c31; stroke: #334155 }
.grid { stroke: #1e293b }
"""


def render(rows: Sequence[Row], facts: Mapping[str, str]) -> str:
    """The SVG document: a panel for each mode and measure of time beside the floor (of the
    network's boot beside the boots alone)."""
    found = ratios(row for row in rows if row.unit == "s" and row.mode in PICTURED)
    panels: dict[tuple[str, str], dict[str, dict[int, Spread]]] = {}
    for (mode, measure, count, who), spread in sorted(found.items(), key=_order):
        panels.setdefault((mode, measure), {}).setdefault(who, {})[count] = spread
    people = list(dict.fromkeys(who for panel in panels.values() for who in panel))
    across = 2 if len(panels) > 1 else 1
    down = max(1, math.ceil(len(panels) / across))
    w = 2 * MARGIN + across * WIDTH + (across - 1) * MARGIN
    h = HEAD + down * (HEIGHT + MARGIN) + LEGEND
    title = "Time as a multiple of the floor's"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" '
        f'viewBox="0 0 {w} {h}" role="img">', f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE}{_colors(0)}@media (prefers-color-scheme: dark) {{\n"
        f"{STYLE_DARK}{_colors(1)}}}\n</style>",
        f'<rect class="page" width="{w}" height="{h}"/>',
        _text(MARGIN, 32, title, "title"), _text(MARGIN, 51, host(facts), "dim"),
    ]
    for index, ((mode, measure), panel) in enumerate(panels.items()):
        x = MARGIN + index % across * (WIDTH + MARGIN)
        y = HEAD + index // across * (HEIGHT + MARGIN)
        one = "boots" if mode == "boot" else "floor"
        lines += _panel(x, y, f"{mode}: {measure} (1 = {one})", panel, people)
    lines += _legend(people, h - MARGIN)
    return "\n".join([*lines, "</svg>", ""])


def host(facts: Mapping[str, str]) -> str:
    """One line about it."""
    system = " ".join(facts.get("uname", "").split()[:1] + facts.get("uname", "").split()[2:3])
    hz = facts.get("kern.hz")
    parts = (system, facts.get("hw.model"), f"{facts.get('hw.ncpu') or facts.get('cpus')} CPUs",
             hz and f"kern.hz {hz}", f"guest: {facts.get('kern.vm_guest', 'unknown')}",
             f"Python {facts.get('python')}")
    return ", ".join(part for part in parts if part)


def _order(item: tuple[Key, Spread]) -> tuple[int, str, str, int]:
    mode, measure, count, who = item[0]
    return 0 if who == "vimage" else 1, mode, measure, count


def _colors(dark: int) -> str:
    return "".join(f".s{i} {{ stroke: {c[dark]} }}\n.f{i} {{ fill: {c[dark]} }}\n"
                   for i, c in enumerate(COLORS))


def _text(x: float, y: float, content: str, style: str = "", anchor: str = "") -> str:
    attributes = (f' class="{style}"' if style else "") + (
        f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{number(x)}" y="{number(y)}"{attributes}>{escape(content)}</text>'


def number(value: float) -> str:
    """A coordinate, short."""
    return f"{value:.1f}".removesuffix(".0")


class Scale:
    """Logarithmic, from one number to another, over a stretch of the picture."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = math.log(low), math.log(max(high, low * 1.5))
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        share = (math.log(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10 ... between two numbers."""
    return [digit * 10.0 ** power for power in range(-3, 7) for digit in (1, 2, 5)
            if low <= digit * 10.0 ** power <= high]


def _panel(x: float, y: float, title: str, panel: Mapping[str, Mapping[int, Spread]],
           people: Sequence[str]) -> Iterator[str]:
    counts = sorted({count for line in panel.values() for count in line})
    spreads = [spread for line in panel.values() for spread in line.values()]
    low = min([0.8, *(spread.least * 0.9 for spread in spreads)])
    high = max([2.0, *(spread.most * 1.1 for spread in spreads)])
    across = Scale(counts[0] * 0.8, counts[-1] * 1.25, x + LEFT, x + WIDTH - RIGHT)
    up = Scale(low, high, y + HEIGHT - BOTTOM, y + TOP)
    yield (f'<rect class="card" x="{number(x)}" y="{number(y)}" width="{WIDTH}" '
           f'height="{HEIGHT}" rx="8"/>')
    yield _text(x + 14, y + 21, title, "name")
    for tick in ticks(low, high):
        style = "one" if tick == 1 else "grid"
        yield (f'<path class="{style}" d="M{number(x + LEFT)} {number(up(tick))}'
               f'H{number(x + WIDTH - RIGHT)}"/>')
        yield _text(x + LEFT - 6, up(tick) + 4, f"{tick:g}", "dim", "end")
    for count in counts:
        yield _text(across(count), y + HEIGHT - 14, str(count), "dim", "middle")
    for who, line in panel.items():
        yield from _line(who, people.index(who) % len(COLORS), line, across, up)


def _line(who: str, color: int, line: Mapping[int, Spread], across: Scale, up: Scale,
          ) -> Iterator[str]:
    points = [(across(count), spread) for count, spread in sorted(line.items())]
    path = "L".join(f"{number(px)} {number(up(spread.median))}" for px, spread in points)
    yield f'<g><title>{escape(who)}</title><path class="line s{color}" d="M{path}"/>'
    for px, spread in points:
        yield (f'<path class="spread s{color}" d="M{number(px)} {number(up(spread.least))}'
               f'V{number(up(spread.most))}"/>')
        yield (f'<circle class="f{color}" cx="{number(px)}" cy="{number(up(spread.median))}" '
               f'r="3.5"/>')
    yield "</g>"


def _legend(people: Sequence[str], y: float) -> Iterator[str]:
    x: float = MARGIN
    for index, who in enumerate(people):
        yield (f'<circle class="f{index % len(COLORS)}" cx="{number(x + 5)}" '
               f'cy="{number(y)}" r="4"/>')
        yield _text(x + 14, y + 4, who)
        x += 26 + 6.4 * len(who)
    yield _text(x + 8, y + 4, "bars: least to most of the runs; across: N", "dim")
