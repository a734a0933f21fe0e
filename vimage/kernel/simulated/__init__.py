"""A simulated FreeBSD host: the kernel's semantics, its state in a directory.

Nothing is really mounted, no interface touched and no program run.  What a host
has of files lies below ``directory/root``; everything that a kernel remembers is in
``directory/state`` and outlives the process, as the kernel outlives a dead process.
"""

from __future__ import annotations

from vimage.kernel.simulated.control import HostControl
from vimage.kernel.simulated.host import SimulatedKernel, SimulatedVnet
from vimage.kernel.simulated.processes import SimulatedProcess, SimulatedProcesses

__all__ = ["HostControl", "SimulatedKernel", "SimulatedProcess", "SimulatedProcesses",
           "SimulatedVnet"]
