"""The configuration of this host, read again and again."""

from __future__ import annotations

from pathlib import Path

from vimage.configuration.load import loaded_from
from vimage.configuration.mac import derive
from vimage.kernel.simulated import HostControl, SimulatedKernel

VARIABLES = {"vimage_list": "a", "vimage_a_rootdir": "/r", "vimage_a_bridges": "em1"}


def test_what_has_not_changed_is_not_worked_out_again(tmp_path: Path) -> None:
    kernel = SimulatedKernel.open(tmp_path)
    first = loaded_from(kernel, VARIABLES)
    assert loaded_from(kernel, dict(VARIABLES), first) is first


def test_every_source_counts(tmp_path: Path) -> None:
    kernel = SimulatedKernel.open(tmp_path)
    control = HostControl(kernel)
    last = loaded_from(kernel, VARIABLES)
    assert loaded_from(kernel, VARIABLES | {"vimage_a_hostname": "b"}, last) is not last
    control.set_sysctl("kern.hostuuid", "5f0d6a38-2e1b-4f7c-9a45-7f3b1c2d4e60")
    other = loaded_from(kernel, VARIABLES, last)
    mac = other.configuration.vimages["a"].links[0].mac
    assert mac == derive("5f0d6a38-2e1b-4f7c-9a45-7f3b1c2d4e60", "a", 0)
    control.attach("em7", mac)
    clash = loaded_from(kernel, VARIABLES, other)
    assert clash.configuration.vimages["a"].links[0].mac != mac
