"""A reload of one vimage is applied as a whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
import signal

import pytest

from tests.lib.snapshot import difference
from tests.service.conftest import Host, ask, rows, state, states
from vimage.kernel.simulated import SimulatedProcesses

SLOW = "etc/rc.d/slow"


async def left_by_everything(host: Host) -> list[str]:
    """What a stop of all leaves on the host."""
    assert (await ask(host.machine, "stop")).status == 0
    await host.until_it_ends()
    return difference(host.machine.before, host.machine.look())


def inside(host: Host, name: str) -> list[str]:
    """The interfaces of links in a vimage."""
    return sorted(n for n in host.machine.control.addresses_inside(host.jid(name)) if n != "lo0")


# -- a reload that changes something in place ---------------------------------------------------


def test_the_mtu_of_a_link_is_changed_in_place(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            node = host.machine.kernel.ng_node("ng0_b:")
            host.set(b_mtu0="1400")
            reply = await ask(host.machine, "reload")
            assert (reply.status, reply.out, reply.err) == (0, "b: applied: links\n", "")
            assert host.machine.kernel.ng_node("ng0_b:") == node
            assert (await ask(host.machine, "stop")).status == 0
            await host.until_it_ends()

    host.play(play)


# -- a reload that fails ----------------------------------------------------------------------


def test_a_reload_that_fails_changes_nothing(host: Host) -> None:
    """One interface more, one less, and a service that cannot be started."""
    async def play() -> None:
        async with host.serving():
            host.set(a_bridges="em1 em1")
            await ask(host.machine, "start")
            before = host.machine.look()
            host.set(a_bridges="em1 - igb1", a_afterstart_services="nosuch")
            reply = await ask(host.machine, "reload")
            assert reply.status == 1
            assert "nosuch" in reply.err and "a" in reply.err
            assert difference(_nothing_written(before), _nothing_written(host.machine.look())) == []
            assert inside(host, "a") == ["ng0_a", "ng1_a"]
            shown = await state(host.machine, "a")
            assert shown.startswith("ready") and "changed" in shown
            assert "reload failed" in (await ask(host.machine, "status", "a")).out
            assert await left_by_everything(host) == []

    host.play(play)


def _nothing_written(found):
    """Without the state files: what they say of a failure may make them longer."""
    return type(found)(**{**{f: getattr(found, f) for f in found.__dataclass_fields__},
                          "files": {}})


def test_a_reload_after_one_that_failed(host: Host) -> None:
    """The typing error is corrected, and the same reload succeeds."""
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            host.set(a_bridges="em1 em1 igb1", a_afterstart_services="nosuch")
            assert (await ask(host.machine, "reload")).status == 1
            assert host.interfaces() == []
            host.set(a_afterstart_services="sshd")
            reply = await ask(host.machine, "reload")
            assert (reply.status, reply.err) == (0, "")
            assert reply.out == "a: applied: afterstart_services links\n"
            assert inside(host, "a") == ["ng0_a", "ng1_a", "ng2_a"]
            assert host.interfaces() == []
            assert "failed" not in (await ask(host.machine, "status", "a")).out
            assert await left_by_everything(host) == []

    host.play(play)


def test_the_same_reload_fails_the_same_way_each_time(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            host.set(a_bridges="em1 em1 igb1", a_afterstart_services="sshd nosuch")
            replies = [await ask(host.machine, "reload") for _ in range(5)]
            assert all(reply == replies[0] for reply in replies) and replies[0].status == 1
            assert inside(host, "a") == ["ng0_a", "ng1_a"]
            assert await left_by_everything(host) == []

    host.play(play)


def test_a_move_that_fails_leaves_no_interface_on_the_host(host: Host) -> None:
    """The jail's root has given another interface the name."""
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            host.set(a_bridges="em1 em1 igb1")
            host.machine.control.rename_inside(host.jid("a"), "lo0", "ng2_a")
            assert (await ask(host.machine, "reload")).status == 1
            assert host.interfaces() == []
            assert not host.has_node("ng2_a:") and not host.has_node("igb1bridge:")
            host.machine.control.rename_inside(host.jid("a"), "ng2_a", "lo0")
            reply = await ask(host.machine, "reload")
            assert (reply.status, reply.out) == (0, "a: applied: links\n")
            assert await left_by_everything(host) == []

    host.play(play)


