"""What a reload amends in place is as before when the reload fails, whatever fails."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from tests.lib.snapshot import difference
from tests.service.conftest import Host, ask, rows
from vimage import journal


@pytest.fixture
def amended(host: Host) -> Host:
    """a has addresses and limits, and a reload is to change both."""
    host.machine.control.set_sysctl("kern.racct.enable", 1)
    host.set(a_addr0="192.0.2.1/24 192.0.2.2/24", a_rctl="maxproc:deny=10",
             a_defaultrouter="192.0.2.254")
    return host


def change(host: Host) -> None:
    host.set(a_addr0="192.0.2.2/24 192.0.2.3/24", a_rctl="maxproc:deny=20")


def addresses(host: Host) -> list[str]:
    return sorted(host.machine.control.addresses_inside(host.jid("a"))["ng0_a"])


def as_at_first(host: Host) -> bool:
    return (addresses(host) == ["192.0.2.1/24", "192.0.2.2/24"]
            and host.machine.control.rules() == ["jail:a:maxproc:deny=10"]
            and host.machine.control.default_route(host.jid("a")) == "192.0.2.254")


def as_changed(host: Host) -> bool:
    return (addresses(host) == ["192.0.2.2/24", "192.0.2.3/24"]
            and host.machine.control.rules() == ["jail:a:maxproc:deny=20"])


async def applied_in_the_end(host: Host) -> None:
    """The same reload again, by this service and seen by the next."""
    reply = await ask(host.machine, "reload")
    assert (reply.status, reply.err) == (0, "")
    assert as_changed(host)
    assert not (await rows(host.machine))["a"]["changed"]
    assert (await ask(host.machine, "reload")).out == ""


def test_a_step_after_them_fails(amended: Host) -> None:
    """The jail's addresses and limits are amended before a link is taken away."""
    host = amended
    host.set(a_bridges="em1 igb1")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            real = host.machine.kernel.ng_shutdown

            failures: list[int] = []

            def fails(path: str) -> None:
                if host.machine.kernel.ng_node(path).name == "ng1_a" and not failures:
                    failures.append(1)
                    raise OSError(errno.EIO, "Input/output error")
                real(path)

            change(host)
            host.set(a_bridges="em1")
            host.machine.kernel.ng_shutdown = fails  # type: ignore[method-assign]
            for _ in range(2):
                failures.clear()
                assert (await ask(host.machine, "reload")).status == 1
                assert as_at_first(host)
                assert (await rows(host.machine))["a"]["state"] == "ready"
                assert (await rows(host.machine))["a"]["changed"]
            host.machine.kernel.ng_shutdown = real  # type: ignore[method-assign]
            await applied_in_the_end(host)
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def test_no_write_makes_it_count(amended: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full just when all has been done."""
    host = amended
    write = journal.replace
    refused: list[str] = []

    def full(path: str, body: bytes, **how: bool) -> None:
        if path.endswith("vimages/a.json") and b'"state":"ready","file"' in body:
            refused.append(path)
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, body, **how)

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            change(host)
            with monkeypatch.context() as patched:
                patched.setattr(journal, "replace", full)
                assert (await ask(host.machine, "reload")).status == 1
                assert refused
                assert as_at_first(host)
            await asyncio.sleep(100)
        async with host.serving():
            assert (await rows(host.machine))["a"]["state"] == "ready"
            assert as_at_first(host)
            await applied_in_the_end(host)
        async with host.serving():
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def test_no_write_of_the_beginning(amended: Host) -> None:
    """Nothing is touched."""
    host = amended

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            change(host)
            directory = Path(host.state_file("vimages"))
            new = directory / "a.json.new"
            new.mkdir()  # nothing can be written
            assert (await ask(host.machine, "reload")).status == 1
            assert as_at_first(host)
            new.rmdir()
            await applied_in_the_end(host)
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def test_limits_come_and_go(host: Host) -> None:
    host.machine.control.set_sysctl("kern.racct.enable", 1)

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            for rctl in ("maxproc:deny=10", "maxproc:deny=20 vmemoryuse:deny=512m", None):
                host.set(a_rctl=rctl)
                reply = await ask(host.machine, "reload")
                assert (reply.out, reply.err) == ("a: applied: rctl\n", "")
                assert sorted(host.machine.control.rules()) == sorted(
                    f"jail:a:{rule}" for rule in (rctl or "").split())
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def test_a_reload_that_fails_after_one_that_did_not(amended: Host) -> None:
    """It takes back what it did itself, and nothing of the one before."""
    host = amended

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            change(host)
            host.set(a_bridges="em1 igb1")
            reply = await ask(host.machine, "reload")
            assert (reply.status, reply.err) == (0, "")
            for _ in range(2):
                host.set(a_bridges="em1 igb1 em1", a_addr0="192.0.2.9/24",
                         a_rctl="maxproc:deny=90", a_afterstart_services="nosuch")
                assert (await ask(host.machine, "reload")).status == 1
                assert as_changed(host)
                inside = host.machine.control.addresses_inside(host.jid("a"))
                assert sorted(n for n in inside if n != "lo0") == ["ng0_a", "ng1_a"]
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)
