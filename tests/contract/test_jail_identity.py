"""What is meant for a jail never reaches the host: 0 is not a jail id."""

from __future__ import annotations

import json
import os

import pytest

from vimage.kernel import HostCommand, JailCommand, JailId

NOT_JAILS = [0, -1, 2**31, True, "1", 1.0, None]


@pytest.mark.parametrize("number", NOT_JAILS)
def test_what_is_not_a_jail_id(number):
    with pytest.raises(ValueError, match="not a jail id"):
        JailId(number)


def test_a_jail_id_is_written_as_a_number():
    jail = JailId(7)
    assert (json.dumps({"jid": jail}), str(jail), f"{jail:d}") == ('{"jid": 7}', "7", "7")
    assert jail == 7
    assert {7: "found"}[jail] == "found"


@pytest.mark.parametrize("number", [0, 7, None])
def test_a_command_in_a_jail_names_a_jail(number):
    with pytest.raises(TypeError):
        JailCommand(number, ["/bin/sh"])


def test_a_command_on_the_host_has_no_place_for_a_jail():
    assert not hasattr(HostCommand(["/bin/sh"]), "jail")


@pytest.mark.parametrize("operation", [
    lambda kernel: kernel.vnet(0),
    lambda kernel: kernel.if_vmove("lo0", 0),
    lambda kernel: kernel.if_reclaim("lo0", 0),
    lambda kernel: kernel.jail_update(0, {"host.hostname": "x"}),
    lambda kernel: kernel.jail_get(0),
    lambda kernel: kernel.jail_remove(0),
    lambda kernel: kernel.jail_clear(0, 0),
    lambda kernel: kernel.jail_cpus(0, frozenset({0})),
    lambda kernel: kernel.events().watch_jail(0),
])
def test_no_operation_takes_the_host_for_a_jail(host, operation):
    with pytest.raises(ValueError, match="not a jail id"):
        operation(host.kernel)


def test_jails_come_as_jail_ids(host):
    jail = host.jail()
    assert type(jail) is JailId
    assert type(host.kernel.jail_get(jail).jid) is JailId
    assert host.kernel.jail_of(os.getpid()) is None

    async def main():
        process = await host.processes.start(JailCommand(jail, ["/bin/sleep", "1000"]))
        found = host.kernel.jail_of(process.id.pid)
        process.kill(9)
        await process.wait()
        return found

    assert type(host.run(main())) is JailId
