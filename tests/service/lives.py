"""One life of the service after another on one host, each in a process of its own.

The state of a host is in its directory, so each life opens it anew, as a process that was
started later would.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.engine.machine import STATE, Machine
from tests.lib import snapshot
from tests.lib.forked import Life, forked
from tests.service.conftest import Host
from tests.service.instants import Instants
from vimage.kernel.simulated import HostControl, SimulatedKernel, SimulatedProcesses

#: What a life does: called with the host while its service serves.
Act = Callable[[Host], Awaitable[object]]


def _sockets(directory: str, names: list[str]) -> list[str]:
    """What cannot be copied: the control socket of a service that was killed."""
    return [name for name in names if stat.S_ISSOCK(os.lstat(f"{directory}/{name}").st_mode)]


@dataclass
class Lives:
    """A host in a directory, without any process of its own."""

    directory: Path
    variables: dict[str, str]
    before: snapshot.Snapshot = field(repr=False)
    sleeps: bool = False  # threads, as on the kernel
    #: rc.conf is another one from the first instant on, where a life is to begin with it.
    changed: dict[str, str] | None = None

    @classmethod
    def of(cls, machine: Machine) -> Lives:
        """The host of a machine, which is not to be used any longer in this process."""
        machine.kernel.close()
        return cls(machine.directory, dict(machine.variables), machine.before)

    def copy(self, directory: Path) -> Lives:
        """The same host once more; nobody may be at work on it."""
        shutil.copytree(self.directory, directory, symlinks=True, ignore=_sockets)
        return Lives(directory, dict(self.variables), self.before, self.sleeps)

    def host(self) -> Host:
        """As a process finds it."""
        machine = Machine.__new__(Machine)
        machine.directory = self.directory
        machine.kernel = SimulatedKernel(self.directory)
        machine.control = HostControl(machine.kernel)
        machine.before = self.before
        machine.variables = self.variables
        if self.sleeps:
            machine.kernel.sleeps = True
        return Host(machine)

    def live(self, act: Act, instants: Instants | None = None) -> Life:
        """A service that comes, does what ``act`` asks of it, and goes or dies."""
        def life() -> object:
            host = self.host()
            kernel = processes = None
            if instants is not None:
                kernel = instants.kernel(host.machine.kernel)
                processes = instants.processes(SimulatedProcesses(host.machine.kernel))
                with instants.files(host.machine.kernel.path(STATE)):
                    value = host.play(lambda: _served(host, act, kernel, processes))
            else:
                value = host.play(lambda: _served(host, act, kernel, processes))
            host.machine.kernel.close()
            return value

        return forked(life)

    def look(self) -> snapshot.Snapshot:
        """The host as it is now."""
        return forked(lambda: self.host().machine.look()).value


async def _served(host: Host, act: Act, kernel: object, processes: object) -> object:
    async with host.serving(kernel, processes):
        return await act(host)


