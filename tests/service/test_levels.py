"""State of another version: older records are upgraded, newer ones are left alone."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.machine import Machine
from tests.lib.snapshot import difference
from tests.service import records
from tests.service.conftest import KIND, Host, ask, rows
from vimage.kernel.simulated import HostControl, SimulatedKernel

Facts = dict[str, Any]


def content(file: Path) -> Facts:
    """The JSON object of a state file."""
    data: Facts = json.loads(file.read_bytes().split(b"\n", 1)[1])
    return data


def edit(file: Path, change: Callable[[Facts], object]) -> bytes:
    """Change a state file, its sum included; returns what it was."""
    was = file.read_bytes()
    data = content(file)
    change(data)
    body = json.dumps(data).encode()
    file.write_bytes(b"%08x\n%s" % (zlib.crc32(body), body))
    return was


def one_level_up(data: Facts) -> None:
    """As the next version would write it, with something in it that nobody knows yet."""
    assert isinstance(data["level"], int)
    data["level"] += 1
    data["new"] = {"of": ["another", "version"]}
    if "entries" in data:
        data["entries"].append({"kind": "new", "arguments": {}, "facts": {"new": 1},
                                "state": "done", "new": 1})


async def words_of(host: Host, name: str) -> str:
    """The state of a vimage, in status's words."""
    return str((await rows(host.machine))[name]["state"])


# -- older records ----------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Host:
    """Five vimages run that the version before format levels has started."""
    machine = Machine(tmp_path, "bridge")
    machine.kernel.close()
    machine.variables = records.restore(tmp_path, "level0.json")
    machine.kernel = SimulatedKernel(tmp_path)
    machine.control = HostControl(machine.kernel)
    return Host(machine)


NAMES = records.CONFIGURATION["vimage_list"].split()


def test_old_records_are_taken_over_and_stopped(old: Host) -> None:
    async def play() -> None:
        processes = old.machine.control.processes()
        async with old.serving():
            shown = await rows(old.machine)
            assert {name: row["state"] for name, row in shown.items()} == dict.fromkeys(
                NAMES, "ready")
            assert [name for name, row in shown.items() if row["changed"]] == []
            reply = await ask(old.machine, "reload")
            assert (reply.status, reply.out, reply.err) == (0, "", "")
            reply = await ask(old.machine, "start")
            assert reply.lines == sorted(f"{name} already ready" for name in NAMES)
            await asyncio.sleep(100)
            assert old.machine.control.processes() == processes
            reply = await ask(old.machine, "stop")
            assert (reply.status, reply.err) == (0, "")
            assert reply.lines == sorted(f"{name} stopped" for name in NAMES)
            await old.until_it_ends()
        assert difference(old.machine.before, old.machine.look()) == []

    old.play(play)


def test_old_records_survive_another_service(old: Host) -> None:
    """Each service finds what the one before it has made of them."""
    async def play() -> None:
        for name in NAMES:
            async with old.serving():
                if name != "lan":  # it depends on twice
                    assert (await ask(old.machine, "stop", name)).status == 0
                    assert name not in await running(old)
        assert difference(old.machine.before, old.machine.look()) == []

    old.play(play)


async def running(host: Host) -> list[str]:
    return [name for name, row in (await rows(host.machine)).items() if row["state"] != "stopped"]


@pytest.mark.parametrize("state", ["starting", "stopping"])
@pytest.mark.parametrize("name", NAMES)
def test_an_old_record_of_something_half_done_is_undone(old: Host, name: str,
                                                        state: str) -> None:
    def half(data: Facts) -> None:
        data["state"] = state
        data["entries"][-1]["state"] = "begun"

    async def play() -> None:
        edit(old.state_file(f"vimages/{name}.json"), half)
        async with old.serving():
            while name in await running(old):
                await asyncio.sleep(1)
            assert sorted(await running(old)) == sorted(set(NAMES) - {name})
            assert (await ask(old.machine, "start", name)).status == 0
            assert (await ask(old.machine, "stop")).status == 0
        assert difference(old.machine.before, old.machine.look()) == []

    old.play(play)


