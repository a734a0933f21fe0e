"""The ways to stop: one, all, the service only, and with the host."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.lib.snapshot import difference
from tests.service.conftest import Host, SlowReader, ask, encode, raw, rows
from vimage.commands import lifecycle
from vimage.main import main
from vimage.messages import VimageError


@pytest.fixture
def three(host: Host) -> Host:
    """They stop one after another."""
    host.set(list="a b c", c_rootdir="/usr/jail/r", parallel="1")
    return host


def stopped(out: str) -> list[str]:
    return [line.split()[0] for line in out.splitlines()]


def test_a_shutdown_stops_in_the_reverse_order(three: Host) -> None:
    async def play() -> None:
        async with three.serving():
            await ask(three.machine, "start")
            normal = stopped((await ask(three.machine, "stop")).out)
        async with three.serving():
            await ask(three.machine, "start")
            down = stopped((await ask(three.machine, "stop", shutdown=True)).out)
        assert normal == down == ["c", "b", "a"]

    three.play(play)


def test_a_shutdown_after_a_take_over_stops_in_the_reverse_order(three: Host) -> None:
    async def play() -> None:
        async with three.serving():
            await ask(three.machine, "start")
        async with three.serving():
            down = stopped((await ask(three.machine, "stop", shutdown=True)).out)
        assert down == ["c", "b", "a"]

    three.play(play)


def test_a_shutdown_stops_dependents_first(three: Host) -> None:
    three.set(a_depend="c", parallel="4")

    async def play() -> None:
        async with three.serving():
            await ask(three.machine, "start")
            down = stopped((await ask(three.machine, "stop", shutdown=True)).out)
            assert down.index("a") < down.index("c")

    three.play(play)


def test_a_shutdown_of_some_is_refused(host: Host) -> None:
    """It took everything down and forgot it."""
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            before = host.machine.look()
            reply = await ask(host.machine, "stop", "a", shutdown=True)
            assert reply.status == 2 and reply.err and not reply.out
            assert difference(before, host.machine.look()) == []
            assert {row["state"] for row in (await rows(host.machine)).values()} == {"ready"}
            assert (await ask(host.machine, "stop", "a")).out == "a stopped\n"
            # No shutdown has begun: what is stopped is undone, and what is started starts.
            assert not host.has_node("ng0_a:")
            assert (await ask(host.machine, "start", "a")).out == "a ready\n"

    host.play(play)


def test_no_start_after_a_shutdown_has_begun(host: Host) -> None:
    host.set(a_exec_prestop="sleep 10")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            down = asyncio.create_task(ask(host.machine, "stop", shutdown=True))
            await asyncio.sleep(1)
            reply = await ask(host.machine, "start", "b")
            assert reply.status == 1 and "the service is stopping" in reply.err
            assert (await down).status == 0

    host.play(play)


def test_no_start_after_sigterm(host: Host) -> None:
    """What is under way is finished or undone meanwhile."""
    host.set(a_exec_start="sleep 5")

    async def play() -> None:
        async with host.serving():
            start = asyncio.create_task(ask(host.machine, "start", "a"))
            await asyncio.sleep(1)
            os.kill(os.getpid(), signal.SIGTERM)
            while not start.done() and host.listening():
                reply = await ask(host.machine, "start", "b")
                assert reply.status == 1 and "the service is stopping" in reply.err
                await asyncio.sleep(1)
            await host.until_it_ends(60)

    host.play(play)


def test_vimages_run_on_without_the_service(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            before = host.machine.look()
            assert (await ask(host.machine, "stop", service_only=True)).status == 0
            await host.until_it_ends()
            assert difference(before, host.machine.look()) == []
        async with host.serving():
            assert (await ask(host.machine, "start")).lines == ["a already ready",
                                                              "b already ready"]

    host.play(play)


# -- the command line -------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path: Path):
    """``vimage ...`` on a simulated host of its own, on which a and b run."""
    conf = tmp_path / "rc.conf"
    conf.write_text('vimage_list="a b"\nvimage_boot="none"\nvimage_devfs_enable="NO"\n'
                    'vimage_a_rootdir="/usr/jail/a"\nvimage_b_rootdir="/usr/jail/a"\n')

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vimage", "--simulated-host", str(tmp_path / "host"),
             "-f", str(conf), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            cwd=Path(__file__).parents[2], timeout=60, check=False)

    assert run("start").returncode == 0
    return run


def running(command) -> list[str]:
    return [line.split()[0] for line in command("status").stdout.splitlines()
            if " ready " in line]


@pytest.mark.parametrize("words", [
    ("stop", "--service"), ("stop", "--service-o"), ("stop", "--shut"), ("stop", "--s"),
    ("stop", "--shutdown", "a"), ("stop", "a", "--shutdown"), ("stop", "--service-only", "a"),
    ("stop", "--service-only", "--shutdown"), ("start", "--service-only"),
    ("start", "--shutdown"), ("restart", "--shutdown"), ("restart", "--service-only"),
    ("reload", "a"), ("reexec", "a"), ("stop", "--nonsense"), ("status", "--shutdown")],
    ids=" ".join)
def test_what_cannot_be_honoured_is_a_usage_error(command, words: tuple[str, ...]) -> None:
    """Nothing is abbreviated, nothing ignored, and nothing is touched."""
    done = command(*words)
    assert done.returncode == 2, done
    assert done.stderr and "Traceback" not in done.stderr
    assert running(command) == ["a", "b"]


def test_the_service_only_on_a_simulated_host(command) -> None:
    """There is no service there: it is refused, or done with; no vimage is stopped."""
    done = command("stop", "--service-only")
    assert done.returncode in (0, 2) and "Traceback" not in done.stderr
    assert running(command) == ["a", "b"]


def test_a_shutdown_without_a_service_leaves_nodes_to_the_reboot(host: Host) -> None:
    """Also those of a start that an earlier process did not finish."""
    from tests.service.test_levels import edit

    conf = host.machine.directory / "rc.conf"
    conf.write_text('vimage_list="a"\nvimage_boot="none"\nvimage_devfs_enable="NO"\n'
                    'vimage_a_rootdir="/usr/jail/r"\nvimage_a_bridges="em1"\n')
    words = ["--simulated-host", str(host.machine.directory), "-f", str(conf)]
    assert main([*words, "start"]) == 0
    edit(host.state_file("vimages/a.json"), lambda data: data.update(state="starting"))
    assert main([*words, "stop", "--shutdown"]) == 0
    assert host.has_node("ng0_a:") and host.machine.kernel.jail_list()


def test_a_stop_needs_no_room_for_what_rc_conf_says(
        host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which MAC addresses were chosen is of no use to it."""
    def full(*_: object) -> None:
        raise VimageError("state_unwritable", path="/var/db/vimage", why="No space left")

    conf = host.machine.directory / "rc.conf"
    conf.write_text('vimage_list="a"\nvimage_boot="none"\nvimage_devfs_enable="NO"\n'
                    'vimage_a_rootdir="/usr/jail/r"\n')
    words = ["--simulated-host", str(host.machine.directory), "-f", str(conf)]
    assert main([*words, "start"]) == 0
    monkeypatch.setattr(lifecycle, "record_macs", full)
    assert main([*words, "stop"]) == 0
    assert not host.machine.kernel.jail_list()


