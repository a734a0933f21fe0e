"""The hosts on which the contract is tested."""

from __future__ import annotations

import sys

import pytest

from tests.contract.simulated_host import SimulatedHost


def _open_host(name, tmp_path):
    if name == "simulated":
        return SimulatedHost(tmp_path / "host")
    from tests.contract.freebsd_host import FreeBSDHost
    return FreeBSDHost(tmp_path)


@pytest.fixture(params=["simulated", pytest.param("freebsd", marks=pytest.mark.freebsd)])
def host(request, tmp_path):
    """A host with which a test may do as it likes; all is undone and compared."""
    if request.param == "freebsd" and not sys.platform.startswith("freebsd"):
        pytest.skip("needs FreeBSD")
    host = _open_host(request.param, tmp_path)
    try:
        yield host
    finally:
        left = host.close()
    assert left == []
