from __future__ import annotations

import pytest

from vimage.kernel.simulated import HostControl, SimulatedKernel


@pytest.fixture
def kernel(tmp_path):
    kernel = SimulatedKernel.create(tmp_path / "host")
    kernel.kld_load("ng_ether")
    yield kernel
    kernel.close()


@pytest.fixture
def control(kernel):
    return HostControl(kernel)


@pytest.fixture
def again(kernel):
    """The same host, seen by a second process (as far as the kernel can tell)."""
    opened = []

    def open_again():
        opened.append(SimulatedKernel(kernel.directory))
        return opened[-1]

    yield open_again
    for other in opened:
        other.close()
