"""The instants of a life of the service, and what may happen at each.

An instant is an operation of the kernel layer (a change or a look) or a change of a state
file.  They are counted from 1 while ``armed``; at chosen ones the operation fails, the
process dies before or after it, or something else is done, a second request, say.

    instants = Instants({7: Fail(errno.EIO), 9: Die(When.AFTER)})
    kernel, processes = instants.kernel(kernel), instants.processes(processes)
    with instants.files("/.../var/run/vimage"):
        ...
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.lib import forked
from tests.lib.faulty import CHANGING, LOOKING, Faults, When

#: What cannot fail, or is no operation: "never raises", a path, a number that is known.
NEVER_FAIL = frozenset((
    "path", "Vnet.close", "Hold.close", "Events.close", "Events.fileno", "Processes.close",
    "Process.kill", "Process.wait", "Events.read",
))
#: Beside the kernel layer: how a state file comes and goes.
WRITES = ("rename", "unlink")


@dataclass(frozen=True)
class Fail:
    """The operation raises OSError with this errno, and does nothing."""

    error: int


@dataclass(frozen=True)
class Die:
    """kill -9 on this side of the operation."""

    when: When


@dataclass(frozen=True)
class Do:
    """Something else happens on this side of the operation."""

    act: Callable[[], None]
    when: When = When.BEFORE


Event = Fail | Die | Do


class Instants(Faults):
    """Counts instants and makes happen what is to happen at each."""

    def __init__(self, events: Mapping[int, Event] | None = None, *, looks: bool = True) -> None:
        super().__init__()
        self.events = dict(events or {})
        self.names: list[str] = []
        self.armed = False
        self._counted = (CHANGING | LOOKING if looks else CHANGING) - NEVER_FAIL
        self._after: dict[int, Event] = {}  # by thread: what is to happen after its operation
        self._lock = threading.Lock()

    # -- what tests.lib.faulty calls ---------------------------------------------------------

    def before(self, name: str, arguments: str) -> bool:
        """Count an operation; whether something is to happen after it."""
        if not self.armed or name not in self._counted:
            return False
        return self._instant(f"{name}({arguments})", can_fail=True)

    def die(self) -> None:
        """After the operation of this thread for which ``before`` was True."""
        event = self._after.pop(threading.get_ident(), None)
        if isinstance(event, Die):
            forked.die()
        elif isinstance(event, Do):
            event.act()

    # -- state files -------------------------------------------------------------------------

    @contextlib.contextmanager
    def files(self, directory: str) -> Iterator[None]:
        """Count what is renamed and removed below a directory, too."""
        real = {name: getattr(os, name) for name in (*WRITES, "replace", "remove")}

        def counted(name: str) -> Callable[..., Any]:
            def operation(path: Any, *args: Any, **kwargs: Any) -> Any:
                last = os.fspath(args[0]) if args else os.fspath(path)
                if not self.armed or not str(last).startswith(directory + "/") \
                        or not str(last).endswith(".json"):
                    return real[name](path, *args, **kwargs)
                shown = str(last).removeprefix(directory + "/")
                chosen = self._instant(f"{name}({shown})", can_fail=False)
                result = real[name](path, *args, **kwargs)
                if chosen:
                    self.die()
                return result
            return operation

        for name in real:
            setattr(os, name, counted(name))
        try:
            yield
        finally:
            for name, function in real.items():
                setattr(os, name, function)

    def _instant(self, words: str, *, can_fail: bool) -> bool:
        with self._lock:
            self.count += 1
            number = self.count
            self.names.append(words)
            forked.note(words)
        event = self.events.get(number)
        if isinstance(event, Fail):
            if can_fail:
                raise OSError(event.error, f"{os.strerror(event.error)} (injected)")
            return False
        if event is not None and event.when is When.AFTER:
            self._after[threading.get_ident()] = event
            return True
        if isinstance(event, Die):
            forked.die()
        elif isinstance(event, Do):
            event.act()
        return False
