"""What others do to a host on which vimages run, and what the service makes of it."""

from __future__ import annotations

import asyncio
import errno
import os

import pytest

from tests.engine.machine import ROOT
from tests.lib.snapshot import difference
from tests.service.conftest import Host, ask, rows, state
from vimage.kernel.simulated.events import SimulatedEvents

TICK = 2.0


def replug(host: Host, name: str, mac: str | None = None) -> None:
    """Pull a card out and put it in again, all between two looks of the service."""
    card = host.machine.kernel.if_get(name)
    host.machine.control.detach(card.driver)
    host.machine.control.attach(name, mac or card.mac)


@pytest.mark.parametrize("seconds", [0.0, 0.1, 1.0, 1.8])
def test_a_parent_that_goes_and_returns_between_two_looks(host: Host, seconds: float) -> None:
    async def play() -> None:
        replug(host, "em1")  # a card is as it comes, not as the host booted
        before = host.machine.look()
        async with host.serving():
            await ask(host.machine, "start", "a")
            await asyncio.sleep(5 + seconds)
            replug(host, "em1")
            await asyncio.sleep(10)
            assert host.machine.kernel.ng_node("em1:lower").name == "em1bridge"
            assert host.machine.kernel.ng_node("em1:upper").name == "em1bridge"
            promisc, autosrc = host.machine.kernel.ng_ether_get("em1:")
            assert promisc and not autosrc
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(before, host.machine.look()) == []

    host.play(play)


