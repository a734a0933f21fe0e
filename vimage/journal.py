"""The record of what was done to the host, so that another process can undo exactly it.

One file for each vimage, each shared thing and each thing that the service remembers, below
``/var/run/vimage``, mode 0600: ``vimages/NAME.json``, ``shared/KEY.json`` and
``service/KEY.json``.  A file is written under a temporary name and renamed, so it survives the
death of the process at any instant.  It need not survive a reboot, because what it describes
does not.

A file is the CRC-32 of the rest in eight hexadecimal digits, a newline, and a JSON object:

=========  ==================================================================================
``boot``   the boot of the host that it belongs to (``Kernel.boot_id``)
``level``  the format of this kind of record; 0 where there is none
``by``     the version of vimage that wrote it
=========  ==================================================================================

For a vimage the fields of ``Record`` follow, for the others ``facts``, one JSON object.

A record of another boot, or one that is damaged, is moved to ``aside/`` and not used.  One of an
older level is upgraded as it is read.  One of a newer level is left as it is.  In the record of a
vimage ``name``, ``jail`` and ``holds`` have the same meaning at every level, so that what a newer
version uses counts as in use.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from vimage import __version__
from vimage.atomic import replace as replace  # tests put another in its place
from vimage.configuration.values import RULES
from vimage.kernel import JailId
from vimage.messages import Problem, VimageError

DIRECTORY = "/var/run/vimage"

JsonObject = dict[str, Any]

#: States of an entry.  BEGUN: the intent is recorded; whether the step acted is not known.
BEGUN = "begun"
DONE = "done"
UNDOING = "undoing"  # a command of its undo was begun, which must not run twice
UNDONE = "undone"  # by a change under way; rolling it back does the step again

#: What a change under way does with an entry.
NEW = "new"
OLD = "old"
AMENDED = "amended"

#: States of a record.
STARTING = "starting"
READY = "ready"
CHANGING = "changing"
STOPPING = "stopping"


@dataclass(slots=True, eq=False)
class Entry:
    """One step that was begun: what it was asked to do and what came of it."""

    kind: str
    arguments: JsonObject
    results: JsonObject = field(default_factory=dict)
    state: str = BEGUN
    change: str = ""  # NEW, OLD or AMENDED by a change under way
    before: JsonObject | None = None  # AMENDED: the arguments of before

    def as_json(self) -> JsonObject:
        """What the file holds."""
        data = {"kind": self.kind, "arguments": self.arguments,
                "results": self.results, "state": self.state}
        if self.change:
            data["change"] = self.change
        if self.before is not None:
            data["before"] = self.before
        return data

    @classmethod
    def from_json(cls, data: JsonObject) -> Entry:
        """Raises ValueError, KeyError, TypeError."""
        before = data.get("before")
        return cls(_text(data, "kind"), _table(data, "arguments"), _table(data, "results"),
                   _one_of(data["state"], (BEGUN, DONE, UNDOING, UNDONE)),
                   _one_of(data.get("change", ""), ("", NEW, OLD, AMENDED)),
                   None if before is None else _table(data, "before"))


@dataclass(slots=True, eq=False)
class Record:
    """What exists of one vimage, as its file holds it."""

    name: str
    state: str = STARTING
    entries: list[Entry] = field(default_factory=list)
    configuration: JsonObject = field(default_factory=dict)  # as it was when started
    file: str = ""  # the configuration file given with -f; "" is rc.conf
    target: JsonObject | None = None  # CHANGING: the configuration that it is to have
    note: str = ""  # why the last change of it failed

    def result(self, kind: str, name: str) -> Any:
        """A result of the first entry of a kind, None when there is none."""
        return next((e.results.get(name) for e in self.entries if e.kind == kind), None)

    @property
    def jid(self) -> JailId | None:
        """The jail, once it was made."""
        return _jail(self.result("jail", "jid"))

    @property
    def holds(self) -> list[str]:
        """The keys of the shared things that it uses."""
        return [e.results["holds"] for e in self.entries if "holds" in e.results]

    def as_json(self) -> JsonObject:
        """What the file holds."""
        return {"name": self.name, "jail": self.jid, "holds": self.holds, "state": self.state,
                "file": self.file, "note": self.note, "configuration": self.configuration,
                "target": self.target, "entries": [entry.as_json() for entry in self.entries]}

    @classmethod
    def from_json(cls, data: JsonObject) -> Record:
        """Raises ValueError, KeyError, TypeError."""
        entries = data["entries"]
        if not isinstance(entries, list):
            raise ValueError("entries")
        target = data.get("target")
        return cls(_text(data, "name"),
                   _one_of(data["state"], (STARTING, READY, CHANGING, STOPPING)),
                   [Entry.from_json(entry) for entry in entries],
                   _table(data, "configuration"), _text(data, "file"),
                   None if target is None else _table(data, "target"), _text(data, "note"))


@dataclass(frozen=True, slots=True)
class Newer:
    """A record that a newer version of vimage has written."""

    part: str
    name: str
    level: int
    by: str  # the version that wrote it
    jid: JailId | None = None
    holds: tuple[str, ...] = ()

    @classmethod
    def of(cls, part: str, name: str, data: JsonObject) -> Newer:
        """Read the fields that have the same meaning at every level."""
        holds = data.get("holds")
        return cls(part, name, data["level"], str(data.get("by", "")), _jail(data.get("jail")),
                   tuple(map(str, holds)) if isinstance(holds, list) else ())

    @property
    def problem(self) -> Problem:
        """Why this version leaves it alone."""
        return Problem.of("state_newer", vimage=self.name if self.part == "vimages" else "",
                          name=self.name, have=__version__,
                          by=self.by or f"state level {self.level}")


def _vimage_level_1(data: JsonObject) -> JsonObject:
    """Level 0 had no entry for a move, nor for addresses, which a change has to know, and kept
    the amounts of resource rules as they were written."""
    entries = [{**entry, "results": entry["facts"]} for entry in data["entries"]]
    more: list[JsonObject] = []
    if data["state"] == READY:
        more = [{"kind": "move", "arguments": {"name": entry["arguments"]["name"]}, "results": {},
                 "state": DONE} for entry in entries if entry["kind"] == "eiface"]
        links = data["configuration"].get("links", ())
        pairs = [f"{link['name']} {address}" for link in links for address in link["addresses"]]
        routers = [router for key in ("defaultrouter", "defaultrouter6")
                   if (router := data["configuration"].get(key))]
        if pairs or routers:
            more.append({"kind": "addresses", "results": {}, "state": DONE,
                         "arguments": {"addresses": pairs, "routers": routers}})
    configuration = dict(data["configuration"])
    with contextlib.suppress(ValueError):  # then it is shown as changed, no more
        configuration["rctl"] = list(RULES.parse(" ".join(configuration.get("rctl", ()))))
    return {**data, "file": "", "note": "", "configuration": configuration,
            "entries": [*entries, *more]}


def _same(data: JsonObject) -> JsonObject:
    """Level 1 has the same fields as level 0."""
    return data


#: For each kind of record, the function that makes level N+1 of level N.
UPGRADES: dict[str, tuple[Callable[[JsonObject], JsonObject], ...]] = {
    "vimages": (_vimage_level_1,),
    "shared": (_same,),
    "service": (_same,),
}


class Journal:
    """The state directory, as it was read and as this process has changed it.

    Every change raises VimageError("state_unwritable") when it cannot be written.  It holds for
    this process all the same, and ``flush`` writes it later.
    """

    def __init__(self, directory: str | os.PathLike[str], boot_id: str,
                 kinds: Collection[str] | None = None) -> None:
        """A record with a step that is not of ``kinds`` counts as written by a newer version."""
        self.directory = os.fspath(directory)
        self.boot_id = boot_id
        self.records: dict[str, Record] = {}
        self.shared: dict[str, JsonObject] = {}
        self.remembered: dict[str, JsonObject] = {}
        self.newer: dict[str, dict[str, Newer]] = {part: {} for part in UPGRADES}
        self.set_aside: list[Problem] = []
        self._kinds = kinds
        self._unwritten: dict[tuple[str, str], None] = {}
        self._lock: int | None = None

    # -- opening ----------------------------------------------------------------------

    def open(self, *, write: bool) -> None:
        """Read every record.  With ``write``, be the one process that may change anything.

        Raises VimageError: state_busy another process holds it; state_unwritable.
        """
        if write:
            try:
                for part in (*UPGRADES, "aside", "returning"):
                    os.makedirs(f"{self.directory}/{part}", mode=0o700, exist_ok=True)
                os.chmod(self.directory, 0o700)
                self._acquire()
                self._remove_unfinished()
            except OSError as error:
                raise VimageError("state_unwritable", path=self.directory,
                                  why=error.strerror) from error
        for part in UPGRADES:
            for name in self._names(part):
                self._read(part, name)

    def close(self) -> None:
        """Release the lock, so that another process can open it for writing."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _acquire(self) -> None:
        self._lock = os.open(f"{self.directory}/lock",
                             os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
                raise VimageError("state_busy", path=self.directory) from error
            raise

    def _remove_unfinished(self) -> None:
        """What a process has left that was killed in the middle of a write."""
        for part in UPGRADES:
            for file in os.listdir(f"{self.directory}/{part}"):
                if file.endswith(".new"):
                    os.unlink(f"{self.directory}/{part}/{file}")

    def _names(self, part: str) -> Iterator[str]:
        try:
            files = sorted(os.listdir(f"{self.directory}/{part}"))
        except FileNotFoundError:
            return
        for file in files:
            name, suffix = os.path.splitext(file)
            if suffix == ".json":
                yield name

    def _read(self, part: str, name: str) -> None:
        """Read one record.  An error in it does not keep the others from being read."""
        path = self._path(part, name)
        try:
            with open(path, "rb") as file:
                data = json.loads(_unseal(file.read()))
            if not isinstance(data, dict):
                raise ValueError("not a record")
            if data.get("boot") != self.boot_id:
                self._put_aside(part, name)
                return
            self._take(part, name, data)
        except FileNotFoundError:
            return  # its vimage was stopped just now
        except OSError as error:
            self.set_aside.append(Problem.of("state_unreadable", path=path, why=error.strerror))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self.set_aside.append(Problem.of("state_damaged", path=path, why=error))
            self._put_aside(part, name)

    def _take(self, part: str, name: str, data: JsonObject) -> None:
        level, upgrades = data.get("level", 0), UPGRADES[part]
        if not isinstance(level, int) or level < 0:
            raise ValueError("level")
        if level > len(upgrades) or part == "vimages" and self._unknown_kind(data):
            self.newer[part][name] = Newer.of(part, name, {**data, "level": level})
            return
        for upgrade in upgrades[level:]:
            data = upgrade(data)
        if part == "vimages":
            record = Record.from_json(data)
            if record.name != name:
                raise ValueError("name")
            self.records[name] = record
        else:
            (self.shared if part == "shared" else self.remembered)[name] = _table(data, "facts")

    def _unknown_kind(self, data: JsonObject) -> bool:
        return self._kinds is not None and any(
            entry["kind"] not in self._kinds for entry in data["entries"])

    def _put_aside(self, part: str, name: str) -> None:
        if self._lock is not None:
            with contextlib.suppress(OSError):  # it is not read in any case
                os.rename(self._path(part, name), f"{self.directory}/aside/{part}.{name}.json")

    def _path(self, part: str, name: str) -> str:
        return f"{self.directory}/{part}/{name}.json"

    # -- writing ----------------------------------------------------------------------

    def write(self, record: Record) -> None:
        """Make the record on disk equal to ``record``."""
        self.records[record.name] = record
        self._write("vimages", record.name)

    def remove(self, name: str) -> None:
        """Forget a vimage of which nothing is left."""
        self.records.pop(name, None)
        self._write("vimages", name)

    def write_shared(self, key: str, data: JsonObject) -> None:
        """Make the record of a shared thing equal to ``data``.

        Raises VimageError: state_unwritable, state_newer.
        """
        self._keep_newer("shared", key)
        self.shared[key] = data
        self._write("shared", key)

    def remove_shared(self, key: str) -> None:
        """Forget a shared thing."""
        self.shared.pop(key, None)
        self._write("shared", key)

    def remember(self, key: str, data: JsonObject) -> None:
        """Write something that the next service has to know."""
        if self.remembered.get(key) != data or ("service", key) in self._unwritten:
            self.remembered[key] = data
            self._write("service", key)

    def forget(self, key: str) -> None:
        """Remove what ``remember`` has written."""
        if self.remembered.pop(key, None) is not None or ("service", key) in self._unwritten:
            self._write("service", key)

    def flush(self) -> None:
        """Write what could not be written before.  Raises VimageError("state_unwritable")."""
        for part, name in list(self._unwritten):
            self._write(part, name)

    def _keep_newer(self, part: str, name: str) -> None:
        if name in self.newer[part]:
            raise VimageError(self.newer[part][name].problem)

    def _write(self, part: str, name: str) -> None:
        """Write the file of a record, or remove it when the record was removed."""
        if name in self.newer[part]:
            return  # what a newer version has written stays
        path, data = self._path(part, name), self._data(part, name)
        try:
            if data is None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            else:
                body = json.dumps({"level": len(UPGRADES[part]), "by": __version__,
                                   "boot": self.boot_id, **data}, separators=(",", ":"))
                replace(path, _seal(body.encode()))
        except OSError as error:
            self._unwritten[part, name] = None
            raise VimageError("state_unwritable", path=path, why=error.strerror) from error
        self._unwritten.pop((part, name), None)

    def _data(self, part: str, name: str) -> JsonObject | None:
        """What the file holds besides boot, level and version; None when there is to be no file."""
        if part == "vimages":
            record = self.records.get(name)
            return None if record is None else record.as_json()
        known = (self.shared if part == "shared" else self.remembered).get(name)
        return None if known is None else {"facts": known}


def _seal(body: bytes) -> bytes:
    return b"%08x\n%s" % (zlib.crc32(body), body)


def _unseal(octets: bytes) -> bytes:
    body = octets[9:]
    if _seal(body) != octets:
        raise ValueError("its checksum is wrong")
    return body


def _jail(jid: Any) -> JailId | None:
    return JailId(jid) if isinstance(jid, int) and jid > 0 else None


def _one_of(value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{value!r} is not one of {', '.join(filter(None, allowed))}")
    return str(value)


def _text(data: JsonObject, key: str) -> str:
    if not isinstance(data[key], str):
        raise ValueError(key)
    return str(data[key])


def _table(data: JsonObject, key: str) -> JsonObject:
    if not isinstance(data[key], dict):
        raise ValueError(key)
    return dict(data[key])
