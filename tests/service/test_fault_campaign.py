"""Every operation of the kernel layer fails once, two fail, or the service is killed there.

In start, stop, reload, restart, take-over and recovery, of the real service over its socket,
with threads and without.  After each the next command brings the host to what it was before
or to what was asked for, exactly; nothing is left, nothing is lost, no command is run twice,
and nobody logs a traceback.

Without more, a seeded sample is tried.  VIMAGE_TEST_FAULTS is the number of single faults,
VIMAGE_TEST_FAULT_PAIRS that of pairs and VIMAGE_TEST_FAULT_KILLS that of kills, of all
scenarios together; ``all`` is every instant (not for pairs).  VIMAGE_TEST_SEED is another
seed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.engine.machine import OTHER, PARENT, ROOT, STATE, Machine
from tests.lib import forked
from tests.lib.faulty import When
from tests.lib.snapshot import Snapshot
from tests.service.conftest import Host, Reply, ask, rows, write_script
from tests.service.instants import Die, Event, Fail, Instants
from tests.service.lives import Lives
from vimage.kernel.simulated import SimulatedProcesses

#: Each life is bounded by itself; how many there are is for the environment to say.
BOUNDED = False

SEED = int(os.environ.get("VIMAGE_TEST_SEED", "238327"))
SINGLES = os.environ.get("VIMAGE_TEST_FAULTS", "90")
PAIRS = os.environ.get("VIMAGE_TEST_FAULT_PAIRS", "60")
KILLS = os.environ.get("VIMAGE_TEST_FAULT_KILLS", "60")

ERRORS = (errno.EIO, errno.ETIMEDOUT, errno.ENOMEM, errno.EINTR)

VARIABLES = {
    "vimage_list": "a b",
    "vimage_boot": "none",
    "vimage_devfs_enable": "NO",
    "vimage_bridge_list": "lan0",
    "vimage_bridge_lan0_addr": "10.9.0.1/24",
    "vimage_a_rootdir": ROOT,
    "vimage_a_devfs_enable": "YES",
    "vimage_a_bridges": f"{PARENT} lan0",
    "vimage_a_addr0": "192.0.2.2/24",
    "vimage_a_defaultrouter": "192.0.2.1",
    "vimage_a_exec_prepare": "echo prepare-a",
    "vimage_a_exec_prestart": "echo prestart-a",
    "vimage_a_exec_poststart": "echo poststart-a",
    "vimage_a_exec_prestop": "echo prestop-a",
    "vimage_a_exec_start": "echo start-a",
    "vimage_a_exec_stop": "echo stop-a",
    "vimage_a_exec_poststop": "echo poststop-a",
    "vimage_a_exec_release": "echo release-a",
    "vimage_a_exec_afterstart": "echo afterstart-a",
    "vimage_a_afterstart_services": "one",
    "vimage_a_command": "/bin/sleep 1000000",
    "vimage_a_rctl": "maxproc:deny=10",
    "vimage_b_rootdir": ROOT,
    "vimage_b_depend": "a",
    "vimage_b_bridges": f"={PARENT}",
    "vimage_b_vnets": OTHER,
    "vimage_b_exec_prestart": "echo prestart-b",
    "vimage_b_exec_poststop": "echo poststop-b",
}
#: What a reload finds.
CHANGED = {
    "vimage_a_bridges": f"{PARENT} {PARENT}",
    "vimage_a_addr0": "192.0.2.3/24",
    "vimage_a_afterstart_services": "two",
    "vimage_a_rctl": "maxproc:deny=20",
    "vimage_b_bridges": f"={PARENT} lan0",
}


@dataclass(frozen=True)
class Scenario:
    """What is under way while something goes wrong."""

    name: str
    template: str  # the host it begins with: down, up, half
    words: tuple[str, ...]  # () is nothing but the beginning of the service
    changed: bool = False

    def __str__(self) -> str:
        return self.name


SCENARIOS = [
    Scenario("start", "down", ("start",)),
    Scenario("stop", "up", ("stop", "a", "b")),
    Scenario("restart", "up", ("restart", "a")),
    Scenario("reload", "up", ("reload",), changed=True),
    Scenario("take-over", "up", ()),
    Scenario("recovery", "half", ()),
]
#: The next command, and how every vimage is to be after it.
NEXT = {"start": "ready", "stop": "stopped", "restart": "ready", "reload": ""}


# -- what is looked at ------------------------------------------------------------------------


def normal(found: Snapshot) -> tuple[str, ...]:
    """A host without the numbers that are another each time."""
    lines = [f"node {name}: {re.sub(r'link[0-9]+', 'link', text)}"
             for name, text in found.nodes.items()]
    lines += [f"interface {name}: {re.sub(r'ngeth[0-9]+', 'ngeth', text)}"
              for name, text in found.interfaces.items()]
    lines += [f"jail {text}" for text in found.jails.values()]
    lines += [f"mount {name}: {text}" for name, text in found.mounts.items()]
    lines += [f"process {re.sub(r'in jail [0-9]+', 'in a jail', text)}"
              for text in found.processes.values() if "in jail 0," not in text
              # A command in a jail outlives the service that was killed, until its own end.
              and "/usr/sbin/service " not in text and "/bin/sh " not in text]
    lines += [f"rule {name}" for name in found.rules]
    lines += [f"file {name}" for name in found.files]
    return tuple(sorted(_hooks_sorted(line) for line in lines))


def _hooks_sorted(line: str) -> str:
    head, colon, tail = line.partition(": ")
    return head + colon + ", ".join(sorted(tail.split(", ")))


def inside(host: Host) -> tuple[str, ...]:
    """The interfaces and addresses in each jail."""
    found = []
    for name in "ab":
        try:
            addresses = host.machine.control.addresses_inside(host.jid(name))
        except OSError:
            continue
        found += [f"{name} {interface} {' '.join(sorted(a))}"
                  for interface, a in addresses.items()]
    return tuple(sorted(found))


Seen = tuple[tuple[str, ...], tuple[str, ...]]


def look(host: Host) -> Seen:
    return normal(host.machine.look()), inside(host)


class Counting(SimulatedProcesses):
    """Tells the parent of every command that was really started."""

    async def start(self, command: Any) -> Any:
        process = await super().start(command)
        forked.note("ran: " + " ".join(command.argv))
        return process


# -- lives ------------------------------------------------------------------------------------


@dataclass
class Ending:
    """How a run ended."""

    first: Reply | None = None
    after_first: Seen | None = None
    next: Reply | None = None
    after_next: Seen | None = None
    states: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    last: Reply | None = None
    after_last: Seen | None = None


def words_of(verb: str) -> tuple[str, ...]:
    return ("stop", "a", "b") if verb == "stop" else (verb,)


async def _ask(host: Host, words: tuple[str, ...]) -> Reply:
    async with asyncio.timeout(5000):
        return await ask(host.machine, *words)


async def _what_follows(host: Host, verb: str, ending: Ending) -> None:
    """The next command, and the end of all."""
    ending.next = await _ask(host, words_of(verb))
    ending.after_next = look(host)
    shown = await rows(host.machine)
    ending.states = {name: str(shown[name]["state"]) for name in "ab"}
    ending.changed = [name for name in "ab" if shown[name]["changed"]]
    ending.last = await _ask(host, ("stop", "a", "b"))
    ending.after_last = look(host)


async def _play(host: Host, scenario: Scenario, verb: str, instants: Instants) -> Ending:
    ending = Ending()
    kernel = instants.kernel(host.machine.kernel)
    processes = instants.processes(Counting(host.machine.kernel))
    instants.armed = not scenario.words
    try:
        async with host.serving(kernel, processes):
            instants.armed = True
            if scenario.words:
                ending.first = await _ask(host, scenario.words)
            else:
                await asyncio.sleep(20)
            instants.armed = False
            await asyncio.sleep(5)
            ending.after_first = look(host)
            forked.note("next")
            instants.names.append("next")
            await _what_follows(host, verb, ending)
    except OSError as error:
        if scenario.words or "next" in instants.names:
            raise
        forked.note(f"cannot begin: {error}")  # daemon(8) has it try again
        forked.die()
    return ending


async def _later(host: Host, verb: str, ending: Ending) -> Ending:
    """In another life of the service."""
    async with host.serving(processes=Counting(host.machine.kernel)):
        await _what_follows(host, verb, ending)
    return ending


@dataclass
class Run:
    """A run and all that was heard of it."""

    ending: Ending
    notes: list[str]
    complaints: list[str]
    killed: bool

    @property
    def operations(self) -> list[str]:
        return [note for note in self.notes if not note.startswith("ran: ") and note != "next"]

    def ran(self) -> Counter[str]:
        return Counter(note for note in self.notes if note.startswith("ran: "))


def run(lives: Lives, scenario: Scenario, verb: str, events: dict[int, Event]) -> Run:
    """One run in one or two processes."""
    instants = Instants(events)
    if scenario.changed:
        lives.variables |= CHANGED

    def life() -> Ending:
        host = lives.host()
        with instants.files(host.machine.kernel.path(STATE)):
            ending: Ending = host.play(lambda: _play(host, scenario, verb, instants))
        host.machine.kernel.close()
        return ending

    first = forked.forked(life)
    if not first.killed:
        return Run(first.value, first.notes, first.complaints, False)

    def next_life() -> Ending:
        host = lives.host()
        ending: Ending = host.play(lambda: _later(host, verb, Ending()))
        host.machine.kernel.close()
        return ending

    second = forked.forked(next_life)
    return Run(second.value, first.notes + ["next"] + second.notes,
               first.complaints + second.complaints, True)


# -- what is expected -------------------------------------------------------------------------


@dataclass
class Campaign:
    """Hosts to begin with, and how they look."""

    directory: Path
    templates: dict[str, Lives] = field(default_factory=dict)
    looks: dict[str, Seen] = field(default_factory=dict)
    lengths: dict[str, list[str]] = field(default_factory=dict)
    number: int = 0

    def __post_init__(self) -> None:
        machine = Machine(self.directory / "down", "bridge")
        machine.control.set_sysctl("kern.racct.enable", 1)
        machine.variables = dict(VARIABLES)
        for name in ("one", "two"):
            write_script(machine, f"etc/rc.d/{name}", [f"echo {name}"])
        self.templates["down"] = down = Lives.of(machine)
        self.looks["down"] = forked.forked(lambda: look(down.host())).value
        self.templates["up"] = up = down.copy(self.directory / "up")
        self.looks["up"] = self._started(up)
        self.looks["changed"] = self._started(self._changed("changed", ""))
        for name in "ab":  # the unit of a reload is one vimage
            self.looks[f"{name} changed"] = self._started(
                self._changed(f"only-{name}", f"vimage_{name}_"))
        half = self.templates["half"] = down.copy(self.directory / "half")
        names = self.measured(SCENARIOS[0])
        middle = next(n for n, name in enumerate(names, 1) if "if_vmove" in name) + 2
        run_ = self._killed(half, middle)
        assert run_

    def _changed(self, name: str, prefix: str) -> Lives:
        lives = self.templates["down"].copy(self.directory / name)
        lives.variables |= {n: v for n, v in CHANGED.items() if n.startswith(prefix)}
        return lives

    def _started(self, lives: Lives) -> Seen:
        async def start(host: Host) -> Seen:
            assert (await ask(host.machine, "start")).status == 0
            return look(host)

        return lives.live(start).value

    def _killed(self, lives: Lives, at: int) -> bool:
        """Only the first life: killed in the middle of a start."""
        instants = Instants({at: Die(When.BEFORE)})

        async def start(host: Host) -> None:
            instants.armed = True
            await ask(host.machine, "start")

        return lives.live(start, instants).killed

    def fresh(self, template: str, *, threads: bool = False) -> Lives:
        """A copy of a host."""
        self.number += 1
        lives = self.templates[template].copy(self.directory / str(self.number))
        lives.sleeps = threads
        return lives

    def measured(self, scenario: Scenario) -> list[str]:
        """The instants of a scenario in which nothing goes wrong."""
        if scenario.name not in self.lengths:
            found = run(self.fresh(scenario.template), scenario, "stop", {})
            self.lengths[scenario.name] = found.operations
            assert len(found.operations) > 3, scenario
        return self.lengths[scenario.name]

    def judge(self, scenario: Scenario, verb: str, found: Run,
              failed: list[str]) -> list[str]:
        """What is wrong with a run in which these operations have failed."""
        ending, wrong = found.ending, []
        assert ending.next is not None and ending.last is not None
        if found.complaints:
            wrong.append(f"log: {found.complaints[0]}")
        up = [self.looks["up"]]
        if scenario.changed:
            up += [self.looks[f"{n} changed"] for n in "ab"] + [self.looks["changed"]]
        refused = any("peer(" in name or "jail_of(" in name for name in failed)
        if ending.first is not None and not refused:  # else nobody knows who has asked
            if ending.first.status and not ending.first.err:
                wrong.append(f"no word: {ending.first}")
            if ending.first.status not in (0, 1, 2) or "internal" in ending.first.err:
                wrong.append(f"first: {ending.first}")
            if ending.first.status == 0 and ending.after_first is not None:
                asked = {"start": self.looks["up"], "stop": self.looks["down"],
                         "restart": self.looks["up"], "reload": self.looks["changed"]}
                wrong += differ("after the first", ending.after_first, [asked[scenario.name]])
        if ending.next.status != 0:
            wrong.append(f"next ({verb}): {ending.next}")
        wanted = {"stop": [self.looks["down"]], "start": up, "restart": up[-1:],
                  "reload": up[-1:]}[verb]
        if verb == "reload" and (scenario.template == "down" or scenario.name in (
                "stop", "restart", "recovery")):
            wanted = []  # what is down stays down
        if verb == "restart" and scenario.changed:
            wanted = [self.looks["changed"]]
        if wanted:
            wrong += differ(f"after the next ({verb})", ending.after_next, wanted)
        if NEXT[verb] and set(ending.states.values()) != {NEXT[verb]}:
            wrong.append(f"after the next ({verb}): {ending.states}")
        if ending.last.status != 0:
            wrong.append(f"last: {ending.last}")
        wrong += differ("after the last", ending.after_last, [self.looks["down"]])
        wrong += self._twice(scenario, verb, found)
        return wrong

    @staticmethod
    def _twice(scenario: Scenario, verb: str, found: Run) -> list[str]:
        """Commands that were run twice in one life of a vimage."""
        if verb != "stop" or scenario.name not in ("start", "stop", "take-over", "recovery"):
            return []
        return [f"run {count} times: {words}" for words, count in found.ran().items()
                if count > 1 and not words.startswith("ran: /bin/sleep")]


def differ(when: str, seen: Seen | None, wanted: list[Seen]) -> list[str]:
    """How a host differs from each of what it may look like."""
    if seen in wanted:
        return []
    assert seen is not None
    nearest = min((_lines(seen, one) for one in wanted), key=len)
    return [f"{when}: {line}" for line in nearest]


def _lines(seen: Seen, wanted: Seen) -> list[str]:
    now, then = Counter(seen[0] + seen[1]), Counter(wanted[0] + wanted[1])
    return [f"too much: {line}" for line in now - then] + \
        [f"missing: {line}" for line in then - now]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    return Campaign(tmp_path_factory.mktemp("c"))


def sample(count: str, campaign: Campaign, kind: str) -> Iterator[tuple[Scenario, int, int]]:
    """Scenarios, instants and numbers of them: all, or so many by the seed."""
    every = [(scenario, at) for scenario in SCENARIOS
             for at in range(1, len(campaign.measured(scenario)) + 1)]
    if count != "all":
        random_ = random.Random(f"{SEED} {kind}")
        every = [random_.choice(every) for _ in range(int(count))]
    for number, (scenario, at) in enumerate(every):
        yield scenario, at, number


def carry_out(campaign: Campaign, kind: str, number: int, scenario: Scenario,
              events: dict[int, Event]) -> list[str]:
    """One run; what is wrong with it, in words that tell it again."""
    random_ = random.Random(f"{SEED} {kind} {number}")
    verb = random_.choice(list(NEXT))
    threads = random_.random() < 0.4
    what = f"{kind} {number} of seed {SEED}, {scenario}, then {verb}" + ", threads" * threads
    names = campaign.measured(scenario)
    what += "".join(f"; {event} at {at}, {names[at - 1]}" for at, event in events.items())
    try:
        found = run(campaign.fresh(scenario.template, threads=threads), scenario, verb, events)
        failed = [found.operations[at - 1] for at in events if at <= len(found.operations)]
        return [f"{what}: {wrong}" for wrong in campaign.judge(scenario, verb, found, failed)]
    except AssertionError as error:
        return [f"{what}: {error}"]


def report(kind: str, total: Counter[str], wrong: list[str]) -> None:
    counts = ", ".join(f"{name} {count}" for name, count in total.items())
    print(f"seed {SEED}: {total.total()} {kind}: {counts}; {len(wrong)} remarks")
    path = os.environ.get("VIMAGE_TEST_REMARKS")
    if path and wrong:
        with open(path, "a") as file:
            file.write("\n".join([kind, *wrong, ""]))
    assert wrong == [], f"{len(wrong)} remarks\n" + "\n".join(wrong[:60])


def test_every_operation_fails_once(campaign: Campaign) -> None:
    wrong: list[str] = []
    total: Counter[str] = Counter()
    for scenario, at, number in sample(SINGLES, campaign, "fault"):
        error = ERRORS[(at + number) % len(ERRORS)]
        wrong += carry_out(campaign, "fault", number, scenario, {at: Fail(error)})
        total[scenario.name] += 1
    report("faults", total, wrong)


def test_two_operations_fail(campaign: Campaign) -> None:
    """Often the second while the first is being undone."""
    wrong: list[str] = []
    total: Counter[str] = Counter()
    for scenario, at, number in sample(PAIRS, campaign, "pair"):
        random_ = random.Random(f"{SEED} pairs {number}")
        other = at + random_.randint(1, 25)
        events: dict[int, Event] = {at: Fail(random_.choice(ERRORS)),
                                    other: Fail(random_.choice(ERRORS))}
        events_named = dict(list(events.items())[:1]) if other > len(
            campaign.measured(scenario)) else events
        wrong += carry_out_two(campaign, number, scenario, events, events_named)
        total[scenario.name] += 1
    report("pairs of faults", total, wrong)


def carry_out_two(campaign: Campaign, number: int, scenario: Scenario,
                  events: dict[int, Event], named: dict[int, Event]) -> list[str]:
    """The second may lie beyond the end of what is measured without the first."""
    if named is events:
        return carry_out(campaign, "pair", number, scenario, events)
    length = len(campaign.measured(scenario))
    campaign.lengths[scenario.name] = [*campaign.measured(scenario), *["later"] * 40]
    try:
        return carry_out(campaign, "pair", number, scenario, events)
    finally:
        campaign.lengths[scenario.name] = campaign.lengths[scenario.name][:length]


def test_killed_at_every_instant(campaign: Campaign) -> None:
    wrong: list[str] = []
    total: Counter[str] = Counter()
    for scenario, at, number in sample(KILLS, campaign, "kill"):
        when = When.AFTER if number % 4 == 0 else When.BEFORE
        wrong += carry_out(campaign, "kill", number, scenario, {at: Die(when)})
        total[scenario.name] += 1
    report("kills", total, wrong)
