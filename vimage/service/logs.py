"""Where the log of the service goes: syslog, and a file where one is configured."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from io import TextIOWrapper

#: The socket of syslogd(8).
SYSLOG = "/var/run/log"


def to_syslog(log: logging.Logger) -> None:
    """Facility daemon.  A syslogd that starts later, or again, is found."""
    if not sys.platform.startswith("freebsd"):
        return
    handler = logging.handlers.SysLogHandler(
        SYSLOG, facility=logging.handlers.SysLogHandler.LOG_DAEMON)
    handler.setFormatter(logging.Formatter(f"vimage[{os.getpid()}]: %(message)s"))
    handler.append_nul = False
    log.addHandler(handler)


class LogFile:
    """The file of ``vimage_logfile``, which reload may change."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._handler: _File | None = None
        self._path = ""

    def use(self, path: str) -> None:
        """Write to ``path`` from now on; "" is no file.

        One that cannot be opened is told to the rest of the log, and done without.
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


class _File(logging.handlers.WatchedFileHandler):
    """Opened anew when newsyslog(8) has put another in its place; root's, no link followed."""

    def _open(self) -> TextIOWrapper:
        flags = (os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                 | os.O_NONBLOCK)
        return open(os.open(self.baseFilename, flags, 0o600), "a", encoding="utf-8",
                    errors="surrogateescape")
