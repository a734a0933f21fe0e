"""The control socket: checks clients and requests, and sends the answers.

A client that dies, does not read or sends garbage harms no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import socket
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from vimage import events
from vimage.commands.verbs import BY_NAME, unfit
from vimage.events import Event, Sink
from vimage.service import wire

#: Seconds a client may take to send its request.
PATIENCE = 10.0

#: Bytes that may wait for a client that does not read; with more its connection is aborted.
BACKLOG = 4 * 1024 * 1024


class Request(NamedTuple):
    """A request as ``parse`` has read and checked it."""

    verb: str
    names: tuple[str, ...] = ()
    file: str | None = None
    options: frozenset[str] = frozenset()  # those that are set


class ServiceEnding(Exception):
    """This service is ending: the client is to ask the next one."""


class OldVersion(ValueError):
    """The client speaks version 1."""


def parse(body: bytes) -> Request:
    """The body of a request frame.  Raises ValueError with a text for the client."""
    if wire.is_request_1(body):
        raise OldVersion("the service has been upgraded; run the installed version of vimage")
    try:
        found = wire.object_of(body)
    except ValueError:
        raise ValueError("not a request") from None
    version = found.get("version")
    if version != wire.VERSION:
        raise ValueError(f"the service speaks version {wire.VERSION}, not {version!r:.16}; "
                         "service vimage reexec puts the installed version in place")
    verb, names, file = found.get("verb"), found.get("names", []), found.get("file")
    options = found.get("options", {})
    if not isinstance(verb, str):
        raise ValueError("no verb")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("names are not a list of texts")
    if file is not None and not (isinstance(file, str) and file.startswith("/")
                                 and "\0" not in file):
        raise ValueError("the file is not an absolute path")
    if not isinstance(options, dict) or not all(isinstance(on, bool) for on in options.values()):
        raise ValueError("an option is neither true nor false")
    request = Request(verb, tuple(dict.fromkeys(names)), file,
                      frozenset(name for name, on in options.items() if on))
    _check(request)
    return request


def _check(request: Request) -> None:
    """Hold a request against the table of verbs, as the command does before it asks.

    Raises ValueError.
    """
    verb = BY_NAME.get(request.verb)
    if verb is None or not verb.asked:
        raise ValueError(f"unknown verb {request.verb[:40]!r}")
    for name in request.options:
        if name not in {option.name for option in verb.options}:
            raise ValueError(f"{verb.name} does not take the option {name[:40]!r}")
    given = request.options | ({"file"} if request.file else set())
    reason = unfit(verb, given, request.names)
    if reason:
        raise ValueError(reason)


class ClientSink:
    """Sends the events of one request to the client.

    When the client dies or does not read, the rest is dropped; the operation itself goes on.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._dropped = False

    @property
    def gone(self) -> bool:
        """Whether the client has gone, or was too slow."""
        return self._dropped or self._writer.is_closing()

    def send(self, event: Event) -> None:
        """Send one event.  Never raises, and never waits."""
        self.send_frames(wire.event(event))

    def send_frames(self, frames: bytes) -> None:
        """Send what is encoded already."""
        if self.gone:
            return
        if self._writer.transport.get_write_buffer_size() > BACKLOG:
            self._dropped = True
            self._writer.transport.abort()
            return
        self._writer.write(frames)


Handler = Callable[[Request, Sink], Awaitable[int]]
Allowed = Callable[[socket.socket], bool]


class Server:
    """Accepts clients and hands their requests to ``handle``.

    ``handle`` returns the exit status, or raises ServiceEnding.
    """

    def __init__(self, path: str, handle: Handler, allowed: Allowed,
                 log: logging.Logger) -> None:
        self.path = path
        self._handle = handle
        self._allowed = allowed
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._closing = False

    async def open(self) -> None:
        """Listen.  The socket appears under its name only when it is ready, mode 0600."""
        temporary = f"{self.path}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        old = os.umask(0o177)
        try:
            listener.bind(temporary)
        finally:
            os.umask(old)
        listener.setblocking(False)
        self._server = await asyncio.start_unix_server(self._accept, sock=listener, backlog=1024)
        os.rename(temporary, self.path)

    async def close(self, patience: float | None) -> None:
        """Stop listening; let the requests under way finish.

        A request that takes longer than ``patience`` seconds is cancelled; with None there is no
        limit.  A client that has connected but not asked yet is sent to the next service.
        """
        self._closing = True
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        if self._server is not None:
            await self._accept_the_rest(self._server)
            self._server.close()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    @staticmethod
    async def _accept_the_rest(server: asyncio.Server) -> None:
        """Accept the connections that wait in the kernel: they would get no answer."""
        waiting = select.poll()
        for listener in server.sockets:
            waiting.register(listener.fileno(), select.POLLIN)
        while waiting.poll(0):
            await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, ClientSink(writer), writer.get_extra_info("socket"))
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client has gone
        except Exception:
            self._log.exception("a connection failed")
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await writer.drain()
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, client: ClientSink,
                     connection: socket.socket) -> None:
        if not self._allowed(connection):
            client.send(refusal("only root of the host may speak to the service"))
            client.send(events.end(2))
            return
        try:
            request = parse(await self._read(reader))
        except OldVersion as error:
            client.send_frames(wire.refusal_1(f"vimage: {error}\n"))
            return
        except ValueError as error:
            client.send(refusal(f"the service: {error}"))
            client.send(events.end(2))
            return
        if self._closing:
            client.send(events.again())
            return
        client.send(await self._answer(request, client))

    async def _answer(self, request: Request, client: ClientSink) -> Event:
        """Carry out a request; returns the last event."""
        try:
            return events.end(await self._handle(request, client))
        except ServiceEnding:
            return events.again()
        except Exception:
            self._log.exception("%s failed", request.verb)
            client.send(refusal("the service: an internal error; see its log"))
            return events.end(1)

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(PATIENCE):
            header = await reader.readexactly(wire.HEADER)
            length = int.from_bytes(header[1:], "big")
            if header[:1] != wire.REQUEST:
                raise ValueError("not a request")
            if length > wire.LONGEST:
                raise ValueError(f"a request has at most {wire.LONGEST} bytes")
            return await reader.readexactly(length)


def refusal(text: str) -> Event:
    """An error of the connection itself, which is not in the table of messages."""
    return {"event": "problem", "problem": {"key": "", "vimage": None, "text": text,
                                            "warning": False}}
