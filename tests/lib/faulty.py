"""A kernel that fails, or a process that dies, at a chosen operation.

    faults = Faults(at=3, error=errno.EIO)
    kernel, processes = faults.kernel(real), faults.processes(real_processes)

Operations that change something are counted, those of both together, from 1; with
``looks=True`` look-ups too: everything that can fail.  At the chosen one the error is raised
in its place; or ``Killed`` is raised before or after it, and from then on at everything: a
dead process does nothing more, not even in ``finally``.  ``exit=True`` ends the real process
instead, with the status of SIGKILL.

``at`` may be several numbers, for two faults in one operation of vimage.  Later numbers are
those of the run with the faults before them:

    Faults(at={3, 7}, error=errno.EIO, looks=True)

Operations may be called by several threads.
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from vimage.kernel import HelperGone

#: What changes something, of each protocol; everything else only looks.
CHANGING = frozenset((
    "kld_load",
    "ng_mkpeer", "ng_name", "ng_connect", "ng_rmhook", "ng_shutdown", "ng_eiface_set_mac",
    "ng_ether_set",
    "if_rename", "if_set_flags", "if_set_mtu", "if_set_mac", "if_set_caps", "if_vmove",
    "if_reclaim",
    "jail_create", "jail_update", "jail_remove", "jail_clear", "jail_cpus",
    "rctl_add", "rctl_remove",
    "mount", "unmount",
    "process_signal",
    "Vnet.set_up", "Vnet.add_address", "Vnet.remove_address", "Vnet.add_default_route",
    "Vnet.rename", "Vnet.set_mtu",
    "Process.kill", "Process.end",
    "Processes.start",
))
LOOKING = frozenset((
    "path", "sysctl", "boot_id",
    "ng_node", "ng_nodes", "ng_hooks", "ng_eiface_ifname", "ng_ether_get", "ng_ids",
    "if_get", "if_mtu", "if_list", "if_users", "if_caps", "host_vnet", "vnet",
    "jail_get", "jail_list",
    "open_directory", "filesystem_of", "mounts", "devfs_ruleset_rules",
    "events", "peer", "process", "jail_of",
    "Vnet.interfaces", "Vnet.close", "Hold.close",
    "Events.fileno", "Events.watch_process", "Events.watch_jail", "Events.read",
    "Events.interfaces", "Events.close",
    "Process.wait", "Processes.close",
))

#: What has nothing to fail: it asks no kernel, or never raises by its contract.
NEVER_FAILING = frozenset((
    "path", "Vnet.close", "Hold.close", "Events.fileno", "Events.close", "Processes.close"))

KILLED_STATUS = 128 + 9


class Killed(BaseException):
    """The process has been killed: nothing of it may act any more."""


class When(Enum):
    """On which side of the operation the process dies."""

    BEFORE = "before"
    AFTER = "after"


@dataclass
class Faults:
    """What is to go wrong, and what has happened so far."""

    at: Any = 0  # which operation, or a collection of several; 0: none, only count
    error: int = 0  # the errno to raise, or 0: the process is killed
    when: When = When.BEFORE
    exit: bool = False
    count: int = 0
    dead: bool = False
    done: list[str] = field(default_factory=list)  # the operations, as they were called
    looks: bool = False  # look-ups are counted, and fail, too
    _counting: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self._chosen = {self.at} if isinstance(self.at, int) else set(self.at)

    def kernel(self, kernel: Any) -> Any:
        return Faulty(kernel, self, "")

    def processes(self, processes: Any) -> Any:
        return Faulty(processes, self, "Processes.")

    def before(self, name: str, arguments: str) -> bool:
        """Count an operation; whether it is the chosen one (and goes on)."""
        if self.dead:
            raise Killed
        if not self.counts(name):
            return False
        with self._counting:
            self.count += 1
            number = self.count
            self.done.append(f"{name}({arguments})")
        if number not in self._chosen:
            return False
        if self.error:
            raise self.fault(name)
        if self.when is When.BEFORE:
            self.die()
        return True

    def counts(self, name: str) -> bool:
        """Whether an operation is one of those that are counted."""
        return name in CHANGING or (self.looks and name not in NEVER_FAILING)

    def fault(self, name: str) -> OSError:
        """The error of an operation.  A wait fails in one way only."""
        if name == "Process.wait":
            return HelperGone()
        return OSError(self.error, f"{os.strerror(self.error)} (injected)", name)

    def die(self) -> None:
        if self.exit:
            os._exit(KILLED_STATUS)
        self.dead = True
        raise Killed


#: Operations whose result is to be wrapped as well.
_WRAPPED = {"vnet": "Vnet.", "host_vnet": "Vnet.", "jail_clear": "Hold.", "events": "Events.",
            "Processes.start": "Process."}


class Faulty:
    """Passes everything on to what it wraps, unless that is to fail."""

    def __init__(self, wrapped: Any, faults: Faults, prefix: str) -> None:
        self.wrapped = wrapped
        self.faults = faults
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.wrapped, name)
        full = self._prefix + name
        if full not in CHANGING | LOOKING:
            return found
        return self._asynchronous(full, found) if inspect.iscoroutinefunction(found) \
            else self._plain(full, found)

    def _plain(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any, **kwargs: Any) -> Any:
            chosen = self.faults.before(name, _show(args, kwargs))
            return self._after(name, chosen, call(*args, **kwargs))
        return operation

    def _asynchronous(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        async def operation(*args: Any, **kwargs: Any) -> Any:
            chosen = self.faults.before(name, _show(args, kwargs))
            result = await call(*args, **kwargs)
            if self.faults.dead:
                raise Killed
            return self._after(name, chosen, result)
        return operation

    def _after(self, name: str, chosen: bool, result: Any) -> Any:
        if chosen:
            self.faults.die()
        prefix = _WRAPPED.get(name)
        return Faulty(result, self.faults, prefix) if prefix and result is not None else result


def _show(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    return ", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())])
