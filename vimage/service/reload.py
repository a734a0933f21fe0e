"""From the configuration a vimage was started with to that of now, live where possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vimage import events, plan
from vimage.configuration.load import Loaded
from vimage.configuration.render import as_dict
from vimage.events import Sink
from vimage.journal import READY, Entry, Record
from vimage.model import Configuration, Vimage
from vimage.session import FAILED, NOTHING_TOUCHED, Session
from vimage.steps import Step
from vimage.steps.bridges import Bridge, HostOnlyBridge, bridge_key
from vimage.steps.commands import Service
from vimage.steps.interfaces import Addresses, Eiface, MoveIn, Readdress

#: Fields that only the service itself looks at: applied by taking note.
NOTED = frozenset({"depend", "restart", "health", "health_interval", "health_timeout",
                   "start_timeout"})

#: Fields that can be changed while the vimage runs.
LIVE = frozenset({"links", "afterstart_services", "rctl", "cpus"})


class Changes:
    """The vimages that run with another configuration than rc.conf gives.

    What was found of one holds until it or its configuration is another object.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Vimage, Mapping[str, Any], bool]] = {}

    def of(self, loaded: Loaded, records: Mapping[str, Record]) -> list[str]:
        """Their names."""
        vimages, before = loaded.configuration.vimages, self._known
        self._known = {name: self._compared(before.get(name), vimages[name], record.configuration)
                       for name, record in records.items()
                       if record.state == READY and name in vimages}
        return [name for name, (_, _, differ) in self._known.items() if differ]

    @staticmethod
    def _compared(known: tuple[Vimage, Mapping[str, Any], bool] | None, vimage: Vimage,
                  running: Mapping[str, Any]) -> tuple[Vimage, Mapping[str, Any], bool]:
        if known is not None and known[0] is vimage and known[1] is running:
            return known
        return vimage, running, bool(_differ(as_dict(vimage), running))


class Reload:
    """One reload."""

    def __init__(self, session: Session, loaded: Loaded, before: Sequence[str]) -> None:
        self.session = session
        self.loaded = loaded
        self.before = before

    async def apply(self, client: Sink) -> int:
        """Apply what can be applied live; say what needs a restart."""
        errors = self.loaded.errors
        for problem in errors:
            client.send(events.problem(problem))
        status = FAILED if errors else 0
        configuration = self.loaded.configuration
        records = self.session.journal.records
        for name in Changes().of(self.loaded, records):
            status |= await self._change(configuration.vimages[name], configuration, client)
        removed = [n for n in self.before if n not in self.loaded.names and n in records]
        if removed:
            answer = await self.session.stop(None, removed)
            status |= self._tell(answer.results, client)
        added = [n for n in configuration.list if n not in self.before and n not in records
                 and n in configuration.vimages]
        if added:
            answer = await self.session.start(self.loaded, added)
            for problem in answer.problems if answer.status == NOTHING_TOUCHED else ():
                client.send(events.problem(problem))
            status |= self._tell(answer.results, client) or min(answer.status, FAILED)
        return status

    @staticmethod
    def _tell(results: Sequence[Any], client: Sink) -> int:
        for result in results:
            client.send(events.result(result))
        return 0 if all(result.ok for result in results) else FAILED

    async def _change(self, vimage: Vimage, configuration: Configuration, client: Sink) -> int:
        record = self.session.journal.records[vimage.name]
        new, old = as_dict(vimage), record.configuration
        fields = _differ(new, old)
        applied = {field: new[field] for field in fields if field in NOTED | LIVE}
        rest = [field for field in fields if field not in NOTED | LIVE]
        steps, entries = _links(record, vimage, configuration) if "links" in fields else ([], [])
        if "afterstart_services" in fields:
            more, less = _services(record, vimage)
            steps, entries = [*steps, *more], [*entries, *less]
        if "rctl" in fields or "cpus" in fields:
            steps = [*steps, *plan.limits(vimage)]
            entries = [*entries, *(e for e in record.entries if e.kind == "limits")]
        problems = await self.session.engine.change(
            vimage.name, steps, entries, {**old, **applied})
        for problem in problems:
            client.send(events.problem(problem))
        done = [] if problems else sorted(applied)
        if done or rest:
            client.send(events.applied(vimage.name, done, rest))
        return FAILED if problems else 0


def _differ(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    """The fields that differ."""
    return [field for field in new if new[field] != old.get(field)]


def _services(record: Record, vimage: Vimage) -> tuple[list[Step], list[Entry]]:
    """Services to start and those to stop."""
    running = {entry.arguments["service"]: entry for entry in record.entries
               if entry.kind == "service"}
    return ([Service(name, vimage.start_timeout, vimage.stop_timeout)
             for name in vimage.afterstart_services if name not in running],
            [entry for name, entry in running.items() if name not in vimage.afterstart_services])


def _made_anew(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return any(old.get(field) != new[field] for field in new if field != "addresses")


def _links(record: Record, vimage: Vimage,
           configuration: Configuration) -> tuple[list[Step], list[Entry]]:
    """Interfaces to make and to take away; a link that changed is made anew, unless it is
    only its addresses that did."""
    old = {link["name"]: link for link in record.configuration.get("links", ())}
    new = {link["name"]: link for link in as_dict(vimage)["links"]}
    gone = {name for name in old if name not in new or _made_anew(old[name], new[name])}
    fresh = [link for link in vimage.links
             if link.name not in old or _made_anew(old[link.name], new[link.name])]
    kept = {link.parent for link in vimage.links if link not in fresh}
    steps: list[Step] = [
        Readdress(link.name, tuple(a for a in before if a not in link.addresses),
                  tuple(a for a in link.addresses if a not in before))
        for link in vimage.links if link not in fresh
        if (before := old[link.name]["addresses"]) != list(link.addresses)]
    for parent in dict.fromkeys(link.parent for link in fresh if link.parent not in kept):
        bridge = configuration.bridges.get(parent)
        steps.append(Bridge(parent) if bridge is None
                     else HostOnlyBridge(bridge.name, bridge.mac, bridge.addresses))
    for step in plan.start(vimage, configuration):
        if isinstance(step, Eiface | MoveIn) and any(step.name == link.name for link in fresh):
            steps.append(step)
    pairs = tuple(f"{link.name} {address}" for link in fresh for address in link.addresses)
    if pairs:
        steps.append(Addresses(pairs, ()))
    unused = {bridge_key(link["parent"]) for link in old.values()} - {
        bridge_key(parent) for parent in kept}
    entries = [entry for entry in record.entries
               if entry.kind == "eiface" and entry.arguments["name"] in gone
               or entry.kind in ("bridge", "hostbridge") and entry.facts.get("holds") in unused]
    return steps, entries
