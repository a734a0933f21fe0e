"""A vimage that is to be started again is started again, whatever becomes of the service."""

from __future__ import annotations

import asyncio
import errno

import pytest

from tests.lib.snapshot import difference
from tests.service.conftest import Host, ask, rows, states
from vimage.messages import VimageError
from vimage.service.daemon import Daemon
from vimage.service.policy import LIMIT
from vimage.service.watch import TICK


@pytest.fixture
def failing(host: Host) -> Host:
    host.machine.variables["vimage_a_restart"] = "on-failure"
    return host


def remove_jail(host: Host, service: Daemon, name: str) -> None:
    host.machine.control.remove_jail(service.session.journal.records[name].jid or 0)


async def until_ready(service: Daemon, name: str) -> None:
    records = service.session.journal.records
    while name not in records or records[name].state != "ready":
        await asyncio.sleep(0.05)


async def failed_twice(host: Host, service: Daemon) -> None:
    """It waits for its second restart, which takes two seconds."""
    await ask(host.machine, "start", "a")
    remove_jail(host, service, "a")
    await asyncio.sleep(TICK + 0.1)
    await until_ready(service, "a")
    remove_jail(host, service, "a")
    await asyncio.sleep(TICK + 0.1)
    assert "a" not in service.session.journal.records
    assert "to be restarted" in (await ask(host.machine, "status", "a")).out


def test_the_next_service_starts_it(failing: Host) -> None:
    async def play() -> None:
        async with failing.serving() as service:
            await failed_twice(failing, service)
        async with failing.serving() as service:
            begun = asyncio.get_running_loop().time()
            await until_ready(service, "a")
            assert round(asyncio.get_running_loop().time() - begun) == 4  # the third in a row
            await ask(failing.machine, "stop", "b")
        async with failing.serving() as service:
            assert "restart.a" not in service.session.journal.remembered

    failing.play(play)


def test_one_that_was_stopped_stays_so(failing: Host) -> None:
    async def play() -> None:
        before = failing.machine.look()
        async with failing.serving() as service:
            await failed_twice(failing, service)
            assert (await ask(failing.machine, "stop", "a")).status == 0
        async with failing.serving() as service:
            await asyncio.sleep(1000)
            assert service.session.journal.records == {}
        assert difference(before, failing.machine.look()) == []

    failing.play(play)


def test_one_that_rc_conf_no_longer_wants_restarted_is_left_alone(failing: Host) -> None:
    async def play() -> None:
        async with failing.serving() as service:
            await failed_twice(failing, service)
            failing.machine.variables["vimage_a_restart"] = "no"
            await asyncio.sleep(1000)
            assert service.session.journal.records == {}
            assert service.session.journal.remembered.keys() <= {"list"}

    failing.play(play)


def test_one_that_fails_again_and_again_is_left_alone(
        failing: Host, caplog: pytest.LogCaptureFixture) -> None:
    failing.machine.variables["vimage_a_exec_start"] = "false"

    async def play() -> None:
        async with failing.serving() as service:
            del failing.machine.variables["vimage_a_exec_start"]
            await ask(failing.machine, "start", "a")
            failing.machine.variables["vimage_a_exec_start"] = "false"
            remove_jail(failing, service, "a")
            await asyncio.sleep(10_000)
            said = [r.getMessage() for r in caplog.records if "exec_start" in r.getMessage()]
            assert len(said) == LIMIT
            assert "left alone" in caplog.text
            assert "restart.a" not in service.session.journal.remembered
            assert "left alone" in (await ask(failing.machine, "status", "a")).out

    failing.play(play)


