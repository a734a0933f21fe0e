"""Console logs have a bounded size, whatever a jail writes."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence

from vimage.journal import Record
from vimage.kernel import Kernel
from vimage.steps.work import open_console

#: Bytes at which a console log is cut back to nothing.  newsyslog(8) keeps old ones.
LIMIT = 8 * 1024 * 1024

#: So many logs are looked at in one go: the cost of a look does not grow with their number.
AT_ONCE = 100


class Consoles:
    """Looks at the console logs in turn."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._next = 0

    def look(self, records: Sequence[Record]) -> list[str]:
        """Cut back what is too long; returns the names of the vimages whose log was."""
        if not records:
            return []
        cut = []
        for _ in range(min(AT_ONCE, len(records))):
            self._next = (self._next + 1) % len(records)
            record = records[self._next]
            if record.configuration.get("consolelog") and self._too_long(record):
                cut.append(record.name)
        return cut

    def _too_long(self, record: Record) -> bool:
        try:
            path = self._kernel.path(record.configuration["consolelog"])
            if os.lstat(path).st_size <= LIMIT:
                return False
            descriptor = open_console(self._kernel, record.configuration)
        except OSError:
            return False
        try:
            # Every writer appends, so what comes next begins at 0.
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, 0)
                    return True
            return False
        finally:
            os.close(descriptor)
