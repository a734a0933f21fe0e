"""What a row of the table says of a value beside others, and on a host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vimage import check
from vimage.configuration import variables as table
from vimage.configuration.resolve import lines, resolve
from vimage.kernel.simulated import SimulatedKernel

UUID = "4c4c4544-0042-4a10-8052-b3c04f4e3332"
SETTINGS = {"vimage_list": "a-1", "vimage_a_1_rootdir": "/", "vimage_a_1_bridges": "- em0",
            "vimage_a_1_boot": "none"}


def resolved(**more):
    return resolve({**SETTINGS, **more}, hostuuid=UUID, cpus=4)


@pytest.fixture
def amend(monkeypatch):
    """Rows of the table get something more."""
    def rows(rows, part, **more):
        monkeypatch.setitem(rows, part, replace(rows[part], **more))
    return rows


def test_a_value_in_conflict_with_another_of_its_link(amend):
    amend(table.LINK, "addr", conflict=lambda value, known: (
        f"not with {known['mac']}" if "mac" in known and value else ""))
    given = {"vimage_a_1_addr1": "192.0.2.2/24"}
    assert lines(resolved(**given)[1]) == []
    configuration, problems = resolved(**given, vimage_a_1_mac1="02:00:00:00:00:01")
    allowed = table.LINK["addr"].type.allowed
    assert lines(problems) == [
        f'vimage_a_1_addr1="192.0.2.2/24": not with 02:00:00:00:00:01; allowed: {allowed}']
    assert configuration.vimages == {}


def test_a_value_in_conflict_with_another_of_its_vimage(amend):
    amend(table.VIMAGE, "health", conflict=lambda value, known: f"of {known['rootdir']}")
    amend(table.VIMAGE, "exec_created", conflict=lambda value, known: (
        "" if value == "true" else f"{value} in {known['rootdir']}"))
    assert lines(resolved(vimage_a_1_exec_created="true")[1]) == []
    assert [text.partition(";")[0] for text in lines(resolved(
        vimage_a_1_health="x", vimage_a_1_exec_created="y")[1])] == [
        'vimage_a_1_exec_created="y": y in /', 'vimage_a_1_health="x": of /']


def test_what_is_doubtful_on_a_host(amend, tmp_path):
    kernel = SimulatedKernel.open(tmp_path)
    amend(table.LINK, "addr", doubt=lambda kernel, link: (
        f"{kernel.if_mtu(link.parent)} is little" if link.addresses else ""))
    amend(table.VIMAGE, "cpus", doubt=lambda kernel, vimage: f"{vimage.name} is slow")
    configuration, problems = resolved(vimage_a_1_addr1="192.0.2.2/24", vimage_a_1_cpus="0")
    assert problems == []
    found = check.vimage(kernel, configuration.vimages["a-1"], configuration)
    assert [(str(p), p.warning) for p in found if p.key == "value_doubtful"] == [
        ('vimage_a_1_cpus="0": a-1 is slow', True),
        ('vimage_a_1_addr1="192.0.2.2/24": 1500 is little', True)]
