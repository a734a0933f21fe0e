"""What single requests touch, skip and say."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
from itertools import pairwise

import pytest

from tests.engine.machine import ROOT
from tests.lib.snapshot import difference
from tests.service.conftest import Host, MachineReader, ask, rows
from vimage import journal
from vimage.configuration.load import Loaded
from vimage.service.policy import LIMIT

SECOND = "/usr/jail/second"


# -- starts --------------------------------------------------------------------------------------


def test_a_start_by_name_touches_nothing_when_one_cannot_be_started(host: Host) -> None:
    host.set(b_rootdir=SECOND)
    os.makedirs(host.machine.kernel.path(SECOND))

    async def play() -> None:
        async with host.serving():
            os.rmdir(host.machine.kernel.path(SECOND))
            reply = await ask(host.machine, "start", "a", "b")
            assert reply.status == 2 and SECOND in reply.err
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def test_a_start_of_all_skips_what_cannot_be_started(host: Host) -> None:
    host.set(b_rootdir=SECOND)

    async def play() -> None:
        async with host.serving():
            reply = await ask(host.machine, "start", json=True)
            outcomes = {event["name"]: event["outcome"] for event in reply.events
                        if event["event"] == "result"}
            assert outcomes == {"a": "ready", "b": "skipped"}
            assert reply.status == 1

    host.play(play)


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_what_was_started_is_taken_over(host: Host, verb: str) -> None:
    """The record is whole, whichever verb has written it."""
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            assert (await ask(host.machine, verb)).status == 0
        async with host.serving():
            assert {row["state"] for row in (await rows(host.machine)).values()} == {"ready"}
            assert (await ask(host.machine, "reload")).out == ""

    host.play(play)


def test_a_stop_goes_by_the_parallel_of_now(host: Host) -> None:
    """vimage_parallel was raised since the start."""
    host.set(parallel="1", exec_prestart="true", exec_poststop="sleep 10", stop_timeout="60")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            host.set(parallel="2")
            assert (await ask(host.machine, "status")).status == 0
            begun = asyncio.get_running_loop().time()
            await ask(host.machine, "stop")
            assert asyncio.get_running_loop().time() - begun < 15

    host.play(play)


class SlowReader(MachineReader):
    """Reads rc.conf for ten seconds the first time, and then at once."""

    reads = 0

    async def load(self, file: str | None = None) -> Loaded:
        self.reads += 1
        if self.reads == 1:
            await asyncio.sleep(10)
        return await super().load(file)


@pytest.mark.parametrize("first, second, state", [
    ("start", "stop", "stopped"), ("restart", "stop", "stopped"), ("reload", "stop", "stopped"),
    ("start", "restart", "ready")])
def test_requests_are_accepted_in_their_order(
        host: Host, first: str, second: str, state: str) -> None:
    """Also when the first is still reading its configuration."""
    async def play() -> None:
        async with host.serving(reader=SlowReader(host.machine)):
            one = asyncio.create_task(ask(host.machine, first, *["a"] * (first != "reload")))
            await asyncio.sleep(1)
            begun = asyncio.get_running_loop().time()
            await ask(host.machine, second, "a")
            assert asyncio.get_running_loop().time() - begun >= 9
            await one
            assert (await rows(host.machine))["a"]["state"] == state

    host.play(play)


def test_a_command_that_is_not_there(host: Host) -> None:
    host.set(a_command="/bin/nosuch")

    async def play() -> None:
        async with host.serving():
            reply = await ask(host.machine, "start", "a")
            assert reply.status == 1
            assert "/bin/nosuch" in reply.err and "No such file" in reply.err
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


# -- reload --------------------------------------------------------------------------------------


def test_a_link_moves_to_another_parent(host: Host) -> None:
    host.set(a_bridges="em1 em1", a_addr1="192.0.2.7/24")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            node = host.machine.kernel.ng_node("ng1_a:").id
            host.set(a_bridges="em1 igb1")
            reply = await ask(host.machine, "reload")
            assert (reply.status, reply.out) == (0, "a: applied: links\n")
            assert host.machine.kernel.ng_node("ng1_a:").id != node
            peers = {hook.peer.name for hook in host.machine.kernel.ng_hooks("igb1bridge:")}
            assert "ng1_a" in peers
            inside = host.machine.control.addresses_inside(host.jid("a"))
            assert inside["ng1_a"] == ("192.0.2.7/24",)
            assert host.interfaces() == []
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def test_status_after_a_reload_that_failed_shows_what_there_is(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            was = (await rows(host.machine))["a"]["interfaces"]
            host.set(a_bridges="em1 igb1 igb1", a_afterstart_services="nosuch")
            assert (await ask(host.machine, "reload")).status == 1
            assert (await rows(host.machine))["a"]["interfaces"] == was

    host.play(play)


def test_addresses_that_were_taken_away_in_vain(
        host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when all is done: they are set again, and the next reload takes them."""
    host.set(a_addr0="192.0.2.1/24")
    write = journal.replace

    def full(path: str, body: bytes, **how: bool) -> None:
        if path.endswith("vimages/a.json") and b'"state":"ready","file"' in body:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, body, **how)

    def addresses() -> tuple[str, ...]:
        return host.machine.control.addresses_inside(host.jid("a"))["ng0_a"]

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            host.set(a_addr0=None)
            with monkeypatch.context() as patched:
                patched.setattr(journal, "replace", full)
                assert (await ask(host.machine, "reload")).status == 1
                assert addresses() == ("192.0.2.1/24",)
            reply = await ask(host.machine, "reload")
            assert (reply.status, addresses()) == (0, ())

    host.play(play)


