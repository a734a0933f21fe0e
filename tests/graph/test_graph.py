"""The pictures: as written down, well-formed whatever the names, and readable."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.examples import MIXED, configuration, link, many
from vimage.graph import FORMATS, Bridge, Cable, Guest, Topology, render, topology
from vimage.graph.layout import place
from vimage.model import Configuration, Vimage

GOLDEN = Path(__file__).with_name("golden")
SVG = "{http://www.w3.org/2000/svg}"
SUFFIX = {"dot": "dot", "mermaid": "mmd", "svg": "svg"}


@pytest.mark.parametrize("format", FORMATS)
def test_golden(format):
    """UPDATE_GOLDEN=1 writes the files; look at them before they are kept."""
    path = GOLDEN / f"mixed.{SUFFIX[format]}"
    text = render(topology(MIXED, running={"vj1"}), format)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_what_is_drawn():
    drawn = topology(MIXED, running={"vj1"})
    assert [(b.parent, b.node, b.host_only) for b in drawn.bridges] == [
        ("igb0", "igb0bridge", False), ("igb0.100", "igb0_100bridge", False),
        ("lan0", "lan0bridge", True), ("unused0", "unused0bridge", True)]
    assert [(g.name, g.state) for g in drawn.guests] == [
        ("vj1", "running"), ("router", "stopped"), ("alone", "stopped")]
    router = drawn.guests[1]
    assert [(c.name, c.parent, c.mac) for c in router.cables] == [
        ("ng0_router", "lan0", "02:00:5e:00:06:00"), ("ng1_router", "igb0.100", "MAC of igb0.100"),
        ("ng3_router", "igb0", "MAC of the kernel")]
    assert router.vnets == ("igb1",)


def test_only_some():
    drawn = topology(MIXED, only=["vj1"])
    assert [b.parent for b in drawn.bridges] == ["igb0"]
    assert [(g.name, g.state) for g in drawn.guests] == [("vj1", "")]


def test_the_order_is_that_of_the_list_and_then_of_the_rest():
    vimages = {n: Vimage(n, "/", n) for n in ("a", "b", "c")}
    drawn = topology(Configuration(list=("c", "missing"), vimages=vimages))
    assert [g.name for g in drawn.guests] == ["c", "a", "b"]


# -- any names -------------------------------------------------------------------------

texts = st.text(max_size=30) | st.sampled_from(
    ['"', "\\", "<&>", "]]>", "a\nb", "\x00\x1b[31m", "#quot;", "\ud800", "\\N", "`$(x)`", "end"])


@st.composite
def topologies(draw) -> Topology:
    bridges = draw(st.lists(st.builds(
        Bridge, texts, texts, st.booleans(), texts, st.lists(texts, max_size=2).map(tuple)),
        max_size=4))
    parents = st.sampled_from([b.parent for b in bridges] or [""]) | texts
    cables = st.builds(Cable, texts, parents, texts, st.lists(texts, max_size=2).map(tuple))
    guests = st.builds(Guest, texts, texts, texts | st.sampled_from(["running", "stopped"]),
                       st.lists(cables, max_size=3).map(tuple), st.lists(texts, max_size=2)
                       .map(tuple))
    return Topology(tuple(bridges), tuple(draw(st.lists(guests, max_size=20))))


@given(topologies())
@settings(deadline=None)
def test_svg_is_well_formed_whatever_the_names(drawn):
    text = render(drawn, "svg")
    text.encode()
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert len(root.findall(f"{SVG}g[@class='guest']")) == len(drawn.guests)
    assert not re.search(r"\bnan\b|\binf\b|None", " ".join(
        value for element in root.iter() for value in element.attrib.values()))


@given(topologies())
@settings(deadline=None)
def test_the_other_formats_keep_names_inside_quotes(drawn):
    for format in ("dot", "mermaid"):
        for line in render(drawn, format).splitlines():
            assert line.replace("\\\\", "").replace('\\"', "").count('"') % 2 == 0
            assert "\x00" not in line and "\x1b" not in line


@given(topologies())
@settings(deadline=None, max_examples=25)
@pytest.mark.skipif(not shutil.which("dot"), reason="needs Graphviz")
def test_graphviz_reads_the_dot(drawn):
    dot(render(drawn, "dot"))


def dot(text: str) -> str:
    return subprocess.run(["dot", "-Tcanon"], input=text, capture_output=True, text=True,
                          check=True, timeout=60).stdout


# -- readable --------------------------------------------------------------------------


@pytest.mark.parametrize("vimages, bridges", [
    (2, 1), (14, 3), (20, 4), (100, 1), (100, 3), (100, 12), (100, 13), (100, 100), (1000, 3)])
def test_nothing_overlaps(vimages, bridges):
    layout = place(topology(many(vimages, bridges)))
    cards = [(c.x, c.y, layout.widths.card, c.height) for c in layout.cards]
    nics = [(28, n.y, layout.nic_width, n.height) for n in layout.nics]
    for boxes in (cards, nics):
        for column in {box[0] for box in boxes}:
            rows = sorted(box for box in boxes if box[0] == column)
            assert all(a[1] + a[3] < b[1] for a, b in itertools.pairwise(rows))
    assert all(x + w <= layout.width and y + h <= layout.height for x, y, w, h in cards + nics)
    assert all(y > 60 for _, y, _, _ in cards + nics)
    assert all(rail.x < card.x for rail in layout.rails for card in layout.cards
               if card.column == rail.column)
    for rail, other in itertools.combinations(layout.rails, 2):
        if rail.x == other.x:
            assert rail.ys[-1] < other.ys[0] or other.ys[-1] < rail.ys[0]


@pytest.mark.parametrize("vimages", [2, 100])
def test_the_picture_has_the_shape_of_a_screen(vimages):
    layout = place(topology(many(vimages, 3)))
    assert 0.5 < layout.width / layout.height < 3


def test_every_interface_is_joined_to_its_bridge():
    layout = place(topology(many(100, 3)))
    ends = {(rail.net, y) for rail in layout.rails for y, _ in rail.right}
    assert all((row.net, row.y) in ends for card in layout.cards for row in card.rows)


def test_a_thousand_bridges_share_lanes():
    vimages = [Vimage(f"v{i}", "/", f"v{i}", links=(link(0, f"v{i}", f"em0.{i}"),))
               for i in range(1000)]
    layout = place(topology(configuration(*vimages)))
    assert max(rail.lane for rail in layout.rails) < 4


def test_tooltips_tell_the_rest():
    root = ElementTree.fromstring(render(topology(MIXED, running={"vj1"}), "svg"))
    titles = {element.text for element in root.iter(f"{SVG}title")}
    assert {"vj1: running", "router: stopped\nrouter.example.org",
            "ng0_vj1\n02:00:5e:00:03:00", "igb0bridge: ng_bridge\n3 vimage interfaces",
            "igb1: whole interface, moved in",
            "ng0_router\n02:00:5e:00:06:00\n10.9.0.2/24\n2001:db8:9::2/64"} <= titles


def test_colours_follow_the_browser():
    text = render(topology(MIXED), "svg")
    assert "@media (prefers-color-scheme: dark)" in text
    used = set(re.findall(r'class="([^"]*)"', text))
    styled = set(re.findall(r"\.([a-z][a-z0-9]*)", text[:text.index("</style>")]))
    assert {word for words in used for word in words.split()} - {"guest"} <= styled
