"""What happens to vimages behind the service's back.

Events where the kernel has them (``Kernel.events``); what it has none for is looked at every
TICK seconds: the list of jails, the list of netgraph nodes.  What these cost grows with the
number of jails, so they are looked at less often where they would take more than SHARE of a
CPU.  An interface that comes to the host or leaves it, as those of a jail do when it goes,
makes for a look at the next tick in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Protocol

from vimage.journal import READY, Record
from vimage.kernel import Kernel, ProcessId

#: Seconds between two looks.  What happened is noticed within two.
TICK = 1.9

#: Of one CPU, what looks may take before they become rarer; and seconds between two at most.
SHARE, RAREST = 0.0013, 30.0


class Gone(Protocol):
    """Told the name of the vimage and what happened to it."""

    def __call__(self, name: str, what: str, *, broken: bool = True) -> None: ...


class Watch:
    """Calls ``gone`` for each vimage that has lost something it needs, and ``also`` after
    each look."""

    def __init__(self, kernel: Kernel, records: dict[str, Record], gone: Gone,
                 interfaces_changed: Callable[[], None], log: logging.Logger,
                 also: Callable[[], None] = lambda: None) -> None:
        self._kernel = kernel
        self._records = records
        self._gone = gone
        self._interfaces_changed = interfaces_changed
        self._log = log
        self._also = also
        self._failed = ""
        # What is watched, and the vimage it belongs to.  What has gone stays here until its
        # vimage is no longer ready: a look that came at a bad moment is made up for.
        self._jails: dict[int, str] = {}
        self._nodes: dict[int, str] = {}
        self._programs: dict[int, str] = {}
        self._events = kernel.events()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when the next look is to be, by the loop's clock
        # CPU seconds of this thread; a simulated host has none that mean anything.
        self._spent = time.thread_time if kernel.real_clock else lambda: 0.0

    def open(self) -> None:
        """Look from now on.  A timer of the loop costs less than a task that sleeps."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._events.fileno(), self._on_event)
        self._timer = self._loop.call_later(TICK, self._tick)

    def close(self) -> None:
        """Look no longer."""
        if self._timer is not None and self._loop is not None:
            self._timer.cancel()
            self._loop.remove_reader(self._events.fileno())
        self._events.close()

    def watch(self, record: Record) -> None:
        """Look after a vimage that is ready; be told at once, where the kernel can, when its
        jail or its program ends."""
        for entry in record.entries:
            if entry.kind == "eiface":
                self._nodes[entry.facts["node"]] = record.name
        if record.jid is not None:
            self._jails[record.jid] = record.name
            self._events.watch_jail(record.jid)
        process = command_of(record)
        if process is not None:
            self._programs[process.pid] = record.name
            with contextlib.suppress(ProcessLookupError):
                self._events.watch_process(process.pid)

    def _tick(self) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_later(TICK, self._tick)
        try:
            self._look_if_due(self._loop.time())
            self._failed = ""
        except OSError as error:  # say so once, and look again
            if self._failed != (words := str(error.strerror or error)):
                self._failed = words
                self._log.warning("what runs cannot be looked at: %s", words)
        self._also()

    def _look_if_due(self, now: float) -> None:
        changed = self._events.interfaces()
        if changed:
            self._interfaces_changed()
        if changed or now >= self._due:
            self._due, begun = now, self._spent()  # one that fails is taken again at once
            self.look()
            self._due = now + min((self._spent() - begun) / SHARE, RAREST)

    def look(self) -> None:
        """One look at everything that has no event."""
        for jid in self._jails.keys() - self._kernel.jail_list():
            record = self._ready(self._jails[jid])
            if record is not None and record.jid == jid:
                self._gone(record.name, f"jail {jid} has gone")
            else:
                del self._jails[jid]
        for id_ in self._nodes.keys() - self._kernel.ng_ids():
            record = self._ready(self._nodes[id_])
            name = None if record is None else _eiface(record, id_)
            if record is not None and name is not None:
                self._gone(record.name, f"node {name} has gone")
            else:
                del self._nodes[id_]

    def _on_event(self) -> None:
        for kind, number in self._events.read():
            if kind == "jail":
                self.look()
            elif kind == "process":
                self._process_ended(number)

    def _process_ended(self, pid: int) -> None:
        record = self._ready(self._programs.pop(pid, ""))
        process = None if record is None else command_of(record)
        if record is not None and process is not None and process.pid == pid:
            self._gone(record.name, "its command has ended", broken=False)

    def _ready(self, name: str) -> Record | None:
        record = self._records.get(name)
        return record if record is not None and record.state == READY else None


def _eiface(record: Record, node: int) -> str | None:
    """The name of the interface of a vimage that has this node."""
    for entry in record.entries:
        if entry.kind == "eiface" and entry.facts.get("node") == node:
            return str(entry.arguments["name"])
    return None


def command_of(record: Record) -> ProcessId | None:
    """The process of ``command``."""
    for entry in record.entries:
        if entry.kind == "command" and "pid" in entry.facts:
            return ProcessId(entry.facts["pid"], entry.facts["start"])
    return None
