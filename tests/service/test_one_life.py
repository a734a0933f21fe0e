"""Health checks, watches and restarts belong to one life of a vimage and end with it.

A check that outlived its jail would run on the host, or in a jail that has its number by now.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.engine.machine import ROOT
from tests.lib.snapshot import difference
from tests.service.conftest import Host, ask, rows, state
from vimage.journal import CHANGING
from vimage.kernel.simulated import SimulatedProcesses

CHECK = "/bin/check"  # what health runs
EVERY = 30  # seconds between two checks

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


@pytest.fixture
def checked(host: Host) -> Host:
    """b is checked, and depends on a."""
    host.script(CHECK, "test -e /sick && exit 1", "exit 0")
    host.set(b_depend="a", b_health=CHECK, b_health_interval=str(EVERY))
    return host


def on_the_host(host: Host) -> list[str]:
    """Checks that were run on the host."""
    return [ran.words for ran in host.ran_with(CHECK) if ran.jail is None]


async def checks_in(host: Host, seconds: float) -> list[int | None]:
    """The jails of the checks that are made within so many seconds."""
    begun = asyncio.get_running_loop().time()
    await asyncio.sleep(seconds)
    return [ran.jail for ran in host.ran_with(CHECK, begun)]


# -- however the life of a vimage ends, so do its checks --------------------------------------


async def stop_what_it_depends_on(host: Host) -> None:
    assert (await ask(host.machine, "stop", "a")).status == 0


async def stop_it(host: Host) -> None:
    assert (await ask(host.machine, "stop", "b")).status == 0


async def reload_without_it(host: Host) -> None:
    host.unlist("b")
    assert (await ask(host.machine, "reload")).status == 0


async def reload_without_what_it_depends_on(host: Host) -> None:
    host.unlist("a")
    host.unlist("b")
    assert (await ask(host.machine, "reload")).status == 0


async def remove_its_jail(host: Host) -> None:
    host.machine.control.remove_jail(host.jid("b"))
    await asyncio.sleep(10)


async def shut_its_node_down(host: Host) -> None:
    host.machine.control.shut_down_node("ng0_b:")
    await asyncio.sleep(10)


async def a_restart_that_fails(host: Host) -> None:
    host.set(b_exec_start="false")
    assert (await ask(host.machine, "restart", "b")).status == 1


async def a_restart_of_what_it_depends_on_that_fails(host: Host) -> None:
    host.set(a_exec_start="false")
    assert (await ask(host.machine, "restart", "a")).status == 1


ENDS = [stop_what_it_depends_on, stop_it, reload_without_it, reload_without_what_it_depends_on,
        remove_its_jail, shut_its_node_down, a_restart_that_fails,
        a_restart_of_what_it_depends_on_that_fails]
Act = Callable[[Host], Awaitable[None]]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("checks_before", [0, 3])
def test_checks_end_with_the_vimage(checked: Host, end: Act, checks_before: int) -> None:
    async def play() -> None:
        async with checked.serving():
            await ask(checked.machine, "start")
            jid = checked.jid("b")
            assert await checks_in(checked, EVERY * checks_before + 5) == [jid] * checks_before
            await end(checked)
            assert await checks_in(checked, 10 * EVERY) == []
            assert on_the_host(checked) == []

    checked.play(play)


@pytest.mark.parametrize("end", ENDS)
def test_a_check_under_way_ends_with_the_vimage(checked: Host, end: Act) -> None:
    """It takes long, and does so again in no other place."""
    checked.script(CHECK, "sleep 9")

    async def play() -> None:
        async with checked.serving():
            await ask(checked.machine, "start")
            await asyncio.sleep(EVERY + 5)
            before = len(checked.ran_with(CHECK))
            await end(checked)
            await asyncio.sleep(10 * EVERY)
            assert len(checked.ran_with(CHECK)) == before
            assert [p for p in checked.machine.control.processes() if CHECK in p[2]] == []

    checked.play(play)


async def restart_it(host: Host) -> None:
    assert (await ask(host.machine, "restart", "b")).status == 0


async def restart_what_it_depends_on(host: Host) -> None:
    assert (await ask(host.machine, "restart", "a")).status == 0


async def restart_all(host: Host) -> None:
    assert (await ask(host.machine, "restart")).status == 0


async def stop_it_and_start_it(host: Host) -> None:
    await stop_it(host)
    assert (await ask(host.machine, "start", "b")).status == 0


async def stop_what_it_depends_on_and_start_it(host: Host) -> None:
    await stop_what_it_depends_on(host)
    await asyncio.sleep(1000)
    assert (await ask(host.machine, "start", "b")).status == 0


async def remove_its_jail_and_start_it(host: Host) -> None:
    await remove_its_jail(host)
    assert (await ask(host.machine, "start", "b")).status == 0


async def remove_its_jail_and_wait_for_the_restart(host: Host) -> None:
    host.set(b_restart="on-failure")
    assert (await ask(host.machine, "reload")).status == 0
    await remove_its_jail(host)
    await asyncio.sleep(10)
    host.set(b_restart=None)  # or it would be restarted for being unhealthy, too
    assert (await ask(host.machine, "reload")).status == 0


@pytest.mark.parametrize("again", [
    restart_it, restart_what_it_depends_on, restart_all, stop_it_and_start_it,
    stop_what_it_depends_on_and_start_it, remove_its_jail_and_start_it,
    remove_its_jail_and_wait_for_the_restart])
def test_the_next_life_has_checks_of_its_own(checked: Host, again: Act) -> None:
    """One at a time, in the new jail, and they still find out that it is not healthy."""
    async def play() -> None:
        async with checked.serving():
            await ask(checked.machine, "start")
            old = checked.jid("b")
            await asyncio.sleep(100)
            await again(checked)
            new = checked.jid("b")
            assert new != old
            await asyncio.sleep(1)
            assert await checks_in(checked, 10 * EVERY) == [new] * 10
            checked.file("sick").touch()
            await asyncio.sleep(5 * EVERY)
            assert "unhealthy" in await state(checked.machine, "b")
            assert on_the_host(checked) == []

    checked.play(play)


@pytest.mark.parametrize("again", [restart_it, restart_what_it_depends_on, stop_it_and_start_it])
def test_old_failures_do_not_count_for_the_next_life(checked: Host, again: Act) -> None:
    """Two failed checks before a restart and two after it are not four in a row."""
    async def play() -> None:
        async with checked.serving():
            await ask(checked.machine, "start")
            sick = checked.file("sick")
            sick.touch()
            await asyncio.sleep(2 * EVERY + 5)
            sick.unlink()
            await again(checked)
            sick.touch()
            await asyncio.sleep(2 * EVERY + 5)
            assert "unhealthy" not in await state(checked.machine, "b")
            await asyncio.sleep(2 * EVERY)
            assert "unhealthy" in await state(checked.machine, "b")

    checked.play(play)


def test_a_service_that_takes_over_checks_once(checked: Host) -> None:
    async def play() -> None:
        async with checked.serving():
            await ask(checked.machine, "start")
            jid = checked.jid("b")
            await asyncio.sleep(100)
        assert await checks_in(checked, 1000) == []
        async with checked.serving():
            await asyncio.sleep(1)
            assert await checks_in(checked, 10 * EVERY) == [jid] * 10

    checked.play(play)


# -- what a reload changes --------------------------------------------------------------------


def test_a_reload_of_health_is_applied(checked: Host) -> None:
    """It said "applied" and went on with the old command."""
    checked.script("/bin/other", "exit 1")

    async def play() -> None:
        async with checked.serving():
            await ask(checked.machine, "start")
            await asyncio.sleep(40)
            checked.set(b_health="/bin/other", b_health_interval="50")
            reply = await ask(checked.machine, "reload")
            assert reply.status == 0 and "b: applied: health health_interval" in reply.out
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(1001)
            assert checked.ran_with(CHECK, now) == []
            assert len(checked.ran_with("/bin/other", now)) == 20
            assert "unhealthy" in await state(checked.machine, "b")

    checked.play(play)


def test_a_reload_that_takes_health_away_ends_the_checks(checked: Host) -> None:
    async def play() -> None:
        async with checked.serving():
            await ask(checked.machine, "start")
            await asyncio.sleep(40)
            checked.set(b_health=None)
            assert (await ask(checked.machine, "reload")).status == 0
            assert await checks_in(checked, 1000) == []

    checked.play(play)


def test_a_reload_that_adds_health_begins_the_checks(checked: Host) -> None:
    checked.set(a_health=None, b_health=None)

    async def play() -> None:
        async with checked.serving():
            await ask(checked.machine, "start")
            checked.set(b_health=CHECK)
            assert (await ask(checked.machine, "reload")).status == 0
            assert await checks_in(checked, 10 * EVERY + 1) == [checked.jid("b")] * 10

    checked.play(play)


def test_a_reload_without_changes_leaves_the_checks_as_they_were(checked: Host) -> None:
    async def play() -> None:
        async with checked.serving():
            await ask(checked.machine, "start")
            now = asyncio.get_running_loop().time()
            for _ in range(20):  # 7 does not divide 30: a check made anew would be put off
                await asyncio.sleep(7)
                assert (await ask(checked.machine, "reload")).status == 0
            assert len(checked.ran_with(CHECK, now)) == 20 * 7 // EVERY

    checked.play(play)


# -- refused requests change nothing ----------------------------------------------------------


@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_a_request_with_an_unknown_name_leaves_everything(checked: Host, verb: str) -> None:
    async def play() -> None:
        async with checked.serving():
            await ask(checked.machine, "start")
            before, jid = checked.machine.look(), checked.jid("b")
            assert (await ask(checked.machine, verb, "b", "typo")).status == 2
            assert difference(before, checked.machine.look()) == []
            assert await checks_in(checked, 10 * EVERY + 1) == [jid] * 10

    checked.play(play)


def test_a_restart_of_one_with_an_error_leaves_everything(checked: Host) -> None:
    async def play() -> None:
        async with checked.serving():
            await ask(checked.machine, "start")
            jid = checked.jid("b")
            checked.set(b_bridges="em1 em1,")  # a typing error
            assert (await ask(checked.machine, "restart", "b")).status == 2
            assert await checks_in(checked, 10 * EVERY + 1) == [jid] * 10

    checked.play(play)


@pytest.mark.parametrize("words", [("stop", "typo", "a"), ("restart", "a", "typo"),
                                   ("restart", "a")])
def test_a_refused_request_leaves_the_restart_that_is_due(host: Host,
                                                          words: tuple[str, ...]) -> None:
    """It was to be restarted in two seconds, and is."""
    host.set(a_restart="on-failure")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            for _ in range(2):
                await asyncio.sleep(5)
                host.machine.control.remove_jail(host.jid("a"))
                await asyncio.sleep(2)
            assert "ready" not in await state(host.machine, "a")
            bridges = host.machine.variables["vimage_a_bridges"]
            if words == ("restart", "a"):
                host.set(a_bridges="em1 em1,")
            assert (await ask(host.machine, *words)).status == 2
            host.set(a_bridges=bridges)
            await asyncio.sleep(20)
            assert (await rows(host.machine, "a"))["a"]["state"] == "ready"

    host.play(play)


# -- and what health is for -------------------------------------------------------------------


def test_healthy_again(checked: Host) -> None:
    async def play() -> None:
        async with checked.serving():
            await ask(checked.machine, "start")
            for _ in range(3):
                checked.file("sick").touch()
                await asyncio.sleep(5 * EVERY)
                assert "unhealthy" in await state(checked.machine, "b")
                checked.file("sick").unlink()
                await asyncio.sleep(5 * EVERY)
                assert "unhealthy" not in await state(checked.machine, "b")
                assert "ready" in await state(checked.machine, "b")

    checked.play(play)


def test_checks_survive_a_helper_that_dies(checked: Host) -> None:
    """The process that starts commands dies, a new one is made; checks go on."""
    class Dying(SimulatedProcesses):
        broken = False

        async def start(self, command: Any) -> Any:
            if self.broken and CHECK in " ".join(command.argv):
                raise ChildProcessError(errno.ECHILD, "the helper has ended")
            return await super().start(command)

    processes = Dying(checked.machine.kernel)

    async def play() -> None:
        async with checked.serving(processes=processes):
            await ask(checked.machine, "start")
            processes.broken = True
            await asyncio.sleep(EVERY + 1)
            processes.broken = False
            assert await checks_in(checked, 10 * EVERY) == [checked.jid("b")] * 10

    checked.play(play)


async def no_more_processes(host: Host, processes: Any) -> None:
    processes.refuses = True


async def no_console_log(host: Host, processes: Any) -> None:
    log = host.machine.kernel.path("/var/log/vimage/b.log")
    os.unlink(log)
    os.mkdir(log)


@pytest.mark.parametrize("spoil", [no_more_processes, no_console_log])
def test_checks_that_cannot_be_made_say_nothing(
        checked: Host, spoil: Callable[[Host, Any], Awaitable[None]]) -> None:
    """A host without room or memory is no reason to restart what runs on it."""
    class Refusing(SimulatedProcesses):
        refuses = False

        async def start(self, command: Any) -> Any:
            if self.refuses:
                raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
            return await super().start(command)

    processes = Refusing(checked.machine.kernel)
    os.makedirs(checked.machine.kernel.path("/var/log/vimage"))
    checked.set(b_restart="on-failure", b_consolelog="/var/log/vimage/b.log")

    async def play() -> None:
        async with checked.serving(processes=processes):
            await ask(checked.machine, "start")
            jid = checked.jid("b")
            await spoil(checked, processes)
            await asyncio.sleep(10 * EVERY)
            assert checked.jid("b") == jid
            assert (await state(checked.machine, "b")).startswith("ready ")

    checked.play(play)


def test_one_that_a_start_takes_back_to_ready_is_looked_after(checked: Host) -> None:
    """A reload of it could not be taken back at first."""
    checked.set(b_restart="on-failure")

    async def play() -> None:
        async with checked.serving() as service:
            await ask(checked.machine, "start")
            record = service.session.records["b"]
            service.leaving(record)
            record.state, record.target = CHANGING, dict(record.configuration)
            assert (await ask(checked.machine, "start", "b")).lines == [
                "a already ready", "b already ready"]
            jid = checked.jid("b")
            assert await checks_in(checked, EVERY + 1) == [jid]
            checked.machine.control.remove_jail(jid)
            await asyncio.sleep(10)
            assert checked.jid("b") != jid

    checked.play(play)


def test_no_check_in_another_jail_under_the_same_number(checked: Host) -> None:
    """It was made in place of ours between two looks."""
    async def play() -> None:
        async with checked.serving():
            await ask(checked.machine, "start")
            jid = checked.jid("b")
            checked.machine.control.remove_jail(jid)
            checked.machine.kernel.jail_create({"jid": jid, "name": "other", "path": ROOT,
                                                "persist": True, "vnet": "new"})
            assert await checks_in(checked, 10 * EVERY) == []
            assert checked.jid("other") == jid
            assert (await state(checked.machine, "b")).startswith("stopped ")

    checked.play(play)
