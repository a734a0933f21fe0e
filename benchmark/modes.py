"""What is measured in each mode."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmark import host, service
from benchmark.report import Row
from benchmark.tools import Boots, Contender, Floor, Jib, Jng, Sample, Setup

CYCLES = {"network": "start and stop; network and jail only: no command, no mounts, one bridge",
          "address": "the same, each with an address that the host sets inside",
          "bridges": "as network, vimage alone, on host-only bridges, ten vimages on each",
          "boot": "start and stop with the network booted by the jail's own rc.d, 16 at once"}
AMONG = {"restart": "one of N that run",
         "status": "the service's answer for N, beside jls",
         "command": "CPU of `vimage start NAME` of one that is ready, beside `python3 -c pass`",
         "idle": "CPU and memory of the service while N run and nothing happens"}
COMMANDS = {"plan": "CPU and time of `vimage plan` with N configured",
            "check": "CPU and time of `vimage check` with N configured"}
MODES = CYCLES | {"stop": "as network, of which the stop only"} | AMONG | COMMANDS

WITH = {"vimage": "service vimage start, the service not running before, as at boot",
        "running": "the same with the service running already",
        "floor": "the kernel calls alone (floor.py)",
        "boots": "mode boot: the boots alone, jexec in jails that exist",
        "jng": "jng and jail, one after another",
        "jib": "jib and jail, one after another"}

#: Who cannot do it: the floor boots nothing and has one bridge, as the tools have.
LEFT_OUT = {"boot": {"floor", "jib"}, "bridges": {"floor", "boots", "jng", "jib"}}

#: How many at most in the round that is not counted.
WARM_UP = 10

#: Commands whose CPU is measured, so many times each.
COMMAND_RUNS = 20


@dataclass
class Plan:
    """What was asked for on the command line."""

    counts: Sequence[int]
    runs: int
    modes: Sequence[str]
    with_: Sequence[str]
    parent: str = ""
    directory: Path = Path()
    tools_limit: int = 100
    idle: float = 60.0
    warm_up: bool = True
    program: tuple[str, ...] = ()
    rows: list[Row] = field(default_factory=list)

    def add(self, mode: str, count: int, run: int, who: str, measure: str, value: float,
            unit: str = "s") -> None:
        self.rows.append(Row(mode, count, run, who, measure, value, unit))


def say(text: str) -> None:
    """What goes on, for whoever waits."""
    print(text, file=sys.stderr, flush=True)


# -- start and stop ---------------------------------------------------------------------------


def contender(who: str, setup: Setup) -> Contender:
    made: dict[str, Callable[[Setup], Contender]] = {
        "vimage": service.Vimage, "running": lambda s: service.Vimage(s, running=True),
        "floor": Floor, "boots": Boots, "jng": Jng, "jib": Jib}
    return made[who](setup)


def people(mode: str, count: int, plan: Plan) -> list[str]:
    """Who takes part: not who cannot do it, and the tools take too long for many."""
    left_out = LEFT_OUT.get(mode, {"boots"})
    if count > plan.tools_limit:
        left_out = left_out | {"jng", "jib"}
    return [who for who in plan.with_ if who not in left_out]


def cycles(plan: Plan, parent: host.Parent, root: host.Root) -> None:
    """Start and stop: a round that is not counted, then the runs, every other one in
    reverse order."""
    modes = [mode for mode in plan.modes if mode in (*CYCLES, "stop")]
    if "network" in modes and "stop" in modes:
        modes.remove("stop")
    for mode in modes:
        rounds = [(min(WARM_UP, *plan.counts), True)] if plan.warm_up else []
        for count, warming in (*rounds, *((n, False) for n in plan.counts)):
            order = people(mode, count, plan)
            for run in range(1, 2 if warming else plan.runs + 1):
                for who in order if run % 2 else reversed(order):
                    start, stop = cycle(plan, mode, who, count, parent, root)
                    say(f"{mode} {count} {who}: start {start.wall:.3f} s, stop {stop.wall:.3f} s"
                        + (" (warming up, not counted)" if warming else f" (run {run})"))
                    if not warming:
                        record(plan, mode, count, run, who, start, stop)


def cycle(plan: Plan, mode: str, who: str, count: int, parent: host.Parent, root: host.Root,
          ) -> tuple[Sample, Sample]:
    """One start and stop.  Raises BenchmarkError when anything stays behind."""
    with among(plan, mode, who, count, parent, root) as (one, start):
        return start, one.stop()


@contextmanager
def among(plan: Plan, mode: str, who: str, count: int, parent: host.Parent, root: host.Root,
          ) -> Iterator[tuple[Contender, Sample]]:
    """Have N running, and nothing afterwards."""
    setup = Setup(count, plan.parent, root.path, plan.directory, address=mode == "address",
                  boot=mode == "boot", on_bridge=10 if mode == "bridges" else 0,
                  program=plan.program)
    if setup.boot or setup.address:
        root.furnish("".join(f'ifconfig_ng0_{name}="inet {setup.ip(number)}/8"\n'
                             for number, name in enumerate(setup.names)))
    one = contender(who, setup)
    try:
        yield one, one.start()
    finally:
        one.close()
    host.must_be_clean(plan.parent)
    parent.plain()
    host.settle()


def record(plan: Plan, mode: str, count: int, run: int, who: str, start: Sample, stop: Sample,
           ) -> None:
    for measure, sample in (("start", start), ("stop", stop)):
        if mode == "stop" and measure == "start":
            continue
        plan.add(mode, count, run, who, measure, sample.wall)
        plan.add(mode, count, run, who, f"{measure}, CPU of the host", sample.cpu, "CPU s")
        for name, value in sample.extra.items():
            plan.add(mode, count, run, who, f"{measure}, {name}", value,
                     "bytes" if "memory" in name else "CPU s")


# -- among N that run ----------------------------------------------------------------------------


def running(plan: Plan, parent: host.Parent, root: host.Root) -> None:
    """The modes that need N vimages to run."""
    wanted = [mode for mode in plan.modes if mode in AMONG]
    if not wanted:
        return
    for count in plan.counts:
        for who in people("restart", count, plan):
            if who == "running" or who != "vimage" and "restart" not in wanted:
                continue
            with among(plan, "restart", who, count, parent, root) as (one, _):
                if "restart" in wanted:
                    restart(plan, count, who, one)
                if isinstance(one, service.Vimage):
                    measures = {"status": status, "command": command, "idle": idle}
                    for mode in wanted:
                        if mode in measures:
                            measures[mode](plan, count, one)
                one.stop()


def restart(plan: Plan, count: int, who: str, one: Contender) -> None:
    """As many as there are runs, from all over the list."""
    for run in range(plan.runs):
        number = run * (count - 1) // max(1, plan.runs - 1)
        sample = one.restart(number)
        say(f"restart of one of {count}, {who}: {sample.wall:.3f} s")
        plan.add("restart", count, run + 1, who, "restart", sample.wall)
        for name, value in sample.extra.items():
            plan.add("restart", count, run + 1, who, f"restart, {name}", value, "CPU s")


def status(plan: Plan, count: int, one: service.Vimage) -> None:
    """From connecting to the control socket until the last byte of the answer."""
    pids = service.processes()
    for run in range(1, plan.runs + 1):
        used, begun = service.used(pids), time.monotonic()
        lines = service.ask("status").count("\n")
        wall = time.monotonic() - begun
        plan.add("status", count, run, "vimage", "answer", wall)
        plan.add("status", count, run, "vimage", "CPU of the service",
                 service.used(pids) - used, "CPU s")
        begun = time.monotonic()
        host.run("/usr/sbin/jls")
        plan.add("status", count, run, "jls", "answer", time.monotonic() - begun)
        begun = time.monotonic()
        host.run(*one.words("status"))
        plan.add("status", count, run, "service vimage status", "answer", time.monotonic() - begun)
        say(f"status of {count}: {wall:.3f} s, {lines} lines")


def command(plan: Plan, count: int, one: service.Vimage) -> None:
    """A start that has nothing to do: the command's own CPU, and the service's."""
    pids = service.processes()
    python = service.interpreter()
    start = [*(plan.program or (service.VIMAGE,)), "-f", str(one.file), "start",
             one.setup.names[count // 2]]
    for run in range(1, COMMAND_RUNS + 1):
        for who, words in (("vimage", start), ("python3 -c pass", [python, "-c", "pass"]),
                           ("python3 -IS -c pass", [python, "-IS", "-c", "pass"])):
            used = service.used(pids)
            cpu, wall = measured(words)
            plan.add("command", count, run, who, "CPU of the command", cpu, "CPU s")
            plan.add("command", count, run, who, "time", wall)
            if who == "vimage":
                plan.add("command", count, run, who, "CPU of the service",
                         service.used(pids) - used, "CPU s")


def idle(plan: Plan, count: int, one: service.Vimage) -> None:
    """What the service costs when nothing happens."""
    pids = service.processes()
    time.sleep(min(5.0, plan.idle))  # for what follows a start
    used, begun = service.used(pids), time.monotonic()
    time.sleep(plan.idle)
    spent, wall = service.used(pids) - used, time.monotonic() - begun
    plan.add("idle", count, 1, "vimage", "CPU per second", spent / wall, "CPU s")
    for pid in pids:
        kind = "service" if pid == pids[0] else "helper"
        plan.add("idle", count, 1, "vimage", f"memory of the {kind}",
                 float(host.usage(pid).memory), "bytes")
    say(f"idle among {count}: {spent:.3f} s of CPU in {wall:.0f} s")


def measured(words: Sequence[str], directory: Path | None = None) -> tuple[float, float]:
    """CPU of a command, of all that it waited for too, and how long it took (wait4(2))."""
    begun = time.monotonic()
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, cwd=directory)
    assert process.stderr is not None
    said = process.stderr.read()
    _, code, rusage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    wall = time.monotonic() - begun
    process.stderr.close()
    if process.returncode:
        raise host.BenchmarkError(f"{' '.join(words)}: exit status {process.returncode}\n"
                                  f"{said.decode(errors='replace')[-1000:]}")
    return rusage.ru_utime + rusage.ru_stime, wall


# -- commands that touch nothing ------------------------------------------------------------------


def commands(plan: Plan) -> None:
    """plan and check: on this host where it is FreeBSD, and on the simulated host."""
    wanted = [mode for mode in plan.modes if mode in COMMANDS]
    for count in plan.counts if wanted else ():
        setup = Setup(count, plan.parent or "em0", "/var/empty" if host.freebsd() else "/jail",
                      plan.directory)
        file = plan.directory / "plan.conf"
        file.write_text(service.configuration(setup))
        program = service.program(plan.program)
        simulated = [*program, "--simulate", "--simulated-host",
                     str(plan.directory / f"simulated-{count}"), "-f", str(file)]
        ways = {"simulated host": simulated}
        if host.freebsd() and plan.parent:
            ways["vimage"] = [*program, "-f", str(file)]
        for mode in wanted:
            for run in range(plan.runs + 1):  # the first is not counted
                for who, words in ways.items():
                    cpu, wall = measured([*words, mode], service.ROOT)
                    if run:
                        say(f"{mode} with {count}, {who}: {wall:.3f} s, CPU {cpu:.3f} s")
                        plan.add(mode, count, run, who, "time", wall)
                        plan.add(mode, count, run, who, "CPU", cpu, "CPU s")