def test_the_change_is_taken_back_after_a_reload_that_failed(host: Host) -> None:
    """rc.conf is what it was before, and so is the vimage."""
    async def play() -> None:
        async with host.serving():
            host.set(a_bridges="em1 em1")
            await ask(host.machine, "start", "a")
            node = host.machine.kernel.ng_node("ng1_a:")
            host.set(a_bridges="em1 - igb1", a_afterstart_services="nosuch")
            assert (await ask(host.machine, "reload")).status == 1
            assert host.machine.kernel.ng_node("ng1_a:").type == node.type
            host.set(a_bridges="em1 em1", a_afterstart_services=None)
            reply = await ask(host.machine, "reload")
            assert (reply.status, reply.out, reply.err) == (0, "", "")
            assert inside(host, "a") == ["ng0_a", "ng1_a"]
            shown = (await ask(host.machine, "status", "a")).out
            assert "changed" not in shown and "failed" not in shown
            assert await left_by_everything(host) == []

    host.play(play)


def test_one_that_fails_keeps_the_others_from_nothing(host: Host) -> None:
    """The unit is one vimage: those before and after it in the list are changed."""
    host.set(list="a b c", c_rootdir="/usr/jail/r", c_bridges="em1")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            host.set(a_bridges="em1 em1 igb1", b_afterstart_services="nosuch",
                     c_bridges="em1 em1")
            reply = await ask(host.machine, "reload")
            assert reply.status == 1
            assert reply.lines == ["a: applied: links", "c: applied: links"]
            assert inside(host, "a") == ["ng0_a", "ng1_a", "ng2_a"]
            assert inside(host, "c") == ["ng0_c", "ng1_c"]
            marked = {name: row["changed"] for name, row in (await rows(host.machine)).items()}
            assert {name for name, changed in marked.items() if changed} == {"b"}
            assert await left_by_everything(host) == []

    host.play(play)


def test_what_a_reload_started_is_stopped_when_it_is_rolled_back(host: Host) -> None:
    """Services are undone by their opposite: those it started are stopped, those it stopped
    are started."""
    host.script("etc/rc.d/good", "echo good")
    host.script("etc/rc.d/old", "echo old")
    host.script("etc/rc.d/bad", "exit 1")
    host.set(a_afterstart_services="old")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            host.ran.clear()
            host.set(a_afterstart_services="good bad")
            assert (await ask(host.machine, "reload")).status == 1
            words = [ran.words.split("service ")[-1] for ran in host.ran]
            assert words.count("good onestart") == words.count("good onestop") == 1
            assert words.index("good onestart") < words.index("good onestop")
            assert words.count("old onestop") == words.count("old onestart") <= 1
            assert words.count("bad onestart") == 1
            host.ran.clear()
            await ask(host.machine, "stop", "a")
            assert [r.words.split("service ")[-1] for r in host.ran] == ["old onestop"]

    host.play(play)


# -- whatever else is asked meanwhile ---------------------------------------------------------


@pytest.fixture
def slow(host: Host) -> Host:
    """A service of a takes five seconds to start."""
    host.script(SLOW, "sleep 5")
    return host


def test_stop_while_a_reload_is_at_another(slow: Host) -> None:
    async def play() -> None:
        async with slow.serving():
            await ask(slow.machine, "start")
            slow.set(a_afterstart_services="slow", b_restart="on-failure")
            reload = asyncio.create_task(ask(slow.machine, "reload"))
            await asyncio.sleep(1)
            stopped = await ask(slow.machine, "stop", "b")
            assert (stopped.status, stopped.out) == (0, "b stopped\n")
            reply = await reload
            assert (reply.status, reply.err) == (0, "")
            assert await left_by_everything(slow) == []

    slow.play(play)


