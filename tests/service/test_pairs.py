"""Two requests at once: every pair of verbs, the second at many moments of the first.

What each client is told and what has become of the vimages afterwards is held against an
oracle, written from "The service" of the specification.  VIMAGE_TEST_PAIRS is the number of
cases of each pair (a moment, who dies, with or without threads), chosen by a seed; ``all``
has the second come before every operation of the first.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.engine.machine import STATE, Machine
from tests.lib.forked import forked
from tests.lib.snapshot import difference
from tests.service.conftest import Host, Reply, ask, rows
from tests.service.instants import Do, Instants
from tests.service.lives import Lives
from tests.service.supervised_host import NO_SERVICE, Client, SupervisedHost
from vimage.kernel.simulated import SimulatedProcesses

#: Each life is bounded by itself; how many there are is for the environment to say.
BOUNDED = False

SEED = 20130408
CASES = os.environ.get("VIMAGE_TEST_PAIRS", "2")

VARIABLES = {
    "vimage_list": "a b",
    "vimage_boot": "none",
    "vimage_devfs_enable": "NO",
    "vimage_rootdir": "/usr/jail/r",
    "vimage_a_rootdir": "/usr/jail/r",
    "vimage_a_bridges": "em1",
    "vimage_a_addr0": "192.0.2.1/24",
    "vimage_a_exec_start": "sleep 2",
    "vimage_a_exec_stop": "sleep 1",
    "vimage_a_command": "/bin/sleep 1000000",
    "vimage_b_rootdir": "/usr/jail/r",
    "vimage_b_bridges": "=em1 igb1",
    "vimage_b_exec_start": "sleep 1",
    "vimage_b_exec_prestop": "sleep 1",
}
del VARIABLES["vimage_rootdir"]
CHANGED = {"vimage_a_bridges": "em1 em1"}  # what a reload finds


@dataclass(frozen=True)
class Request:
    """What one of the two asks for."""

    verb: str
    names: tuple[str, ...] = ()
    service_only: bool = False

    def __str__(self) -> str:
        return " ".join([self.verb, *self.names, *["--service-only"] * self.service_only])

    def __contains__(self, name: str) -> bool:
        """Whether it is about a vimage."""
        return name in (self.names or "ab")

    @property
    def starts(self) -> bool:
        return self.verb in ("start", "restart")

    @property
    def stops(self) -> bool:
        return self.verb in ("stop", "restart") and not self.service_only

    @property
    def reloads(self) -> bool:
        return self.verb in ("reload", "SIGHUP")

    @property
    def ends(self) -> bool:
        """Whether the service ends of it; after reexec there is another."""
        return self.service_only or self.verb == "reexec" or self.verb == "stop" and not self.names


REQUESTS = [Request("start"), Request("start", ("a",)), Request("stop"), Request("stop", ("a",)),
            Request("restart"), Request("restart", ("a",)), Request("reload"), Request("status"),
            Request("status", ("a",)), Request("reexec"), Request("stop", (), True),
            Request("SIGHUP")]


@dataclass(frozen=True)
class Case:
    """One run of a pair."""

    first: Request
    second: Request
    moment: int | float  # before which operation of the first, or after how many seconds
    dies: str  # "", "first", "second"
    threads: bool

    def __str__(self) -> str:
        when = f"before operation {self.moment}" if isinstance(self.moment, int) \
            else f"{self.moment:.2f} s later"
        return (f"{self.first}, and {self.second} {when}" + f", the {self.dies} dies" * bool(
            self.dies) + ", with threads" * self.threads)


@dataclass
class Outcome:
    """What was seen."""

    first: Reply | None
    second: Reply | None
    states: dict[str, str]
    links: int  # of a
    left: list[str]
    stopped: Reply | None
    operations: int
    seconds: float
    reached: bool
    names: list[str] = field(default_factory=list)


# -- the oracle -------------------------------------------------------------------------------


class Oracle:
    """Says what is wrong with an outcome."""

    def __init__(self, case: Case, outcome: Outcome) -> None:
        self.case, self.outcome = case, outcome
        self.first, self.second = case.first, case.second
        self.wrong: list[str] = []

    def judge(self) -> list[str]:
        """Everything that is wrong."""
        up = set() if self.first.verb == "start" else {"a", "b"}
        between = self._states(self.first, up)
        after = self._states(self.second, between)
        lost = self.case.dies == "second" and self.second.starts and self.first.ends
        for name in "ab":
            now = self.outcome.states[name]
            wanted = {"ready" if name in after else "stopped"}
            if lost and name in self.second:
                wanted |= {"stopped"}  # its client has died before it could ask the next service
            if now not in wanted:
                self._say(f"{name} is {now}, not {' or '.join(sorted(wanted))}")
        self._judge_links(after)
        if self.outcome.first is not None:
            self._judge_first(self.outcome.first, up)
        if self.outcome.second is not None:
            self._judge_second(self.outcome.second, up, between)
        if self.outcome.left:
            self._say(f"left on the host: {self.outcome.left}")
        if self.outcome.stopped is not None and self.outcome.stopped.status != 0:
            self._say(f"the last stop: {self.outcome.stopped}")
        return self.wrong

    def _say(self, text: str) -> None:
        self.wrong.append(text)

    @staticmethod
    def _states(request: Request, up: set[str]) -> set[str]:
        about = {name for name in "ab" if name in request}
        if request.starts:
            return up | about
        return up - about if request.stops else up

    def _judge_links(self, after: set[str]) -> None:
        if "a" not in after or self.outcome.states["a"] != "ready":
            return
        wanted = {1}
        if self.first.reloads:
            wanted = {2}
        elif self.second.reloads:
            # With the service gone, or about to go, nobody may have heard it.
            deaf = self.first.ends and (
                self.second.verb == "SIGHUP" or self.case.dies == "second"
                or self.outcome.second is not None and NO_SERVICE in self.outcome.second.err)
            wanted = {1, 2} if deaf else {2}
        if self.first.verb == "SIGHUP" and self.second.verb != "SIGHUP" and self.second.ends \
                and not self.second.stops:
            wanted = {1, 2}
        if self.outcome.links not in wanted:
            self._say(f"a has {self.outcome.links} links, not {wanted}")

    def _judge_first(self, reply: Reply, up: set[str]) -> None:
        lines = set(reply.out.splitlines())
        if "internal" in reply.err or reply.status not in (0, 1):
            self._say(f"first: {reply}")
        interrupted = {
            name for name in "ab" if self.first.starts and name in self.first
            and self.second.stops and name in self.second
            and not (self.first.verb == self.second.verb == "restart")
            and f"vimage: {name}: start interrupted by stop" in reply.err}
        if reply.status != bool(interrupted):
            self._say(f"first: status {reply.status}, but interrupted: {sorted(interrupted)}; "
                      f"{reply.err}")
        if not interrupted and reply.err:
            self._say(f"first said {reply.err!r}")
        for name in "ab":
            if name not in self.first or not (self.first.starts or self.first.stops):
                continue
            if self.first.verb == "start" and f"{name} ready" not in lines \
                    and name not in interrupted:
                self._say(f"first did not say {name} ready: {reply.out!r}")
            if self.first.stops and f"{name} stopped" not in lines:
                self._say(f"first did not say {name} stopped: {reply.out!r}")
            if self.first.verb == "restart" and name not in interrupted \
                    and f"{name} ready" not in lines:
                self._say(f"first did not say {name} ready: {reply.out!r}")
        if self.first.verb == "reload" and reply.out != "a: applied: links\n":
            self._say(f"first said {reply.out!r}")

    def _judge_second(self, reply: Reply, up: set[str], between: set[str]) -> None:
        if NO_SERVICE in reply.err:
            if not self.first.ends or self.first.verb == "reexec":
                self._say("second found no service")
            return
        if reply.status != 0 or reply.err:
            self._say(f"second: {reply}")
        lines = set(reply.out.splitlines())
        for name in "ab":
            if name not in self.second:
                continue
            if self.second.verb == "start":
                wanted = {f"{name} {'already ' * (name in between)}ready"}
            elif self.second.verb == "restart":
                wanted = {f"{name} ready"}
            elif self.second.stops and not self.second.names and name not in between:
                continue  # nothing may be known of it any more
            elif self.second.stops:
                wanted = {f"{name} stopped", f"{name} not running"}
                if self.first.verb != "start" and name in between and not self.first.starts:
                    wanted = {f"{name} stopped"}
                if name not in up | between:
                    wanted = {f"{name} not running"}
            else:
                continue
            if not lines & wanted:
                self._say(f"second said {reply.out!r}, and not {' or '.join(sorted(wanted))}")
        if self.second.verb == "reload":
            wanted_out = "a: applied: links\n" if "a" in between and not self.first.reloads else ""
            if reply.out != wanted_out:
                self._say(f"second said {reply.out!r}, not {wanted_out!r}")


# -- one case ---------------------------------------------------------------------------------


async def _play(host: Host, case: Case, instants: Instants) -> Outcome:
    supervised = SupervisedHost(host, instants.kernel(host.machine.kernel),
                  instants.processes(SimulatedProcesses(host.machine.kernel)))
    await supervised.begin()
    loop = asyncio.get_running_loop()
    moment = asyncio.Event()
    second_sent = threading.Event()

    def reached() -> None:
        loop.call_soon_threadsafe(moment.set)
        if threading.current_thread() is not threading.main_thread():
            second_sent.wait(5)  # the operation is held until the second has come

    if isinstance(case.moment, int):
        instants.events[case.moment] = Do(reached)
    else:
        loop.call_later(case.moment, moment.set)

    def send(request: Request) -> Client | None:
        if request.reloads:
            host.machine.variables.update(CHANGED)
        if request.verb == "SIGHUP":
            os.kill(os.getpid(), signal.SIGHUP)
            return None
        options = {"service_only": True} if request.service_only else {}
        return Client(supervised, request.verb, request.names, **options)

    begun = loop.time()
    instants.armed = True
    first = send(case.first)
    ended = asyncio.create_task(_ended(first, supervised))
    waiting = asyncio.create_task(moment.wait())
    await asyncio.wait({ended, waiting}, return_when=asyncio.FIRST_COMPLETED)
    was_reached = moment.is_set()
    waiting.cancel()
    seconds = loop.time() - begun
    if case.dies == "first" and first is not None:
        await first.sent.wait()
        first.die()
    second = send(case.second)
    if second is not None:
        await asyncio.wait({asyncio.create_task(second.sent.wait()), second.task},
                           return_when=asyncio.FIRST_COMPLETED)
        if case.dies == "second":
            second.die()
    for _ in range(30):
        await asyncio.sleep(0)
    second_sent.set()
    replies = []
    for client in (first, second):
        reply = None
        if client is not None and not client.dead:
            async with asyncio.timeout(500):
                reply = await client.task
        replies.append(reply)
    await asyncio.sleep(100)  # what a dead client has asked for is done as well
    instants.armed = False
    await ended if first is None else None
    await supervised.settled()
    await supervised.begin()
    await asyncio.sleep(10)
    shown = await rows(host.machine)
    states = {name: str(shown[name]["state"]) for name in "ab"}
    links = len(shown["a"]["interfaces"])
    stopped = await ask(host.machine, "stop")
    await supervised.end()
    return Outcome(replies[0], replies[1], states, links,
                   difference(host.machine.before, host.machine.look()), stopped,
                   instants.count, seconds, was_reached, instants.names[:])


async def _ended(client: Client | None, supervised: SupervisedHost) -> None:
    """Until the first has been answered (a signal: for a while)."""
    if client is None:
        await asyncio.sleep(5)
    else:
        await asyncio.wait({client.task})


def run_case(lives: Lives, case: Case) -> Outcome:
    """One pair, in a process of its own."""
    def life() -> Outcome:
        lives.sleeps = case.threads
        host = lives.host()
        instants = Instants(looks=False)
        with instants.files(host.machine.kernel.path(STATE)):
            outcome: Outcome = host.play(lambda: _play(host, case, instants))
        host.machine.kernel.close()
        return outcome

    found = forked(life)
    outcome: Outcome = found.value
    outcome.left = [line for line in outcome.left if "in jail 0," not in line]
    if found.complaints:
        outcome.left.append("log: " + found.complaints[0])
    return outcome


# -- the tests --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Lives]:
    """A host on which nothing runs (False), and one on which a and b do (True)."""
    found = {}
    for up in (False, True):
        machine = Machine(tmp_path_factory.mktemp("h"), "bridge")
        machine.variables = dict(VARIABLES)
        found[up] = lives = Lives.of(machine)
        if up:
            async def start(host: Host) -> None:
                assert (await ask(host.machine, "start")).status == 0

            lives.live(start)
    return found


def cases_of(first: Request, second: Request, operations: int, seconds: float) -> list[Case]:
    """All cases of a pair, or as many as were asked for."""
    if CASES == "all":
        return [Case(first, second, moment, dies, threads)
                for moment in range(1, operations + 2)
                for dies, threads in (("", False), ("", True), ("first", False),
                                      ("second", True))]
    random_ = random.Random(f"{SEED} {first} {second}")
    cases = []
    for number in range(int(CASES)):
        moment: int | float = random_.randint(1, operations + 1)
        if random_.random() < 0.4:
            moment = round(random_.uniform(0, seconds + 1), 2)
        dies = random_.choice(["", "first", "second"]) if number % 3 == 2 else ""
        cases.append(Case(first, second, moment, dies, random_.random() < 0.4))
    return cases


@pytest.mark.parametrize("second", REQUESTS, ids=str)
@pytest.mark.parametrize("first", REQUESTS, ids=str)
def test_pair(first: Request, second: Request, hosts: dict[bool, Lives],
              tmp_path: Path) -> None:
    template = hosts[first.verb != "start"]
    measured = run_case(template.copy(tmp_path / "m"), Case(first, Request("status"), 10**9, "",
                                                            False))
    wrong = []
    for number, case in enumerate(cases_of(first, second, measured.operations, measured.seconds)):
        lives = template.copy(tmp_path / str(number))
        found = Oracle(case, outcome := run_case(lives, case)).judge()
        wrong += [f"{case}: {what}" for what in found]
        if found and isinstance(case.moment, int) and case.moment <= len(outcome.names):
            wrong.append(f"  which is {outcome.names[case.moment - 1]}")
    print(f"seed {SEED}: {first}, {second}: {measured.operations} operations, "
          f"{measured.seconds:.2f} s")
    assert wrong == [], "\n" + "\n".join(wrong)
