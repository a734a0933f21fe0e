"""Each test gets a host without vimages and leaves one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.freebsd import stage


@pytest.fixture
def clean_host() -> Iterator[None]:
    """Nothing of vimage before; after the test the host is as it was."""
    stage.stop_service()
    stage.sh("kldload -n ng_socket ng_ether ng_bridge ng_eiface")
    before = stage.look_before()
    try:
        yield
    finally:
        stage.stop_service()
        left = stage.left(before)
        stage.CONFIGURATION.unlink(missing_ok=True)
    assert left == []


@pytest.fixture(scope="module")
def service() -> Iterator[None]:
    """A service without vimages, for a whole module of tests."""
    stage.stop_service()
    stage.configure('vimage_list=""\n')
    started = stage.vimage("start")
    assert (started.returncode, started.stderr) == (0, "")
    yield
    stage.stop_service()
    stage.CONFIGURATION.unlink(missing_ok=True)


@pytest.fixture
def served_host(service: None) -> Iterator[None]:
    """A service without vimages before; after the test the host is as it was."""
    before = stage.look_before()
    try:
        yield
    finally:
        running = stage.running()
        if running:
            stage.vimage("stop", *running)
        left = stage.left(before)
    assert left == []
