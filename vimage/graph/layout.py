"""Where everything of the SVG goes: all numbers are worked out here, none in svg.py.

From left to right: the host's interfaces, their bridges, a channel in which each
bridge has a vertical rail, and the vimages with a stub to the rail per interface.
A rail is only as long as it must be, and rails that do not overlap share a lane, so
many small bridges cost little width.  Many vimages on few bridges are set in several
columns, each with a channel of its own; the rails are then joined above them.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from vimage.graph.topology import Bridge, Cable, Guest, Topology, printable

MARGIN = 28
HEADING = 66  # height of the title above everything
CHARACTER = 6.7  # width of one at the size of small text
LANE = 14  # distance of rails
TRUNK = 12  # distance of the lines that join columns
CORNER = 6
ROW = 20
CARD_HEAD = 30
CARD_FOOT = 8
CARD_GAP = 14
NIC_HEIGHT = 40
ADDRESS_LINE = 15
PILL_HEIGHT = 24
SINGLE_COLUMN = 14  # vimages that are never set in several columns
MOST_TRUNKS = 12  # bridges above which several columns would only confuse
LONGEST = 44  # characters shown of one text


def cells(text: str) -> int:
    """How many character cells a text takes in a monospaced font."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def width(text: str, size: float = CHARACTER) -> float:
    """Roughly how wide a text is."""
    return cells(text) * size


def shown(text: str, longest: int = LONGEST) -> str:
    """The text on one line, cut where it would be too long."""
    text = printable(text)
    return text if len(text) <= longest else text[:longest - 1] + "…"


@dataclass
class Row:
    """One interface of a vimage."""

    name: str
    mac: str
    addresses: str
    net: int | None  # index of the bridge; None: a whole interface, or one without bridge
    whole: bool
    cable: Cable | None
    y: float = 0


@dataclass
class Card:
    """A vimage with its interfaces."""

    guest: Guest
    rows: list[Row]
    x: float = 0
    y: float = 0
    column: int = 0

    @property
    def height(self) -> float:
        return CARD_HEAD + ROW * max(1, len(self.rows)) + CARD_FOOT


@dataclass
class Nic:
    """A bridge and the host's interface on it."""

    bridge: Bridge
    addresses: list[str]
    links: int
    y: float = 0

    @property
    def height(self) -> float:
        return NIC_HEIGHT + ADDRESS_LINE * len(self.addresses)

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


@dataclass
class Rail:
    """The vertical line of a bridge in one channel, and what branches off at which y."""

    net: int
    column: int
    left: list[tuple[float, float]] = field(default_factory=list)  # (y, x where it comes from)
    right: list[tuple[float, float]] = field(default_factory=list)  # (y, x where it ends)
    ends: list[float] = field(default_factory=list)  # further y that it must reach
    x: float = 0
    lane: int = 0

    @property
    def ys(self) -> list[float]:
        return sorted([*(y for y, _ in self.left), *(y for y, _ in self.right), *self.ends])


@dataclass
class Widths:
    """The text columns of a card."""

    name: float = 0
    mac: float = 0
    card: float = 180


@dataclass
class Layout:
    """Everything placed."""

    nics: list[Nic]
    cards: list[Card]
    widths: Widths
    rails: list[Rail] = field(default_factory=list)
    nic_width: float = 120
    pill_width: float = 80
    width: float = 0
    height: float = 0

    @property
    def pill_x(self) -> float:
        return MARGIN + self.nic_width + 18

    @property
    def channel_x(self) -> float:
        return self.pill_x + self.pill_width + 18


def place(topology: Topology) -> Layout:
    """Work out the whole picture."""
    layout = _measure(topology)
    columns = _columns(layout)
    _stack(layout, columns)
    trunks = _make_rails(layout, columns)
    _place_nics(layout, columns)
    for rail in layout.rails:
        if rail.column == 0:
            rail.left.append((layout.nics[rail.net].middle, layout.pill_x + layout.pill_width))
    _assign_lanes(layout, columns)
    _place_columns(layout, columns)
    _join_trunks(layout, trunks)
    bottoms = [c.y + c.height for c in layout.cards] + [n.y + n.height for n in layout.nics]
    layout.height = max(bottoms, default=HEADING + 20) + MARGIN + 18
    return layout


def _measure(topology: Topology) -> Layout:
    nets = {bridge.parent: i for i, bridge in enumerate(topology.bridges)}
    cards = [Card(guest, _rows(guest, nets)) for guest in topology.guests]
    nics = [Nic(bridge, [shown(a) for a in bridge.addresses],
                sum(row.net == i for card in cards for row in card.rows))
            for i, bridge in enumerate(topology.bridges)]
    layout = Layout(nics, cards, _widths(cards))
    layout.nic_width = max([120, *(44 + width(shown(n.bridge.parent), 8) for n in nics),
                            *(28 + width(a) for n in nics for a in n.addresses)])
    layout.pill_width = max([60, *(24 + width(shown(n.bridge.node)) for n in nics)])
    return layout


def _rows(guest: Guest, nets: dict[str, int]) -> list[Row]:
    cables = [Row(shown(c.name), shown(c.mac), shown(" ".join(c.addresses)), nets.get(c.parent),
                  False, c) for c in guest.cables]
    return cables + [Row(shown(name), "whole interface", "", None, True, None)
                     for name in guest.vnets]