def test_a_parent_that_returns_with_another_address(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            replug(host, "em1", "02:00:00:00:00:77")
            await asyncio.sleep(10)
            assert host.machine.kernel.ng_node("em1:lower").name == "em1bridge"

    host.play(play)


def test_a_parent_that_goes_and_returns_while_nobody_serves(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
        replug(host, "em1")
        async with host.serving():
            await asyncio.sleep(10)
            assert host.machine.kernel.ng_node("em1:lower").name == "em1bridge"
            assert (await rows(host.machine))["a"]["state"] == "ready"

    host.play(play)


def test_both_parents_go_and_return(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            replug(host, "em1")
            replug(host, "igb1")
            await asyncio.sleep(10)
            for parent in ("em1", "igb1"):
                assert host.machine.kernel.ng_node(f"{parent}:lower").name == f"{parent}bridge"

    host.play(play)


def test_a_parent_that_stays_away_and_a_stop(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            card = host.machine.kernel.if_get("em1")
            host.machine.control.detach(card.driver)
            await asyncio.sleep(10)
            reply = await ask(host.machine, "stop", "a")
            assert (reply.status, reply.err) == (0, "")
            assert not host.has_node("em1bridge:")
            host.machine.control.attach("em1", card.mac)
            await asyncio.sleep(10)
            assert not host.has_node("em1:lower")

    host.play(play)


# -- a bridge that is shut down ---------------------------------------------------------------


def test_a_bridge_that_was_shut_down_is_noticed(host: Host) -> None:
    """Its vimages have lost their links: they are no longer ready."""
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            await ask(host.machine, "stop", "b")
            host.machine.control.shut_down_node("em1bridge:")
            await asyncio.sleep(100)
            assert not (await state(host.machine, "a")).startswith("ready ")
            assert (await ask(host.machine, "stop", "a")).status == 0
            assert (await ask(host.machine, "start")).status == 0
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def test_a_bridge_that_was_shut_down_and_a_restart(host: Host) -> None:
    """With restart=on-failure everything is there again by itself."""
    host.set(restart="on-failure")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            host.machine.control.shut_down_node("em1bridge:")
            await asyncio.sleep(200)
            shown = await rows(host.machine)
            assert {name: row["state"] for name, row in shown.items()} == {
                "a": "ready", "b": "ready"}
            hooks = {hook.peer.name for hook in host.machine.kernel.ng_hooks("em1bridge:")}
            assert hooks == {"em1", "ng0_a", "ng1_a", "ng0_b", "ng1_b"}
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def test_a_host_only_bridge_that_was_shut_down(host: Host) -> None:
    host.set(bridge_list="lan0", bridge_lan0_addr="10.9.0.1/24", a_bridges="lan0",
             a_restart="on-failure")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            host.machine.control.shut_down_node("lan0bridge:" if host.has_node("lan0bridge:")
                                           else _bridge_of(host, "ng0_a:"))
            await asyncio.sleep(200)
            assert (await rows(host.machine))["a"]["state"] == "ready"
            assert host.machine.kernel.ng_node("ng0_a:ether").type == "bridge"
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def _bridge_of(host: Host, path: str) -> str:
    return f"[{host.machine.kernel.ng_node(path + 'ether').id:x}]:"


# -- a program that ends ----------------------------------------------------------------------


def test_a_program_that_ends_before_the_vimage_is_ready(host: Host) -> None:
    """It counts as ended, whenever that was."""
    host.set(a_command="/usr/bin/false")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            await asyncio.sleep(100)
            shown = (await ask(host.machine, "status", "a")).out
            assert "its command has ended" in shown

    host.play(play)


def test_a_program_that_ends_before_the_vimage_is_ready_and_a_restart(host: Host) -> None:
    host.script("bin/once", "test -e /again && sleep 1000000")
    host.set(a_command="/bin/once", a_restart="on-failure", a_exec_poststart="sleep 5")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            host.file("again").touch()
            await asyncio.sleep(1000)
            assert len(host.ran_with("/bin/once")) == 2
            assert (await rows(host.machine))["a"]["state"] == "ready"

    host.play(play)


def test_a_program_that_ends_again_and_again_is_left_alone(host: Host) -> None:
    host.set(a_command="/usr/bin/false", a_restart="on-failure")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            await asyncio.sleep(10_000)
            shown = (await ask(host.machine, "status", "a")).out
            assert "left alone" in shown
            assert len(host.ran_with("/usr/bin/false")) == 11

    host.play(play)


def test_a_program_that_ends_while_nobody_serves(host: Host) -> None:
    host.set(a_command="/bin/sleep 100000", a_restart="on-failure")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            jid, pid = host.jid("a"), host.program("a")
        host.machine.control.end_process(pid)
        async with host.serving():
            await asyncio.sleep(100)
            assert host.jid("a") != jid
            assert (await rows(host.machine))["a"]["state"] == "ready"

    host.play(play)


def test_a_start_that_failed_is_tried_again(host: Host) -> None:
    """restart=on-failure holds for the first start, too."""
    host.script("bin/boot", "test -e /good")
    host.set(a_exec_start="/bin/boot", a_restart="on-failure")

    async def play() -> None:
        async with host.serving():
            assert (await ask(host.machine, "start", "a")).status == 1
            assert (await rows(host.machine))["a"]["state"] == "waiting"
            host.file("good").touch()
            await asyncio.sleep(100)
            assert (await rows(host.machine))["a"]["state"] == "ready"

    host.play(play)


def test_a_program_whose_end_could_not_be_asked_for_at_first(
        host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It is asked for again until that succeeds, and logged once that it did not."""
    host.set(a_command="/bin/sleep 100000", a_restart="on-failure")

    def fails(*_: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    async def play() -> None:
        async with host.serving():
            with monkeypatch.context() as patched:
                patched.setattr(SimulatedEvents, "watch_process", fails)
                await ask(host.machine, "start", "a")
                await asyncio.sleep(10)
            await asyncio.sleep(TICK)
            jid = host.jid("a")
            host.machine.control.end_process(host.program("a"))
            await asyncio.sleep(10)
            assert host.jid("a") != jid
            assert caplog.messages.count(
                "a: its command cannot be watched: Cannot allocate memory") == 1

    host.play(play)


# -- what is in the way of a stop ---------------------------------------------------------------


def test_a_jail_that_ends_every_visitor_is_stopped_all_the_same(
        host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its interfaces cannot be seen inside: they are taken out after the jail."""
    def ended(*_: object) -> None:
        raise OSError(errno.EINTR, "killed by the jail")

    async def play() -> None:
        async with host.serving() as service:
            await ask(host.machine, "start", "a")
            with monkeypatch.context() as patched:
                patched.setattr(service.kernel, "jail_clear", ended)
                patched.setattr(service.kernel, "vnet", ended)
                reply = await ask(host.machine, "stop", "a")
            assert (reply.status, reply.out, reply.err) == (0, "a stopped\n", "")
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def test_a_shared_mount_that_somebody_has_covered(host: Host) -> None:
    """It is not forgotten: once the cover is gone, it is used and unmounted as ever."""
    host.set(devfs_enable="YES")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            kernel = host.machine.kernel
            directory = kernel.open_directory(ROOT, "/dev")
            cover = kernel.mount("tmpfs", directory, {"from": "tmpfs"})
            os.close(directory)
            reply = await ask(host.machine, "start", "b")
            assert reply.status == 1 and f"{ROOT}/dev" in reply.err
            kernel.unmount(cover)
            assert (await ask(host.machine, "start", "b")).status == 0
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def test_the_interface_of_a_host_only_bridge_is_shut_down(host: Host) -> None:
    """Its users are started again, and with them the interface is there again."""
    host.set(bridge_list="lan0", bridge_lan0_addr="10.9.0.1/24", a_bridges="lan0",
             a_restart="on-failure")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            jid = host.jid("a")
            host.machine.control.shut_down_node("lan0:")
            await asyncio.sleep(100)
            assert host.jid("a") != jid
            assert host.has_node("lan0:")

    host.play(play)


def test_a_parent_that_cannot_be_connected_at_the_first_try(
        host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second try does not take what the first has changed for the parent's own settings."""
    kernel = host.machine.kernel
    connect = kernel.ng_connect
    failed: list[tuple[str, ...]] = []

    def fails_once(*words: str) -> None:
        if not failed:
            failed.append(words)
            raise OSError(errno.EIO, "Input/output error")
        connect(*words)

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            card = kernel.if_get("em1")
            host.machine.control.detach(card.driver)
            await asyncio.sleep(10)
            host.machine.control.attach("em1", card.mac)
            own = kernel.if_caps("em1")
            monkeypatch.setattr(kernel, "ng_connect", fails_once)
            await asyncio.sleep(100)
            assert failed and kernel.ng_node("em1:lower").name == "em1bridge"
            assert kernel.if_caps("em1") != own
            assert (await ask(host.machine, "stop")).status == 0
            assert kernel.if_caps("em1") == own

    host.play(play)
