"""Asking the service.

Part of the command's quick path: it imports almost nothing.
"""

import sys
import time

from vimage.service import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import _socket

    from vimage.commands.output import Printer

#: How often a connection that is refused is tried again, 50 ms apart.
REFUSALS = 10

#: Seconds that the command waits for a service to answer.
PATIENCE = 30.0

#: Seconds between two tries to reach it, and between two to start one.
PAUSE, RELAUNCH = 0.005, 0.5


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while the service was at work."""


class Patience:
    """The time that the command waits for a service, PATIENCE seconds."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin to wait anew: the service has answered."""
        self._end = time.monotonic() + PATIENCE

    def over(self) -> bool:
        """Sleep for PAUSE seconds; returns whether the time is over."""
        time.sleep(PAUSE)
        return time.monotonic() > self._end


def ask(request: bytes, printer: "Printer", start: "Callable[[], None] | None" = None, *,
        leaves_work: bool = False, in_version_1: "Sequence[str] | None" = None,
        path: "str | None" = None) -> int | None:
    """Ask the service and print what it answers; returns the exit status.

    A service that is ending says so, or hangs up: the next one is asked.  Where none runs,
    ``start`` starts one, and without it None is returned.  Raises VimageError("service_silent").

    With ``leaves_work`` the service goes on with the request when the command ends before.
    ``in_version_1`` is the request for a service from before the present form of requests.
    """
    patience = Patience()
    next_start = 0.0
    turned_away = False
    while True:
        connection = _connect(path or wire.SOCKET)
        if connection is not None:
            try:
                talk = _Talk(connection, printer, in_version_1=in_version_1 == ())
                status = talk.exchange(request, leaves_work)
            finally:
                connection.close()
            if talk.old and in_version_1:
                request, in_version_1 = wire.request_1(in_version_1), ()
                continue
            if talk.old:
                sys.stderr.write("vimage: the service that runs is of an older version; "
                                 "vimage reexec puts the installed version in its place\n")
            if status is not None:
                return status
            turned_away = True
            if talk.ending:
                patience.renew()
        elif start is not None:
            if time.monotonic() >= next_start:
                start()
                next_start = time.monotonic() + RELAUNCH
        elif not turned_away or not _comes_back():
            return None
        if patience.over():
            from vimage.messages import VimageError

            raise VimageError("service_silent", seconds=f"{PATIENCE:g}")


def _comes_back() -> bool:
    """Whether daemon(8) is going to start a service again."""
    from vimage.service import launch

    return launch.supervised()


def _connect(path: str) -> "_socket.socket | None":
    """A connection, None when no service answers.

    The kernel refuses when more clients wait than kern.ipc.soacceptqueue allows, and also
    when the service that made the socket has died: a refusal is tried again for a while.
    """
    import _socket  # socket itself would bring selectors and enum along

    for tries in range(REFUSALS + 1):
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            connection.connect(path)
            return connection
        except ConnectionRefusedError:
            connection.close()
            if tries < REFUSALS:
                time.sleep(0.05)
        except OSError:
            connection.close()
            break
    return None


class _Talk:
    """One request and the answer to it."""

    def __init__(self, connection: "_socket.socket", printer: "Printer", *,
                 in_version_1: bool) -> None:
        self._connection = connection
        self._printer = printer
        self._in_version_1 = in_version_1  # the request is one of version 1
        self._begun = False  # an event has come
        self.ending = False  # the service is ending and said so
        self.old = False  # the service is of version 1 and has refused the request

    def exchange(self, request: bytes, leaves_work: bool) -> int | None:
        """The exit status; None when the service has ended before it began.

        Raises OSError when stdout cannot be written to.
        """
        try:
            try:
                self._connection.sendall(request)
            except ConnectionError:
                pass  # it has ended, or has refused before it was asked: its answer says so
            return self._print()
        except KeyboardInterrupt:
            self._printer.break_off()
            raise Interrupted("interrupted; the service goes on with it" if leaves_work
                              else "interrupted") from None

    def _receive(self) -> bytes:
        """The next octets; none when the service has ended."""
        try:
            return self._connection.recv(65536)
        except ConnectionError:
            return b""

    def _print(self) -> int | None:
        """Print what the service says, until it gives the exit status."""
        printer = self._printer
        buffer = b""
        while True:
            found = wire.split(buffer)
            if found is None:
                more = self._receive()
                if not more:
                    return self._lost()
                buffer += more
                continue
            kind, body, buffer = found
            if kind == b"x":
                return int(body)
            if kind != wire.EVENT:
                self._print_version_1(kind, body)
                continue
            event = wire.object_of(body)
            if event["event"] == "again":
                self.ending = True
                return None
            self._begun = True
            printer.send(event)
            if printer.status is not None:
                return printer.status
            if printer.error is not None:
                raise printer.error

    def _lost(self) -> int | None:
        if not self._begun:
            return None
        self._printer.break_off()
        sys.stderr.write("vimage: the service ended before it had answered\n")
        return 1

    def _print_version_1(self, kind: bytes, body: bytes) -> None:
        """Text from a service of version 1: its answer, or that it cannot read the request."""
        text = body.decode("utf-8", "replace")
        if kind == b"o":
            self._printer.send({"event": "say", "text": text.rstrip("\n")})
        elif self._in_version_1:
            sys.stderr.write(text)
        else:
            self.old = True
