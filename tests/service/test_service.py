"""The service: requests, take-over, watching, restarts."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import shutil

import pytest

from tests.lib.snapshot import difference
from tests.service.conftest import Host, Reply, ask
from vimage.kernel import JailId
from vimage.service.watch import RAREST, SHARE, TICK


def test_start_status_stop(host: Host) -> None:
    async def play() -> None:
        before = host.machine.look()
        async with host.serving() as service:
            started = await ask(host.machine, "start")
            assert (started.status, started.err) == (0, "")
            assert sorted(started.out.splitlines()) == ["a ready", "b ready"]
            status = await ask(host.machine, "status")
            assert [line.split()[:2] for line in status.out.splitlines()] == [
                ["NAME", "STATE"], ["a", "ready"], ["b", "ready"]]
            stopped = await ask(host.machine, "stop", "a")
            assert (stopped.status, stopped.out) == (0, "a stopped\n")
            assert not service.ended.is_set()
            stopped = await ask(host.machine, "stop")
            assert stopped.status == 0
            await asyncio.wait_for(service.ended.wait(), 1)
        assert difference(before, host.machine.look()) == []

    host.play(play)


def test_for_rc(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            reply = await ask(host.machine, "start", rc=True)
            assert (reply.status, reply.out) in ((0, "Starting vimages: a b.\n"),
                                                 (0, "Starting vimages: b a.\n"))

    host.play(play)


def test_progress_on_a_terminal(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            reply = await ask(host.machine, "start", terminal=True)
            assert reply.out.startswith("[1/2] ")

    host.play(play)


def test_vimages_outlive_the_service_and_are_taken_over(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
        between = host.machine.look()
        async with host.serving():
            assert difference(between, host.machine.look()) == []
            again = await ask(host.machine, "start")
            assert sorted(again.out.splitlines()) == ["a already ready", "b already ready"]
            assert difference(between, host.machine.look()) == []

    host.play(play)


def test_status_of_some_and_of_unknown_ones(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            reply = await ask(host.machine, "status", "b")
            assert [line.split()[0] for line in reply.out.splitlines()] == ["NAME", "b"]
            reply = await ask(host.machine, "status", "b", "nosuch")
            assert (reply.status, reply.out) == (2, "")
            assert reply.err.startswith("vimage: nosuch: no such vimage")

    host.play(play)


def test_unknown_names_touch_nothing(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            before = host.machine.look()
            reply = await ask(host.machine, "start", "a", "nosuch")
            assert reply.status == 2
            assert "nosuch: no such vimage" in reply.err
            assert difference(before, host.machine.look()) == []

    host.play(play)


async def _after_a_look() -> None:
    await asyncio.sleep(TICK + 0.1)


def test_a_jail_that_goes_is_cleaned_up(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        async with host.serving() as service:
            await ask(host.machine, "start")
            await ask(host.machine, "stop", "b")
            only_a = host.machine.look()
            await ask(host.machine, "stop", "a")
            nothing = host.machine.look()
            await ask(host.machine, "start", "a")
            with caplog.at_level(logging.INFO, logger="test"):
                host.machine.control.remove_jail(service.session.journal.records["a"].jid or 0)
                await _after_a_look()
            said = [r.getMessage() for r in caplog.records if "has gone" in r.getMessage()]
            assert len(said) == 1 and said[0].startswith("a: jail ")
            assert difference(nothing, host.machine.look()) == []
            assert only_a != nothing

    host.play(play)


def test_a_look_that_fails_is_told_once_and_made_up_for(
        host: Host, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> set[int]:
        raise OSError(errno.ETIMEDOUT, "netgraph: no reply")

    async def play() -> None:
        async with host.serving() as service:
            await ask(host.machine, "start", "a")
            monkeypatch.setattr(host.machine.kernel, "ng_ids", broken)
            host.machine.control.shut_down_node("ng0_a:")
            with caplog.at_level(logging.INFO, logger="test"):
                for _ in range(3):
                    await _after_a_look()
                assert [r.getMessage() for r in caplog.records] == [
                    "what runs cannot be looked at: netgraph: no reply"]
                monkeypatch.undo()
                await _after_a_look()
            assert "a" not in service.session.journal.records

    host.play(play)


def test_a_look_that_fails_is_taken_again_with_the_next_tick(
        host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> set[int]:
        raise OSError(errno.ETIMEDOUT, "netgraph: no reply")

    async def play() -> None:
        async with host.serving() as service:
            await ask(host.machine, "start")
            monkeypatch.setattr(service.watch, "_spent", itertools.count(0, 1000.0).__next__)
            await _after_a_look()  # the next one would now be long after
            monkeypatch.setattr(host.machine.kernel, "jail_list", broken)
            host.machine.control.remove_jail(service.session.journal.records["a"].jid or 0)
            await _after_a_look()
            assert "a" in service.session.journal.records
            monkeypatch.undo()
            await _after_a_look()
            assert "a" not in service.session.journal.records

    host.play(play)


def test_a_node_that_goes_and_a_restart(host: Host) -> None:
    host.machine.variables["vimage_a_restart"] = "on-failure"

    async def play() -> None:
        async with host.serving() as service:
            await ask(host.machine, "start", "a")
            first = service.session.journal.records["a"].jid
            host.machine.control.shut_down_node("ng0_a:")
            await _after_a_look()
            await asyncio.sleep(3)
            record = service.session.journal.records["a"]
            assert record.state == "ready" and record.jid != first
            assert host.machine.kernel.ng_node("ng0_a:").type == "eiface"

    host.play(play)


def test_a_command_that_ends_is_started_again_with_growing_delay(host: Host) -> None:
    host.machine.variables |= {"vimage_a_restart": "on-failure",
                             "vimage_a_command": "/bin/sleep 100000"}

    async def play() -> None:
        async with host.serving() as service:
            await ask(host.machine, "start", "a")
            delays = []
            for _ in range(4):
                record = service.session.journal.records["a"]
                pid = next(e.results["pid"] for e in record.entries if e.kind == "command")
                host.machine.control.end_process(pid)
                begun = asyncio.get_running_loop().time()
                while service.session.journal.records.get("a") is record or \
                        service.session.journal.records.get("a") is None or \
                        service.session.journal.records["a"].state != "ready":
                    await asyncio.sleep(0.05)
                delays.append(asyncio.get_running_loop().time() - begun)
            assert [round(delay) for delay in delays] == [1, 2, 4, 8]

    host.play(play)


def test_a_command_that_ends_without_restart_is_shown(host: Host) -> None:
    host.machine.variables["vimage_a_command"] = "/bin/sleep 100000"

    async def play() -> None:
        async with host.serving() as service:
            await ask(host.machine, "start", "a")
            record = service.session.journal.records["a"]
            pid = next(e.results["pid"] for e in record.entries if e.kind == "command")
            host.machine.control.end_process(pid)
            await asyncio.sleep(0.1)
            assert "its command has ended" in (await ask(host.machine, "status")).out

    host.play(play)


def test_one_that_hangs_holds_up_nobody(host: Host) -> None:
    host.machine.variables |= {"vimage_a_exec_start": "sleep 10000",
                             "vimage_a_start_timeout": "60"}

    async def play() -> None:
        async with host.serving():
            begun = asyncio.get_running_loop().time()
            hanging = asyncio.create_task(ask(host.machine, "start"))
            while not any(jail for jail in host.machine.kernel.jail_list()
                          if host.machine.kernel.jail_get(JailId(jail)).name == "b"):
                await asyncio.sleep(0.01)
            status = await ask(host.machine, "status", "b")
            assert "ready" in status.out
            assert asyncio.get_running_loop().time() - begun < 5
            reply = await hanging
            assert reply.status == 1
            assert reply.err == "vimage: a: exec_start: not finished within 60 s, ended\n"

    host.play(play)


def test_two_starts_at_once_never_interleave(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            replies = await asyncio.gather(*(ask(host.machine, "start") for _ in range(5)))
            assert {reply.status for reply in replies} == {0}
            outcomes = sorted(line for reply in replies for line in reply.out.splitlines())
            assert outcomes == ["a already ready"] * 4 + ["a ready"] + \
                ["b already ready"] * 4 + ["b ready"]

    host.play(play)


def test_a_client_that_goes_away_harms_nothing(host: Host) -> None:
    async def play() -> None:
        async with host.serving() as service:
            _, writer = await asyncio.open_unix_connection(service.server.path)
            from vimage.service import wire

            writer.write(wire.request("start"))
            await writer.drain()
            writer.transport.abort()
            while len([r for r in service.session.journal.records.values()
                       if r.state == "ready"]) < 2:
                await asyncio.sleep(0.1)

    host.play(play)


def test_reload_adds_and_takes_away_links(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            host.machine.variables["vimage_a_bridges"] = "em1 em1 igb1"
            assert "rc.conf has changed: a" in (await ask(host.machine, "status")).out
            reply = await ask(host.machine, "reload")
            assert (reply.status, reply.err) == (0, "")
            assert reply.out == "a: applied: links\n"
            assert host.machine.kernel.ng_node("ng2_a:").type == "eiface"
            host.machine.variables["vimage_a_bridges"] = "em1"
            reply = await ask(host.machine, "reload")
            assert reply.out == "a: applied: links\n"
            for gone in ("ng1_a:", "ng2_a:"):
                with pytest.raises(FileNotFoundError):
                    host.machine.kernel.ng_node(gone)
            assert "changed" not in (await ask(host.machine, "status")).out

    host.play(play)


def test_reload_says_what_needs_a_restart(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            host.machine.variables["vimage_a_hostname"] = "other"
            reply = await ask(host.machine, "reload")
            assert reply.out == "a: needs restart a: hostname\n"

    host.play(play)


def test_reload_changes_addresses_in_place(host: Host) -> None:
    def addresses() -> list[str]:
        jid = host.machine.kernel.jail_get("a").jid
        return sorted(host.machine.control.addresses_inside(jid)["ng0_a"])

    host.machine.variables["vimage_a_addr0"] = "192.0.2.1/24 192.0.2.2/24"

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            node = host.machine.kernel.ng_node("ng0_a:").id
            host.machine.variables["vimage_a_addr0"] = "192.0.2.2/24 192.0.2.3/24"
            reply = await ask(host.machine, "reload")
            assert (reply.out, reply.err) == ("a: applied: links\n", "")
            assert host.machine.kernel.ng_node("ng0_a:").id == node
            assert addresses() == ["192.0.2.2/24", "192.0.2.3/24"]

    host.play(play)


def test_reload_changes_limits_in_place(host: Host) -> None:
    host.machine.control.set_sysctl("kern.racct.enable", 1)
    host.machine.variables |= {"vimage_a_rctl": "maxproc:deny=10", "vimage_a_cpus": "0"}

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            jid = host.machine.kernel.jail_get("a").jid
            host.machine.variables["vimage_a_rctl"] = "maxproc:deny=20"
            del host.machine.variables["vimage_a_cpus"]
            reply = await ask(host.machine, "reload")
            assert (reply.out, reply.err) == ("a: applied: cpus rctl\n", "")
            assert host.machine.kernel.jail_get("a").jid == jid
            assert host.machine.control.rules() == ["jail:a:maxproc:deny=20"]

    host.play(play)


def test_reload_follows_the_list(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            for name in [n for n in host.machine.variables if n.startswith("vimage_b_")]:
                del host.machine.variables[name]
            host.machine.variables |= {"vimage_list": "a c", "vimage_c_rootdir": "/usr/jail/r"}
            reply = await ask(host.machine, "reload")
            assert (reply.status, reply.err) == (0, "")
            assert reply.out == "b stopped\nc ready\n"

    host.play(play)


def test_a_parent_that_comes_back_is_joined_again(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            host.machine.control.detach("em1")
            await _after_a_look()
            assert host.machine.kernel.ng_node("em1bridge:").hooks == 2
            host.machine.control.attach("em1", "02:00:00:00:00:77")
            await _after_a_look()
            assert host.machine.kernel.ng_node("em1:lower").name == "em1bridge"

    host.play(play)


def test_looks_that_cost_much_are_rarer(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """But what changes the interfaces of the host is looked at with the next tick."""
    looks = 0
    ng_ids = host.machine.kernel.ng_ids

    def counted() -> object:
        nonlocal looks
        looks += 1
        return ng_ids()

    async def play() -> None:
        monkeypatch.setattr(host.machine.kernel, "ng_ids", counted)
        async with host.serving() as service:
            await ask(host.machine, "start")
            await _after_a_look()
            for cost, expected in ((0.0, 10), (5 * TICK * SHARE, 2), (1000.0, 0)):
                monkeypatch.setattr(service.watch, "_spent", itertools.count(0, cost).__next__)
                await asyncio.sleep(5 * TICK)  # the first of them is as before
                before = looks
                await asyncio.sleep(10 * TICK)
                assert looks - before == expected
            host.machine.control.remove_jail(service.session.journal.records["a"].jid or 0)
            await _after_a_look()
            assert "a" not in service.session.journal.records
            host.machine.control.shut_down_node("ng0_b:")
            await asyncio.sleep(RAREST + TICK)
            assert "b" not in service.session.journal.records

    host.play(play)


async def _hanging_start(host: Host, *names: str) -> asyncio.Task[Reply]:
    host.machine.variables |= {"vimage_parallel": "1", "vimage_a_exec_start": "sleep 10000"}
    start = asyncio.create_task(ask(host.machine, "start", *names))
    await asyncio.sleep(1)
    return start


def test_a_stop_of_all_overtakes_a_start(host: Host) -> None:
    async def play() -> None:
        before = host.machine.look()
        async with host.serving() as service:
            begun = asyncio.get_running_loop().time()
            start = await _hanging_start(host)
            assert (await ask(host.machine, "stop")).status == 0
            reply = await start
            assert (reply.status, reply.out) == (1, "a failed\nb skipped\n")
            assert reply.err == "".join(f"vimage: {name}: start interrupted by stop\n"
                                        for name in ("a", "b"))
            assert asyncio.get_running_loop().time() - begun < 10
            await asyncio.wait_for(service.ended.wait(), 1)
            assert service.session.journal.records == {}
            assert service.session.journal.remembered == {}
        assert difference(before, host.machine.look()) == []

    host.play(play)


def test_a_stop_of_one_overtakes_its_start_only(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            start = await _hanging_start(host)
            assert (await ask(host.machine, "stop", "a")).status == 0
            assert (await start).out == "a failed\nb ready\n"
            status = (await ask(host.machine, "status")).out.splitlines()
            assert [line.split()[:2] for line in status[1:]] == [["a", "stopped"], ["b", "ready"]]

    host.play(play)


def test_a_restart_overtakes_a_start(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            start = await _hanging_start(host, "a")
            del host.machine.variables["vimage_a_exec_start"]
            restart = await ask(host.machine, "restart", "a")
            assert (await start).status == 1
            assert (restart.status, restart.out) == (0, "a not running\na ready\n")

    host.play(play)


def test_a_root_that_is_not_there(host: Host) -> None:
    """What is known to fail is said with the names of variable and directory, whatever asks."""
    why = ('vimage: vimage_{}_rootdir="/usr/jail/r": No such file or directory; allowed: an '
           "existing directory\n")

    async def play() -> None:
        async with host.serving():
            shutil.rmtree(host.machine.kernel.path("/usr/jail/r"))
            for verb in ("start", "restart"):
                reply = await ask(host.machine, verb)
                assert (reply.status, reply.out) == (1, "a skipped\nb skipped\n")
                assert reply.err == why.format("a") + why.format("b")
                reply = await ask(host.machine, verb, "a")
                assert (reply.status, reply.out, reply.err) == (2, "", why.format("a"))

    host.play(play)


def test_a_stop_after_the_helper_has_died(host: Host) -> None:
    """The command of a vimage is ended all the same, and nothing is left."""
    host.set(a_command="/bin/sleep 100000", a_stop_timeout="5")

    async def play() -> None:
        before = host.machine.look()
        async with host.serving() as service:
            await ask(host.machine, "start", "a")
            service.session.processes.helper_dies()  # type: ignore[attr-defined]
            reply = await ask(host.machine, "stop", "a")
            assert (reply.status, reply.out, reply.err) == (0, "a stopped\n", "")
            assert difference(before, host.machine.look()) == []

    host.play(play)
