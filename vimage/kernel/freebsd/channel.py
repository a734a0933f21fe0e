"""Messages with descriptors between the service and its helper process.

A message is a tuple of plain values; on the stream socket it is a header (length of the
payload and number of descriptors, both 32 bits little-endian) and the payload (marshal:
both ends are the same Python, and nobody else holds the socket).  Descriptors travel with
the first byte of their message (SCM_RIGHTS) and therefore never arrive after it.
"""

from __future__ import annotations

import marshal
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Any

_HEADER = struct.Struct("<II")
_MAX_FDS = 8
_SPACE = socket.CMSG_SPACE(4 * _MAX_FDS)
_BUFFER = 256 * 1024


class Channel:
    """One end.  Nothing blocks: what the socket does not take is kept for ``flush``."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._unsent: deque[tuple[memoryview, list[int]]] = deque()
        self._data = bytearray()
        self._fds: deque[int] = deque()

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()
        for _, fds in self._unsent:
            _close(fds)
        self._unsent.clear()
        _close(self._fds)
        self._fds.clear()

    def send(self, message: tuple[Any, ...], fds: Sequence[int] = ()) -> bool:
        """Send a message; whether all is sent.  The caller keeps its descriptors.

        Errors: EPIPE, ECONNRESET the other end is closed.
        """
        payload = marshal.dumps(message)
        data = memoryview(_HEADER.pack(len(payload), len(fds)) + payload)
        if not self._unsent:
            sent = self._send_some(data, fds)
            if sent == len(data):
                return True
            data, fds = data[sent:], () if sent else fds
        self._unsent.append((data, [os.dup(fd) for fd in fds]))
        return False

    def flush(self) -> bool:
        """Send more of what is kept; whether all is sent."""
        while self._unsent:
            data, fds = self._unsent.popleft()
            sent = self._send_some(data, fds)
            if sent:
                _close(fds)
                fds = []
            if sent < len(data):
                self._unsent.appendleft((data[sent:], fds))
                return False
        return True

    def _send_some(self, data: memoryview, fds: Sequence[int]) -> int:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"<{len(fds)}i", *fds))]
        try:
            return self.socket.sendmsg([data], rights if fds else [])
        except BlockingIOError:
            return 0

    def receive(self) -> list[tuple[tuple[Any, ...], list[int]]]:
        """The messages that have arrived.  Raises EOFError when the other end is closed
        and everything it sent has been given out."""
        ended = False
        while True:
            try:
                data, controls, _, _ = self.socket.recvmsg(65536, _SPACE, _CLOEXEC)
            except BlockingIOError:
                break
            except ConnectionError:
                data, controls = b"", []
            for level, kind, rights in controls:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    count = len(rights) // 4
                    self._fds.extend(struct.unpack_from(f"<{count}i", rights))
            if not data:
                ended = True
                break
            self._data += data
        messages = self._messages()
        if ended and not messages:
            raise EOFError
        return messages

    def _messages(self) -> list[tuple[tuple[Any, ...], list[int]]]:
        messages = []
        while len(self._data) >= _HEADER.size:
            length, count = _HEADER.unpack_from(self._data)
            end = _HEADER.size + length
            if len(self._data) < end:
                break
            message = marshal.loads(self._data[_HEADER.size:end])
            messages.append((message, [self._fds.popleft() for _ in range(count)]))
            del self._data[:end]
        return messages


_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def _close(fds: Sequence[int] | deque[int]) -> None:
    for fd in fds:
        os.close(fd)


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends, closed on exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