@pytest.mark.parametrize("verb, words, out", [
    ("stop", ["a"], "a stopped"), ("restart", ["a"], "a ready"), ("start", ["a"], "already"),
    ("reload", [], "")])
def test_what_comes_during_a_reload_waits_for_it(slow: Host, verb: str, words: list[str],
                                                 out: str) -> None:
    async def play() -> None:
        async with slow.serving():
            await ask(slow.machine, "start", "a")
            slow.set(a_bridges="em1 em1 igb1", a_afterstart_services="slow")
            first = asyncio.create_task(ask(slow.machine, "reload"))
            await asyncio.sleep(1)
            second = asyncio.create_task(ask(slow.machine, verb, *words))
            await asyncio.sleep(2)
            assert not first.done() and not second.done()
            reply, after = await first, await second
            assert (reply.status, reply.out) == (0, "a: applied: afterstart_services links\n")
            assert after.status == 0 and after.err == ""
            assert out in after.out and (out or after.out == "")
            assert len(slow.ran_with("slow onestart")) == (2 if verb == "restart" else 1)
            assert await left_by_everything(slow) == []

    slow.play(play)


def test_a_reload_waits_for_what_is_under_way(host: Host) -> None:
    host.set(a_exec_start="sleep 20")

    async def play() -> None:
        async with host.serving():
            start = asyncio.create_task(ask(host.machine, "start"))
            await asyncio.sleep(5)
            host.set(a_bridges="em1 em1 igb1")
            reply = await ask(host.machine, "reload")
            assert (await start).status == 0
            assert (reply.status, reply.out) == (0, "a: applied: links\n")
            assert inside(host, "a") == ["ng0_a", "ng1_a", "ng2_a"]

    host.play(play)


def test_two_reloads_at_once(slow: Host) -> None:
    async def play() -> None:
        async with slow.serving():
            await ask(slow.machine, "start", "a")
            slow.set(a_bridges="em1 em1 igb1", a_afterstart_services="slow")
            first, second = await asyncio.gather(ask(slow.machine, "reload"),
                                                 ask(slow.machine, "reload"))
            assert (first.status, second.status) == (0, 0)
            assert sorted([first.out, second.out]) == [
                "", "a: applied: afterstart_services links\n"]
            assert len(slow.ran_with("slow onestart")) == 1
            assert await left_by_everything(slow) == []

    slow.play(play)


def test_a_hang_up_during_a_reload(slow: Host) -> None:
    async def play() -> None:
        async with slow.serving():
            await ask(slow.machine, "start", "a")
            slow.set(a_bridges="em1 em1 igb1", a_afterstart_services="slow")
            reload = asyncio.create_task(ask(slow.machine, "reload"))
            await asyncio.sleep(1)
            os.kill(os.getpid(), signal.SIGHUP)
            assert (await reload).status == 0
            await asyncio.sleep(60)
            assert len(slow.ran_with("slow onestart")) == 1
            assert inside(slow, "a") == ["ng0_a", "ng1_a", "ng2_a"]
            assert await left_by_everything(slow) == []

    slow.play(play)


def test_a_stop_of_all_during_a_reload(slow: Host) -> None:
    async def play() -> None:
        async with slow.serving():
            await ask(slow.machine, "start")
            slow.set(a_bridges="em1 em1 igb1", a_afterstart_services="slow")
            reload = asyncio.create_task(ask(slow.machine, "reload"))
            await asyncio.sleep(1)
            assert await left_by_everything(slow) == []
            assert (await reload).status == 0

    slow.play(play)


@pytest.mark.parametrize("seconds", [1, 6])
def test_a_command_that_ends_around_a_reload(slow: Host, seconds: int) -> None:
    """It ends during the reload, or just after it: either way it is started again."""
    slow.set(a_command="/bin/sleep 100000", a_restart="on-failure")

    async def play() -> None:
        async with slow.serving():
            await ask(slow.machine, "start", "a")
            jid, pid = slow.jid("a"), slow.program("a")
            slow.set(a_afterstart_services="slow")
            reload = asyncio.create_task(ask(slow.machine, "reload"))
            await asyncio.sleep(seconds)
            slow.machine.control.end_process(pid)
            assert (await reload).status == 0
            await asyncio.sleep(100)
            assert slow.jid("a") != jid
            assert (await rows(slow.machine, "a"))["a"]["state"] == "ready"

    slow.play(play)