def test_the_command_without_a_service_obeys_as_the_service_does(host: Host) -> None:
    """Flags that the service would refuse are refused over the socket, too."""
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            before = host.machine.look()
            for words, options in ((["start"], {"shutdown": True}),
                                   (["restart"], {"shutdown": True}),
                                   (["reload", "a"], {}), (["reexec", "a"], {})):
                reply = await ask(host.machine, *words, **options)
                assert reply.status == 2 and reply.err, (words, options, reply)
            assert difference(before, host.machine.look()) == []
            assert host.listening()

    host.play(play)


def test_a_start_under_way_is_told_that_the_service_ends(host: Host) -> None:
    """Not that a stop has overtaken it: there was none."""
    host.set(a_exec_prestart="sleep 1000", a_start_timeout="2000")

    async def play() -> None:
        async with host.serving() as service:
            start = asyncio.create_task(raw(host.machine, encode("start", "a")))
            await asyncio.sleep(5)
            service.ended.set()
            reply = await start
            assert "interrupted by stop" not in reply.err
            assert reply.status != 0
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def test_a_shutdown_ends_in_time(host: Host) -> None:
    """Ten seconds of rcshutdown_timeout are left for what comes after vimage."""
    host.machine.variables["rcshutdown_timeout"] = "90"
    host.set(a_exec_prestart="true", a_exec_poststop="sleep 1000", a_stop_timeout="2000")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            begun = asyncio.get_running_loop().time()
            reply = await ask(host.machine, "stop", shutdown=True)
            assert 79 <= asyncio.get_running_loop().time() - begun <= 82
            assert reply.status == 1 and "80" in reply.err

    host.play(play)


