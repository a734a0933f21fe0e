"""Reads rc.conf without blocking the service: the shell runs as any other command."""

from __future__ import annotations

import asyncio
import contextlib
import os

from vimage.configuration import rcconf, yamlfiles
from vimage.configuration.load import Loaded, loaded_from
from vimage.journal import DIRECTORY
from vimage.kernel import ENVIRONMENT, HostCommand, Kernel, Processes
from vimage.messages import VimageError
from vimage.processes import wait_or_end

#: What load_rc_config reads; a change of any of these is a change of the configuration.
FILES = ("/etc/rc.conf", "/etc/rc.conf.local", "/etc/rc.conf.d/vimage",
         "/usr/local/etc/rc.conf.d/vimage", "/etc/defaults/rc.conf")

Signature = tuple[tuple[int, int, int] | None, ...]


class Reader:
    """Reads rc.conf, or ``file`` in its place, and remembers what it said."""

    def __init__(self, kernel: Kernel, processes: Processes | None, file: str | None) -> None:
        """Without ``processes`` the shell is run in place, which blocks the loop."""
        self._kernel = kernel
        self._processes = processes
        self._file = file
        self._lock = asyncio.Lock()
        self._signature: Signature | None = None
        self.loaded: Loaded | None = None

    async def load(self, file: str | None = None) -> Loaded:
        """Read it now.  Raises VimageError when it cannot be read at all."""
        file = file or self._file
        signature = self._sign(file)
        async with self._lock:
            loaded = loaded_from(self._kernel, yamlfiles.add(
                {} if yamlfiles.alone(file) else await self._variables(file),
                yamlfiles.files(file)), self.loaded)  # unchanged, it is the same object
        if file == self._file:
            self.loaded, self._signature = loaded, signature
        return loaded

    async def current(self) -> Loaded | None:
        """The configuration as it is now; it is read again only if a file has changed.

        Returns the last one when it cannot be read, None when it was never read.
        """
        if self.loaded is None or self._sign(self._file) != self._signature:
            with contextlib.suppress(VimageError, OSError):
                return await self.load()
        return self.loaded

    def _sign(self, file: str | None) -> Signature:
        paths = (file,) if file else (*FILES, yamlfiles.DIRECTORY)
        return tuple(_stat(path) for path in (*paths, *yamlfiles.files(file)))

    async def _variables(self, file: str | None) -> dict[str, str]:
        """Have a shell read rc.conf; two temporary files take its output.  Raises VimageError."""
        if self._processes is None:
            return rcconf.read(file)
        answer, said = (f"{self._kernel.path(DIRECTORY)}/rc.{part}" for part in ("out", "err"))
        argv, path = rcconf.command(file, to=answer)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            os.close(os.open(answer, flags, 0o600))
            output = os.open(said, flags, 0o600)
            try:
                process = await self._processes.start(HostCommand(argv, output, ENVIRONMENT))
            finally:
                os.close(output)
            status = await wait_or_end(process, rcconf.TIMEOUT)
            if status is None:
                raise VimageError("rcconf_timeout", file=path, seconds=f"{rcconf.TIMEOUT:g}")
            return rcconf.parse(_content(answer), _content(said), status, path)
        except OSError as error:
            raise VimageError("rcconf_unreadable", file=path, why=error.strerror) from error
        finally:
            for name in (answer, said):
                with contextlib.suppress(OSError):
                    os.unlink(name)


def _stat(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
