"""Every kind of vimage, up and down again on the kernel, the host as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.kinds import KINDS, variables
from tests.freebsd import stage


@pytest.fixture(params=KINDS)
def names(request: pytest.FixtureRequest, served_host: None) -> Iterator[list[str]]:
    parent, other = stage.parents()
    root = stage.make_root("r")
    found = variables(request.param, root=str(root), parent=parent, other=other)
    stage.configure("".join(f'{name}="{value}"\n' for name, value in found.items())
                    + 'vimage_fstab="/etc/fstab.r"\n' * (found.get("vimage_a_rootdir") != "/"))
    yield found["vimage_list"].split()
    if stage.running():
        stage.vimage("stop", *stage.running())
    stage.remove_root("r")


def test_up_and_down(names: list[str]) -> None:
    before = stage.look_before()
    started = stage.vimage("start")
    assert (started.returncode, started.stderr) == (0, "")
    assert stage.left(before) != []
    stopped = stage.vimage("stop", *names)
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert stage.left(before) == []
