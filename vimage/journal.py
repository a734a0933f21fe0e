"""The record of what was done to the host, so that another process can undo exactly it.

One file per vimage, one per shared thing and one per matter that the service is to remember,
below ``/var/run/vimage``, mode 0600: ``vimages/NAME.json``, ``shared/KEY.json`` and
``service/KEY.json``.  Each is written whole to a temporary file
and renamed: it survives the death of the process at any instant, at the price of a write.
It need not survive the host: what it describes does not either.  A file is the CRC-32 of
the rest in eight hexadecimal digits, a newline, and a JSON object that carries the id of the
boot it belongs to.  One of another boot, or one that is damaged, is set aside (``aside/``),
never guessed at.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from vimage.kernel import JailId
from vimage.messages import Problem, VimageError

VERSION = 1
DIRECTORY = "/var/run/vimage"

Facts = dict[str, Any]  # what JSON can hold

BEGUN = "begun"  # the intent is known; whether the act took place is not
DONE = "done"

STARTING = "starting"
READY = "ready"
STOPPING = "stopping"


@dataclass(slots=True)
class Entry:
    """One step that was begun: what it was asked to do and what came of it."""

    kind: str
    arguments: Facts
    facts: Facts = field(default_factory=dict)
    state: str = BEGUN

    def as_json(self) -> Facts:
        return {"kind": self.kind, "arguments": self.arguments,
                "facts": self.facts, "state": self.state}

    @classmethod
    def from_json(cls, data: Facts) -> Entry:
        entry = cls(_text(data, "kind"), _table(data, "arguments"),
                    _table(data, "facts"), _text(data, "state"))
        if entry.state not in (BEGUN, DONE):
            raise ValueError("state")
        return entry


@dataclass(slots=True)
class Record:
    """What exists of one vimage."""

    name: str
    state: str = STARTING
    entries: list[Entry] = field(default_factory=list)
    configuration: Facts = field(default_factory=dict)  # as it was when started

    def fact(self, kind: str, name: str) -> Any:
        """A fact of the first entry of a kind, None when there is none."""
        return next((e.facts.get(name) for e in self.entries if e.kind == kind), None)

    @property
    def jid(self) -> JailId | None:
        """The jail, once it was made."""
        jid = self.fact("jail", "jid")
        return JailId(jid) if isinstance(jid, int) and jid > 0 else None

    def as_json(self) -> Facts:
        return {"name": self.name, "state": self.state, "configuration": self.configuration,
                "entries": [entry.as_json() for entry in self.entries]}

    @classmethod
    def from_json(cls, data: Facts) -> Record:
        entries = data["entries"]
        if not isinstance(entries, list):
            raise ValueError("entries")
        record = cls(_text(data, "name"), _text(data, "state"),
                     [Entry.from_json(entry) for entry in entries],
                     _table(data, "configuration"))
        if record.state not in (STARTING, READY, STOPPING):
            raise ValueError("state")
        return record


class Journal:
    """The state directory.  Raises VimageError("state_unwritable") when a write fails."""

    def __init__(self, directory: str | os.PathLike[str], boot_id: str) -> None:
        self.directory = os.fspath(directory)
        self.boot_id = boot_id
        self.records: dict[str, Record] = {}
        self.shared: dict[str, Facts] = {}
        self.remembered: dict[str, Facts] = {}
        self.set_aside: list[Problem] = []
        self._lock: int | None = None

    # -- opening ----------------------------------------------------------------------

    def open(self, *, write: bool) -> None:
        """Read every record.  With ``write``, be the one process that may change anything.

        Raises VimageError: state_busy another process holds it; state_unwritable.
        """
        if write:
            try:
                for part in ("vimages", "shared", "service", "aside", "returning"):
                    os.makedirs(f"{self.directory}/{part}", mode=0o700, exist_ok=True)
                os.chmod(self.directory, 0o700)
                self._acquire()
            except OSError as error:
                raise VimageError("state_unwritable", path=self.directory,
                                  why=error.strerror) from error
        for name, data in self._read("vimages"):
            with self._checked("vimages", name):
                record = Record.from_json(data)
                if record.name != name:
                    raise ValueError("name")
                self.records[name] = record
        for part, known in (("shared", self.shared), ("service", self.remembered)):
            for key, data in self._read(part):
                with self._checked(part, key):
                    known[key] = _table(data, "facts")

    def close(self) -> None:
        """Let another process have it."""
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

    def _read(self, part: str) -> Iterator[tuple[str, Facts]]:
        with contextlib.suppress(FileNotFoundError):
            for file in sorted(os.listdir(f"{self.directory}/{part}")):
                stem, suffix = os.path.splitext(file)
                if suffix != ".json":
                    continue
                with self._checked(part, stem):
                    with open(self._path(part, stem), "rb") as octets:
                        data = json.loads(_unseal(octets.read()))
                    if not isinstance(data, dict) or data.get("version") != VERSION:
                        raise ValueError("its version is not known")
                    if data.get("boot") != self.boot_id:
                        self._put_aside(part, stem)
                        continue
                    yield stem, data

    @contextlib.contextmanager
    def _checked(self, part: str, name: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            self.set_aside.append(Problem.of(
                "state_damaged", path=self._path(part, name), why=error))
            self._put_aside(part, name)

    def _put_aside(self, part: str, name: str) -> None:
        if self._lock is not None:
            os.rename(self._path(part, name), f"{self.directory}/aside/{part}.{name}.json")

    def _path(self, part: str, name: str) -> str:
        return f"{self.directory}/{part}/{name}.json"

    # -- writing ----------------------------------------------------------------------

    def write(self, record: Record) -> None:
        """Make the record on disk equal to ``record``."""
        self.records[record.name] = record
        self._write("vimages", record.name, record.as_json())

    def remove(self, name: str) -> None:
        """Forget a vimage of which nothing is left."""
        self.records.pop(name, None)
        self._unlink("vimages", name)

    def write_shared(self, key: str, facts: Facts) -> None:
        """Make the record of a shared thing equal to ``facts``."""
        self.shared[key] = facts
        self._write("shared", key, {"facts": facts})

    def remove_shared(self, key: str) -> None:
        """Forget a shared thing."""
        self.shared.pop(key, None)
        self._unlink("shared", key)

    def remember(self, key: str, facts: Facts) -> None:
        """What the service has to know after its own death."""
        if self.remembered.get(key) != facts:
            self.remembered[key] = facts
            self._write("service", key, {"facts": facts})

    def forget(self, key: str) -> None:
        """The service need not know it any longer."""
        if self.remembered.pop(key, None) is not None:
            self._unlink("service", key)

    def _write(self, part: str, name: str, data: Facts) -> None:
        path = self._path(part, name)
        body = json.dumps({"version": VERSION, "boot": self.boot_id, **data},
                          separators=(",", ":")).encode()
        try:
            replace(path, _seal(body))
        except OSError as error:
            raise VimageError("state_unwritable", path=path, why=error.strerror) from error

    def _unlink(self, part: str, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(part, name))


def _seal(body: bytes) -> bytes:
    return b"%08x\n%s" % (zlib.crc32(body), body)


def _unseal(octets: bytes) -> bytes:
    body = octets[9:]
    if _seal(body) != octets:
        raise ValueError("its sum does not fit")
    return body


def replace(path: str, body: bytes, *, sync: bool = False) -> None:
    """Write a file so that it is the old one or the new one, never between.

    That holds over the death of the process.  With ``sync`` (fsync(2)) it holds over that
    of the host too.
    """
    temporary = f"{path}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                         | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            left = memoryview(body)
            while left:
                left = left[os.write(descriptor, left):]
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _text(data: Facts, key: str) -> str:
    if not isinstance(data[key], str):
        raise ValueError(key)
    return str(data[key])


def _table(data: Facts, key: str) -> Facts:
    if not isinstance(data[key], dict):
        raise ValueError(key)
    return dict(data[key])
