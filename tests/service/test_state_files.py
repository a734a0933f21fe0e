"""The state directory: a full disk, a file that cannot be read, a file that goes."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lib.snapshot import difference
from tests.service.conftest import Host, ask, rows
from vimage.main import main


@contextmanager
def full_disk(host: Host) -> Iterator[None]:
    """No file below the state directory can be made or made longer."""
    directory, real = str(host.state_file("")), os.open

    def full(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & os.O_CREAT and str(path).startswith(directory):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, flags, *args, **kwargs)

    os.open = full
    try:
        yield
    finally:
        os.open = real


def replug(host: Host, name: str) -> None:
    """Pull a card out and put it in again."""
    mac = host.machine.kernel.if_get(name).mac
    host.machine.control.detach(host.machine.kernel.if_get(name).driver)
    host.machine.control.attach(name, mac)


# -- a full disk, and room again --------------------------------------------------------------


def test_what_could_not_be_remembered_is_written_when_there_is_room(host: Host) -> None:
    """The list that a reload found decides what a later one stops, also by a service that
    comes after this one: c was taken off it while the disk was full."""
    host.set(list="a b c", c_rootdir="/usr/jail/r")

    async def play() -> None:
        async with host.serving():
            assert (await ask(host.machine, "start")).status == 0
            host.set(list="a b")
            with full_disk(host):
                reply = await ask(host.machine, "reload")
                assert "c stopped" in reply.out
                await asyncio.sleep(100)
            await asyncio.sleep(600)
        async with host.serving():
            assert (await ask(host.machine, "start", "c")).status == 0  # by its name
            assert (await ask(host.machine, "reload")).out == ""
            assert (await rows(host.machine))["c"]["state"] == "ready"

    host.play(play)


def test_it_is_written_without_being_asked(host: Host) -> None:
    """As soon as there is room: the service tries again by itself."""
    host.set(a_restart="on-failure", a_command="/bin/sleep 100000")

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            with full_disk(host):
                host.machine.control.remove_jail(host.jid("a"))
                await asyncio.sleep(30)
                assert (await rows(host.machine))["a"]["state"] != "ready"
            await asyncio.sleep(600)
            assert (await rows(host.machine))["a"]["state"] == "ready"
        async with host.serving():
            assert {row["state"] for row in (await rows(host.machine)).values()} == {"ready"}
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


def test_a_card_that_goes_while_the_disk_is_full(host: Host) -> None:
    """It is back on its bridge once there is room."""
    async def play() -> None:
        replug(host, "em1")  # a card is as it comes, not as the host booted
        before = host.machine.look()
        async with host.serving():
            await ask(host.machine, "start", "a")
            card = host.machine.kernel.if_get("em1")
            with full_disk(host):
                host.machine.control.detach(card.driver)
                await asyncio.sleep(10)
            host.machine.control.attach("em1", card.mac)
            await asyncio.sleep(100)
            assert host.machine.kernel.ng_node("em1:lower").name == "em1bridge"
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(before, host.machine.look()) == []

    host.play(play)


def test_a_card_that_goes_and_returns_while_the_disk_is_full(host: Host) -> None:
    async def play() -> None:
        replug(host, "em1")
        before = host.machine.look()
        async with host.serving():
            await ask(host.machine, "start", "a")
            with full_disk(host):
                replug(host, "em1")
                await asyncio.sleep(10)
            await asyncio.sleep(100)
            assert host.machine.kernel.ng_node("em1:lower").name == "em1bridge"
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(before, host.machine.look()) == []

    host.play(play)


@pytest.mark.parametrize("verb, words", [("start", []), ("restart", ["a"]), ("reload", []),
                                         ("stop", ["a"])])
def test_each_verb_on_a_full_disk(host: Host, verb: str, words: list[str]) -> None:
    """What needs a record is not begun; what takes away works; afterwards all is well."""
    async def play() -> None:
        async with host.serving():
            if verb != "start":
                assert (await ask(host.machine, "start")).status == 0
            before = host.machine.look()
            host.set(a_bridges="em1 em1 igb1")
            with full_disk(host):
                reply = await ask(host.machine, verb, *words)
                if verb == "stop":
                    assert reply.status == 0
                else:
                    assert reply.status in (1, 2) and "No space left" in reply.err
                if verb in ("start", "reload"):
                    assert difference(before, host.machine.look()) == []
            reply = await ask(host.machine, "start")
            assert reply.status == 0
            assert (await ask(host.machine, "reload")).status == 0
            assert (await ask(host.machine, "stop")).status == 0
        assert difference(host.machine.before, host.machine.look()) == []

    host.play(play)


# -- one file that is not as it should be -----------------------------------------------------


def damage(file: Path) -> None:
    file.write_bytes(b"00000000\n{}")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:40])


def make_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def make_link_to_nothing(file: Path) -> None:
    file.unlink()
    file.symlink_to("/nonexistent/record")


@pytest.mark.parametrize("part", ["vimages/a.json", "shared/bridge.igb1.json",
                                  "service/list.json"])
@pytest.mark.parametrize("spoil", [damage, cut, make_directory, make_link_to_nothing])
def test_one_unreadable_record_hides_no_other(host: Host, spoil, part: str) -> None:
    """b is served, whatever has become of another file; nothing is guessed."""
    host.set(list="a b c", b_bridges="em1", c_rootdir="/usr/jail/r", a_bridges="igb1")

    async def play() -> None:
        async with host.serving():
            assert (await ask(host.machine, "start")).status == 0
        jids = {name: host.jid(name) for name in "bc"}
        spoil(host.state_file(part))
        async with host.serving():
            shown = await rows(host.machine)
            assert {name: shown[name]["state"] for name in "bc"} == {"b": "ready", "c": "ready"}
            assert {name: host.jid(name) for name in "bc"} == jids
            reply = await ask(host.machine, "restart", "b", "c")
            assert reply.status == 0, reply
            assert (await ask(host.machine, "stop", "b", "c")).status == 0
            assert not host.has_node("em1bridge:")

    host.play(play)


@pytest.mark.parametrize("spoil", [damage, cut, make_directory, make_link_to_nothing])
def test_one_unreadable_record_and_the_command_alone(host: Host, spoil) -> None:
    """The command without a service is no worse."""
    conf = host.machine.directory / "rc.conf"
    conf.write_text('vimage_list="a b"\nvimage_boot="none"\nvimage_devfs_enable="NO"\n'
                    'vimage_a_rootdir="/usr/jail/r"\nvimage_b_rootdir="/usr/jail/r"\n')
    host.machine.kernel.close()

    def vimage(*words: str) -> int:
        return main(["--simulated-host", str(host.machine.directory), "-f", str(conf), *words])

    assert vimage("start") == 0
    spoil(host.state_file("vimages/a.json"))
    assert vimage("status") == 0
    assert vimage("stop", "b") == 0
    assert vimage("start", "b") == 0


def test_a_reader_beside_a_service_that_stops(host: Host, capsys: pytest.CaptureFixture[str],
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that goes between the list of files and its reading hides no other."""
    conf = host.machine.directory / "rc.conf"
    conf.write_text('vimage_list="a b c"\nvimage_boot="none"\nvimage_devfs_enable="NO"\n' + "".join(
        f'vimage_{name}_rootdir="/usr/jail/r"\n' for name in "abc"))
    host.machine.kernel.close()
    words = ["--simulated-host", str(host.machine.directory), "-f", str(conf)]
    assert main([*words, "start"]) == 0
    for function in ("listdir", "scandir"):
        monkeypatch.setattr(os, function, _slow(getattr(os, function), host))
    capsys.readouterr()
    assert main([*words, "status"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[:2] for line in shown.splitlines()[1:]] == [
        ["a", "stopped"], ["b", "ready"], ["c", "ready"]]


def _slow(real, host: Host):
    def slow(path: object = ".") -> object:
        found = list(real(path))
        if str(path).rstrip("/").endswith("vimages"):
            host.state_file("vimages/a.json").unlink(missing_ok=True)  # it was stopped just now
        return _Context(found) if real.__name__ == "scandir" else found
    return slow


class _Context(list):  # type: ignore[type-arg]
    """What scandir gives is closed by ``with``."""

    def __enter__(self) -> _Context:
        return self

    def __exit__(self, *_: object) -> None:
        pass
