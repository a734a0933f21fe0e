"""The service's side of its helper process: starting it, asking it, noticing its end."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import sys
import threading
import time
from typing import Any

from vimage.kernel import JailId
from vimage.kernel.freebsd import spawner
from vimage.kernel.freebsd.channel import Channel, pair

#: Seconds until the helper must have answered.  Its own limits are below this.
ANSWER_TIMEOUT = spawner.ENTER_TIMEOUT + 5


class HelperGone(OSError):
    """The helper process has ended or does not answer."""

    def __init__(self, words: str = "the helper process has ended", number: int = errno.EPIPE,
                 ) -> None:
        super().__init__(number, words)


class Helper:
    """One helper process, started on first use and again when it has ended.

    ``commands`` is the channel of the asynchronous requests, for whoever watches it.
    """

    def __init__(self) -> None:
        self.pid = 0
        self.commands: Channel | None = None
        self._sync: Channel | None = None
        self._request = 0
        self._one = threading.RLock()

    def start(self) -> None:
        """Start the helper unless it runs.  Does not wait until it is ready."""
        with self._one:
            if self._sync is None:
                self._start()

    def _start(self) -> None:
        ours, theirs = zip(*(pair() for _ in (0, 1)), strict=True)
        high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in theirs]
        try:
            self.pid = _spawn(high) if _threaded() else _fork(high)
        finally:
            for fd in high:
                os.close(fd)
            for end in theirs:
                end.close()
        self._sync, self.commands = map(Channel, ours)

    def close(self) -> None:
        """Let the helper end, and wait for it.  What it started runs on."""
        with self._one:
            if self._sync is not None and self.commands is not None:
                self._sync.close()
                self.commands.close()
                self._sync = self.commands = None
            if self.pid:
                pid, self.pid = self.pid, 0
                try:
                    os.waitpid(pid, 0)
                except ChildProcessError:
                    pass

    def number(self) -> int:
        """A number for a request."""
        with self._one:
            self._request += 1
            return self._request

    def enter(self, jail: JailId, work: str, argument: Any = None) -> tuple[Any, list[int]]:
        """Have something done inside a jail (``inside.WORK``); its value and descriptors.

        Errors: those of the work; ENOENT no such jail; ETIMEDOUT the jail held it up;
        EINTR the jail killed it; EPIPE the helper ended (``HelperGone``).
        """
        with self._one:
            self.start()
            request = self.number()
            assert self._sync is not None
            try:
                self._sync.send(("enter", request, int(jail), work, argument))
                message, fds = self._answer(self._sync, request)
            except (EOFError, ConnectionError):
                self.close()
                raise HelperGone from None
        if message[0] == "error":
            raise OSError(message[2], f"{work} in jail {jail}: {_words(message[2])}")
        return message[2], fds

    def _answer(self, channel: Channel, request: int) -> tuple[tuple[Any, ...], list[int]]:
        poll = select.poll()
        poll.register(channel.fileno(), select.POLLIN)
        deadline = time.monotonic() + ANSWER_TIMEOUT
        while (left := deadline - time.monotonic()) > 0:
            if not poll.poll(left * 1000):
                break
            for message, fds in channel.receive():
                if message[1] == request:
                    return message, fds
                for fd in fds:  # the answer to a request that was given up
                    os.close(fd)
        raise HelperGone("the helper process does not answer", errno.ETIMEDOUT)


def _words(number: int) -> str:
    if number == errno.ENOENT:
        return "no such jail"
    if number == errno.EINTR:
        return "killed by the jail"
    return os.strerror(number)


def _threaded() -> bool:
    return threading.active_count() > 1


def _fork(ends: list[int]) -> int:
    """A helper that is a copy of this process as it is now.

    It costs a sixtieth of the CPU of a new interpreter and shares its memory; but only a
    process with one thread may be copied so.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        for end, fd in zip(ends, (spawner.SYNC_FD, spawner.COMMAND_FD), strict=True):
            os.dup2(end, fd)
        spawner.main()
    finally:
        os._exit(0)


def _spawn(ends: list[int]) -> int:
    """A helper that is a new interpreter: posix_spawn(3) is safe in a process with threads.

    LD_BIND_NOW has every symbol of the C library resolved at the start.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
    actions += [(os.POSIX_SPAWN_DUP2, end, fd)
                for end, fd in zip(ends, (spawner.SYNC_FD, spawner.COMMAND_FD), strict=True)]
    try:
        return os.posix_spawn(
            sys.executable, [sys.executable, "-I", "-S", spawner.__file__],
            {"LD_BIND_NOW": "1", "PATH": "/bin:/usr/bin"}, file_actions=actions)
    finally:
        os.close(null)
