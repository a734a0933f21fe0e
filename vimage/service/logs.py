"""Where the log of the service goes: syslog, and a file where one is configured.

logging.handlers has both and more, and loads pickle, copyreg and struct for it, which would
make up a thirtieth of the time that the service takes to start.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from io import TextIOWrapper

#: The socket of syslogd(8).
SYSLOG = "/var/run/log"

#: LOG_DAEMON of syslog(3).
_FACILITY = 3 << 3

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4),
               (logging.INFO, 6), (logging.DEBUG, 7))


def to_syslog(log: logging.Logger) -> None:
    """Facility daemon.  A syslogd that starts later, or again, is found."""
    if not sys.platform.startswith("freebsd"):
        return
    handler = Syslog(SYSLOG)
    handler.setFormatter(logging.Formatter(f"vimage[{os.getpid()}]: %(message)s"))
    log.addHandler(handler)


class Syslog(logging.Handler):
    """Sends each record to syslogd(8), or drops it when syslogd does not take it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._socket: socket.socket | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        priority = next((priority for level, priority in _PRIORITIES
                         if record.levelno >= level), 7)
        octets = f"<{_FACILITY | priority}>{self.format(record)}".encode(
            "utf-8", "backslashreplace")
        for _ in range(2):  # once more to a syslogd that was started anew
            try:
                self._connected().send(octets)
                return
            except OSError:
                self._disconnect()

    def close(self) -> None:
        """Send nothing more."""
        self._disconnect()
        super().close()

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.connect(self._path)
        return self._socket

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class LogFile:
    """The file of ``vimage_logfile``, which reload may change."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._handler: _File | None = None
        self._path = ""

    def use(self, path: str) -> None:
        """Write to ``path`` from now on; "" is no file.

        When it cannot be opened, the error is logged and no file is written.
        """
        if path == self._path:
            return
        self.close()
        self._path = path
        if path:
            try:
                self._handler = _File(path)
            except OSError as error:
                self._log.error("vimage_logfile: %s: %s", path, error.strerror)
                return
            self._handler.setFormatter(logging.Formatter(
                f"%(asctime)s vimage[{os.getpid()}]: %(message)s", "%b %e %H:%M:%S"))
            self._log.addHandler(self._handler)

    def close(self) -> None:
        """Write to no file."""
        if self._handler is not None:
            self._log.removeHandler(self._handler)
            self._handler.close()
        self._handler, self._path = None, ""


class _File(logging.FileHandler):
    """A file that is opened anew when newsyslog(8) has replaced it; links are not followed."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, or drop it where there is no file to be had."""
        try:
            if self.stream is not None and self._replaced(self.stream.fileno()):
                self.stream.close()
                self.stream = None  # type: ignore[assignment]
            super().emit(record)  # which opens it
        except OSError:
            pass

    def _replaced(self, descriptor: int) -> bool:
        """Whether another file, or none, is at the path by now."""
        ours = os.fstat(descriptor)
        try:
            there = os.stat(self.baseFilename)
        except OSError:
            return True
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def _open(self) -> TextIOWrapper:
        flags = (os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                 | os.O_NONBLOCK)
        return open(os.open(self.baseFilename, flags, 0o600), "a", encoding="utf-8",
                    errors="surrogateescape")
