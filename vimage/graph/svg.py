"""The network as an SVG that a browser shows by itself, in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from vimage.graph import layout as place
from vimage.graph.layout import MARGIN, Card, Layout, Nic, Rail, Row, shown, width
from vimage.graph.topology import Guest, Topology, count, details

#: One colour per bridge: in light and in dark.
COLORS = (
    ("#2563eb", "#60a5fa"), ("#0d9488", "#2dd4bf"), ("#d97706", "#fbbf24"),
    ("#7c3aed", "#a78bfa"), ("#db2777", "#f472b6"), ("#4d7c0f", "#a3e635"),
    ("#0e7490", "#22d3ee"), ("#b91c1c", "#f87171"),
)

STYLE = """\
text { font: 12px ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif }
text { fill: #0f172a }
.mono { font: 11px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace }
.title { font-size: 18px; font-weight: 600 }
.name { font-size: 13px; font-weight: 600 }
.dim { fill: #64748b }
.page { fill: #f8fafc }
.card { fill: #ffffff; stroke: #cbd5e1; stroke-width: 1 }
.head { fill: #f1f5f9 }
.halo { fill: none; stroke: #f8fafc; stroke-width: 7 }
.net { fill: none; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round }
.pill { fill: #ffffff; stroke-width: 1.5 }
.whole { fill: #f59e0b }
.loose { fill: #94a3b8 }
.running { fill: #16a34a }
.failed { fill: #dc2626 }
.stopped { fill: none; stroke: #94a3b8; stroke-width: 1.5 }
g.guest:hover .card { stroke: #64748b; stroke-width: 2 }
"""

STYLE_DARK = """\
text { fill: #e2e8f0 }
.dim { fill: #94a3b8 }
.page { fill: #0b1120 }
.card { fill: #131c31; stroke: #334155 }
.head { fill: #1b2740 }
.halo { stroke: #0b1120 }
.pill { fill: #131c31 }
"""


def render(topology: Topology) -> str:
    """The SVG document."""
    layout = place.place(topology)
    w, h = number(layout.width), number(layout.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" '
        f'viewBox="0 0 {w} {h}" role="img">',
        f"<title>{escape(summary(topology))}</title>",
        f"<style>\n{styles()}</style>",
        f'<rect class="page" width="{w}" height="{h}"/>',
        text(MARGIN, 38, "vimages and their network", "title"),
        text(MARGIN, 56, summary(topology), "dim"),
    ]
    lines += map(_rail, layout.rails)
    for rail in layout.rails:
        lines += _branches(rail)
    for rail in layout.rails:
        lines += _joints(rail)
    for net, nic in enumerate(layout.nics):
        lines += _nic(layout, net, nic)
    for card in layout.cards:
        lines += _card(layout, card)
    lines += _legend(layout)
    return "\n".join([*filter(None, lines), "</svg>", ""])


def styles() -> str:
    """The style sheet, with the colours of the bridges."""
    def colors(dark: int) -> str:
        return "".join(f".s{i} {{ stroke: {c[dark]} }}\n.f{i} {{ fill: {c[dark]} }}\n"
                       for i, c in enumerate(COLORS))

    return (f"{STYLE}{colors(0)}@media (prefers-color-scheme: dark) {{\n"
            f"{STYLE_DARK}{colors(1)}}}\n")


def summary(topology: Topology) -> str:
    """What there is, in a line."""
    guests = topology.guests
    interfaces = sum(len(g.cables) + len(g.vnets) for g in guests)
    running = sum(g.state == "running" for g in guests)
    parts = [count(len(guests), "vimage"), count(len(topology.bridges), "bridge"),
             count(interfaces, "interface")]
    if any(g.state for g in guests):
        parts.insert(1, f"{running} running")
    return ", ".join(parts)


def number(value: float) -> str:
    """A coordinate, short."""
    return f"{value:.1f}".removesuffix(".0")


def text(x: float, y: float, content: str, style: str = "", anchor: str = "") -> str:
    """One line of text."""
    attributes = (f' class="{style}"' if style else "") + (
        f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{number(x)}" y="{number(y)}"{attributes}>{escape(content)}</text>'


def tooltip(*lines: str) -> str:
    return f"<title>{escape(details(*lines))}</title>"


def color(net: int) -> int:
    return net % len(COLORS)


# -- lines -----------------------------------------------------------------------------


def _rail(rail: Rail) -> str:
    """The vertical line itself."""
    if not rail.right and not rail.left:
        return ""
    bend_top, bend_bottom = _corners(rail)
    top, bottom = rail.ys[0], rail.ys[-1]
    return (f'<path class="net s{color(rail.net)}" d="M{number(rail.x)} '
            f'{number(top + place.CORNER * bend_top)}'
            f'V{number(bottom - place.CORNER * bend_bottom)}"/>')


def _branches(rail: Rail) -> Iterator[str]:
    """What goes off to both sides, above the rails it crosses: these get a gap, drawn in
    the colour of the page."""
    bend_top, bend_bottom = _corners(rail)
    ys, r, net = rail.ys, place.CORNER, color(rail.net)
    for y, end in [*rail.left, *rail.right]:
        side = 1 if end > rail.x else -1
        if bend_top and y == ys[0] or bend_bottom and y == ys[-1]:
            start = (f"M{number(rail.x)} {number(y + (r if y == ys[0] else -r))}"
                     f"Q{number(rail.x)} {number(y)} {number(rail.x + side * r)} {number(y)}")
        else:
            start = f"M{number(rail.x)} {number(y)}"
        yield (f'<path class="halo" d="M{number(rail.x + side * r)} {number(y)}'
               f'H{number(end)}"/>')
        yield f'<path class="net s{net}" d="{start}H{number(end)}"/>'


def _corners(rail: Rail) -> tuple[bool, bool]:
    """Whether the top and the bottom end of a rail are a bend into a single branch."""
    ys = rail.ys
    if len(ys) < 2 or ys[-1] - ys[0] < 2 * place.CORNER:
        return False, False
    return (ys[0] not in rail.ends and ys[0] < ys[1],
            ys[-1] not in rail.ends and ys[-1] > ys[-2])


def _joints(rail: Rail) -> Iterator[str]:
    """Dots where more than two lines meet."""
    ys = rail.ys
    if len(ys) < 2 or len(ys) == 2 and ys[0] == ys[1]:
        return
    bend_top, bend_bottom = _corners(rail)
    for y in sorted(set(ys)):
        if not (bend_top and y == ys[0] or bend_bottom and y == ys[-1]):
            yield (f'<circle class="f{color(rail.net)}" cx="{number(rail.x)}" '
                   f'cy="{number(y)}" r="3"/>')


# -- boxes -----------------------------------------------------------------------------


def _nic(layout: Layout, net: int, nic: Nic) -> Iterator[str]:
    """The interface of the host and, beside it, its bridge."""
    bridge, y, h, middle = nic.bridge, nic.y, nic.height, nic.middle
    what = "host-only, on the host" if bridge.host_only else "interface of the host"
    dashes = ' stroke-dasharray="5 3"' if bridge.host_only else ""
    stroke = f"s{color(net)}"
    right = MARGIN + layout.nic_width
    yield f"<g>{tooltip(f'{bridge.parent}: {what}', bridge.mac, *bridge.addresses)}"
    yield (f'<rect class="card {stroke}" x="{MARGIN}" y="{number(y)}" rx="7" '
           f'width="{number(layout.nic_width)}" height="{number(h)}"{dashes}/>')
    yield _port_icon(MARGIN + 12, y + 10, net)
    yield text(MARGIN + 34, y + 18, shown(bridge.parent), "name")
    yield text(MARGIN + 34, y + 32, "host-only" if bridge.host_only else "host", "dim")
    for i, address in enumerate(nic.addresses):
        yield text(MARGIN + 12, y + place.NIC_HEIGHT + 7 + place.ADDRESS_LINE * i, address, "mono")
    yield "</g>"
    yield (f'<path class="net {stroke}" d="M{number(right)} {number(middle)}'
           f'H{number(layout.pill_x)}"/>')
    yield f"<g>{tooltip(f'{bridge.node}: ng_bridge', count(nic.links, 'vimage interface'))}"
    yield (f'<rect class="pill {stroke}" x="{number(layout.pill_x)}" '
           f'y="{number(middle - place.PILL_HEIGHT / 2)}" rx="12" '
           f'width="{number(layout.pill_width)}" height="{place.PILL_HEIGHT}"/>')
    yield text(layout.pill_x + layout.pill_width / 2, middle + 4, shown(bridge.node), "mono",
               "middle")
    yield "</g>"


def _port_icon(x: float, y: float, net: int) -> str:
    """A small network socket."""
    return (f'<path class="f{color(net)}" d="M{number(x)} {number(y)}h15v13h-15z'
            'm3 3v7h2v-3h5v3h2v-7z" fill-rule="evenodd"/>')


def _card(layout: Layout, card: Card) -> Iterator[str]:
    """A vimage and its interfaces."""
    guest, x, y = card.guest, card.x, card.y
    w, h = layout.widths.card, card.height
    yield f'<g class="guest">{tooltip(*_guest_lines(guest))}'
    yield (f'<rect class="card" x="{number(x)}" y="{number(y)}" rx="8" width="{number(w)}" '
           f'height="{number(h)}"/>')
    yield (f'<path class="head" d="M{number(x + .5)} {number(y + 24)}v-16q0 -7.5 7.5 -7.5'
           f'h{number(w - 16)}q7.5 0 7.5 7.5v16z"/>')
    yield from _heading(layout, card)
    for row in card.rows:
        yield from _row(layout, card, row)
    if not card.rows:
        yield text(x + 14, y + place.CARD_HEAD + 14, "no interface", "dim")
    yield "</g>"


def _guest_lines(guest: Guest) -> list[str]:
    other = "" if guest.hostname == guest.name else guest.hostname
    return [f"{guest.name}: {guest.state}" if guest.state else guest.name, other]


def _heading(layout: Layout, card: Card) -> Iterator[str]:
    guest, x, y = card.guest, card.x, card.y
    name = shown(guest.name)
    left = x + 14
    if guest.state:
        style = guest.state if guest.state in ("running", "failed", "stopped") else "loose"
        yield f'<circle class="{style}" cx="{number(x + 16)}" cy="{number(y + 12.5)}" r="4"/>'
        yield text(x + layout.widths.card - 12, y + 16.5, shown(guest.state, 12), "dim", "end")
        left = x + 26
    yield text(left, y + 17, name, "name")
    if guest.hostname != guest.name:
        yield text(left + width(name, 8) + 8, y + 17, shown(guest.hostname), "dim")


def _row(layout: Layout, card: Card, row: Row) -> Iterator[str]:
    lines = ([row.cable.name, row.cable.mac, *row.cable.addresses] if row.cable
             else [f"{row.name}: whole interface, moved in"])
    x, y = card.x, row.y
    yield f"<g>{tooltip(*lines)}"
    if row.whole:
        yield (f'<rect class="whole" x="{number(x - 4)}" y="{number(y - 4)}" width="8" '
               f'height="8" rx="1.5"/>')
    else:
        style = "loose" if row.net is None else f"f{color(row.net)}"
        yield f'<circle class="{style}" cx="{number(x)}" cy="{number(y)}" r="4"/>'
    left = x + 14
    yield text(left, y + 4, row.name, "mono")
    left += layout.widths.name + 12
    if row.mac:
        yield text(left, y + 4, row.mac, "mono dim")
    if row.addresses:
        yield text(left + layout.widths.mac + 12, y + 4, row.addresses, "mono")
    yield "</g>"


def _legend(layout: Layout) -> Iterator[str]:
    """What the marks mean, of those that are there."""
    x, y = float(MARGIN), layout.height - MARGIN / 2 - 4
    rows = [row for card in layout.cards for row in card.rows]
    entries = []
    if any(not row.whole for row in rows):
        entries.append(("interface on a bridge", '<circle class="loose" cx="{}" cy="{}" r="4"/>'))
    if any(row.whole for row in rows):
        entries.append(("whole interface, moved in",
                        '<rect class="whole" x="{}" y="{}" width="8" height="8" rx="1.5" '
                        'transform="translate(-4 -4)"/>'))
    if any(nic.bridge.host_only for nic in layout.nics):
        entries.append(("host-only bridge", '<path class="net loose s0" stroke-dasharray="5 3" '
                        'd="M{} {}h14" transform="translate(-7 0)"/>'))
    for label, mark in entries:
        yield mark.format(number(x + 4), number(y - 4))
        yield text(x + 18, y, label, "dim")
        x += 18 + width(label, 6.2) + 22