def test_a_full_disk_keeps_nothing_from_being_cleaned_up(
        failing: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(key: str, facts: object) -> None:
        raise VimageError("state_unwritable", path="/var/run/vimage", why="No space left")

    async def play() -> None:
        async with failing.serving() as service:
            await ask(failing.machine, "start", "a")
            monkeypatch.setattr(service.session.journal, "remember", full)
            remove_jail(failing, service, "a")
            await asyncio.sleep(TICK + 0.1)
            assert "a" not in service.session.journal.records
            await until_ready(service, "a")

    failing.play(play)


def test_started_by_hand_meanwhile(failing: Host) -> None:
    async def play() -> None:
        async with failing.serving() as service:
            await failed_twice(failing, service)
            assert (await ask(failing.machine, "start", "a")).out == "a ready\n"
            jid = service.session.journal.records["a"].jid
            assert service.restarts.waiting() == []
            await asyncio.sleep(100)
            assert service.session.journal.records["a"].jid == jid
            assert "restart.a" not in service.session.journal.remembered

    failing.play(play)


def test_reload_after_a_take_over_knows_what_the_list_was(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            host.machine.variables |= {"vimage_list": "a b c", "vimage_c_rootdir": "/usr/jail/r"}
        async with host.serving():
            assert (await ask(host.machine, "reload")).out == "c ready\n"
        async with host.serving():
            await ask(host.machine, "stop", "c")
            assert (await ask(host.machine, "reload")).out == ""

    host.play(play)


@pytest.mark.parametrize("words, options", [(["reexec"], ()), (["stop"], ["service_only"])])
def test_a_start_under_way_when_the_service_ends(host: Host, words: list[str],
                                                 options: list[str]) -> None:
    """It is finished first."""
    host.machine.variables["vimage_b_exec_start"] = "sleep 30"

    async def play() -> None:
        before = host.machine.look()
        service = host.new_service()
        serving = asyncio.create_task(service.run())
        await asyncio.sleep(0.1)
        start = asyncio.create_task(ask(host.machine, "start", "b"))
        await asyncio.sleep(1)
        await ask(host.machine, *words, options=options)
        await serving
        assert (await start).out.strip() == "b ready"
        async with host.serving():
            await ask(host.machine, "stop", "b")
        assert difference(before, host.machine.look()) == []

    host.play(play)


# -- what ends a restart that waits -------------------------------------------------------------


def test_one_that_has_left_the_list_is_not_started(failing: Host) -> None:
    async def play() -> None:
        async with failing.serving() as service:
            await ask(failing.machine, "start")
            await failed_twice(failing, service)
            failing.set(list="b")
            assert (await ask(failing.machine, "reload")).status == 0
            await asyncio.sleep(1000)
            assert service.session.journal.records.keys() == {"b"}
            assert "restart.a" not in service.session.journal.remembered

    failing.play(play)


def test_one_whose_dependency_was_stopped_is_not_started(failing: Host) -> None:
    """Its restart would start again what somebody has just stopped."""
    failing.set(a_depend="b")

    async def play() -> None:
        async with failing.serving() as service:
            await failed_twice(failing, service)
            assert (await ask(failing.machine, "stop", "b")).status == 0
            await asyncio.sleep(1000)
            assert service.session.journal.records == {}

    failing.play(play)


# -- failures that are not to be overlooked, or counted ------------------------------------------


@pytest.mark.parametrize("restart", ["no", "on-failure"])
def test_a_command_that_ends_while_a_start_of_its_vimage_waits(host: Host, restart: str) -> None:
    """Nothing will come of that start, since the vimage is ready."""
    host.set(parallel="1", a_command="/bin/sleep 1000000", a_restart=restart,
             b_exec_prestart="sleep 30")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            jid = host.jid("a")
            first = asyncio.create_task(ask(host.machine, "start", "b"))
            await asyncio.sleep(1)
            second = asyncio.create_task(ask(host.machine, "start"))
            await asyncio.sleep(1)
            host.machine.control.end_process(host.program("a"))
            await first
            await second
            await asyncio.sleep(100)
            assert (host.jid("a") != jid) is (restart == "on-failure")
            row = (await rows(host.machine, "a"))["a"]
            assert row["state"] == "ready"
            assert row["note"] == ("its command has ended" if restart == "no" else "")

    host.play(play)


def test_a_start_by_hand_forgets_the_failures_before_it(host: Host) -> None:
    """It was left alone after too many; somebody has decided to try it again."""
    host.set(list="a", a_restart="on-failure", a_command="/bin/sleep 1000000")

    async def play() -> None:
        async with host.serving() as service:
            await ask(host.machine, "start")
            for _ in range(LIMIT + 1):
                await until_ready(service, "a")
                host.machine.control.end_process(host.program("a"))
                await asyncio.sleep(0.5)
            assert "left alone" in (await ask(host.machine, "status", "a")).out
            assert (await ask(host.machine, "start", "a")).out == "a ready\n"
            host.machine.control.end_process(host.program("a"))
            await asyncio.sleep(10)
            assert await states(host.machine) == {"a": "ready"}

    host.play(play)


def test_dependents_of_one_whose_first_start_failed(failing: Host) -> None:
    """They are started after it, since their own starts have failed with it."""
    failing.set(a_exec_start="false", b_depend="a", b_restart="on-failure")

    async def play() -> None:
        async with failing.serving():
            assert (await ask(failing.machine, "start")).status == 1
            failing.set(a_exec_start=None)
            await asyncio.sleep(100)
            assert await states(failing.machine) == {"a": "ready", "b": "ready"}

    failing.play(play)


def test_a_look_that_fails_while_the_service_begins(host: Host,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier service was to start again is started all the same."""
    host.set(a_restart="on-failure", a_command="/bin/sleep 1000000")

    def fails() -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            host.machine.control.end_process(host.program("a"))
            await asyncio.sleep(0.5)
        with monkeypatch.context() as failing:
            failing.setattr(host.machine.kernel, "if_list", fails)
            async with host.serving():
                await asyncio.sleep(0.1)
                failing.undo()
                await asyncio.sleep(100)
                assert (await rows(host.machine))["a"]["state"] == "ready"

    host.play(play)


def test_one_that_rc_conf_does_not_name_any_longer_is_left_alone(failing: Host) -> None:
    async def play() -> None:
        async with failing.serving() as service:
            await failed_twice(failing, service)
            failing.unlist("a")
            await asyncio.sleep(1000)
            assert service.session.journal.records == {}
            assert service.restarts.waiting() == []
            assert "restart.a" not in service.session.journal.remembered

    failing.play(play)


def test_what_could_not_be_cleaned_up_is_told(host: Host) -> None:
    def fails(path: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def play() -> None:
        async with host.serving() as service:
            await ask(host.machine, "start", "a")
            shut_down = host.machine.kernel.ng_shutdown
            host.machine.kernel.ng_shutdown = fails  # type: ignore[method-assign]
            remove_jail(host, service, "a")
            await asyncio.sleep(100)
            assert "not cleaned up" in (await ask(host.machine, "status", "a")).out
            host.machine.kernel.ng_shutdown = shut_down  # type: ignore[method-assign]
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)
