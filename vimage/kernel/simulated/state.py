"""The state of the simulated kernel in memory: records, and what finds them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import TypeVar

from vimage.kernel.simulated.log import Change, Log
from vimage.kernel.simulated.records import (
    TYPES, Counter, Hook, Iface, Key, Module, Mounted, Node, Prison, Record, Route, Rule, Ruleset,
    Socket, Sysctl, Task,
)

R = TypeVar("R")

_LISTS = {kind: [f.name for f in fields(kind) if str(f.type).startswith("tuple")]
          for kind in TYPES.values()}


class State:
    """Tables of records.  Change them only inside ``operation()``, with put and drop."""

    def __init__(self, directory: str) -> None:
        self._mutex = threading.RLock()
        self._depth = 0
        self._changes: list[Change] = []
        self._log = Log(directory, self._learn, self._forget)
        self._forget()
        self.ended: list[Callable[[Task, int], None]] = []  # called when a process ends
        self.changed: list[Callable[[Record | None, Record | None], None]] = []  # old, new

    def _forget(self) -> None:
        self._tables: dict[str, dict[Key, Record]] = {table: {} for table in TYPES}
        self.node_named: dict[str, int] = {}
        self.hooks_of: dict[int, dict[str, Hook]] = {}
        self.ifaces_in: dict[int, dict[int, Iface]] = {}
        self.iface_named: dict[tuple[int, str], list[int]] = {}
        self.indexes_in: dict[int, set[int]] = {}
        self.drivers: set[str] = set()
        self.jails_named: dict[str, list[int]] = {}
        self.routes_in: dict[tuple[int, int], dict[str, Route]] = {}
        self.children_of: dict[int, set[int]] = {}
        self.jails_below: dict[str, set[int]] = {}  # directory -> jails with a root there
        self.mounts_at: dict[str, list[int]] = {}
        self.mounts_over: dict[int, int] = {}
        self.tasks_in: dict[int, dict[int, Task]] = {}
        self.owned: dict[tuple[str, Key], str] = {}

    # -- one operation -----------------------------------------------------------

    def alone(self) -> threading.RLock:
        """What keeps the other threads of this process out of an operation."""
        return self._mutex

    @contextmanager
    def operation(self) -> Iterator[None]:
        """All or nothing of other processes; what was changed is kept even when it fails."""
        with self._mutex:
            if self._depth == 0:
                self._log.acquire()
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._finish()

    def _finish(self) -> None:
        try:
            if self._changes:
                changes, self._changes = self._changes, []
                self._log.append(changes)
                records = sum(map(len, self._tables.values()))
                if self._log.worth_compacting(records):
                    self._log.compact(self._everything())
        finally:
            self._log.release()

    def _everything(self) -> Iterator[Change]:
        for table, records in self._tables.items():
            for key, record in records.items():
                yield table, key, vars(record)

    def close(self) -> None:
        with self._mutex:
            self._log.close()

    @property
    def closed(self) -> bool:
        return self._log.closed

    # -- records -------------------------------------------------------------------

    def put(self, record: Record) -> None:
        self._place(record.table, record.key, record)
        self._changes.append((record.table, record.key, vars(record)))

    def drop(self, record: Record) -> None:
        self._place(record.table, record.key, None)
        self._changes.append((record.table, record.key, None))

    def clear(self) -> None:
        """Forget everything: the host goes down."""
        for records in self._tables.values():
            for record in list(records.values()):
                self.drop(record)

    def next(self, series: str) -> int:
        """The next number of a series, from 1."""
        found = self._tables["counter"].get(series)
        value = found.value + 1 if isinstance(found, Counter) else 1
        self.put(Counter(series, value))
        return value

    def _all(self, kind: type[R], table: str) -> list[R]:
        return [r for r in self._tables[table].values() if isinstance(r, kind)]

    def _one(self, kind: type[R], table: str, key: Key) -> R | None:
        found = self._tables[table].get(key)
        return found if isinstance(found, kind) else None

    def sysctl(self, name: str) -> Sysctl | None:
        return self._one(Sysctl, "sysctl", name)

    def counter(self, name: str) -> Counter | None:
        return self._one(Counter, "counter", name)

    def module(self, name: str) -> Module | None:
        return self._one(Module, "module", name)

    def ruleset(self, number: int) -> Ruleset | None:
        return self._one(Ruleset, "ruleset", number)

    def node(self, number: int) -> Node | None:
        return self._one(Node, "node", number)

    def nodes(self) -> list[Node]:
        return self._all(Node, "node")

    def hook(self, node: int, name: str) -> Hook | None:
        return self.hooks_of.get(node, {}).get(name)

    def iface(self, number: int) -> Iface | None:
        return self._one(Iface, "iface", number)

    def ifaces(self) -> list[Iface]:
        return self._all(Iface, "iface")

    def routes(self, vnet: int, family: int) -> dict[str, Route]:
        """The default routes, by gateway."""
        return self.routes_in.get((vnet, family), {})

    def jail(self, jid: int) -> Prison | None:
        return self._one(Prison, "jail", jid)

    def jails(self) -> list[Prison]:
        return self._all(Prison, "jail")

    def sockets(self) -> list[Socket]:
        return self._all(Socket, "socket")

    def mounted(self, number: int) -> Mounted | None:
        return self._one(Mounted, "mount", number)

    def mounts(self) -> list[Mounted]:
        return self._all(Mounted, "mount")

    def rules(self) -> list[Rule]:
        return self._all(Rule, "rule")

    def task(self, pid: int) -> Task | None:
        return self._one(Task, "process", pid)

    def tasks(self) -> list[Task]:
        return self._all(Task, "process")

    # -- processes ---------------------------------------------------------------------

    def end_task(self, task: Task, status: int) -> None:
        """A process ends; whoever waits for it in this process hears of it."""
        self.drop(task)
        for tell in list(self.ended):
            tell(task, status)

    # -- indexes -----------------------------------------------------------------------

    def _learn(self, change: Change) -> None:
        table, key, value = change
        if value is None:
            self._place(table, key, None)
            return
        kind = TYPES[table]
        for name in _LISTS[kind]:
            value[name] = tuple(value[name])  # type: ignore[arg-type]
        record: Record = kind(**value)
        self._place(table, key, record)

    def _place(self, table: str, key: Key, record: Record | None) -> None:
        old = self._tables[table].get(key)
        if old is not None:
            self._unindex(old, record)
        if record is None:
            self._tables[table].pop(key, None)
        else:
            self._tables[table][key] = record
            self._index(record, old)
        for tell in self.changed:
            tell(old, record)

    def _index(self, new: Record, old: Record | None) -> None:
        if isinstance(new, Node):
            if new.name:
                self.node_named[new.name] = new.id
            if new.owner:
                self.owned["node", new.id] = new.owner
        elif isinstance(new, Hook):
            self.hooks_of.setdefault(new.node, {})[new.name] = new
        elif isinstance(new, Iface):
            self.ifaces_in.setdefault(new.vnet, {})[new.id] = new
            self.indexes_in.setdefault(new.vnet, set()).add(new.index)
            self.drivers.add(new.driver)
            if not _same_place(old, new):
                self.iface_named.setdefault((new.vnet, new.name), []).append(new.id)
        elif isinstance(new, Route):
            self.routes_in.setdefault((new.vnet, new.family), {})[new.gateway] = new
        elif isinstance(new, Prison):
            if not isinstance(old, Prison) or old.name != new.name:
                self.jails_named.setdefault(new.name, []).append(new.jid)
            self.children_of.setdefault(new.parent, set()).add(new.jid)
            for directory in _upwards(new.path):
                self.jails_below.setdefault(directory, set()).add(new.jid)
        elif isinstance(new, Mounted):
            self.mounts_over[new.below] = self.mounts_over.get(new.below, 0) + 1
            self.mounts_at.setdefault(new.directory, []).append(new.number)
        elif isinstance(new, Task):
            self.tasks_in.setdefault(new.jid, {})[new.pid] = new
        elif isinstance(new, Socket):
            self.owned["socket", new.id] = new.owner

    def _unindex(self, old: Record, new: Record | None) -> None:
        if isinstance(old, Node):
            if self.node_named.get(old.name) == old.id:
                del self.node_named[old.name]
            self.owned.pop(("node", old.id), None)
        elif isinstance(old, Hook):
            del self.hooks_of[old.node][old.name]
            if not self.hooks_of[old.node]:
                del self.hooks_of[old.node]
        elif isinstance(old, Iface):
            self.ifaces_in[old.vnet].pop(old.id, None)
            self.indexes_in[old.vnet].discard(old.index)
            self.drivers.discard(old.driver)
            if not _same_place(old, new):
                _leave(self.iface_named, (old.vnet, old.name), old.id)
        elif isinstance(old, Route):
            self.routes_in[old.vnet, old.family].pop(old.gateway, None)
        elif isinstance(old, Prison):
            if not isinstance(new, Prison) or old.name != new.name:
                _leave(self.jails_named, old.name, old.jid)
            self.children_of[old.parent].discard(old.jid)
            for directory in _upwards(old.path):
                self.jails_below[directory].discard(old.jid)
        elif isinstance(old, Mounted):
            self.mounts_over[old.below] -= 1
            _leave(self.mounts_at, old.directory, old.number)
        elif isinstance(old, Task):
            self.tasks_in[old.jid].pop(old.pid, None)
        elif isinstance(old, Socket):
            self.owned.pop(("socket", old.id), None)

    def retag(self, iface: Iface, **changes: object) -> Iface:
        """Replace an interface by one that differs in some fields."""
        fresh = replace(iface, **changes)  # type: ignore[arg-type]
        self.put(fresh)
        return fresh


def _same_place(old: Record | None, new: Record | None) -> bool:
    return (isinstance(old, Iface) and isinstance(new, Iface)
            and (old.vnet, old.name) == (new.vnet, new.name))


def _upwards(path: str) -> Iterator[str]:
    """A directory and all those above it."""
    while path != "/":
        yield path
        path = path.rpartition("/")[0] or "/"
    yield path


K = TypeVar("K")


def _leave(index: dict[K, list[int]], key: K, value: int) -> None:
    index[key].remove(value)
    if not index[key]:
        del index[key]
