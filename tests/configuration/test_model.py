"""The model as JSON, and back again, over versions."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vimage.model import HOST_HOOKS, Boot, Link, MacFrom, Vimage

#: Text as rc.conf may have it: octets that are not UTF-8 are surrogates.
TEXT = st.text(max_size=8) | st.sampled_from(("f\udcfcr", "\udc80"))
WORDS = st.lists(TEXT, max_size=3).map(tuple)
SECONDS = st.integers(100, 86_400_000).map(lambda n: n / 1000) | st.integers(1, 60)
LINKS = st.builds(Link, st.integers(0, 99), TEXT, st.booleans(), TEXT, st.sampled_from(MacFrom),
                  st.none() | TEXT, WORDS, st.none() | st.integers())
STRATEGIES = {
    "str": TEXT, "bool": st.booleans(), "int": st.integers(), "float": SECONDS,
    "int | None": st.none() | st.integers(), "Boot": st.sampled_from(Boot),
    "tuple[str, ...]": WORDS, "tuple[Link, ...]": st.lists(LINKS, max_size=3).map(tuple),
    "Mapping[str, tuple[str, ...]]": st.dictionaries(st.sampled_from(HOST_HOOKS), WORDS),
    "Mapping[str, str | int | bool | None]": st.dictionaries(
        TEXT, st.none() | st.booleans() | st.integers() | TEXT),
}
VIMAGES = st.builds(Vimage, **{field.name: STRATEGIES[str(field.type)] for field in fields(Vimage)})
LEAST: dict[str, Any] = {"name": "a", "rootdir": "/a", "hostname": "a"}


@given(VIMAGES)
def test_through_json_and_back_it_is_the_same(vimage):
    assert Vimage.from_dict(json.loads(json.dumps(vimage.to_dict()))) == vimage


def test_a_field_that_is_missing_has_its_default():
    assert Vimage.from_dict(LEAST) == Vimage(**LEAST)
    link = {"index": 0, "parent": "em0", "host_only": False, "name": "ng0_a",
            "mac_from": "kernel", "mac": None}
    assert Vimage.from_dict({**LEAST, "links": [link]}).links == (
        Link(0, "em0", False, "ng0_a", MacFrom.KERNEL, None),)


@given(VIMAGES)
def test_a_field_that_is_not_known_is_ignored(vimage):
    data = vimage.to_dict()
    data["of_tomorrow"] = {"a": [1]}
    for link in data["links"]:
        link["of_tomorrow"] = 1
    assert Vimage.from_dict(data) == vimage


@pytest.mark.parametrize(("data", "what"), [
    ({"name": "a", "rootdir": "/"}, "hostname"),
    ({**LEAST, "rootdir": None}, "rootdir: a value of type NoneType"),
    ({**LEAST, "vnets": "em0"}, "vnets: a value of type str"),
    ({**LEAST, "vnets": [1]}, "vnets: a value of type int"),
    ({**LEAST, "boot": "maybe"}, "boot: 'maybe' is not a valid Boot"),
    ({**LEAST, "devfs_ruleset": True}, "devfs_ruleset: a value of type bool"),
    ({**LEAST, "stop_timeout": "30"}, "stop_timeout: a value of type str"),
    ({**LEAST, "hooks": []}, "hooks: a value of type list"),
    ({**LEAST, "links": [{"index": 0}]}, "links: "),
    ({**LEAST, "links": [[]]}, "links: a value of type list"),
    ({**LEAST, "parameters": {"x": 1.5}}, "parameters: a value of type float"),
])
def test_a_value_of_another_type_is_an_error(data, what):
    with pytest.raises(ValueError, match=what):
        Vimage.from_dict(data)


def test_whole_seconds_are_seconds():
    assert Vimage.from_dict({**LEAST, "stop_timeout": 5}).stop_timeout == 5


def test_what_is_frozen_cannot_be_changed():
    vimage = Vimage(**LEAST)
    with pytest.raises(FrozenInstanceError):
        vimage.name = "b"  # type: ignore[misc]
    assert replace(vimage, name="b").name == "b"
