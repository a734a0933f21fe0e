"""What the simulated kernel tells by itself (see ``vimage.kernel.Events``).

Told at once is what this process does; what other processes do is noticed with the next
operation, since nobody looks at the state file in between.
"""

from __future__ import annotations

import contextlib
import errno
import os

from vimage.kernel import JailId
from vimage.kernel.simulated import machine
from vimage.kernel.simulated.errors import fail
from vimage.kernel.simulated.records import Iface, Prison, Record, Task
from vimage.kernel.simulated.state import State

#: The first kernel that has EVFILT_JAIL.
WITH_JAIL_EVENTS = 1_500_000


class SimulatedEvents:
    """A pipe that is readable when something has happened."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._processes: set[int] = set()
        self._jails: set[int] = set()
        self._happened: list[tuple[str, int]] = []
        self._interfaces = False
        with state.operation():
            state.changed.append(self._notice)

    @property
    def _closed(self) -> bool:
        return self._read < 0

    def fileno(self) -> int:
        if self._closed:
            fail(errno.EBADF)
        return self._read

    def watch_process(self, pid: int) -> None:
        with self._state.operation():
            if self._closed:
                return
            if self._state.task(pid) is None:
                if not machine.start_of(pid):
                    fail(errno.ESRCH, str(pid))
                return
            self._processes.add(pid)

    def watch_jail(self, jail: JailId) -> None:
        jail = JailId(jail)
        with self._state.operation():
            if self._closed:
                return
            release = self._state.sysctl("kern.osreldate")
            if release is not None and int(release.value) >= WITH_JAIL_EVENTS:
                self._jails.add(jail)

    def read(self) -> list[tuple[str, int]]:
        with self._state.operation():  # learns what others did
            happened, self._happened = self._happened, []
            if not self._closed:
                with contextlib.suppress(BlockingIOError):
                    while os.read(self._read, 4096):
                        pass
        return happened

    def interfaces(self) -> bool:
        with self._state.operation():  # learns what others did
            happened, self._interfaces = self._interfaces, False
        return happened

    def close(self) -> None:
        with self._state.alone():
            if self._closed:
                return
            self._state.changed.remove(self._notice)
            os.close(self._read)
            os.close(self._write)
            self._read = self._write = -1
            self._happened, self._interfaces = [], False

    def _notice(self, old: Record | None, new: Record | None) -> None:
        if isinstance(old, Task) and new is None and old.pid in self._processes:
            self._processes.discard(old.pid)
            self._tell("process", old.pid)
        elif isinstance(old, Prison) and old.jid in self._jails and (
                not isinstance(new, Prison) or new.dying):
            self._jails.discard(old.jid)
            self._tell("jail", old.jid)
        elif _on_host(old) != _on_host(new):
            self._interfaces = True

    def _tell(self, kind: str, number: int) -> None:
        self._happened.append((kind, number))
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b".")


def _on_host(record: Record | None) -> bool:
    return isinstance(record, Iface) and record.vnet == 0
