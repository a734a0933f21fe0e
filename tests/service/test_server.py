"""The control socket: clients that die, do not read, come too late."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.service.conftest import Host, ask, decode
from vimage import events
from vimage.events import Sink
from vimage.service import server as servers
from vimage.service import wire
from vimage.service.server import Request, Server, ServiceEnding

Handler = Callable[[Request, Sink], Awaitable[int]]


@asynccontextmanager
async def serving(path: Path, handle: Handler) -> AsyncIterator[Server]:
    server = Server(str(path / "control"), handle, lambda _: True, logging.getLogger("test"))
    await server.open()
    try:
        yield server
    finally:
        await server.close(1.0)


async def send(server: Server, octets: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(octets)
    return reader, writer


async def answer(server: Server, octets: bytes = wire.request("start")) -> list[dict[str, Any]]:
    """The events of the answer."""
    reader, writer = await send(server, octets)
    buffer = await reader.read(-1)
    writer.close()
    return list(decode(buffer).events)


def play(act: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(act, 30)

    asyncio.run(bounded())


def test_a_request_for_the_next_service(tmp_path):
    async def handle(request: Request, client: Sink) -> int:
        client.send(events.begin("start", 1))
        raise ServiceEnding

    async def act() -> None:
        async with serving(tmp_path, handle) as server:
            assert (await answer(server))[-1] == {"event": "again"}

    play(act())


def test_who_asks_when_the_server_closes_is_sent_to_the_next(tmp_path):
    asked = []

    async def handle(request: Request, client: Sink) -> int:
        asked.append(request)
        return 0

    async def act() -> None:
        async with serving(tmp_path, handle) as server:
            reader, writer = await send(server, b"")
            await asyncio.sleep(0.1)
            closing = asyncio.create_task(server.close(5.0))
            await asyncio.sleep(0)
            writer.write(wire.request("start"))
            assert await reader.read(-1) == wire.event({"event": "again"})
            writer.close()
            await closing
            assert asked == []

    play(act())


def test_a_mistake_in_a_handler_is_reported_and_logged(tmp_path, caplog):
    async def handle(request: Request, client: Sink) -> int:
        raise RuntimeError("mistake")

    async def act() -> None:
        async with serving(tmp_path, handle) as server:
            problem, end = await answer(server)
            assert problem["problem"]["text"] == "the service: an internal error; see its log"
            assert end == {"event": "end", "status": 1}

    play(act())
    assert "mistake" in caplog.text


@pytest.mark.parametrize("abort", [True, False])
def test_the_death_of_a_client_cancels_nothing(tmp_path, abort):
    done = asyncio.Event()
    begun = asyncio.Event()

    async def handle(request: Request, client: Sink) -> int:
        client.send(events.begin("start", 1))
        begun.set()
        for _ in range(10):
            await asyncio.sleep(0.02)
            client.send(events.say("x" * 100_000))
        done.set()
        return 0

    async def act() -> None:
        async with serving(tmp_path, handle) as server:
            _, writer = await send(server, wire.request("start"))
            await begun.wait()
            if abort:
                writer.transport.abort()
            else:
                writer.close()
            await done.wait()

    play(act())


def test_a_client_that_does_not_read_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(servers, "BACKLOG", 100_000)
    gone: list[bool] = []

    async def handle(request: Request, client: Any) -> int:
        for _ in range(100):
            client.send(events.say("x" * 10_000))
        gone.append(client.gone)
        client.send(events.say("nothing comes of this"))
        return 0

    async def act() -> None:
        async with serving(tmp_path, handle) as server:
            reader, writer = await send(server, wire.request("start"))
            while not gone:
                await asyncio.sleep(0.01)
            with contextlib.suppress(ConnectionError):
                await reader.read(-1)
            writer.close()

    play(act())
    assert gone == [True]


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "reload"])
def test_what_a_dead_client_has_asked_for_is_done(host: Host, verb: str) -> None:
    host.machine.variables |= {"vimage_a_exec_start": "sleep 5", "vimage_a_exec_prestop": "sleep 5"}

    async def play() -> None:
        async with host.serving() as service:
            records = service.session.journal.records
            if verb != "start":
                await ask(host.machine, "start")
            before = {name: record.jid for name, record in records.items()}
            if verb == "reload":
                host.machine.variables["vimage_a_bridges"] = "em1"
            _, writer = await asyncio.open_unix_connection(service.server.path)
            writer.write(wire.request(verb, ["a"] if verb != "reload" else []))
            await writer.drain()
            await asyncio.sleep(1)
            writer.transport.abort()
            await asyncio.sleep(60)
            if verb == "stop":
                assert set(records) == {"b"}
                return
            assert records["a"].state == "ready"
            assert (records["a"].jid == before.get("a")) == (verb == "reload")
            if verb == "reload":
                with pytest.raises(FileNotFoundError):
                    host.machine.kernel.ng_node("ng1_a:")

    host.play(play)
