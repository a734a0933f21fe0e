"""Each test gets a host without vimages and leaves one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.freebsd import system


@pytest.fixture
def clean_host() -> Iterator[None]:
    """Nothing of vimage before; after the test the host is as it was."""
    system.stop_service()
    system.sh("kldload -n ng_socket ng_ether ng_bridge ng_eiface")
    before = system.look_before()
    try:
        yield
    finally:
        system.stop_service()
        left = system.left(before)
        system.CONFIGURATION.unlink(missing_ok=True)
    assert left == []


@pytest.fixture(scope="module")
def service() -> Iterator[None]:
    """A service without vimages, for a whole module of tests."""
    system.stop_service()
    system.configure('vimage_list=""\n')
    started = system.vimage("start")
    assert (started.returncode, started.stderr) == (0, "")
    yield
    system.stop_service()
    system.CONFIGURATION.unlink(missing_ok=True)


@pytest.fixture
def served_host(service: None) -> Iterator[None]:
    """A service without vimages before; after the test the host is as it was."""
    before = system.look_before()
    try:
        yield
    finally:
        running = system.running()
        if running:
            system.vimage("stop", *running)
        left = system.left(before)
    assert left == []