def test_a_jail_that_is_removed_during_a_reload(slow: Host) -> None:
    slow.set(a_restart="on-failure")

    async def play() -> None:
        async with slow.serving():
            await ask(slow.machine, "start", "a")
            jid = slow.jid("a")
            slow.set(a_bridges="em1 em1 igb1", a_afterstart_services="slow")
            reload = asyncio.create_task(ask(slow.machine, "reload"))
            await asyncio.sleep(1)
            slow.machine.control.remove_jail(jid)
            await reload
            await asyncio.sleep(100)
            assert (await rows(slow.machine, "a"))["a"]["state"] == "ready"
            assert slow.jid("a") != jid
            assert inside(slow, "a") == ["ng0_a", "ng1_a", "ng2_a"]
            assert await left_by_everything(slow) == []

    slow.play(play)


# -- what a reload stops and starts -----------------------------------------------------------


def test_what_left_the_list_is_stopped(host: Host) -> None:
    """Its variables remain: it is described, but no longer listed."""
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            host.set(list="a")
            reply = await ask(host.machine, "reload")
            assert (reply.status, reply.out) == (0, "b stopped\n")
            assert [name for name, row in (await rows(host.machine)).items()
                    if row["state"] == "ready"] == ["a"]

    host.play(play)


def test_one_that_was_started_by_name_is_left_alone(host: Host) -> None:
    """It was never in the list; status says so."""
    host.set(list="a")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            await ask(host.machine, "start", "b")
            jid = host.jid("b")
            for _ in range(2):
                assert (await ask(host.machine, "reload")).out == ""
            assert host.jid("b") == jid
            shown = (await ask(host.machine, "status")).out
            line = next(line for line in shown.splitlines() if line.startswith("b "))
            assert "not listed" in line and "ready" in line

    host.play(play)