def test_a_process_of_a_newer_record_that_ignores_term(host: Host) -> None:
    from tests.service.test_levels import edit, one_level_up

    host.script("bin/stubborn", "trap '' TERM", "sleep forever")
    host.set(a_command="/bin/stubborn")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
        edit(host.state_file("vimages/a.json"), one_level_up)
        async with host.serving():
            await ask(host.machine, "stop", shutdown=True)
        assert [p for p in host.machine.control.processes() if p[1]] == []

    host.play(play)


# -- what is being accepted, or changed, when the end comes --------------------------------------


async def shut_down(host: Host) -> None:
    assert (await ask(host.machine, "stop", shutdown=True)).status == 0


async def send_sigterm(host: Host) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    await host.until_it_ends(60)


End = Callable[[Host], Awaitable[None]]


@pytest.mark.parametrize("end", [shut_down, send_sigterm])
@pytest.mark.parametrize("verb", ["start", "restart"])
def test_no_start_that_reads_rc_conf_when_the_end_comes(host: Host, end: End, verb: str) -> None:
    host.set(b_exec_prestart="echo begun")

    async def play() -> None:
        async with host.serving(reader=SlowReader(host.machine)) as service:
            request = asyncio.create_task(ask(host.machine, verb, "b"))
            await asyncio.sleep(0.1)
            await end(host)
            reply = await request
            assert reply.status == 1 and "the service is stopping" in reply.err
            assert service.session.jobs.names() == []
            assert host.ran_with("echo begun") == []

    host.play(play)


@pytest.mark.parametrize("end", [shut_down, send_sigterm])
@pytest.mark.parametrize("verb", ["stop", "start"])
def test_no_start_of_a_reload_that_waits_when_the_end_comes(host: Host, end: End,
                                                            verb: str) -> None:
    """It waits for what is under way, and b is new in the list."""
    host.set(list="a", b_exec_prestart="echo begun",
             **{"a_exec_prestop" if verb == "stop" else "a_exec_prestart": "sleep 30"})

    async def play() -> None:
        async with host.serving() as service:
            if verb == "stop":
                await ask(host.machine, "start")
            first = asyncio.create_task(ask(host.machine, verb, "a"))
            await asyncio.sleep(1)
            host.set(list="a b")
            reload = asyncio.create_task(ask(host.machine, "reload"))
            await asyncio.sleep(1)
            await end(host)
            await first
            reply = await reload
            assert reply.status == 1 and "the service is stopping" in reply.err
            assert service.session.jobs.names() == []
            assert host.ran_with("echo begun") == []

    host.play(play)


@pytest.mark.parametrize("words, options", [
    (["reexec"], {}), (["stop"], {"service_only": True})], ids=["reexec", "service only"])
def test_a_shutdown_does_not_wait_for_a_service_that_ends(
        host: Host, words: list[str], options: dict[str, bool]) -> None:
    """That one finishes what is under way; a shutdown cuts it short."""
    host.set(a_exec_prestart="sleep 50")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "b")
            start = asyncio.create_task(ask(host.machine, "start", "a"))
            await asyncio.sleep(1)
            end = asyncio.create_task(ask(host.machine, *words, **options))
            await asyncio.sleep(1)
            begun = asyncio.get_running_loop().time()
            reply = await raw(host.machine, encode("stop", shutdown=True))
            assert asyncio.get_running_loop().time() - begun < 5
            assert (reply.status, reply.lines) == (0, ["a not running", "b stopped"])
            assert "a: start interrupted by stop" in (await start).err
            await end

    host.play(play)


def test_a_shutdown_cuts_a_reload_short(host: Host) -> None:
    """Nothing of the change is taken back: the stop undoes all of it."""
    host.script("etc/rc.d/slow", "sleep 40")
    host.set(list="a", a_command="/bin/sleep 1000000", a_stop_timeout="1")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            host.set(a_afterstart_services="slow", a_bridges="em1")
            reload = asyncio.create_task(ask(host.machine, "reload"))
            await asyncio.sleep(1)
            begun = asyncio.get_running_loop().time()
            await ask(host.machine, "stop", shutdown=True)
            assert asyncio.get_running_loop().time() - begun < 5
            reply = await reload
            assert reply.status == 1 and "the service is stopping" in reply.err
            assert [p for p in host.machine.control.processes() if p[1]] == []

    host.play(play)