def _widths(cards: list[Card]) -> Widths:
    rows = [row for card in cards for row in card.rows]
    name = max([0, *(width(row.name) for row in rows)])
    mac = max([0, *(width(row.mac) for row in rows)])
    text = max([0, *(name + 12 + mac + (12 + width(row.addresses) if row.addresses else 0)
                     for row in rows)])
    heads = (width(shown(c.guest.name), 8) + width(_other_name(c.guest)) +
             width(shown(c.guest.state, 12)) for c in cards)
    return Widths(name, mac, max([180, text + 28, *(head + 56 for head in heads)]))


def _other_name(guest: Guest) -> str:
    return "" if guest.hostname == guest.name else shown(guest.hostname)


def _columns(layout: Layout) -> int:
    """How many columns give a picture that is about as high as a screen is."""
    if len(layout.cards) <= SINGLE_COLUMN or len(layout.nics) > MOST_TRUNKS:
        return 1
    total = sum(card.height + CARD_GAP for card in layout.cards)
    step = layout.widths.card + LANE * len(layout.nics) + 60
    return max(1, min(8, math.ceil(math.sqrt(total * 1.5 / step) - 0.5)))


def _top(layout: Layout, columns: int) -> float:
    """Where cards begin: below the lines that join several columns."""
    return HEADING + (TRUNK * len(layout.nics) + 8 if columns > 1 else 0)


def _stack(layout: Layout, columns: int) -> None:
    """The y of every card and row, the columns about equally high."""
    total = sum(card.height + CARD_GAP for card in layout.cards)
    top = _top(layout, columns)
    y, column, done = top, 0, 0.0
    for card in layout.cards:
        if column + 1 < columns and done >= total / columns * (column + 1):
            y, column = top, column + 1
        card.y, card.column = y, column
        for i, row in enumerate(card.rows):
            row.y = y + CARD_HEAD + ROW * (i + 0.5)
        y += card.height + CARD_GAP
        done += card.height + CARD_GAP


def _make_rails(layout: Layout, columns: int) -> list[int]:
    """A rail for each bridge in each column that has a row of it, and always in the
    first; returns the bridges that are joined above the columns."""
    rails = {(0, net): Rail(net, 0) for net in range(len(layout.nics))}
    trunks = []
    for card in layout.cards:
        for row in card.rows:
            if row.net is None:
                continue
            rail = rails.setdefault((card.column, row.net), Rail(row.net, card.column))
            rail.right.append((row.y, card.column))
            if card.column and row.net not in trunks:
                trunks.append(row.net)
    layout.rails = [rails[key] for key in sorted(rails)]
    return sorted(trunks) if columns > 1 else []


def _place_nics(layout: Layout, columns: int) -> None:
    """Beside one column: each as near to the middle of its rows as the others allow.
    Beside several: one below the other from the top, where the eye begins."""
    wanted = {}
    for rail in layout.rails:
        if rail.column == 0:
            ys = [y for y, _ in rail.right]
            wanted[rail.net] = sum(ys) / len(ys) if ys and columns == 1 else math.inf
    y = _top(layout, columns)
    for net in sorted(wanted, key=lambda n: (wanted[n], n)):
        nic = layout.nics[net]
        best = wanted[net] - nic.height / 2
        nic.y = max(y, best) if math.isfinite(best) else y
        # Two lines of different bridges must not run side by side as one.
        others = [row.y for card in layout.cards for row in card.rows
                  if card.column == 0 and row.net not in (net, None)]
        while any(abs(nic.middle - other) < 7 for other in others):
            nic.y += 1
        y = nic.y + nic.height + CARD_GAP


def _assign_lanes(layout: Layout, columns: int) -> None:
    """The lane of each rail in its channel."""
    if columns == 1:
        _share_lanes(layout.rails)
        return
    for column in range(columns):
        rails = [rail for rail in layout.rails if rail.column == column]
        # So that the lines above the columns need not cross where they turn down.
        for lane, rail in enumerate(rails if column == 0 else reversed(rails)):
            rail.lane = lane


def _share_lanes(rails: list[Rail]) -> None:
    """Rails one above the other use the same lane (left-edge rule of channel routing)."""
    lanes: list[float] = []
    for rail in sorted(rails, key=lambda r: (r.ys[0], r.net)):
        fitting = (i for i, end in enumerate(lanes) if end + 2 * CORNER < rail.ys[0])
        rail.lane = next(fitting, len(lanes))
        lanes[rail.lane:rail.lane + 1] = [rail.ys[-1]]


def _place_columns(layout: Layout, columns: int) -> None:
    """The x of every channel and card."""
    x = layout.channel_x
    for column in range(columns):
        rails = [rail for rail in layout.rails if rail.column == column]
        lanes = max((rail.lane for rail in rails), default=-1) + 1
        card_x = x + LANE * max(0, lanes - 1) + (22 if rails else 0)
        for rail in rails:
            rail.x = x + LANE * rail.lane
            rail.right = [(y, card_x) for y, _ in rail.right]
        for card in layout.cards:
            if card.column == column:
                card.x = card_x
        x = card_x + layout.widths.card + 30
    layout.width = x - 30 + MARGIN if layout.cards else layout.channel_x + MARGIN
    layout.width = max(layout.width, 420)


def _join_trunks(layout: Layout, trunks: Iterable[int]) -> None:
    """Above the columns, one horizontal line for each bridge that has rails in several."""
    for i, net in enumerate(trunks):
        y = HEADING + 4 + TRUNK * i
        rails = [rail for rail in layout.rails if rail.net == net]
        end = rails[-1].x - CORNER
        rails[0].right.append((y, end))
        for rail in rails[1:-1]:
            rail.ends.append(y)
        rails[-1].left.append((y, end))