def test_the_list_is_known_after_a_take_over(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
        host.set(list="a")
        async with host.serving():
            assert (await ask(host.machine, "reload")).out == "b stopped\n"

    host.play(play)


def test_a_dependent_of_what_left_the_list_is_stopped_before_it(host: Host) -> None:
    host.set(list="a b c", b_depend="a", c_rootdir="/usr/jail/r", c_depend="b")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            host.set(list="b c")
            reply = await ask(host.machine, "reload")
            # b and c depend on what is not to run any longer: they cannot stay.
            assert reply.out.split()[:2] == ["c", "stopped"]

    host.play(play)


def test_a_dependent_that_needs_no_longer_what_left_the_list_stays(host: Host) -> None:
    host.set(b_depend="a")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            jid = host.jid("b")
            host.set(list="b", b_depend=None)
            assert (await ask(host.machine, "reload")).status == 0
            assert await states(host.machine) == {"b": "ready"}
            assert host.jid("b") == jid

    host.play(play)


def test_one_whose_error_is_corrected_is_started(host: Host) -> None:
    """The start of all has left it out, so it is new to the reload."""
    host.set(b_hostname="bad name")

    async def play() -> None:
        async with host.serving():
            assert (await ask(host.machine, "start")).status == 1
            host.set(b_hostname=None)
            reply = await ask(host.machine, "reload")
            assert (reply.status, reply.out) == (0, "b ready\n")

    host.play(play)


# -- addresses, bridges and services ------------------------------------------------------------


def addresses(host: Host) -> dict[str, tuple[str, ...]]:
    """The addresses in a, by interface."""
    found = host.machine.control.addresses_inside(host.jid("a"))
    return {name: found[name] for name in inside(host, "a")}


@pytest.mark.parametrize("before, after, found", [
    ({"bridges": "em1 igb1", "addr0": "192.0.2.2/24", "addr1": "198.51.100.2/24"},
     {"bridges": "em1", "addr0": None, "addr1": None}, {"ng0_a": ()}),
    ({"bridges": "em1 em1", "addr0": "192.0.2.2/24"},
     {"addr0": None, "addr1": "192.0.2.2/24"}, {"ng0_a": (), "ng1_a": ("192.0.2.2/24",)}),
    ({"bridges": "em1 em1", "addr1": "192.0.2.2/24"},
     {"addr1": "192.0.2.2/25"}, {"ng0_a": (), "ng1_a": ("192.0.2.2/25",)}),
    ], ids=["with a link that goes", "to another link", "another prefix"])
def test_addresses_are_as_configured(host: Host, before: dict[str, str | None],
                                     after: dict[str, str | None],
                                     found: dict[str, tuple[str, ...]]) -> None:
    """None stays on a link that stays."""
    host.set(list="a", **{f"a_{name}": value for name, value in before.items()})

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            host.set(**{f"a_{name}": value for name, value in after.items()})
            assert (await ask(host.machine, "reload")).status == 0
            assert addresses(host) == found

    host.play(play)


def test_addresses_of_an_interface_that_the_jails_root_has_renamed(host: Host) -> None:
    """The reload fails or not, but the vimage is ready, and looked after."""
    host.set(list="a", a_bridges="em1", a_addr0="192.0.2.2/24", a_restart="on-failure")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            jid = host.jid("a")
            host.machine.control.rename_inside(jid, "ng0_a", "x0")
            host.set(a_addr0="192.0.2.3/24")
            reply = await ask(host.machine, "reload")
            assert await states(host.machine) == {"a": "ready"}
            assert addresses(host) == {
                "x0": ("192.0.2.2/24",) if reply.status else ("192.0.2.3/24",)}
            host.machine.control.remove_jail(jid)
            await asyncio.sleep(10)
            assert await states(host.machine) == {"a": "ready"}
            assert host.jid("a") != jid

    host.play(play)


def test_the_address_of_a_host_only_bridge(host: Host) -> None:
    """It is changed, whoever uses the bridge."""
    host.set(bridge_list="lan0", bridge_lan0_addr="10.9.0.1/24", a_bridges="lan0",
             b_bridges="lan0")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            host.set(bridge_lan0_addr="10.9.0.99/24")
            reply = await ask(host.machine, "reload")
            assert (reply.status, reply.err) == (0, "") and "applied" in reply.out
            assert host.machine.control.addresses_inside(0)["lan0"] == ("10.9.0.99/24",)
            assert (await ask(host.machine, "reload")).out == ""
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def test_services_are_stopped_in_reverse_after_a_reload_that_failed(host: Host) -> None:
    """It had stopped two of them, and started them again."""
    class Refusing(SimulatedProcesses):
        refused: tuple[str, ...] = ()

        async def start(self, command):
            if command.argv[1:] == self.refused:
                raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
            return await super().start(command)

    processes = Refusing(host.machine.kernel)
    for name in ("one", "two", "three"):
        host.script(f"etc/rc.d/{name}", "true")
    host.set(a_afterstart_services="one two three")

    async def play() -> None:
        async with host.serving(processes=processes):
            await ask(host.machine, "start", "a")
            host.set(a_afterstart_services="three")
            processes.refused = ("one", "onestop")
            assert (await ask(host.machine, "reload")).status == 1
            processes.refused = ()
            host.ran.clear()
            assert (await ask(host.machine, "stop", "a")).status == 0
            assert [ran.words.split("service ")[-1] for ran in host.ran_with("onestop")] == [
                "three onestop", "two onestop", "one onestop"]

    host.play(play)


def test_a_reload_that_failed_is_forgotten_once_nothing_is_asked_for(host: Host) -> None:
    """Also by the next service."""
    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start", "a")
            host.set(a_afterstart_services="nosuch")
            assert (await ask(host.machine, "reload")).status == 1
            host.set(a_afterstart_services=None)
            assert (await ask(host.machine, "reload")).status == 0
        async with host.serving():
            assert "failed" not in (await ask(host.machine, "status", "a")).out

    host.play(play)
