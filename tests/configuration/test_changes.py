"""What a reload applies, and what it takes over into the record."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given

from tests.configuration.test_model import VIMAGES
from vimage.configuration import variables
from vimage.configuration.changes import APPLIED, changes, merged
from vimage.model import Boot, Link, MacFrom, Vimage

#: What takes effect without a restart; all else takes effect with one.
LIVE = {"links", "afterstart_services", "rctl", "cpus"}
NOTED = {"depend", "restart", "health", "health_interval", "health_timeout", "start_timeout"}

LINK = Link(0, "em0", False, "ng0_a", MacFrom.DERIVED, "02:00:00:00:00:01", ("192.0.2.2/24",))
ONE = Vimage("a", "/a", "a", links=(LINK,))


def test_how_a_change_of_each_field_is_applied():
    assert {f for f, apply in APPLIED.items() if apply is variables.Apply.LIVE} == LIVE
    assert {f for f, apply in APPLIED.items() if apply is variables.Apply.NOTED} == NOTED
    assert set(APPLIED) == {field.name for field in fields(Vimage)}


def test_the_variables_of_one_field_are_applied_alike():
    for row in (*variables.VIMAGE.values(), *variables.LINK.values()):
        field = "links" if row in variables.LINK.values() else row.field
        assert row.apply is APPLIED[field], row.form


@pytest.mark.parametrize(("what", "how"), [
    ({"links": (replace(LINK, addresses=()),)}, {"live": ["links"]}),
    ({"links": (replace(LINK, mtu=1400),)}, {"live": ["links"]}),
    ({"links": ()}, {"live": ["links"]}),
    ({"cpus": "0", "rctl": ("maxproc:deny=1",)}, {"live": ["rctl", "cpus"]}),
    ({"health": "true", "depend": ("b",)}, {"noted": ["depend", "health"]}),
    ({"boot": Boot.FULL, "stop_timeout": 9.0}, {"restart": ["boot", "stop_timeout"]}),
    ({"stop_timeout": 30.0, "vnets": (), "hooks": {}}, {}),
])
def test_changes(what, how):
    assert changes(ONE, replace(ONE, **what)) == {"live": [], "noted": [], "restart": [], **how}


@given(VIMAGES, VIMAGES)
def test_what_is_merged_needs_only_a_restart(old, new):
    result = merged(old, new)
    assert changes(result, new) == {**changes(old, new), "live": [], "noted": []}
    assert changes(old, result) == {**changes(old, new), "restart": []}
    assert merged(old, old) == old


@given(VIMAGES)
def test_a_record_of_another_version_has_not_changed(vimage):
    older = vimage.to_dict()
    vimage = replace(vimage, cpus="", health_interval=30)
    del older["cpus"], older["health_interval"]
    newer = {**vimage.to_dict(), "of_tomorrow": 1}
    for record in (older, newer):
        assert not any(changes(Vimage.from_dict(record), vimage).values())
