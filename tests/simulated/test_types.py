"""The fake carries out the contract, as far as types can tell (mypy reads this)."""

from __future__ import annotations

from vimage.kernel import Events, Kernel, Process, Processes, Vnet
from vimage.kernel.simulated import SimulatedKernel, SimulatedProcess, SimulatedProcesses
from vimage.kernel.simulated.events import SimulatedEvents
from vimage.kernel.simulated.host import SimulatedVnet


def conforms(kernel: SimulatedKernel, vnet: SimulatedVnet, events: SimulatedEvents,
             processes: SimulatedProcesses, process: SimulatedProcess,
             ) -> tuple[Kernel, Vnet, Events, Processes, Process]:
    return kernel, vnet, events, processes, process


def test_no_operation_is_missing() -> None:
    for fake, protocol in ((SimulatedKernel, Kernel), (SimulatedVnet, Vnet),
                           (SimulatedEvents, Events), (SimulatedProcess, Process),
                           (SimulatedProcesses, Processes)):
        wanted = {name for name in vars(protocol) if not name.startswith("_")}
        assert wanted <= {*dir(fake), "id"}
