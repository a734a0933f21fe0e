"""The hosts on which the contract is tested."""

from __future__ import annotations

import sys

import pytest

from tests.contract.simulated_host import SimulatedHost


@pytest.fixture(scope="session")
def this_machine():
    """FreeBSD, opened once."""
    if not sys.platform.startswith("freebsd"):
        pytest.skip("needs FreeBSD")
    from tests.contract.freebsd_host import FreeBSDHost
    host = FreeBSDHost()
    yield host
    host.shut()


@pytest.fixture
def simulated_host(tmp_path):
    host = SimulatedHost(tmp_path / "host")
    yield host
    host.shut()


@pytest.fixture(params=["simulated", pytest.param("freebsd", marks=pytest.mark.freebsd)])
def host(request):
    """A host with which a test may do as it likes; all is undone and compared."""
    names = {"simulated": "simulated_host", "freebsd": "this_machine"}
    host = request.getfixturevalue(names[request.param])
    host.begin()
    yield host
    assert host.end() == []
