"""Other ways to the same jails: the floor, and the host's own tools one after another.

The scripts jng and jib are those of /usr/share/examples/jails, used as their own
comments say.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from benchmark import floor, host

EXAMPLES = "/usr/share/examples/jails"

#: What boots the network of a jail: as ``boot=network`` of vimage.
BOOT = ("/bin/sh /etc/rc.d/netif start || exit; "
        "/bin/sh /etc/rc.d/routing start; [ $? -le 1 ]")

#: How many boot at once where they may.
PARALLEL = 16

#: Between these vimages it is told what CPU one of them takes.
SPANS = ((10, 100), (500, 1000))

#: After so many are ready it is noted what CPU the program has used.
MARKS = tuple(mark for span in SPANS for mark in span)


@dataclass(frozen=True)
class Setup:
    """What is to be started."""

    count: int
    parent: str
    root: str
    directory: Path  # for files of the benchmark
    address: bool = False
    boot: bool = False
    on_bridge: int = 0  # so many on each host-only bridge; 0: all on the parent's
    program: tuple[str, ...] = ()  # in place of service(8); see service.py
    plant: str = ""

    @property
    def names(self) -> list[str]:
        return [floor.NAME.format(number + 1) for number in range(self.count)]

    @property
    def bridges(self) -> list[str]:
        """What each is bridged to."""
        if not self.on_bridge:
            return [self.parent] * self.count
        return [host.BRIDGE.format(number // self.on_bridge + 1) for number in range(self.count)]

    def ip(self, number: int) -> str:
        """The address of a vimage; the same as the floor's."""
        return ".".join(map(str, floor.address(number)))


@dataclass(frozen=True)
class Sample:
    """One measured start or stop."""

    wall: float
    cpu: float  # of everything on the host
    extra: dict[str, float] = field(default_factory=dict)


def clocked(*acts: Callable[[], Any]) -> Sample:
    """Measure what is done here, one after another."""
    used, begun = host.cpu_time(), time.monotonic()
    for act in acts:
        act()
    wall = time.monotonic() - begun
    return Sample(wall, host.cpu_time() - used)


def between(marks: dict[int, host.Usage]) -> dict[str, float]:
    """CPU of a program for one vimage, between the marks that were reached."""
    found: dict[str, float] = {}
    for low, high in SPANS:
        if low not in marks or high not in marks:
            continue
        before, after, where = marks[low], marks[high], f"per vimage {low}..{high}"
        for what, used in (("own CPU", after.cpu - before.cpu),
                           ("own user CPU", after.user - before.user),
                           ("CPU of its first thread", after.first - before.first)):
            found[f"{what} {where}"] = used / (high - low)
    return found


class Contender(Protocol):
    """One way to start and stop vimages."""

    def start(self) -> Sample:
        """All of them."""

    def stop(self) -> Sample:
        """All of them."""

    def restart(self, number: int) -> Sample:
        """One of them."""

    def close(self) -> None:
        """Leave nothing behind, not counted; also after a failure."""


class Floor:
    """The program beside this one."""

    def __init__(self, setup: Setup) -> None:
        self.count = setup.count
        words = [sys.executable, "-I", "-S", floor.__file__, "--parent", setup.parent,
                 "--root", setup.root, "--count", str(setup.count)]
        words += ["--address"] * setup.address
        words += ["--plant", setup.plant] if setup.plant else []
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.pid = int(self._answer()["ready"])

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise host.BenchmarkError("the floor program failed")
        answer: dict[str, float] = json.loads(line)
        return answer

    def ask(self, *words: object) -> float:
        """Have it do something; the seconds it took."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self._answer()["wall"]

    def _sample(self, *lines: tuple[object, ...]) -> Sample:
        used = host.cpu_time()
        wall = sum(self.ask(*line) for line in lines)
        return Sample(wall, host.cpu_time() - used)

    def start(self) -> Sample:
        """All of them, with the CPU of the program at the marks."""
        marks: dict[int, host.Usage] = {}
        used = host.cpu_time()
        wall, first = self.ask("bridge"), 0
        for last in sorted({*(mark for mark in MARKS if mark < self.count), self.count}):
            wall += self.ask("start", first, last)
            marks[last], first = host.usage(self.pid), last
        return Sample(wall, host.cpu_time() - used, between(marks))

    def stop(self) -> Sample:
        return self._sample(("stop", 0, self.count), ("unbridge",))

    def restart(self, number: int) -> Sample:
        return self._sample(("stop", number, number + 1), ("start", number, number + 1))

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()


class Boots:
    """The boots by themselves: jexec(8) in jails that the floor has made, 16 at once."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.floor = Floor(setup)

    def start(self) -> Sample:
        self.floor.start()
        log = self.setup.directory / "boots.log"
        script = (f"xargs -P {PARALLEL} -I NAME /usr/sbin/jexec NAME /bin/sh -c "
                  f"'{BOOT}' >{log} 2>&1")
        return clocked(lambda: subprocess.run(
            ["/bin/sh", "-c", script], input="\n".join(self.setup.names), text=True, check=True))

    def stop(self) -> Sample:
        return self.floor.stop()

    def restart(self, number: int) -> Sample:
        return self.floor.restart(number)

    def close(self) -> None:
        self.floor.close()


