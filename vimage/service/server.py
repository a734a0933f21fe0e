"""The control socket: who may speak, what is said, and that a client can do no harm."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from vimage.service import wire

#: Seconds a client may take to send its request.
PATIENCE = 10.0

#: Bytes that may wait for a client that does not read; then it is left behind.
BACKLOG = 4 * 1024 * 1024


class Request(NamedTuple):
    """What a client asks for."""

    verb: str
    names: tuple[str, ...]
    file: str | None = None
    terminal: bool = False
    rc: bool = False
    json: bool = False
    shutdown: bool = False


def parse(body: bytes) -> Request:
    """The body of a request frame.  Raises ValueError with words for the client."""
    try:
        version, flags, file, *arguments = body.decode("utf-8").split("\0")
    except (UnicodeDecodeError, ValueError):
        raise ValueError("this is no request") from None
    if version != wire.VERSION:
        raise ValueError(f"the service speaks version {wire.VERSION}, not {version[:16]!r}")
    if not arguments:
        raise ValueError("no verb")
    if file and not file.startswith("/"):
        raise ValueError("the file must be an absolute path")
    return Request(arguments[0], tuple(dict.fromkeys(arguments[1:])), file or None,
                   "t" in flags, "r" in flags, "j" in flags, "d" in flags)


class Client:
    """One connection, as a sink for output."""

    def __init__(self, writer: asyncio.StreamWriter, terminal: bool = False) -> None:
        self._writer = writer
        self.terminal = terminal

    def out(self, text: str) -> None:
        self._send(b"o", text)

    def err(self, text: str) -> None:
        self._send(b"e", text)

    def exit(self, status: int) -> None:
        """The last frame."""
        self._send(b"x", str(status))

    def _send(self, kind: bytes, text: str) -> None:
        if self._writer.is_closing():
            return
        if self._writer.transport.get_write_buffer_size() > BACKLOG:
            self._writer.transport.abort()
            return
        self._writer.write(wire.frame(kind, text.encode("utf-8", "replace")))


Handler = Callable[[Request, Client], Awaitable[int]]
Allowed = Callable[[socket.socket], bool]


class Server:
    """Accepts clients and hands their requests to ``handle``."""

    def __init__(self, path: str, handle: Handler, allowed: Allowed,
                 log: logging.Logger) -> None:
        self.path = path
        self._handle = handle
        self._allowed = allowed
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

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
        """Stop listening; let those who are being answered finish.

        Who takes longer than ``patience`` seconds is cut short, and what was begun for them
        undone.  None: as long as it takes.
        """
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        if self._server is not None:
            self._server.close()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client has gone
        except Exception:
            self._log.exception("a request failed")
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await writer.drain()
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(writer)
        if not self._allowed(writer.get_extra_info("socket")):
            client.err("vimage: only root of the host may speak to the service\n")
            client.exit(2)
            return
        try:
            request = parse(await self._read(reader))
        except ValueError as error:
            client.err(f"vimage: the service: {error}\n")
            client.exit(2)
            return
        client.terminal = request.terminal
        try:
            status = await self._handle(request, client)
        except Exception:
            self._log.exception("%s failed", request.verb)
            client.err("vimage: the service: an internal error; its log has the details\n")
            status = 1
        client.exit(status)

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(PATIENCE):
            header = await reader.readexactly(wire.HEADER)
            length = int.from_bytes(header[1:], "big")
            if header[:1] != b"q":
                raise ValueError("this is no request")
            if length > wire.LONGEST:
                raise ValueError(f"a request has at most {wire.LONGEST} bytes")
            return await reader.readexactly(length)
