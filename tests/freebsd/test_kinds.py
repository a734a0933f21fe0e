"""Every kind of vimage, up and down again on the kernel, the host as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.kinds import KINDS, variables
from tests.freebsd import stage
from tests.freebsd.host_tools import difference


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, clean_host: None) -> Iterator[str]:
    parent, other = stage.parents()
    root = stage.make_root("r")
    for line in variables(request.param, root=str(root), parent=parent, other=other).items():
        text = stage.CONFIGURATION.read_text() if stage.CONFIGURATION.exists() else ""
        stage.configure(text + '{}="{}"\n'.format(*line))
    text = stage.CONFIGURATION.read_text()
    stage.configure(text + 'vimage_fstab="/etc/fstab.r"\n')
    yield request.param
    stage.vimage("--without-service", "stop")
    stage.remove_root("r")


def test_up_and_down(kind: str) -> None:
    before = stage.look()
    started = stage.vimage("--without-service", "start")
    assert (started.returncode, started.stderr) == (0, "")
    assert difference(before, stage.look()) != []
    stopped = stage.vimage("--without-service", "stop")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert difference(before, stage.look()) == []
