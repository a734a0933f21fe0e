"""What a restart does, to whom, and what it leaves alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from tests.engine.machine import ROOT
from tests.service.conftest import Host, ask, rows, states
from vimage.journal import READY


@pytest.fixture
def three(host: Host) -> Host:
    """b depends on a; c is by itself."""
    host.set(list="a b c", b_depend="a", c_rootdir=ROOT)
    return host


def jails(host: Host) -> dict[str, int]:
    return {name: host.jid(name) for name in ("a", "b", "c")}


def test_one_whose_dependent_could_not_be_started_again_is_not_stopped(three: Host) -> None:
    host = three

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            was = jails(host)
            host.set(b_hostname="bad name")
            reply = await ask(host.machine, "restart", "a")
            assert reply.status == 2 and "b" in reply.err
            assert jails(host) == was

    host.play(play)


def test_the_others_of_a_restart_of_all_are_restarted(three: Host) -> None:
    host = three

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            was = jails(host)
            host.set(b_hostname="bad name")
            reply = await ask(host.machine, "restart")
            assert reply.status == 1 and "c ready" in reply.out
            assert {n for n, jid in jails(host).items() if was[n] != jid} == {"c"}
            assert {row["state"] for row in (await rows(host.machine)).values()} == {"ready"}

    host.play(play)


def test_what_it_depends_on_is_not_restarted(three: Host) -> None:
    host = three

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            was = jails(host)
            assert (await ask(host.machine, "restart", "b")).lines == ["b ready", "b stopped"]
            assert {n for n, jid in jails(host).items() if was[n] != jid} == {"b"}

    host.play(play)


def test_a_second_restart_during_the_stop_of_the_first(host: Host) -> None:
    """One stop and one start, with the configuration of the second; both are told of both."""
    host.set(a_exec_stop="sleep 20", a_exec_start="true", a_stop_timeout="60")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            first = asyncio.create_task(ask(host.machine, "restart", "a"))
            await asyncio.sleep(5)
            host.set(a_hostname="second.example")
            second = await ask(host.machine, "restart", "a")
            assert (await first).lines == second.lines == ["a ready", "a stopped"]
            assert (await first).status == second.status == 0
            assert len(host.ran_with("sleep 20")) == 1
            assert not (await rows(host.machine))["a"]["changed"]

    host.play(play)


def test_a_restart_by_hand_of_one_that_waits_for_its_restart(host: Host) -> None:
    host.set(a_restart="on-failure", a_command="/bin/sleep 1000000")

    async def play() -> None:
        async with host.serving() as service:
            await ask(host.machine, "start", "a")
            for seconds in (5, 3):  # the second time it waits two seconds
                host.machine.control.end_process(host.program("a"))
                await asyncio.sleep(0.5 if seconds == 3 else seconds)
            assert service.restarts.waiting() == ["a"]
            reply = await ask(host.machine, "restart", "a")
            assert (reply.status, reply.lines) == (0, ["a ready"])
            assert reply.events[0] == {"event": "begin", "verb": "restart", "count": 1}
            jid = host.jid("a")
            assert service.restarts.waiting() == []
            await asyncio.sleep(100)
            assert host.jid("a") == jid

    host.play(play)


@pytest.mark.parametrize("restart, words", [("on-failure", "restarted in 1 s"),
                                            ("no", "cleaned up")])
def test_the_log_says_what_is_done_about_a_loss(
        host: Host, caplog: pytest.LogCaptureFixture, restart: str, words: str) -> None:
    host.set(a_restart=restart)
    caplog.set_level(logging.INFO, "test")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            jid = host.jid("a")
            host.machine.control.remove_jail(jid)
            await asyncio.sleep(10)
            assert f"a: jail {jid} has gone; {words}" in caplog.messages
            assert ("a: ready again" in caplog.messages) is (restart == "on-failure")

    host.play(play)


def test_the_file_is_remembered_by_the_next_service(host: Host, tmp_path) -> None:
    """z was started from another file, and waits for its restart when the service ends."""
    from vimage.service.reading import Reader

    general = f'vimage_boot="none"\nvimage_devfs_enable="NO"\nvimage_rootdir="{ROOT}"\n'
    main, other = tmp_path / "rc.conf", tmp_path / "other.conf"
    main.write_text(general + f'vimage_list="a"\nvimage_a_rootdir="{ROOT}"\n')
    other.write_text(general + f'vimage_list="z"\nvimage_z_rootdir="{ROOT}"\n'
                     'vimage_z_restart="on-failure"\nvimage_z_command="/bin/sleep 1000000"\n')

    async def play() -> None:
        async with host.serving(reader=Reader(host.machine.kernel, None, str(main))) as service:
            assert (await ask(host.machine, "start", "z", file=str(other))).status == 0
            host.machine.control.end_process(host.program("z"))
            await asyncio.sleep(0.5)
            assert service.restarts.waiting() == ["z"]
        async with host.serving(reader=Reader(host.machine.kernel, None, str(main))):
            await asyncio.sleep(100)
            assert (await rows(host.machine, "z"))["z"]["state"] == "ready"
            assert (await ask(host.machine, "stop")).status == 0

    host.play(play)


def test_no_checks_where_none_are_configured(host: Host) -> None:
    async def play() -> None:
        async with host.serving() as service:
            await ask(host.machine, "start")
            assert service.health.names() == []
            before = len(host.ran)
            await asyncio.sleep(1000)
            assert len(host.ran) == before

    host.play(play)


# -- a restart that meets another request -------------------------------------------------------


@pytest.fixture
def chain(host: Host) -> Host:
    """b depends on a, and each takes ten seconds to stop and three to start."""
    host.set(b_depend="a", exec_prestop="sleep 10", exec_prestart="sleep 3")
    return host


@pytest.mark.parametrize("running, first", [(["a", "b"], "b"), (["a"], "a")])
def test_a_restart_of_both_keeps_the_order_of_depend(chain: Host, running: list[str],
                                                     first: str) -> None:
    """One of the two is in the stop of another restart: whatever of that is joined, b runs only
    while a is ready."""
    async def play() -> None:
        async with chain.serving() as service:
            await ask(chain.machine, "start", *running)
            one = asyncio.create_task(ask(chain.machine, "restart", first))
            await asyncio.sleep(1)
            both = asyncio.create_task(ask(chain.machine, "restart", "a", "b"))
            records = service.session.records
            while not (one.done() and both.done()):
                await asyncio.sleep(0.05)
                assert "b" not in records or records["a"].state == READY
            assert (one.result().status, both.result().status) == (0, 0)
            assert await states(chain.machine) == {"a": "ready", "b": "ready"}

    chain.play(play)


async def stop_then_restart(host: Host) -> None:
    stop = asyncio.create_task(ask(host.machine, "stop", "b"))
    await asyncio.sleep(1)
    assert (await ask(host.machine, "restart", "a")).status == 0
    assert (await stop).status == 0


async def restart_then_stop_then_restart(host: Host) -> None:
    first = asyncio.create_task(ask(host.machine, "restart", "a"))
    await asyncio.sleep(1)
    stop = asyncio.create_task(ask(host.machine, "stop", "b"))
    await asyncio.sleep(1)
    assert (await ask(host.machine, "restart", "a")).status == 0
    assert "b: start interrupted by stop" in (await first).err
    assert (await stop).status == 0


@pytest.mark.parametrize("meet", [stop_then_restart, restart_then_stop_then_restart])
def test_one_that_is_being_stopped_is_not_started_for_what_it_depends_on(
        chain: Host, meet: Callable[[Host], Awaitable[None]]) -> None:
    """The last that was asked of b is a stop."""
    async def play() -> None:
        async with chain.serving():
            await ask(chain.machine, "start")
            await meet(chain)
            assert await states(chain.machine) == {"a": "ready", "b": "stopped"}

    chain.play(play)


def test_what_it_depends_on_is_started_when_it_is_being_stopped(chain: Host) -> None:
    """b is to be ready after the restart, so a has to be."""
    async def play() -> None:
        async with chain.serving():
            await ask(chain.machine, "start")
            stop = asyncio.create_task(ask(chain.machine, "stop", "a"))
            await asyncio.sleep(1)
            assert (await ask(chain.machine, "restart", "b")).status == 0
            assert (await stop).status == 0
            assert await states(chain.machine) == {"a": "ready", "b": "ready"}

    chain.play(play)


def test_both_clients_of_a_joined_restart_are_told_of_its_dependents(chain: Host) -> None:
    async def play() -> None:
        async with chain.serving():
            await ask(chain.machine, "start")
            first = asyncio.create_task(ask(chain.machine, "restart", "a"))
            await asyncio.sleep(1)
            second = await ask(chain.machine, "restart", "a")
            assert second.lines == ["a ready", "a stopped", "b ready", "b stopped"]
            assert (await first).lines == second.lines

    chain.play(play)


def test_a_restart_that_meets_an_ending_service_is_done_once(host: Host) -> None:
    """Its client asks the next service; nobody does it on its behalf besides."""
    host.set(a_exec_prestart="sleep 20", b_exec_poststart="echo started")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "b")
            start = asyncio.create_task(ask(host.machine, "start", "a"))
            await asyncio.sleep(1)
            end = asyncio.create_task(ask(host.machine, "reexec"))
            await asyncio.sleep(1)
            restart = asyncio.create_task(ask(host.machine, "restart", "b"))
            await host.until_it_ends(60)
            assert (await start).status == (await end).status == 0
        assert len(host.ran_with("echo started")) == 1
        async with host.serving():
            assert (await restart).status == 0
            await asyncio.sleep(20)
        assert len(host.ran_with("echo started")) == 2

    host.play(play)
