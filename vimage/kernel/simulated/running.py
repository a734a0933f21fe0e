"""A simulated process at work: what it sees of its jail, and the programs it finds there."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass

from vimage.kernel import ENVIRONMENT
from vimage.kernel.simulated.errors import fail
from vimage.kernel.simulated.host import SimulatedKernel

#: Programs of the base system that every simulated root has, and that do nothing.
BASE = frozenset([
    *(f"/bin/{name}" for name in (
        "cat", "chmod", "cp", "csh", "date", "echo", "ln", "ls", "mkdir", "mv", "ps", "rm", "sh",
        "sleep", "sync", "tcsh", "test")),
    *(f"/sbin/{name}" for name in (
        "ifconfig", "mount", "pfctl", "ping", "route", "sysctl", "umount")),
    *(f"/usr/bin/{name}" for name in (
        "cpuset", "false", "logger", "netstat", "rctl", "touch", "true")),
    *(f"/usr/sbin/{name}" for name in ("jexec", "jls", "ngctl", "service")),
])
#: rc.d scripts that every simulated root has.
SERVICES = frozenset(
    ("cron", "devd", "inetd", "named", "nginx", "ntpd", "sendmail", "sshd", "syslogd"))


@dataclass
class Running:
    """A simulated process at work."""

    kernel: SimulatedKernel
    pid: int
    jid: int
    root: str  # the host's directory that is its root
    environment: Mapping[str, str]
    output: int | None
    status: int = 0  # $?

    def write(self, text: str) -> None:
        if self.output is not None:
            os.write(self.output, os.fsencode(text))

    def find(self, name: str) -> str:
        """execvp(3): the program's path within the root.  Raises ENOENT or EACCES."""
        candidates = [name] if "/" in name else [
            f"{directory}/{name}" for directory in
            (self.environment.get("PATH") or ENVIRONMENT["PATH"]).split(":")]
        for candidate in candidates:
            if self.exists(candidate):
                return candidate
        fail(errno.ENOENT, name)

    def exists(self, path: str) -> bool:
        file = self.file(path)
        if file is None:
            return path in BASE
        if os.path.isdir(file) or not os.access(file, os.X_OK):
            fail(errno.EACCES, path)
        return True

    def file(self, path: str) -> str | None:
        """The machine's file for a path within the root."""
        try:
            real = self.kernel.paths.real(self.kernel.paths.resolve(path, self.root))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return None
        return real if os.path.exists(real) else None

    def simulated_script(self, path: str) -> str | None:
        """The text of a file that begins with ``#!simulated``."""
        file = self.file(path)
        if file is None or not os.path.isfile(file):
            return None
        with open(file, encoding="utf-8", errors="replace") as lines:
            first, _, text = lines.read().partition("\n")
        return text if first.strip() == "#!simulated" else None