class Script:
    """jng or jib, and jail(8): a process each, one after another."""

    name = ""
    interface = ""  # of the jail

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.script = f"{EXAMPLES}/{self.name}"
        if not Path(self.script).exists():
            raise host.BenchmarkError(f"{self.script} is not there")

    def connect(self, name: str) -> Sequence[str]:
        """The command that makes the interface."""
        raise NotImplementedError

    def disconnect(self, name: str) -> Sequence[str]:
        """The command that takes it away."""
        raise NotImplementedError

    def unbridge(self) -> None:
        """What the script leaves."""
        raise NotImplementedError

    def start_one(self, number: int) -> None:
        setup, name = self.setup, self.setup.names[number]
        interface = self.interface.format(name)
        host.run(*self.connect(name))
        words = ["/usr/sbin/jail", "-c", f"name={name}", f"path={setup.root}",
                 f"host.hostname={name}", "vnet", "persist", f"vnet.interface={interface}"]
        host.run(*words, *([f"exec.start={BOOT}"] * setup.boot))
        if setup.address:
            for to, ip in (("lo0", "127.0.0.1/8"), (interface, f"{setup.ip(number)}/8")):
                host.run("/usr/sbin/jexec", name, "/sbin/ifconfig", to, "inet", ip)

    def stop_one(self, number: int) -> None:
        name = self.setup.names[number]
        host.run("/usr/sbin/jail", "-r", name)
        host.run(*self.disconnect(name))

    def start(self) -> Sample:
        return clocked(*[partial(self.start_one, n) for n in range(self.setup.count)])

    def stop(self) -> Sample:
        return clocked(*[partial(self.stop_one, n) for n in range(self.setup.count)])

    def restart(self, number: int) -> Sample:
        return clocked(partial(self.stop_one, number), partial(self.start_one, number))

    def close(self) -> None:
        for name in set(host.run("/usr/sbin/jls", "name").split()) & set(self.setup.names):
            host.run("/usr/sbin/jail", "-r", name, check=False)
            host.run(*self.disconnect(name), check=False)
        self.unbridge()


class Jng(Script):
    """netgraph(4)."""

    name = "jng"
    interface = "ng0_{}"

    def connect(self, name: str) -> Sequence[str]:
        return "/bin/sh", self.script, "bridge", name, self.setup.parent

    def disconnect(self, name: str) -> Sequence[str]:
        return "/bin/sh", self.script, "shutdown", name

    def unbridge(self) -> None:
        host.run("/usr/sbin/ngctl", "shutdown", f"{host.bridge_node(self.setup.parent)}:",
                 check=False)


class Jib(Script):
    """if_bridge(4) and epair(4)."""

    name = "jib"
    interface = "e0b_{}"

    def connect(self, name: str) -> Sequence[str]:
        return "/bin/sh", self.script, "addm", name, self.setup.parent

    def disconnect(self, name: str) -> Sequence[str]:
        return "/bin/sh", self.script, "destroy", name

    def unbridge(self) -> None:
        host.run("/sbin/ifconfig", f"{self.setup.parent}bridge", "destroy", check=False)
