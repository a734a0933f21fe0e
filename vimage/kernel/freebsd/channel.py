"""Messages with descriptors between the service and its helper process.

A message is a tuple of plain values; on the stream socket it is a header (length of the
payload and number of descriptors, both 32 bits little-endian) and the payload (marshal:
both ends are the same Python, and nobody else holds the socket).  Descriptors travel with
the first byte of their message (SCM_RIGHTS) and therefore never arrive after it.  Those that
the receiver has no room for (EMFILE, ENFILE) are lost; the message arrives without them.
"""

from __future__ import annotations

import errno
import marshal
import os
import socket
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

_HEADER = struct.Struct("<II")
_MAX_FDS = 8
_SPACE = socket.CMSG_SPACE(4 * _MAX_FDS)
_BUFFER = 256 * 1024

#: What FreeBSD says where there is no room for descriptors: 13 the first, 15 the others.  The
#: octets that they came with stay to be read.
_NO_ROOM = (errno.EMSGSIZE, errno.EMFILE, errno.ENFILE)

#: What arrives: a message and its descriptors; None where they were lost.
Received = tuple[tuple[Any, ...], list[int] | None]


class Channel:
    """One end.  Nothing blocks: what the socket does not take is kept for ``flush``."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._unsent: deque[tuple[memoryview, list[int]]] = deque()
        self._data = bytearray()
        self._taken = 0  # octets of the stream that have become messages
        #: Descriptors, and the part of the stream (first octet, end) that they came with.
        self._rights: deque[tuple[int, int, list[int] | None]] = deque()

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def all_sent(self) -> bool:
        """Whether nothing is kept."""
        return not self._unsent

    def close(self) -> None:
        self.socket.close()
        for _, fds in self._unsent:
            close_all(fds)
        self._unsent.clear()
        for _, _, rights in self._rights:
            close_all(rights or ())
        self._rights.clear()

    def send(self, message: tuple[Any, ...], fds: Sequence[int] = ()) -> bool:
        """Send a message; whether all is sent.  The caller keeps its descriptors.

        Errors: EPIPE, ECONNRESET the other end is closed; EMFILE and others: nothing of the
        message was sent.
        """
        payload = marshal.dumps(message)
        data = memoryview(_HEADER.pack(len(payload), len(fds)) + payload)
        if not self._unsent:
            sent = self._send_some(data, fds)
            if sent == len(data):
                return True
            data, fds = data[sent:], () if sent else fds
        self._unsent.append((data, _copies(fds)))
        return False

    def flush(self) -> bool:
        """Send more of what is kept; whether all is sent."""
        while self._unsent:
            data, fds = self._unsent[0]
            sent = self._send_some(data, fds)
            if sent:
                close_all(fds)
                fds.clear()
            if sent < len(data):
                self._unsent[0] = data[sent:], fds
                return False
            self._unsent.popleft()
        return True

    def _send_some(self, data: memoryview, fds: Sequence[int]) -> int:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"<{len(fds)}i", *fds))]
        try:
            return self.socket.sendmsg([data], rights if fds else [])
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # the kernel has no memory at this moment
                raise
            return 0

    def receive(self) -> list[Received]:
        """The messages that have arrived.  Raises EOFError when the other end is closed
        and everything it sent has been given out."""
        ended = False
        while True:
            try:
                data, controls, flags, _ = self.socket.recvmsg(65536, _SPACE, _CLOEXEC)
            except BlockingIOError:
                break
            except ConnectionError:
                data, controls, flags = b"", [], 0
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                continue
            if not data:
                ended = True
                break
            self._note(len(data), controls, lost=bool(flags & socket.MSG_CTRUNC))
            self._data += data
        messages = self._messages()
        if ended and not messages:
            raise EOFError
        return messages

    def _note(self, length: int, controls: Iterable[tuple[int, int, bytes]], *,
              lost: bool) -> None:
        """Remember the descriptors that came with the next octets."""
        fds: list[int] = []
        for level, kind, rights in controls:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                count = len(rights) // 4
                fds.extend(struct.unpack_from(f"<{count}i", rights))
        if fds or lost:
            if lost:
                close_all(fds)
            first = self._taken + len(self._data)
            self._rights.append((first, first + length, None if lost else fds))

    def _messages(self) -> list[Received]:
        messages: list[Received] = []
        while len(self._data) >= _HEADER.size:
            length, count = _HEADER.unpack_from(self._data)
            end = _HEADER.size + length
            if len(self._data) < end:
                break
            message = marshal.loads(self._data[_HEADER.size:end])
            messages.append((message, self._fds_of(self._taken, count)))
            del self._data[:end]
            self._taken += end
        return messages

    def _fds_of(self, start: int, count: int) -> list[int] | None:
        """The descriptors of the message that begins at an octet of the stream."""
        if not count:
            return []
        if not self._rights or self._rights[0][0] > start:
            return None
        _, _, fds = self._rights.popleft()
        if fds is not None and len(fds) != count:
            close_all(fds)
            return None
        return fds


_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def _copies(fds: Iterable[int]) -> list[int]:
    """Copies of descriptors: all of them, or none."""
    copies: list[int] = []
    try:
        for fd in fds:
            copies.append(os.dup(fd))
    except OSError:
        close_all(copies)
        raise
    return copies


def close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends, closed on exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
