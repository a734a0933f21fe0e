"""Single requests that used to be answered wrongly, late, or not at all."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.engine.machine import ROOT
from tests.lib.snapshot import difference
from tests.service.conftest import Host, ask, rows, state, states
from vimage.journal import STOPPING
from vimage.kernel.simulated.events import SimulatedEvents
from vimage.service.reading import Reader


def test_status_of_an_unknown_name(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            for words in (["nosuch"], ["a", "nosuch"]):
                reply = await ask(host.machine, "status", *words)
                assert reply.status == 2 and "nosuch" in reply.err, reply
            assert (await ask(host.machine, "status", "a", "b")).status == 0

    host.play(play)


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "status"])
def test_an_unknown_name_beside_known_ones(host: Host, verb: str) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            before = host.machine.look()
            reply = await ask(host.machine, verb, "a", "b", "nosuch")
            assert reply.status == 2 and "nosuch" in reply.err
            assert difference(before, host.machine.look()) == []

    host.play(play)


def test_a_restart_reports_the_dependents_that_it_leaves_down(host: Host) -> None:
    """b depends on a, and its configuration has an error by now: either it is not stopped, or
    somebody says that it was left down."""
    host.set(b_depend="a")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            host.set(b_hostname="bad name")
            reply = await ask(host.machine, "restart", "a")
            up = (await rows(host.machine))["b"]["state"] == "ready"
            assert up or reply.status == 1 and "b" in reply.err

    host.play(play)


def test_a_restart_starts_its_dependents_again(host: Host) -> None:
    host.set(list="a b c", b_depend="a", c_rootdir=ROOT, c_depend="b")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a", "b")  # c was not running
            reply = await ask(host.machine, "restart", "a")
            assert reply.status == 0
            assert {n: row["state"] for n, row in (await rows(host.machine)).items()} == {
                "a": "ready", "b": "ready", "c": "stopped"}

    host.play(play)


def test_it_answers_while_it_recovers(host: Host) -> None:
    """An earlier service died in a stop, and finishing that takes a minute."""
    from tests.service.test_levels import edit

    host.set(a_exec_prestart="true", a_exec_poststop="sleep 55", a_stop_timeout="60")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
        edit(host.state_file("vimages/a.json"), lambda data: data.update(state="stopping"))
        begun = asyncio.get_running_loop().time()
        async with host.serving():
            assert asyncio.get_running_loop().time() - begun < 1
            shown = await rows(host.machine)
            assert (shown["a"]["state"], shown["b"]["state"]) == ("stopping", "ready")
            assert (await ask(host.machine, "restart", "b")).status == 0
            assert asyncio.get_running_loop().time() - begun < 10
            assert (await ask(host.machine, "start", "a")).status == 0  # after its end
            assert 50 < asyncio.get_running_loop().time() - begun < 70

    host.play(play)


def test_a_start_with_another_file_and_its_restart(host: Host, tmp_path: Path,
                                                   caplog: pytest.LogCaptureFixture) -> None:
    """The restart policy goes by the file that the vimage was started with."""
    main, other = tmp_path / "rc.conf", tmp_path / "other.conf"
    general = f'vimage_boot="none"\nvimage_devfs_enable="NO"\nvimage_rootdir="{ROOT}"\n'
    main.write_text(general + f'vimage_list="a"\nvimage_a_rootdir="{ROOT}"\n')
    other.write_text(general + f'vimage_list="z"\nvimage_z_rootdir="{ROOT}"\n'
                     'vimage_z_restart="on-failure"\nvimage_z_command="/bin/sleep 1000000"\n')

    async def play() -> None:
        async with host.serving(reader=Reader(host.machine.kernel, None, str(main))):
            assert (await ask(host.machine, "start")).status == 0
            assert (await ask(host.machine, "start", "z", file=str(other))).status == 0
            assert "not listed" in await state(host.machine, "z")
            for _ in range(2):
                jid = host.jid("z")
                host.machine.control.end_process(host.program("z"))
                await asyncio.sleep(100)
                assert (await rows(host.machine))["z"]["state"] == "ready"
                assert host.jid("z") != jid
            assert (await ask(host.machine, "reload")).out == ""
            assert (await rows(host.machine))["z"]["state"] == "ready"
        async with host.serving(reader=Reader(host.machine.kernel, None, str(main))):
            jid = host.jid("z")
            host.machine.control.end_process(host.program("z"))
            await asyncio.sleep(100)
            assert (await rows(host.machine))["z"]["state"] == "ready" and host.jid("z") != jid
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(host.machine.before, host.machine.look()) == []

    with caplog.at_level(logging.INFO, logger="test"):
        host.play(play)


@pytest.mark.parametrize("verb, options", [("reexec", {}), ("stop", {"service_only": True})],
                         ids=["reexec", "service only"])
def test_a_start_under_way_is_finished_before_the_service_ends(
        host: Host, monkeypatch: pytest.MonkeyPatch, verb: str, options: dict[str, bool]) -> None:
    """And what it is told of after its end is refused, as kqueue(2) refuses it once closed."""
    watch = SimulatedEvents.watch_jail

    def as_kqueue(self: SimulatedEvents, jid: Any) -> None:
        if self._read < 0:
            raise ValueError("I/O operation on closed kqueue object")
        watch(self, jid)

    monkeypatch.setattr(SimulatedEvents, "watch_jail", as_kqueue)
    host.set(b_exec_start="sleep 30")

    async def play() -> None:
        async with host.serving():
            start = asyncio.create_task(ask(host.machine, "start", "b"))
            await asyncio.sleep(1)
            assert (await ask(host.machine, verb, **options)).status == 0
            reply = await start
            assert (reply.status, reply.out) == (0, "b ready\n")
            await host.until_it_ends()
        async with host.serving():
            assert (await rows(host.machine))["b"]["state"] == "ready"
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def test_a_chain_of_two_thousand_dependencies(host: Host) -> None:
    """One error in the last keeps all of them from starting, and says so; no stack ends."""
    names = [f"v{number}" for number in range(2000)]
    host.machine.variables = {
        "vimage_list": " ".join(names), "vimage_boot": "none", "vimage_devfs_enable": "NO",
        **{f"vimage_{name}_rootdir": ROOT for name in names},
        **{f"vimage_v{n}_depend": f"v{n - 1}" for n in range(1, 2000)},
        "vimage_v0_exec_start": "false"}

    async def play() -> None:
        async with host.serving():
            reply = await ask(host.machine, "start", "v1999")
            assert reply.status == 1
            assert "v1999" in reply.err and "recursion" not in reply.err
            assert [row for row in (await rows(host.machine)).values()
                    if row["state"] == "ready"] == []

    host.play(play)


def test_a_long_chain_starts_and_stops(host: Host) -> None:
    names = [f"v{number}" for number in range(1100)]  # more than Python's stack
    host.machine.variables = {
        "vimage_list": " ".join(names), "vimage_boot": "none", "vimage_devfs_enable": "NO",
        "vimage_parallel": "50",
        **{f"vimage_{name}_rootdir": ROOT for name in names},
        **{f"vimage_v{n}_depend": f"v{n - 1}" for n in range(1, 1100)}}

    async def play() -> None:
        async with host.serving():
            assert (await ask(host.machine, "start", "v1099")).status == 0
            reply = await ask(host.machine, "stop", "v0")
            assert reply.status == 0
            assert reply.out.split()[::2] == names[::-1]

    host.play(play)


def test_an_amount_with_a_unit_that_rctl_knows(host: Host) -> None:
    """``4096b`` is 4096 bytes to rctl(8), and no number to the kernel."""
    host.machine.control.set_sysctl("kern.racct.enable", 1)
    host.set(a_rctl="vmemoryuse:deny=4096b")

    async def play() -> None:
        async with host.serving():
            reply = await ask(host.machine, "start", "a")
            if reply.status == 0:
                assert host.machine.control.rules() == ["jail:a:vmemoryuse:deny=4096"]
            else:  # refused before anything is touched
                assert reply.status == 2 and "4096b" in reply.err
                assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def test_status_is_the_same_for_people_and_programs(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            table = (await ask(host.machine, "status")).out.splitlines()
            found = json.loads((await ask(host.machine, "status", json=True)).out)
            assert [line.split()[:2] for line in table[1:3]] == [
                [row["name"], row["state"]] for row in found]

    host.play(play)


# -- a call that was cancelled ----------------------------------------------------------------


@pytest.mark.parametrize("call", ["vnet", "jail_create", "if_vmove"])
def test_a_start_cut_short_in_a_call_leaves_nothing(host: Host, call: str) -> None:
    """With threads, as on the kernel: a stop comes while a call of the start is under way.
    What the call still returns is closed, or the jail would stay dying for ever."""
    import threading

    host.set(a_addr0="192.0.2.2/24")
    host.machine.kernel.sleeps = True
    real = getattr(host.machine.kernel, call)
    under_way, go_on = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def slow(*args: object) -> object:
        if not under_way.is_set():
            threads.append(threading.current_thread())
            under_way.set()
            go_on.wait(20)
        return real(*args)

    async def play() -> None:
        async with host.serving():
            setattr(host.machine.kernel, call, slow)
            start = asyncio.create_task(ask(host.machine, "start", "a"))
            while not under_way.is_set():
                await asyncio.sleep(0)
            assert threads[0] is not threading.main_thread()
            stop = asyncio.create_task(ask(host.machine, "stop", "a"))
            for _ in range(200):
                await asyncio.sleep(0)
            go_on.set()
            started, stopped = await start, await stop
            assert started.status == 1
            assert "a: start interrupted by stop" in started.err
            assert (stopped.status, stopped.err) == (0, "")
            assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def test_a_stop_cuts_a_start_short_that_first_undoes_what_was_left(host: Host) -> None:
    """An earlier stop has failed, and the start begins with the rest of it."""
    host.set(a_exec_prestart="sleep 20", a_exec_poststop="sleep 10")

    async def play() -> None:
        async with host.serving() as service:
            await ask(host.machine, "start", "a")
            service.session.records["a"].state = STOPPING
            start = asyncio.create_task(ask(host.machine, "start", "a"))
            await asyncio.sleep(1)
            assert (await ask(host.machine, "stop", "a")).status == 0
            reply = await start
            assert reply.status == 1 and "a: start interrupted by stop" in reply.err
            assert len(host.ran_with("sleep 20")) == 1
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


# -- files beside rc.conf -----------------------------------------------------------------------


def written(file: Path, *names: str) -> str:
    """The path of an rc.conf that describes and lists these vimages."""
    file.write_text("\n".join([
        'vimage_boot="none"', 'vimage_devfs_enable="NO"', f'vimage_list="{" ".join(names)}"',
        *(f'vimage_{name}_rootdir="{ROOT}"' for name in names), ""]))
    return str(file)


@pytest.mark.parametrize("words", [["start"], ["start", "z"], ["reload"]], ids=" ".join)
def test_another_file_says_nothing_of_what_rc_conf_lists(host: Host, tmp_path: Path,
                                                         words: list[str]) -> None:
    """b was stopped by hand, and no later reload starts it; c has left the list since."""
    main = written(tmp_path / "rc.conf", "a", "b", "c")
    other = written(tmp_path / "other.conf", "z")

    async def play() -> None:
        async with host.serving(reader=Reader(host.machine.kernel, None, main)):
            await ask(host.machine, "start")
            await ask(host.machine, "stop", "b")
            assert (await ask(host.machine, *words, file=other)).status == 0
            written(tmp_path / "rc.conf", "a", "b")
            reply = await ask(host.machine, "reload")
            assert (reply.status, reply.out) == (0, "c stopped\n")
            assert (await states(host.machine))["b"] == "stopped"

    host.play(play)


def test_stop_of_one_that_rc_conf_describes_after_another_file(host: Host,
                                                               tmp_path: Path) -> None:
    """Stopping what does not run: 0, whichever file was read last."""
    main, other = written(tmp_path / "rc.conf", "a", "b"), written(tmp_path / "other.conf", "z")

    async def play() -> None:
        async with host.serving(reader=Reader(host.machine.kernel, None, main)):
            await ask(host.machine, "start", "a")
            await ask(host.machine, "start", "z", file=other)
            assert (await ask(host.machine, "stop", "b")).status == 0

    host.play(play)


def test_stop_of_one_that_was_described_since(host: Host, tmp_path: Path) -> None:
    main = written(tmp_path / "rc.conf", "a")

    async def play() -> None:
        async with host.serving(reader=Reader(host.machine.kernel, None, main)):
            await ask(host.machine, "start", "a")
            assert (await ask(host.machine, "stop", "b")).status == 2
            written(tmp_path / "rc.conf", "a", "b")
            assert (await ask(host.machine, "stop", "b")).status == 0

    host.play(play)


# -- look-ups that fail -------------------------------------------------------------------------


@pytest.mark.parametrize("look", ["jail_list", "jail_get", "if_list", "if_get", "sysctl",
                                  "ng_ids", "ng_node", "kld_load", "devfs_ruleset_rules"])
@pytest.mark.parametrize("words", [["status"], ["start", "b"], ["restart"], ["reload"],
                                   ["stop", "a"]], ids=" ".join)
def test_a_look_up_that_fails_is_reported(host: Host, monkeypatch: pytest.MonkeyPatch,
                                          words: list[str], look: str) -> None:
    """In words, and what was asked for can be done afterwards."""
    host.set(devfs_enable="YES")

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def play() -> None:
        async with host.serving() as service:
            await ask(host.machine, "start", "a")
            with monkeypatch.context() as patched:
                patched.setattr(service.kernel, look, fails)
                reply = await ask(host.machine, *words)
            assert reply.status == 0 or reply.err
            assert "internal error" not in reply.err
            assert (await ask(host.machine, "start")).status == 0
            assert await states(host.machine) == {"a": "ready", "b": "ready"}
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def test_sighup_while_the_service_ends(host: Host) -> None:
    """The next service reloads."""
    host.set(b_exec_start="sleep 30")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            start = asyncio.create_task(ask(host.machine, "start", "b"))
            await asyncio.sleep(1)
            end = asyncio.create_task(ask(host.machine, "reexec"))
            await asyncio.sleep(1)
            host.set(a_bridges="em1")
            os.kill(os.getpid(), signal.SIGHUP)
            await host.until_it_ends(60)
            await asyncio.gather(start, end)
        async with host.serving():
            await asyncio.sleep(5)
            assert not (await rows(host.machine))["a"]["changed"]

    host.play(play)
