"""What happens to vimages behind the service's back.

Events where the kernel has them (``Kernel.events``); what it has none for is looked at
every TICK seconds with calls whose cost does not matter: the list of jails, the list of
netgraph nodes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

from vimage.journal import READY, Record
from vimage.kernel import Kernel, ProcessId

#: Seconds between two looks.  What happened is noticed within two.
TICK = 1.9

class Gone(Protocol):
    """Told the name of the vimage and what happened to it."""

    def __call__(self, name: str, what: str, *, broken: bool = True) -> None: ...


class Watch:
    """Calls ``gone`` once for each vimage that has lost something it needs."""

    def __init__(self, kernel: Kernel, records: dict[str, Record], gone: Gone,
                 interfaces_changed: Callable[[], None]) -> None:
        self._kernel = kernel
        self._records = records
        self._gone = gone
        self._interfaces_changed = interfaces_changed
        self._nodes = b""
        self._events = kernel.events()

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._events.fileno(), self._on_event)
        try:
            while True:
                await asyncio.sleep(TICK)
                self.look()
        finally:
            loop.remove_reader(self._events.fileno())
            self._events.close()

    def watch(self, record: Record) -> None:
        """Be told at once, where the kernel can, when this vimage's jail or program ends."""
        if record.jid is not None:
            self._events.watch_jail(record.jid)
        process = command_of(record)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._events.watch_process(process.pid)

    def look(self) -> None:
        """One look at everything that has no event."""
        jids = set(self._kernel.jail_list())
        for record in self._ready():
            if record.jid not in jids:
                self._gone(record.name, f"jail {record.jid} has gone")
        nodes = self._kernel.ng_fingerprint()
        if nodes != self._nodes:
            self._nodes = nodes
            self._look_at_nodes()

    def _look_at_nodes(self) -> None:
        present = {node.id for node in self._kernel.ng_nodes()}
        for record in self._ready():
            for entry in record.entries:
                if entry.kind == "eiface" and entry.facts.get("node") not in present:
                    self._gone(record.name, f"node {entry.arguments['name']} has gone")
                    break

    def _on_event(self) -> None:
        for kind, number in self._events.read():
            if kind == "interface":
                self._interfaces_changed()
            elif kind == "jail":
                self.look()
            elif kind == "process":
                self._process_ended(number)

    def _process_ended(self, pid: int) -> None:
        for record in self._ready():
            process = command_of(record)
            if process is not None and process.pid == pid:
                self._gone(record.name, "its command has ended", broken=False)

    def _ready(self) -> Iterator[Record]:
        return (record for record in list(self._records.values()) if record.state == READY)


def command_of(record: Record) -> ProcessId | None:
    """The process of ``command``."""
    for entry in record.entries:
        if entry.kind == "command" and "pid" in entry.facts:
            return ProcessId(entry.facts["pid"], entry.facts["start"])
    return None
