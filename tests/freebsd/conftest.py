"""Each test gets a host without vimages and leaves one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.freebsd import stage
from tests.freebsd.host_tools import difference


@pytest.fixture
def clean_host() -> Iterator[None]:
    """Nothing of vimage before; after the test the host is as it was."""
    stage.vimage("--without-service", "stop")
    stage.sh("kldload -n ng_socket ng_ether ng_bridge ng_eiface")
    before = stage.look()
    try:
        yield
    finally:
        stage.stop_service()
        left = difference(before, stage.look())
        stage.CONFIGURATION.unlink(missing_ok=True)
    assert left == []