def test_reload_changes_what_old_records_describe(old: Host) -> None:
    old.set(twice_bridges="em1", lan_addr0="10.9.0.3/24", whole_rctl="maxproc:deny=50")

    async def play() -> None:
        async with old.serving():
            reply = await ask(old.machine, "reload")
            assert (reply.status, reply.err) == (0, "")
            assert [line.split(":")[0] for line in reply.lines] == ["lan", "twice", "whole"]
            assert not old.has_node("ng1_twice:")
            assert (await ask(old.machine, "stop")).status == 0
        assert difference(old.machine.before, old.machine.look()) == []

    old.play(play)


@pytest.fixture
def two(tmp_path: Path) -> Host:
    """a and b share a bridge, a devfs and a root."""
    host = Host(Machine(tmp_path, KIND))
    host.set(devfs_enable="YES", command="/bin/sleep 1000000")
    return host


async def start_and_leave(host: Host) -> None:
    async with host.serving():
        assert (await ask(host.machine, "start")).status == 0


@pytest.mark.parametrize("fields", [["cpus"], ["procfs_enable"], ["cpus", "rctl", "securelevel",
                                                                 "vnets", "health"]])
def test_a_field_that_an_older_version_did_not_have_is_no_change(old: Host,
                                                                 fields: list[str]) -> None:
    def without(data: Facts) -> None:
        for field in fields:
            data["configuration"].pop(field)

    async def play() -> None:
        edit(old.state_file("vimages/lan.json"), without)
        async with old.serving():
            shown = await rows(old.machine)
            assert (shown["lan"]["state"], shown["lan"]["changed"]) == ("ready", False)
            reply = await ask(old.machine, "reload")
            assert (reply.status, reply.out, reply.err) == (0, "", "")
            assert (await ask(old.machine, "stop")).status == 0
        assert difference(old.machine.before, old.machine.look()) == []

    old.play(play)


# -- newer records ----------------------------------------------------------------------------


def test_records_carry_a_level(two: Host) -> None:
    async def play() -> None:
        await start_and_leave(two)
        for part in ("vimages/a.json", "shared/bridge.em1.json", "service/list.json"):
            assert isinstance(content(two.state_file(part)).get("level"), int), part

    two.play(play)


def test_a_newer_record_of_a_vimage(two: Host) -> None:
    """It is left alone, and so is what it uses; everything else is served."""
    async def play() -> None:
        await start_and_leave(two)
        file = two.state_file("vimages/a.json")
        was = edit(file, one_level_up)
        newer, jid, pid = file.read_bytes(), two.jid("a"), two.program("a")
        async with two.serving():
            assert await words_of(two, "a") == "unknown to this version"
            assert await words_of(two, "b") == "ready"
            for verb in ("start", "stop", "restart"):
                reply = await ask(two.machine, verb, "a")
                assert reply.status == 1, (verb, reply)
                assert "version" in reply.err and "a" in reply.err, (verb, reply)
            assert (await ask(two.machine, "status", "a")).status == 0
            assert "unknown to this version" in (await ask(two.machine, "status")).out
            reply = await ask(two.machine, "start")  # of all
            assert reply.status == 1 and "b already ready" in reply.out
            reply = await ask(two.machine, "reload")
            assert "b" not in reply.out
            for _ in range(2):
                assert (await ask(two.machine, "stop", "b")).status == 0
                assert not two.has_node("ng0_b:")
                assert two.has_node("em1bridge:") and two.has_node("em1:lower")
                assert two.has_node("ng0_a:") and two.has_node("ng1_a:")
                assert _mounted(two, "/usr/jail/r/dev")
                assert (await ask(two.machine, "start", "b")).status == 0
            two.set(b_bridges="em1 igb1 em1")
            assert (await ask(two.machine, "reload")).out == "b: applied: links\n"
            await asyncio.sleep(100)
            assert (two.jid("a"), two.program("a")) == (jid, pid)
            reply = await ask(two.machine, "stop")
            assert reply.status == 1 and "b stopped" in reply.out and "version" in reply.err
        assert file.read_bytes() == newer
        assert (two.jid("a"), two.program("a")) == (jid, pid)
        file.write_bytes(was)  # the newer version is installed again
        async with two.serving():
            assert await words_of(two, "a") == "ready"
            assert (await ask(two.machine, "stop")).status == 0
        assert difference(two.machine.before, two.machine.look()) == []

    two.play(play)


