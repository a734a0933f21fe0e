"""Every kind of vimage, up and down again on the kernel, the host as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.configurations import CONFIGURATIONS, variables
from tests.freebsd import system


@pytest.fixture(params=CONFIGURATIONS)
def names(request: pytest.FixtureRequest, served_host: None) -> Iterator[list[str]]:
    parent, other = system.parents()
    root = system.make_root("r")
    found = variables(request.param, root=str(root), parent=parent, other=other)
    system.configure("".join(f'{name}="{value}"\n' for name, value in found.items())
                    + 'vimage_fstab="/etc/fstab.r"\n' * (found.get("vimage_a_rootdir") != "/"))
    yield found["vimage_list"].split()
    if system.running():
        system.vimage("stop", *system.running())
    system.remove_root("r")


def test_up_and_down(names: list[str]) -> None:
    before = system.look_before()
    started = system.vimage("start")
    assert (started.returncode, started.stderr) == (0, "")
    assert system.left(before) != []
    stopped = system.vimage("stop", *names)
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert system.left(before) == []
