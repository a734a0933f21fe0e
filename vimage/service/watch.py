"""Notices what others do to vimages that are ready.

The kernel reports some of it as events (``Kernel.events``).  For the rest, the list of jails and
the list of netgraph nodes are read every TICK seconds.  With many jails that takes long, so they
are read less often where it would take more than SHARE of a CPU; but always at the next tick
after an interface has come to the host or left it, as those of a removed jail do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from vimage.journal import CHANGING, READY, Record
from vimage.kernel import ProcessId
from vimage.messages import VimageError
from vimage.steps.bridges import bridge_nodes, reconnect
from vimage.steps.context import Host
from vimage.steps.kinds import steps_of

#: Seconds between two looks, so that a loss is noticed within two seconds.
TICK = 1.9

#: The share of one CPU that looks may take before they become rarer, and the most seconds
#: between two looks.
SHARE, RAREST = 0.0013, 30.0

_LOOK = "what runs cannot be looked at"


class Lost(Protocol):
    """Called with what a vimage that is ready has lost; ``broken`` when it cannot go on."""

    def __call__(self, record: Record, what: str, *, broken: bool = True) -> None: ...


class Watch:
    """Calls ``lost`` for each vimage that has lost something it needs, and ``also`` at each
    tick."""

    def __init__(self, host: Host, lost: Lost, log: logging.Logger,
                 also: Callable[[], None] = lambda: None) -> None:
        self._host = host
        self._kernel = host.kernel
        self._lost = lost
        self._log = log
        self._also = also
        self._failed: dict[str, str] = {}  # what could not be done, and why: logged once
        # What is watched, and the record it belongs to.  What has gone stays here until its
        # vimage is no longer ready, so that every look reports it until something is done.
        self._jails: dict[int, Record] = {}
        self._nodes: dict[int, tuple[Record, str]] = {}
        self._programs: dict[int, tuple[Record, ProcessId]] = {}
        self._unwatched: set[int] = set()  # programs whose end would not be noticed yet
        self._events = self._kernel.events()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when the next look is to be, by the loop's clock
        self._reconnect = True  # parents may have come or gone
        self._said: set[str] = set()  # lines of the last reconnect that could not do all
        # CPU seconds of this thread; a simulated host has none that mean anything.
        self._spent = time.thread_time if self._kernel.real_clock else lambda: 0.0

    def open(self) -> None:
        """Begin to look, by a timer of the loop: that costs less than a task that sleeps."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._events.fileno(), self._on_event)
        self._timer = self._loop.call_later(TICK, self._tick)

    def close(self) -> None:
        """Stop looking, and close the events of the kernel."""
        if self._timer is not None and self._loop is not None:
            self._timer.cancel()
            self._loop.remove_reader(self._events.fileno())
            self._loop = None
        self._events.close()

    def watch(self, record: Record) -> None:
        """Watch a vimage that is ready: its nodes, its jail and its program."""
        self.unwatch(record)
        for entry, step in steps_of(record):
            for node, name in step.nodes(entry.results).items():
                self._nodes[node] = record, name
            process = step.process(entry.results)
            if process is not None:
                self._watch_process(record, process)
        if record.jid is not None:
            self._jails[record.jid] = record
            self._attempt(f"jail {record.jid} cannot be watched",
                          partial(self._events.watch_jail, record.jid))

    def unwatch(self, record: Record) -> None:
        """Stop watching a vimage."""
        for entry, step in steps_of(record):
            for node in step.nodes(entry.results):
                self._nodes.pop(node, None)
            process = step.process(entry.results)
            if process is not None:
                self._programs.pop(process.pid, None)
                self._unwatched.discard(process.pid)
        if record.jid is not None:
            self._jails.pop(record.jid, None)

    def _watch_process(self, record: Record, process: ProcessId) -> None:
        self._programs[process.pid] = record, process
        self._unwatched.add(process.pid)
        self._attempt(f"{record.name}: its command cannot be watched",
                      partial(self._watch_program, process))

    def _watch_program(self, process: ProcessId) -> None:
        """Ask for the event first, then check that the pid is still that of this process."""
        with contextlib.suppress(ProcessLookupError):
            self._events.watch_process(process.pid)
            if self._kernel.process(process.pid) == process:
                self._unwatched.discard(process.pid)
                return
        self._unwatched.discard(process.pid)
        asyncio.get_running_loop().call_soon(self._process_ended, process.pid)

    def _tick(self) -> None:
        if self._loop is None:
            return
        self._timer = self._loop.call_later(TICK, self._tick)
        self._attempt(_LOOK, partial(self._look_if_due, self._loop.time()))
        for pid in self._unwatched & self._programs.keys():
            self._watch_process(*self._programs[pid])
        if self._reconnect:
            self._reconnect_parents()
        self._attempt("the state of vimages cannot be written", self._host.journal.flush)
        self._also()

    def _attempt(self, what: str, act: Callable[[], None]) -> None:
        """Do something that the next tick tries again.  An error is logged when it is new."""
        try:
            act()
        except (OSError, VimageError) as error:
            words = str(getattr(error, "strerror", None) or error)
            if self._failed.get(what) != words:
                self._failed[what] = words
                self._log.warning("%s: %s", what, words)
        else:
            self._failed.pop(what, None)

    def _look_if_due(self, now: float) -> None:
        changed = self._events.interfaces()
        self._reconnect = self._reconnect or changed
        if changed or now >= self._due:
            self._due, begun = now, self._spent()  # a look that fails is repeated at the next tick
            self.look()
            self._due = now + min((self._spent() - begun) / SHARE, RAREST)

    def _reconnect_parents(self) -> None:
        lines, done = reconnect(self._host)
        for text in lines:
            if text not in self._said:
                self._log.warning("%s", text)
        self._said = set() if done else set(lines)
        self._reconnect = not done

    def look(self) -> None:
        """Look once for what the kernel does not report by events.  Raises OSError."""
        for jid in self._jails.keys() - self._kernel.jail_list():
            record = self._jails[jid]
            if self._is_ready(record):
                self._lost(record, f"jail {jid} has gone")
            else:
                del self._jails[jid]
        there = self._kernel.ng_ids()
        for node in self._nodes.keys() - there:
            record, name = self._nodes[node]
            if self._is_ready(record):
                self._lost(record, f"node {name} has gone")
            else:
                del self._nodes[node]
        for node, key in bridge_nodes(self._host).items():
            if node not in there:
                for name in self._host.references.of(key):
                    user = self._host.journal.records.get(name)
                    if user is not None and self._is_ready(user):
                        self._lost(user, f"the bridge of {key.partition('.')[2]} has gone")

    def _on_event(self) -> None:
        try:
            events = self._events.read()
        except OSError as error:
            self._log.warning("events of the kernel cannot be read: %s", error.strerror)
            return
        for kind, number in events:
            if kind == "jail":
                self._attempt(_LOOK, self.look)
            elif kind == "process":
                self._process_ended(number)

    def _process_ended(self, pid: int) -> None:
        record, _ = self._programs.pop(pid, (None, None))
        if record is not None and self._is_ready(record):
            self._lost(record, "its command has ended", broken=False)

    def _is_ready(self, record: Record) -> bool:
        return record.state in (READY, CHANGING) \
            and self._host.journal.records.get(record.name) is record


def runs(host: Host, record: Record) -> bool:
    """Whether the jail of a vimage exists and is not dying.  Raises OSError when that cannot be
    known."""
    if record.jid is None:
        return False
    with contextlib.suppress(FileNotFoundError):
        jail = host.kernel.jail_get(record.jid)
        return not jail.dying and jail.name == record.name
    return False
