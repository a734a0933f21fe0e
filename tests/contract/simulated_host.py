"""The simulated host, as the contract tests want it."""

from __future__ import annotations

import os
import shutil

from tests.contract.any_host import Host
from vimage.kernel import JailId
from vimage.kernel.simulated import HostControl, SimulatedKernel, SimulatedProcesses
from vimage.kernel.simulated.virtual_time import run


class SimulatedHost(Host):
    def __init__(self, directory) -> None:
        self.kernel = self._kernel = SimulatedKernel.create(directory)
        self.kernel.kld_load("ng_ether")
        self.control = HostControl(self._kernel)
        self.processes = SimulatedProcesses(self._kernel)

    def shut(self) -> None:
        self.processes.close()
        self._kernel.close()

    def parent(self) -> str:
        name = self.name("em")
        self.control.attach(name, "02:00:00:00:00:99")
        self.on_close(self.control.detach, name)
        return name

    def vlan(self, parent: str) -> str:
        self.control.use(parent, f"vlan {parent}.7")
        return f"{parent}.7"

    def root(self) -> str:
        path = f"/usr/jail/{self.name('r')}"
        os.mkdir(self.file(path))
        self.on_close(shutil.rmtree, self.file(path))
        return path

    def freed(self, jid: JailId) -> None:
        pass

    def hold_tcp(self, jid: JailId) -> None:
        self.control.hold_tcp(jid)

    def give_up_tcp(self, jid: JailId) -> None:
        self.control.give_up_tcp(jid)

    def other_processes(self):
        return SimulatedProcesses(self._kernel)

    def helper_dies(self, processes) -> None:
        processes.helper_dies()

    def with_accounting(self, wanted: bool) -> None:
        self.control.set_sysctl("kern.racct.enable", int(wanted))

    def kld_load_at_securelevel(self, level: int, module: str) -> int:
        self.control.set_sysctl("kern.securelevel", level)
        try:
            self.kernel.kld_load(module)
        except OSError as error:
            return error.errno or 0
        finally:
            self.control.set_sysctl("kern.securelevel", -1)
        return 0

    def run(self, main):
        return run(main)
