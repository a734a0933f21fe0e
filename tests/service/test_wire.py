"""The wire: requests and events as octets, with and without the C part of json."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.service.conftest import Host, ask, raw
from vimage.service import wire
from vimage.service.server import OldVersion, Request, parse

NAMES = ["a", 'q"\\', "\0\n", "\udcfc", "\N{GRINNING FACE}", ""]


def body(frame: bytes) -> bytes:
    found = wire.split(frame)
    assert found is not None and found[2] == b""
    return found[1]


@pytest.fixture(params=[True, False], ids=["_json", "json"])
def c_part(request, monkeypatch):
    if not request.param:
        monkeypatch.setitem(sys.modules, "_json", None)


def test_a_request_there_and_back(c_part):
    octets = wire.request("restart", NAMES, "/etc/r\udcfc")
    assert octets[:1] == b"q"
    assert json.loads(body(octets)) == {
        "version": 2, "verb": "restart", "names": NAMES, "file": "/etc/r\udcfc", "options": {}}
    assert parse(body(octets)) == Request("restart", tuple(NAMES), "/etc/r\udcfc")
    assert parse(body(wire.request("stop", options=["shutdown"]))) == Request(
        "stop", options=frozenset({"shutdown"}))
    assert parse(body(wire.request("status"))) == Request("status")


def test_an_event_there_and_back(c_part):
    event = {"event": "status", "rows": [{"jid": 3, "load": 1.5, "up": True, "root": None,
                                          "name": "\udcfc\N{GRINNING FACE}"}]}
    assert wire.object_of(body(wire.event(event))) == event


@pytest.mark.parametrize("octets", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000, b"{}x"[:1]])
def test_what_is_not_an_object(c_part, octets):
    with pytest.raises(ValueError, match="."):
        wire.object_of(octets)


@pytest.mark.parametrize("change, reason", [
    ({"version": 3}, "speaks version 2, not 3"), ({"version": "2"}, "speaks version 2"),
    ({"verb": ""}, "unknown verb ''"), ({"verb": "plan"}, "unknown verb 'plan'"),
    ({"verb": "reload", "names": ["a"]}, "reload takes no arguments"),
    ({"verb": "stop", "names": ["a"], "options": {"shutdown": True}}, "takes no names"),
    ({"verb": "stop", "options": {"shutdown": True, "service_only": True}}, "together"),
    ({"options": {"shutdown": True}}, "start does not take the option 'shutdown'"),
    ({"verb": "reexec", "file": "/x"}, "reexec does not take -f"),
    ({"verb": 1}, "no verb"), ({"names": "a"}, "names are not"),
    ({"names": [1]}, "names are not"), ({"file": "rc.conf"}, "not an absolute path"),
    ({"file": "/a\0b"}, "not an absolute path"),
    ({"options": {"shutdown": "yes"}}, "neither true nor false"), ({"options": []}, "neither"),
])
def test_what_is_refused(change, reason):
    request = {"version": 2, "verb": "start", "names": [], "file": None, "options": {}, **change}
    with pytest.raises(ValueError, match=reason):
        parse(json.dumps(request).encode())


def test_a_client_of_version_1_is_answered_in_its_own_way(host: Host) -> None:
    with pytest.raises(OldVersion):
        parse(b"1\0\0\0start")

    async def play() -> None:
        async with host.serving():
            reply = await raw(host.machine, wire.request_1(["start"]))
            assert reply.status == 2
            assert reply.err == ("vimage: the service has been upgraded; run the installed "
                                 "version of vimage\n")
            assert reply.events == ()

    host.play(play)


def test_the_end_is_the_last_event(host: Host) -> None:
    async def play() -> None:
        async with host.serving():
            reply = await ask(host.machine, "start")
            assert [event["event"] for event in reply.events] == [
                "begin", "result", "result", "end"]
            assert reply.events[0] == {"event": "begin", "verb": "start", "count": 2}

    host.play(play)


def test_the_quick_path_reads_json_without_the_package_json():
    code = ("import sys; from vimage.service import wire; wire.request('start', ['a']);"
            "wire.object_of(b'{\"event\": [1]}');"
            "assert not {'json', 're', 'typing', 'enum'} & set(sys.modules)")
    subprocess.run([sys.executable, "-S", "-c", code], check=True)