def test_a_hang_up_is_answered_in_the_log(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "test")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            assert "a: ready" in caplog.messages
            host.set(a_bridges="em1 igb1", a_hostname="other.example")
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(5)
            assert "a: applied: links; needs restart: hostname" in caplog.messages

    host.play(play)


# -- the end of the service -----------------------------------------------------------------------


def test_a_reload_that_waits_when_the_service_ends(host: Host) -> None:
    """Nobody asked for it but a signal, so nobody is told; nothing is logged as an error."""
    host.set(a_exec_prestart="sleep 1000", a_start_timeout="2000")

    async def play() -> None:
        async with host.serving() as service:
            start = asyncio.create_task(ask(host.machine, "start", "a"))
            await asyncio.sleep(1)
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(1)
            service.ended.set()
            await host.until_it_ends(20)
            start.cancel()

    host.play(play)


def test_sigterm_waits_for_a_start_but_not_for_ever(host: Host) -> None:
    host.set(a_exec_prestart="sleep 1000", a_start_timeout="2000")

    async def play() -> None:
        async with host.serving():
            start = asyncio.create_task(ask(host.machine, "start", "a"))
            await asyncio.sleep(1)
            os.kill(os.getpid(), signal.SIGTERM)
            await host.until_it_ends(30)
            start.cancel()
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


# -- what the next service finds ------------------------------------------------------------------


def test_another_jail_has_the_number_of_one_that_ran(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
        jid = host.machine.kernel.jail_get("a").jid
        host.machine.control.remove_jail(jid)
        host.machine.kernel.jail_create({"name": "x", "path": ROOT, "persist": True, "jid": jid})
        async with host.serving():
            await asyncio.sleep(10)
            assert (await rows(host.machine))["a"]["state"] == "stopped"
        assert host.machine.kernel.jail_list() == {jid}

    host.play(play)


def test_one_that_is_ready_is_not_restarted_by_what_was_remembered(host: Host) -> None:
    """The service died when it had started it again, and before it could forget that."""
    host.set(a_restart="on-failure")

    async def play() -> None:
        async with host.serving() as service:
            await ask(host.machine, "start", "a")
            service.session.journal.remember("restart.a", {"failures": 3, "file": ""})
        jid = host.jid("a")
        async with host.serving() as service:
            await asyncio.sleep(0.5)
            assert service.restarts.waiting() == []
            assert not host.state_file("service/restart.a.json").exists()
            await asyncio.sleep(100)
            assert host.jid("a") == jid

    host.play(play)


def test_starts_that_fail_are_tried_again_ever_more_rarely(host: Host) -> None:
    host.set(a_restart="on-failure", a_exec_start="exit 3")

    async def play() -> None:
        async with host.serving():
            assert (await ask(host.machine, "start", "a")).status == 1
            await asyncio.sleep(5000)
            times = [ran.when for ran in host.ran_with("exit 3")]
            pauses = [round(after - before) for before, after in pairwise(times)]
            assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300][:len(pauses)]
            assert len(times) == LIMIT + 1

    host.play(play)
