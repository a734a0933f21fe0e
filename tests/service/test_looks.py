"""A look that fails tells nothing: what could not be seen is not taken to be gone.

Only the error that means absence is absence.  After any other the record stays, the failure
is reported, and the next stop leaves nothing.
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.engine.machine import Machine
from tests.lib.snapshot import difference
from tests.service.conftest import Host, ask, rows
from tests.service.instants import Instants
from vimage.kernel.simulated import SimulatedProcesses

LOOKS = ("ng_node", "ng_nodes", "ng_hooks", "ng_eiface_ifname", "ng_ether_get", "if_get",
         "if_mtu", "if_list", "if_users", "if_caps", "vnet", "jail_get", "open_directory",
         "filesystem_of", "mounts", "devfs_ruleset_rules", "process", "Vnet.interfaces")


def test_a_reply_that_does_not_come_in_time(tmp_path: Path) -> None:
    """One look at the bridge during a stop times out."""
    host = Host(Machine(tmp_path, "bridge"))

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            real, calls = host.machine.kernel.ng_node, []

            def once(path: str) -> object:
                calls.append(path)
                if len(calls) == 1:
                    raise OSError(errno.ETIMEDOUT, "netgraph: no reply")
                return real(path)

            host.machine.kernel.ng_node = once  # type: ignore[method-assign, assignment]
            stopped = await ask(host.machine, "stop", "a")
            del host.machine.kernel.ng_node
            assert calls and stopped.status == 1 and stopped.out == "a failed\n"
            assert "netgraph: no reply" in stopped.err
            assert (await rows(host.machine, "a"))["a"]["state"] != "stopped"
            again = await ask(host.machine, "stop", "a")
            assert (again.status, again.out, again.err) == (0, "a stopped\n", "")
            assert difference(host.machine.before, host.machine.look()) == []
            assert (await ask(host.machine, "start")).status == 0

    host.play(play)


@pytest.mark.parametrize("error", [errno.EIO, errno.ETIMEDOUT, errno.ENOMEM, errno.EINTR,
                                   errno.EPERM],
                         ids=lambda number: errno.errorcode[number])
@pytest.mark.parametrize("look", LOOKS)
def test_every_look_of_a_stop_fails_once(look: str, error: int, tmp_path: Path) -> None:
    """Each kind of look, whatever kind of vimage makes it, with an error that nobody knows."""
    tried = 0
    for number, kind in enumerate(("bridge", "whole interface", "host-only bridge",
                                   "devfs, fdescfs, procfs, shared")):
        host = Host(Machine(tmp_path / str(number), kind))
        failing = Failing(host, look, error)

        async def play(host: Host = host, failing: Failing = failing) -> None:
            async with host.serving(failing.kernel, failing.processes):
                assert (await ask(host.machine, "start")).status == 0
                failing.armed = True
                stopped = await ask(host.machine, "stop")
                failing.armed = False
                if not failing.failed:
                    return
                if stopped.status == 0:  # not needed after all: then nothing is left either
                    assert "failed" not in stopped.out
                    assert difference(host.machine.before, host.machine.look()) == []
                else:
                    assert stopped.status == 1 and stopped.err
            async with host.serving():
                if stopped.status:
                    assert (await ask(host.machine, "stop")).status == 0
            assert difference(host.machine.before, host.machine.look()) == []

        host.play(play)
        tried += failing.failed
        host.machine.kernel.close()
    print(f"{look}: failed in a stop of {tried} kinds of vimages")


class Failing(Instants):
    """One kind of look fails once."""

    def __init__(self, host: Host, look: str, error: int) -> None:
        super().__init__()
        self._look, self._error = look, error
        self.failed = 0
        self.kernel = super().kernel(host.machine.kernel)  # type: ignore[method-assign]
        self.processes = super().processes(  # type: ignore[method-assign]
            SimulatedProcesses(host.machine.kernel))

    def before(self, name: str, arguments: str) -> bool:
        if self.armed and name == self._look and not self.failed:
            self.failed = 1
            raise OSError(self._error, "somebody looked away")
        return False