def _mounted(host: Host, directory: str) -> bool:
    return any(mount.directory == directory for mount in host.machine.kernel.mounts())


def test_a_shutdown_ends_the_processes_of_a_newer_record(two: Host) -> None:
    async def play() -> None:
        await start_and_leave(two)
        edit(two.state_file("vimages/a.json"), one_level_up)
        async with two.serving():
            await ask(two.machine, "stop", shutdown=True)
        assert [p for p in two.machine.control.processes() if p[1]] == []

    two.play(play)


def test_a_newer_record_of_a_shared_thing(two: Host) -> None:
    """A bridge that this version does not understand is in use, and is left alone."""
    two.set(list="a b c", c_rootdir="/usr/jail/r", c_bridges="igb1")

    async def play() -> None:
        async with two.serving():
            await ask(two.machine, "start", "a", "c")
        file = two.state_file("shared/bridge.em1.json")
        was = edit(file, one_level_up)
        newer = file.read_bytes()
        async with two.serving():
            assert await words_of(two, "c") == "ready"
            reply = await ask(two.machine, "restart", "c")
            assert reply.status == 0 and "c ready" in reply.out
            await ask(two.machine, "stop", "a")
            assert two.has_node("em1bridge:") and two.has_node("em1:lower")
            reply = await ask(two.machine, "start", "b")  # would have to join the bridge
            assert reply.status == 1 and "version" in reply.err
            assert (await ask(two.machine, "stop", "c")).status == 0
            assert not two.has_node("igb1bridge:")
        assert file.read_bytes() == newer
        file.write_bytes(was)
        async with two.serving():
            await ask(two.machine, "start", "a")
            assert (await ask(two.machine, "stop")).status == 0
        assert difference(two.machine.before, two.machine.look()) == []

    two.play(play)


def test_newer_remembered_values(two: Host) -> None:
    """What the service remembers is no reason not to serve."""
    two.set(a_restart="on-failure")

    async def play() -> None:
        await start_and_leave(two)
        files = [two.state_file(f"service/{name}.json") for name in ("list", "restart.a")]
        files[1].write_bytes(files[0].read_bytes())
        for file in files:
            edit(file, one_level_up)
        async with two.serving():
            assert {await words_of(two, name) for name in "ab"} == {"ready"}
            assert (await ask(two.machine, "restart", "b")).status == 0
            assert (await ask(two.machine, "reload")).status == 0
            two.machine.control.remove_jail(two.jid("a"))
            await asyncio.sleep(100)
            assert await words_of(two, "a") == "ready"
            assert (await ask(two.machine, "stop")).status == 0

    two.play(play)


@pytest.mark.parametrize("state", ["ready", "stopping"])
def test_a_step_that_nobody_knows(two: Host, state: str) -> None:
    """However it came there, the service does not die of it, and serves the others."""
    def pipe(data: Facts) -> None:
        data["entries"].append({"kind": "unheard", "arguments": {"x": 1}, "facts": {},
                                "state": "done"})
        data["state"] = state

    async def play() -> None:
        await start_and_leave(two)
        edit(two.state_file("vimages/a.json"), pipe)
        async with two.serving():
            reply = await ask(two.machine, "stop", "a")
            assert reply.status == 1 and "internal" not in reply.err and reply.err
            assert (await ask(two.machine, "restart", "b")).status == 0
            assert two.has_node("em1bridge:")
            assert (await ask(two.machine, "stop", "b")).status == 0
            assert two.listening()

    two.play(play)
