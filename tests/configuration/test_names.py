"""Names that vimage gives and reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vimage.configuration import names

NAMES = st.text("abcXYZ0189_-", min_size=1, max_size=40)


@given(st.integers(0, 10_000), NAMES)
def test_link_is_a_cut_prefix(index, name):
    link = names.link(index, name)
    assert len(link) <= names.MAX_INTERFACE
    assert f"ng{index}_{name}".startswith(link)
    assert len(link) == min(names.MAX_INTERFACE, len(f"ng{index}_{name}"))


def test_link_at_the_limit():
    assert names.link(0, "abcdefghijk") == "ng0_abcdefghijk"
    assert names.link(0, "abcdefghijkl") == "ng0_abcdefghijk"
    assert names.link(10, "abcdefghijk") == "ng10_abcdefghij"


@given(NAMES, NAMES, st.integers(0, 99), st.integers(0, 99))
def test_links_of_different_numbers_differ(one, other, n, m):
    if n != m:
        assert names.link(n, one) != names.link(m, other)


def test_nodes():
    assert names.node("em0.100") == "em0_100"
    assert names.node("vlan:1.2") == "vlan_1_2"
    assert names.bridge_node("em0") == "em0bridge"
    assert names.bridge_node("em0.100") == "em0_100bridge"


def test_the_longest_bridge_node_fits():
    assert len(names.bridge_node("x" * names.MAX_INTERFACE)) <= names.MAX_NODE


def test_variable():
    assert names.variable("a-b_c-") == "a_b_c_"


@pytest.mark.parametrize("name", ["a", "1x", "-", "_", "a-b", "A_9", "0-0", "x" * 200])
def test_names_of_vimages(name):
    assert names.is_vimage(name)


@pytest.mark.parametrize("name", ["", "1", "0042", "a.b", "a b", "ä", "a/b", "x\n", "x" * 201])
def test_no_names_of_vimages(name):
    assert not names.is_vimage(name)


@pytest.mark.parametrize("name", ["em0", "em0.100", "ng0_vj1", "x" * 15])
def test_names_of_interfaces(name):
    assert names.is_interface(name)


@pytest.mark.parametrize("name", ["", "-", "=em0", "a/b", "em0\n", "a b", "x" * 16])
def test_no_names_of_interfaces(name):
    assert not names.is_interface(name)


@pytest.mark.parametrize("name", ["", "0lan", "l.n", "_lan", "x" * 16])
def test_no_names_of_bridges(name):
    assert not names.is_host_bridge(name)
