"""The service's side of its helper process: starting it, asking it, noticing its end."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import select
import signal
import socket
import sys
import threading
import time
from typing import Any

from vimage.kernel import HelperGone, JailId
from vimage.kernel.freebsd import spawner
from vimage.kernel.freebsd.channel import Channel, Received, close_all, pair

#: Seconds until the helper must have answered.  Its own limits are below this.
ANSWER_TIMEOUT = spawner.ENTER_TIMEOUT + 5
#: Seconds until a helper that was told to end has ended.
END_TIMEOUT = 5.0


class Link:
    """One helper process, and both channels to it.

    ``sync`` is read by the threads that wait for answers, one of them at a time for all;
    ``commands`` by the loop of a ``HelperProcesses``, which then closes it too.
    """

    def __init__(self, pid: int, sync: Channel, commands: Channel) -> None:
        self.pid = pid
        self.sync = sync
        self.commands = commands
        self.commands_watched = False
        self.gone = False
        self.waiting: set[int] = set()
        self.answers: dict[int, Received] = {}
        self.being_read = False


class Helper:
    """One helper process, started on first use and again when it has ended.

    For several threads.  None of them waits for what another has asked.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards all of the link but its channels' input
        self._link: Link | None = None
        self._numbers = itertools.count(1)

    @property
    def pid(self) -> int:
        """The helper process; 0 when none runs."""
        return self._link.pid if self._link is not None else 0

    def start(self) -> None:
        """Start the helper unless it runs.  Does not wait until it is ready."""
        self.running()

    def running(self) -> Link:
        """The helper that runs, a new one if need be.

        Errors: EAGAIN, EMFILE and others: none can be started.
        """
        with self._changed:
            if self._link is not None and self._link.gone:
                self._bury(self._link)
                self._link = None
            if self._link is None:
                self._link = _start()
            return self._link

    def number(self) -> int:
        """A number for a request."""
        return next(self._numbers)

    def lost(self, link: Link) -> None:
        """The loop has seen the end of the helper, and watches its channel no longer."""
        with self._changed:
            link.commands_watched = False
            link.commands.close()
            self._bury(link)
            if self._link is link:
                self._link = None

    def close(self) -> None:
        """Let the helper end, and wait for it.  What it started runs on."""
        with self._changed:
            link, self._link = self._link, None
            if link is not None:
                link.commands_watched = False
                self._bury(link)

    def _bury(self, link: Link) -> None:
        """Close the channels, see to it that the process ends.  With the lock."""
        link.gone = True
        with contextlib.suppress(OSError):  # ENOTCONN: the other end has gone
            link.sync.socket.shutdown(socket.SHUT_RDWR)
        self._changed.notify_all()
        self._changed.wait_for(lambda: not link.being_read, END_TIMEOUT)
        link.sync.close()
        if not link.commands_watched:
            link.commands.close()
        if link.pid:
            pid, link.pid = link.pid, 0
            _wait_for(pid)

    # -- visits to jails -------------------------------------------------------------------

    def enter(self, jail: JailId, work: str, argument: Any = None) -> tuple[Any, list[int]]:
        """Have something done inside a jail (``inside.WORK``); its value and descriptors.

        Errors: those of the work; ENOENT no such jail; ETIMEDOUT the jail held it up;
        EINTR the jail killed it; EMFILE no room for the descriptors; EPIPE the helper ended
        (``HelperGone``).
        """
        request = self.number()
        link = self._ask(request, ("enter", request, int(JailId(jail)), work, argument))
        message, fds = self._answer(link, request)
        if message[0] == "error":
            raise OSError(message[2], f"{work} in jail {jail}: {_words(message[2])}")
        if fds is None:
            raise OSError(errno.EMFILE, f"{work} in jail {jail}: {os.strerror(errno.EMFILE)}")
        return message[2], fds

    def _ask(self, request: int, message: tuple[Any, ...]) -> Link:
        """Send a request whose answer is waited for.  A helper that has ended since it was
        last asked is replaced."""
        with self._changed:
            for attempt in (1, 2):
                link = self.running()
                link.waiting.add(request)
                try:
                    link.sync.send(message)
                    break
                except ConnectionError:
                    link.gone = True
                    self._changed.notify_all()
                    if attempt == 2:
                        raise HelperGone from None
            return link

    def _answer(self, link: Link, request: int) -> Received:
        """Wait for an answer.  Of the threads that wait, one reads for all."""
        deadline = time.monotonic() + ANSWER_TIMEOUT
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(
                        lambda: request in link.answers or link.gone or not link.being_read,
                        max(0.0, deadline - time.monotonic()))
                    if request in link.answers:
                        return link.answers.pop(request)
                    if link.gone:
                        raise HelperGone
                    if time.monotonic() >= deadline:
                        raise HelperGone("the helper process does not answer", errno.ETIMEDOUT)
                    link.being_read = True
                self._read(link, deadline)
        finally:
            with self._changed:
                link.waiting.discard(request)
                _, unclaimed = link.answers.pop(request, ((), None))
                close_all(unclaimed or ())

    def _read(self, link: Link, deadline: float) -> None:
        """Wait for answers, and hand them to the threads that they are for."""
        found: list[Received] = []
        ended = False
        try:
            poll = select.poll()
            poll.register(link.sync.fileno(), select.POLLIN if link.sync.all_sent
                          else select.POLLIN | select.POLLOUT)
            if poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                found = link.sync.receive()
        except (EOFError, ConnectionError):
            ended = True
        finally:
            with self._changed:
                link.being_read = False
                if not ended and not link.gone:
                    ended = not self._flush(link)
                link.gone = link.gone or ended
                for message, fds in found:
                    if message[1] in link.waiting:
                        link.answers[message[1]] = message, fds
                    else:  # the answer to a request that was given up
                        close_all(fds or ())
                self._changed.notify_all()

    def _flush(self, link: Link) -> bool:
        try:
            link.sync.flush()
        except ConnectionError:
            return False
        return True


def _words(number: int) -> str:
    if number == errno.ENOENT:
        return "no such jail"
    if number == errno.EINTR:
        return "killed by the jail"
    return os.strerror(number)


def _wait_for(pid: int) -> None:
    """Wait for a helper that was told to end; one that does not is killed."""
    deadline, pause = time.monotonic() + END_TIMEOUT, 0.001
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return
            time.sleep(pause)
            pause = min(2 * pause, 0.05)


def _start() -> Link:
    """A new helper.  Errors: EAGAIN, EMFILE and others."""
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        ends, high = [], []
        for _ in range(2):
            mine, other = pair()
            ends.append(ours.enter_context(mine))
            theirs.enter_context(other)
            high.append(fcntl.fcntl(other, fcntl.F_DUPFD_CLOEXEC, 10))
            theirs.callback(os.close, high[-1])
        pid = _spawn(high) if _threaded() else _fork(high)
        ours.pop_all()
    return Link(pid, Channel(ends[0]), Channel(ends[1]))


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
