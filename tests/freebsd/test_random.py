"""Commands at random and processes killed at random, for a long time; nothing is left.

VIMAGE_TEST_OPERATIONS is the number of operations; VIMAGE_TEST_SEED another seed.  In the
first and the last 500 of them the service, its helper and its supervisor are killed as well;
in between they have to keep their descriptors and their memory.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.freebsd import system
from tests.freebsd.host_tools import jails

SEED = int(os.environ.get("VIMAGE_TEST_SEED", "20130409"))
OPERATIONS = int(os.environ.get("VIMAGE_TEST_OPERATIONS", "40"))
KILLING = 500  # operations at the beginning and at the end among which there are kills
NAMES = ("one", "two", "lan", "whole", "hooks")

VERBS = {"start": 20, "stop": 20, "restart": 15, "reload": 15, "status": 15}
KILLS = {"kill service": 5, "kill helper": 5, "kill supervisor": 5}


def configuration(parent: str, other: str, nano: object, root: object, random_: random.Random
                  ) -> str:
    """rc.conf, which a reload finds changed."""
    twice = random_.choice([parent, f"{parent} ={parent}", f"{parent} - {parent}"])
    return f"""
        vimage_enable="YES"
        vimage_list="{' '.join(NAMES)}"
        vimage_boot="none"
        vimage_bridge_list="lan0"
        vimage_bridge_lan0_addr="10.9.0.1/24"
        vimage_one_rootdir="{nano}"
        vimage_one_bridges="{parent}"
        vimage_one_addr0="10.1.0.{random_.randint(1, 3)}/24"
        vimage_one_command="/sleep 100000"
        vimage_one_restart="on-failure"
        vimage_two_rootdir="{root}"
        vimage_two_fstab="/etc/fstab.r"
        vimage_two_devfs_enable="YES"
        vimage_two_bridges="{twice}"
        vimage_two_health="true"
        vimage_two_health_interval="2"
        vimage_lan_rootdir="{nano}"
        vimage_lan_bridges="lan0 {parent}"
        vimage_lan_addr0="10.9.0.2/24"
        vimage_lan_command="/sleep 100000"
        vimage_whole_rootdir="{nano}"
        vimage_whole_vnets="{other}"
        vimage_whole_command="/sleep 100000"
        vimage_hooks_rootdir="{root}"
        vimage_hooks_fstab="/etc/fstab.r"
        vimage_hooks_devfs_enable="YES"
        vimage_hooks_bridges="{parent}"
        vimage_hooks_depend="two"
        vimage_hooks_exec_prestart="true"
        vimage_hooks_exec_start="true"
        vimage_hooks_exec_stop="true"
        vimage_hooks_exec_poststop="true"
        """


@dataclass
class Place:
    """What the vimages of this module are made of."""

    parent: str
    other: str
    nano: object
    root: object

    def configure(self, random_: random.Random) -> None:
        system.configure(configuration(self.parent, self.other, self.nano, self.root, random_))


@pytest.fixture
def place(clean_host: None) -> Iterator[Place]:
    parent, other = system.parents()
    found = Place(parent, other, system.nano_root("nano", "sleep"), system.make_root("r"))
    yield found
    system.stop_service()
    system.remove_root("r")
    system.remove_root("nano")


# -- the three processes ----------------------------------------------------------------------


def pid_of(process: str) -> int:
    """The pid of the service, its helper or its supervisor; 0 when there is none."""
    if process == "helper":
        service = pid_of("service")
        pids = system.sh(f"pgrep -P {service}", check=False).split() if service else []
        return int(pids[0]) if pids else 0
    try:
        pid = int((system.STATE / f"{process}.pid").read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return 0
    return pid


def kill(process: str) -> None:
    pid = pid_of(process)
    if pid > 1:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def descriptors(pid: int) -> list[str]:
    """The kinds of open descriptors of a process.  Of several looks the one that finds the
    fewest: a health check that begins just then opens the console log for a moment."""
    return min((descriptors_now(pid) for _ in range(5)), key=len)


def descriptors_now(pid: int) -> list[str]:
    """As procstat(1) tells them."""
    lines = system.sh(f"procstat -f {pid}").splitlines()
    return sorted(line.split()[3] for line in lines if re.match(r"\s*\d+ \S+\s+\d+ ", line))


def memory(pid: int) -> int:
    """Resident memory, KiB."""
    return int(system.sh(f"ps -o rss= -p {pid}"))


@dataclass
class Sample:
    """The three processes while every vimage is ready and nothing is under way."""

    pids: dict[str, int]
    descriptors: dict[str, list[str]]
    memory: dict[str, int]

    @classmethod
    def take(cls) -> Sample:
        everything_ready()
        for verb in ("restart", "reload"):  # some descriptors are opened when first needed
            assert system.service(verb).returncode == 0
        time.sleep(3)
        pids = {name: pid_of(name) for name in ("service", "helper", "supervisor")}
        assert all(pids.values()), pids
        return cls(pids, {name: descriptors(pid) for name, pid in pids.items()},
                   {name: memory(pid) for name, pid in pids.items()})


def ready() -> set[str]:
    out = system.vimage("status").stdout
    return {line.split()[0] for line in out.splitlines() if re.search(r"\sready\b", line)}


def everything_ready() -> None:
    """Have the service under its supervisor, and every vimage ready."""
    if not (pid_of("service") and pid_of("supervisor")):
        kill("service")
        time.sleep(0.5)
    deadline = time.monotonic() + 120
    while True:
        started = system.service("start")
        if started.returncode == 0 and ready() == set(NAMES):
            return
        assert time.monotonic() < deadline, (started, ready())
        time.sleep(1)


# -- operations -------------------------------------------------------------------------------


def operate(random_: random.Random, place: Place, *, kills: bool) -> str:
    """One operation; what it was."""
    table = VERBS | KILLS if kills else VERBS
    verb = random_.choices(list(table), weights=list(table.values()))[0]
    if verb.startswith("kill "):
        process = verb.split()[1]
        beside = random_.random() < 0.5
        what = f"{verb}{' during restart' * beside}"
        if not beside:
            kill(process)
            time.sleep(random_.uniform(0, 2))
            return what
        timer = threading.Timer(random_.uniform(0, 3), kill, (process,))
        timer.start()
        said = system.service("restart", random_.choice(NAMES))
        timer.join()
        judge(what, said, {0, 1, 2})
        return what
    names = random_.sample(NAMES, random_.randint(1, 3)) if random_.random() < 0.85 else []
    if verb == "reload":
        place.configure(random_)
        names = []
    if verb == "stop" and not names:
        names = list(NAMES)[:2]
    what = " ".join([verb, *names])
    judge(what, system.service(verb, *names), {0, 1} if kills or verb == "status" else {0})
    return what


def judge(what: str, said: subprocess.CompletedProcess[str], statuses: set[int]) -> None:
    assert said.returncode in statuses, (what, said)
    assert "Traceback" not in said.stderr and "internal error" not in said.stderr, (what, said)


def test_random_operations(place: Place) -> None:
    random_ = random.Random(SEED)
    print(f"seed {SEED}, {OPERATIONS} operations", flush=True)
    place.configure(random_)
    before = system.look_before()
    everything_ready()
    done: list[str] = []
    early = Sample.take()
    middle = None
    try:
        for number in range(1, OPERATIONS + 1):
            kills = number <= KILLING or number > OPERATIONS - KILLING
            done.append(operate(random_, place, kills=kills))
            if number == KILLING < OPERATIONS - KILLING:
                middle = Sample.take()
            if middle is not None and number == OPERATIONS - KILLING:
                compare(middle, Sample.take(), same_processes=True)
            if number % 100 == 0:
                print(f"{number} operations; {len(jails())} jails", flush=True)
    except AssertionError as error:
        error.add_note(f"after operation {len(done)} of seed {SEED}: {done[-5:]}")
        raise
    place.configure(random.Random(SEED))
    compare(early, Sample.take(), same_processes=False)
    system.stop_service()
    assert system.left(before) == []
    assert [jail for jail in jails() if jail.name in NAMES] == []


def compare(old: Sample, new: Sample, *, same_processes: bool) -> None:
    """Descriptors are the same; memory of the same processes grew by less than 5 %."""
    print(f"memory before {old.memory}, after {new.memory}", flush=True)
    for name in old.pids:
        assert new.descriptors[name] == old.descriptors[name], name
        if same_processes:
            assert new.pids[name] == old.pids[name], f"the {name} is another process"
            assert new.memory[name] < 1.05 * old.memory[name], name
