"""Commands on the host and in jails."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os

import pytest

from tests.contract.expect import cleared, fails
from tests.contract.registry import contract
from vimage.kernel import HelperGone, HostCommand, JailCommand, JailId


def outcome(host, argv, jail=None, **given):
    """Run a command to its end: (exit status, output)."""
    async def main():
        read, write = os.pipe()
        try:
            process = await host.processes.start(
                HostCommand(argv, output=write, **given) if jail is None
                else JailCommand(jail, argv, output=write, **given))
        finally:
            os.close(write)
        with os.fdopen(read, "rb") as output:
            status = await process.wait()
            return status, output.read().decode()

    return host.run(main())


@contract("Processes.start")
@contract("Process.wait")
@pytest.mark.parametrize(("text", "status"), [
    ("true", 0), ("false", 1), ("exit 7", 7), ("true; exit 255", 255), ("false || true", 0),
    ("false && true", 1), ("exit 3\ntrue", 3),
])
def test_exit_status(host, text, status):
    assert outcome(host, ["/bin/sh", "-c", text]) == (status, "")


@contract("Processes.start")
def test_output(host):
    assert outcome(host, ["/bin/sh", "-c", "echo one; echo two"]) == (0, "one\ntwo\n")


@contract("Processes.start")
def test_in_a_jail(host):
    jid = host.jail()
    assert outcome(host, ["/bin/sh", "-c", "echo inside"], jail=jid) == (0, "inside\n")


@contract("Processes.start")
def test_a_program_is_looked_up_in_path(host):
    assert outcome(host, ["sh", "-c", "exit 4"]) == (4, "")
    assert outcome(host, ["sh", "-c", "exit 4"], jail=host.jail()) == (4, "")


@contract("Processes.start", errno.ENOENT)
@pytest.mark.parametrize("program", ["/no/such/program", "no-such-program"])
def test_no_such_program(host, program):
    with fails(errno.ENOENT):
        outcome(host, [program])
    with fails(errno.ENOENT):
        outcome(host, [program], jail=host.jail())


@contract("Processes.start", errno.ENOENT)
def test_no_such_jail(host):
    with fails(errno.ENOENT):
        outcome(host, ["/bin/sh", "-c", "true"], jail=JailId(999_998))


@contract("Processes.start", errno.EACCES)
def test_a_file_that_is_no_program(host):
    root = host.root()
    with open(host.file(f"{root}/plain"), "w"):
        pass
    with fails(errno.EACCES):
        outcome(host, ["/plain"], jail=host.jail(path=root))


@contract("Process.kill")
@pytest.mark.parametrize("signal", [9, 15])
def test_a_command_that_is_killed(host, signal):
    async def main():
        process = await host.processes.start(HostCommand(["/bin/sh", "-c", "sleep 1000"]))
        process.kill(signal)
        status = await process.wait()
        process.kill(signal)
        return status

    assert host.run(main()) == 128 + signal


@contract("Process.end")
def test_a_command_that_obeys_is_ended_at_once(host):
    async def main():
        process = await host.processes.start(HostCommand(["/bin/sh", "-c", "sleep 1000"]))
        async with asyncio.timeout(20):
            return [await process.end(1000), await process.end(1000)]

    assert host.run(main()) == [128 + 15] * 2


@contract("Process.end")
def test_a_command_that_ignores_term_is_killed(host):
    async def main():
        process = await host.processes.start(
            HostCommand(["/bin/sh", "-c", "trap '' TERM; sleep 1000; sleep 1000"]))
        await asyncio.sleep(0.5)
        return await process.end(0.2), await process.wait()

    assert host.run(main()) == (128 + 9, 128 + 9)


@contract("Process.end")
def test_a_command_that_has_ended_has_its_own_status(host):
    async def main():
        process = await host.processes.start(HostCommand(["/bin/sh", "-c", "exit 5"]))
        await process.wait()
        return await process.end(1)

    assert host.run(main()) == 5


@contract("Process.wait", errno.EPIPE)
def test_the_end_of_the_helper_before_that_of_a_command(host):
    processes = host.other_processes()

    async def main():
        process = await processes.start(HostCommand(["/bin/sleep", "1000"]))
        waiting = asyncio.create_task(process.wait())
        await asyncio.sleep(0)
        host.helper_dies(processes)
        with pytest.raises(HelperGone):
            await waiting
        with pytest.raises(HelperGone):
            await process.wait()
        assert host.kernel.process(process.id.pid) == process.id
        assert await (await processes.start(HostCommand(["/bin/sh", "-c", "exit 4"]))).wait() == 4
        assert await process.end(1) is None
        return process.id.pid

    with fails(errno.ESRCH):
        host.kernel.process(host.run(main()))


@contract("Processes.start")
@pytest.mark.parametrize("turns", range(4))
def test_a_start_that_is_cancelled_leaves_nothing(host, turns):
    jail = host.jail()

    async def main():
        starting = asyncio.create_task(
            host.processes.start(JailCommand(jail, ["/bin/sleep", "1000"])))
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await starting).end(0)

    host.run(main())
    assert cleared(host.kernel, jail)


@contract("Process.wait")
def test_several_wait_and_ask_again(host):
    async def main():
        process = await host.processes.start(HostCommand(["/bin/sh", "-c", "exit 5"]))
        together = await asyncio.gather(process.wait(), process.wait())
        return [*together, await process.wait()]

    assert host.run(main()) == [5, 5, 5]


@contract("Process.wait")
def test_a_wait_that_is_given_up_leaves_the_command_alone(host):
    async def main():
        process = await host.processes.start(HostCommand(["/bin/sleep", "1000"]))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), 0.01)
        process.kill(15)
        return await process.wait()

    assert host.run(main()) == 128 + 15


@contract("Processes.close")
def test_what_was_started_runs_on(host):
    jid = host.jail()
    processes = host.other_processes()

    async def main():
        return (await processes.start(JailCommand(jid, ["/bin/sleep", "1000"]))).id

    started = host.run(main())
    processes.close()
    assert host.kernel.process(started.pid) == started
    assert host.kernel.jail_of(started.pid) == jid
    assert host.kernel.jail_clear(jid, 9) is None


@contract("Processes.close")
def test_whoever_waits_at_the_end_hears_of_it(host):
    processes = host.other_processes()
    jail = host.jail()

    async def main():
        process = await processes.start(JailCommand(jail, ["/bin/sleep", "1000"]))
        waiting = asyncio.create_task(process.wait())
        await asyncio.sleep(0)
        processes.close()
        with pytest.raises(HelperGone):
            await waiting

    host.run(main())
    assert host.kernel.jail_clear(jail, 9) is None
