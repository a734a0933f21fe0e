"""Addresses that interfaces of the host have are not given to a vimage."""

from __future__ import annotations

from vimage.configuration.mac import derive
from vimage.configuration.resolve import resolve

UUID = "5f0d6a38-2e1b-4f7c-9a45-7f3b1c2d4e60"
VARIABLES = {"vimage_list": "a", "vimage_a_rootdir": "/r", "vimage_a_bridges": "em0"}


def test_a_derived_address_that_the_host_has_is_replaced_in_a_fixed_way() -> None:
    first = derive(UUID, "a", 0)
    configuration, problems = resolve(VARIABLES, hostuuid=UUID, cpus=1,
                                      host_macs={"em9": first})
    assert problems == []
    assert configuration.vimages["a"].links[0].mac == derive(UUID, "a", 0, 1)
    assert configuration.resolved_macs == {"a/0": derive(UUID, "a", 0, 1)}


def test_its_own_interface_on_the_host_is_no_clash() -> None:
    first = derive(UUID, "a", 0)
    configuration, _ = resolve(VARIABLES, hostuuid=UUID, cpus=1, host_macs={"ng0_a": first})
    assert configuration.vimages["a"].links[0].mac == first


def test_a_given_address_that_the_host_has_is_an_error() -> None:
    variables = {**VARIABLES, "vimage_a_mac0": "02:00:00:00:00:07"}
    configuration, problems = resolve(variables, hostuuid=UUID, cpus=1,
                                      host_macs={"em9": "02:00:00:00:00:07"})
    assert [str(problem) for problem in problems] == [
        "interface em9 of the host and vimage_a_mac0 have the same MAC address, 02:00:00:00:00:07"]
    assert configuration.vimages == {}
