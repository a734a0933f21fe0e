"""Octets that no client would send and state files that nobody would write."""

from __future__ import annotations

import contextlib
import io
import json
import random
from pathlib import Path

from tests.lib.snapshot import difference
from tests.service.conftest import Host, ask, raw
from vimage.journal import Journal, Record
from vimage.service import wire
from vimage.service.server import parse

SEED = 20260727
CASES = 100_000

WORDS = ["start", "stop", "status", "reload", "restart", "reexec", "a", "b", "\0", "-f", "../..",
         "\udcff", "", "a" * 300, "%s", "{}", "\n", "'", '"', "$(reboot)", ";", 1, None, [], {}]
FILES = [None, "/etc/rc.conf", "relative", "", 3]
OPTIONS = [{}, {"shutdown": True}, {"service_only": False}, {"x": 1}, [], None, "shutdown"]


def _body(random_: random.Random) -> bytes:
    """A request that may be right, nearly right, or noise."""
    kind = random_.randrange(5)
    if kind == 0:
        return random_.randbytes(random_.randrange(64))
    request = {"version": random_.choice([2, 2, 2, 1, 3, "2", None]),
               "verb": random_.choice(WORDS),
               "names": random_.choices(WORDS, k=random_.randrange(4)),
               "file": random_.choice(FILES), "options": random_.choice(OPTIONS)}
    for name in random_.sample(sorted(request), random_.choice([0, 0, 1, 2])):
        del request[name]
    if kind == 1:
        return "\0".join(["1", "", "", *map(str, request.values())]).encode("utf-8", "replace")
    body = bytearray(json.dumps(request).encode())
    if kind == 2:
        body[random_.randrange(len(body))] = random_.randrange(256)
    elif kind == 3:
        body = body.replace(b'"names": [', b'"names": ' + b"[" * random_.randrange(3000))
    return bytes(body)


def test_bodies_are_parsed_or_refused_in_words() -> None:
    random_ = random.Random(SEED)
    refused = 0
    for _ in range(CASES):
        body = _body(random_)
        try:
            request = parse(body)
        except ValueError as error:
            assert str(error)
            refused += 1
        else:
            assert isinstance(request.verb, str) and request.verb
            assert all(isinstance(name, str) for name in request.names)
    assert 0 < refused < CASES


def _frame(random_: random.Random) -> bytes:
    """A frame whose header, length or body may be wrong."""
    body = _body(random_)
    kind = random_.randrange(4)
    if kind == 0:
        return random_.randbytes(random_.randrange(40))
    if kind == 1:
        return wire.frame(bytes([random_.randrange(256)]), body)
    if kind == 2:
        return b"q" + random_.randrange(2 ** 32).to_bytes(4, "big") + body
    return wire.frame(b"q", body)


#: What must not be asked for at random: it ends the service or its vimages, rightly.
_ENDING = (b"stop", b"reexec", b"restart")


def test_the_service_answers_every_frame_and_goes_on(host: Host) -> None:
    async def play() -> None:
        random_ = random.Random(SEED)
        async with host.serving() as service:
            await ask(host.machine, "start")
            before = host.machine.look()
            said = io.StringIO()
            with contextlib.redirect_stderr(said):
                for _ in range(1500):
                    octets = _frame(random_)
                    if not any(word in octets for word in _ENDING):
                        reply = await raw(host.machine, octets)
                        assert "Traceback" not in reply.err + reply.out
                        assert "internal error" not in reply.err, octets
            assert said.getvalue() == ""
            assert not service.ended.is_set()
            assert difference(before, host.machine.look()) == []
            assert (await ask(host.machine, "status")).status == 0

    host.play(play)


def test_a_thousand_clients_at_once(host: Host) -> None:
    import asyncio

    async def play() -> None:
        async with host.serving():
            await ask(host.machine, "start")
            replies = await asyncio.gather(*(ask(host.machine, "status") for _ in range(300)))
            assert {reply.status for reply in replies} == {0}

    host.play(play)


def _damage(random_: random.Random, whole: bytes) -> bytes:
    data = bytearray(whole)
    for _ in range(random_.randrange(1, 4)):
        kind = random_.randrange(4)
        at = random_.randrange(len(data)) if data else 0
        if kind == 0 and data:
            data[at] = random_.randrange(256)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = random_.choice([b"{}", b"null", b"[[[[", b"1e999", b'"', b"-1"])
        elif data:
            del data[at:at + random_.randrange(20)]
    return bytes(data)


def test_damaged_state_is_set_aside_never_guessed_at(tmp_path: Path) -> None:
    random_ = random.Random(SEED)
    journal = Journal(tmp_path, "boot")
    journal.open(write=True)
    journal.write(Record("a", "ready", configuration={"rootdir": "/", "links": [{"name": "x"}]}))
    journal.write_shared("bridge.em0", {"node": 3})
    journal.close()
    files = {path: path.read_bytes() for path in tmp_path.glob("*/*.json")}
    assert len(files) == 2
    for _ in range(CASES // 12):
        for path, whole in files.items():
            path.write_bytes(_damage(random_, whole))
        journal = Journal(tmp_path, "boot")
        journal.open(write=True)
        damaged = {path for path, whole in files.items()
                   if not path.exists() or path.read_bytes() != whole}
        assert len(journal.set_aside) == len(damaged)
        assert len(journal.records) + len(journal.shared) == len(files) - len(damaged)
        for problem in journal.set_aside:
            assert "set aside" in str(problem)
        journal.close()
