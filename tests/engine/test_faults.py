"""Whatever fails, and whenever the process dies: the next process finds its way back.

Each test goes through every operation (or every write of the journal) of a start or a stop,
one host for each.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.configurations import CONFIGURATIONS
from tests.engine.machine import Machine
from tests.lib.faulty import Faults, Killed, When
from tests.lib.snapshot import difference
from vimage import journal
from vimage.journal import READY
from vimage.kernel.simulated import SimulatedProcesses
from vimage.messages import VimageError

kinds = pytest.mark.parametrize("kind", CONFIGURATIONS)
verbs = pytest.mark.parametrize("verb", ["start", "stop"])


def _machines(directory: Path, kind: str, verb: str) -> Iterator[Machine]:
    """Fresh hosts, one after another, ready for the verb."""
    for number in itertools.count():
        machine = Machine(directory / str(number), kind)
        if verb == "stop":
            machine.start()
        yield machine
        machine.kernel.close()


def _act(machine: Machine, verb: str, faults: Faults) -> None:
    session = machine.session(faults.kernel(machine.kernel),
                            faults.processes(SimulatedProcesses(machine.kernel)))
    try:
        getattr(machine, verb)(session)
    finally:
        session.journal.close()
        if faults.dead:  # the sockets of the dead process
            machine.kernel.close()
            machine.kernel = type(machine.kernel)(machine.directory)


def _all_undone(machine: Machine, what: str) -> None:
    """Only what is ready is left, and that can be stopped."""
    session = machine.session()
    states = {record.state for record in session.journal.records.values()}
    session.journal.close()
    assert states <= {READY}, what
    answer = machine.stop()
    assert answer.status == 0, (what, [str(p) for r in answer.results for p in r.problems])
    # A command on the host outlives the process that started it, until its own end.
    left = [line for line in difference(machine.before, machine.look())
            if not line.startswith("process ") or "in jail 0," not in line]
    assert left == [], what


def _each_operation(directory: Path, kind: str, verb: str,
                    make: Callable[[int], Faults]) -> Iterator[tuple[Machine, Faults]]:
    """A host and the faults that were made on it, for every operation of the verb."""
    stages = _machines(directory, kind, verb)
    at = 0
    while True:
        at += 1
        machine, faults = next(stages), make(at)
        try:
            _act(machine, verb, faults)
        except (Killed, VimageError):
            pass
        if faults.count < at:
            assert at > 3, "no operation was counted"
            return
        yield machine, faults


@kinds
@verbs
def test_every_operation_may_fail(kind: str, verb: str, tmp_path: Path) -> None:
    for machine, faults in _each_operation(tmp_path, kind, verb,
                                         lambda at: Faults(at=at, error=errno.EIO)):
        what = f"{verb} failed at {faults.done[faults.at - 1]}"
        if verb == "stop":
            machine.stop()
        _all_undone(machine, what)


@kinds
@verbs
@pytest.mark.parametrize("when", When)
def test_the_process_may_die_at_every_operation(kind: str, verb: str, when: When,
                                                tmp_path: Path) -> None:
    for machine, faults in _each_operation(tmp_path, kind, verb,
                                         lambda at: Faults(at=at, when=when)):
        what = f"{verb} died {when.value} {faults.done[faults.at - 1]}"
        machine.recover()
        _all_undone(machine, what)


@kinds
@verbs
@pytest.mark.parametrize("when", When)
def test_the_process_may_die_at_every_write(kind: str, verb: str, when: When, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    write = journal.replace
    for at, machine in enumerate(_machines(tmp_path, kind, verb), 1):
        faults = Faults()
        written: list[str] = []

        def dying(path: str, body: bytes, at: int = at, written: list[str] = written,
                  faults: Faults = faults) -> None:
            written.append(path)
            if len(written) == at and when is When.BEFORE:
                faults.die()
            write(path, body)
            if len(written) == at:
                faults.die()

        monkeypatch.setattr(journal, "replace", dying)
        try:
            _act(machine, verb, faults)
        except Killed:
            pass
        finally:
            monkeypatch.setattr(journal, "replace", write)
        if len(written) < at:
            assert at > 1
            return
        machine.recover()
        _all_undone(machine, f"{verb} died {when.value} write {at} of {written[at - 1]}")


@kinds
def test_a_full_disk_at_every_write(kind: str, tmp_path: Path,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    write = journal.replace
    for at, machine in enumerate(_machines(tmp_path, kind, "start"), 1):
        count = itertools.count(1)

        def full(path: str, body: bytes, at: int = at, count: Iterator[int] = count) -> None:
            if next(count) >= at:
                raise OSError(errno.ENOSPC, "No space left on device")
            write(path, body)

        monkeypatch.setattr(journal, "replace", full)
        answer = machine.start()
        left = difference(machine.before, machine.look())
        monkeypatch.setattr(journal, "replace", write)
        if answer.status == 0:
            assert at > 1
            return
        ready = [r.name for r in answer.results if r.ok]
        if not ready:
            assert left == [], f"write {at}"
        _all_undone(machine, f"write {at}")
