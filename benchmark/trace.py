"""Counts the kernel calls of one vimage by ktrace(1) and kdump(1).

What is made for one vimage is (calls for N2 - calls for N1) / (N2 - N1): what is made once
falls out.  Calls of ioctl(2) are told apart by request, messages of netgraph(4) by command;
kdump shows the first bytes of what sendto(2) wrote, a struct ng_msghdr.
"""

from __future__ import annotations

import csv
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmark import floor, host, modes, service
from benchmark.report import columns
from benchmark.tools import Floor, Setup

#: What vimage may make: mode, verb, call, how often for one vimage.
ACCEPTED = Path(__file__).with_name("calls.csv")

#: Calls beyond what is accepted, for one vimage, that are no reason to complain.
TOLERANCE = 0.3

#: How often these are made depends on how fast the host is, not on what there is to do.
WAITING = frozenset({"kevent", "poll", "ppoll", "select", "nanosleep", "clock_nanosleep",
                     "clock_gettime", "sigprocmask", "_umtx_op", "mmap", "munmap", "madvise",
                     "read", "write", "sched_yield"})

_LINE = re.compile(
    r"^\s*\d+\s+(\d+)\s(.{1,20}?)\s+(CALL|GIO|RET|NAMI|STRU|STRC|PSIG|CSW|USER)\s+(.*)$")
_CALL = re.compile(r"(\w+)(?:\(([^)]*)\))?")
_DUMP = re.compile(r"^\s*0x([0-9a-f]{4})\s+((?:[0-9a-f]{2,4} ?)+)")

#: Made by Python itself after a fork, by one version more often than by another.
INTERPRETER = frozenset({"thr_self", "getpid"})

#: typecookie and command to name: ng_message.h, ng_eiface.h, ng_ether.h.
MESSAGES = {
    (floor.GENERIC_COOKIE, number): f"NGM_{name}" for number, name in enumerate(
        ("SHUTDOWN", "MKPEER", "CONNECT", "NAME", "RMHOOK", "NODEINFO", "LISTHOOKS",
         "LISTNAMES", "LISTNODES", "LISTTYPES", "TEXT_STATUS", "BINARY2ASCII",
         "ASCII2BINARY", "TEXT_CONFIG"), 1)
} | {
    (floor.EIFACE_COOKIE, 1): "NGM_EIFACE_GET_IFNAME", (floor.EIFACE_COOKIE, 3): "NGM_EIFACE_SET",
    (floor.ETHER_COOKIE, 5): "NGM_ETHER_GET_PROMISC",
    (floor.ETHER_COOKIE, 6): "NGM_ETHER_SET_PROMISC",
    (floor.ETHER_COOKIE, 7): "NGM_ETHER_GET_AUTOSRC",
    (floor.ETHER_COOKIE, 8): "NGM_ETHER_SET_AUTOSRC",
}
_FLAGS = 0xF0000000  # NGM_READONLY, NGM_HASREPLY in a generic command

#: What the floor makes for one vimage, by (address, verb).
FLOOR = {
    (False, "start"): {
        "sendto NGM_MKPEER": 1, "sendto NGM_EIFACE_GET_IFNAME": 1, "recvfrom": 1,
        "sendto NGM_NAME": 1, "ioctl SIOCSIFNAME": 1, "sendto NGM_EIFACE_SET": 1,
        "jail_set": 1, "ioctl SIOCSIFVNET": 1},
    (False, "stop"): {"sendto NGM_SHUTDOWN": 1, "jail_remove": 1},
}
FLOOR[True, "start"] = FLOOR[False, "start"] | {
    "fork": 1, "jail_attach": 1, "socket": 1, "ioctl SIOCAIFADDR": 2, "exit": 1, "wait4": 1}
FLOOR[True, "stop"] = FLOOR[False, "stop"]


# -- reading ---------------------------------------------------------------------------------


def calls(lines: Iterable[str]) -> Counter[tuple[str, str]]:
    """(command, call) of the output of ``kdump -H -t ci`` to how often.

    A line has the numbers of the process and of the thread, and the command.
    """
    found: Counter[tuple[str, str]] = Counter()
    last: dict[str, tuple[str, str]] = {}
    data, writer = b"", ""
    for line in lines:
        dump = _DUMP.match(line)
        if dump and writer:
            if len(data) < floor.HEADER.size:
                data += bytes.fromhex(dump[2].replace(" ", ""))[:16]
                if len(data) >= floor.HEADER.size:
                    _rename(found, last.get(writer), data)
                    writer = ""
            continue
        match = _LINE.match(line)
        if match is None:
            continue
        thread, command, kind, rest = match.groups()
        writer, data = "", b""
        if kind == "CALL":
            last[thread] = key = command, call_name(rest)
            found[key] += 1
        elif (kind == "GIO" and " wrote " in rest
              and last.get(thread, ("", ""))[1].startswith("send")):
            writer = thread
    return +found


def call_name(text: str) -> str:
    """"ioctl(0x5,SIOCSIFNAME,0x7f)" to "ioctl SIOCSIFNAME"."""
    match = _CALL.match(text)
    assert match is not None
    name, arguments = match[1], (match[2] or "").split(",")
    if name == "ioctl" and len(arguments) > 1:
        return f"ioctl {arguments[1].strip()}"
    return name.removeprefix("freebsd_") if name.startswith("freebsd_") else name


def _rename(found: Counter[tuple[str, str]], key: tuple[str, str] | None, data: bytes) -> None:
    """What was counted as sendto becomes the message that it was."""
    message = message_name(data)
    if key is not None and message:
        found[key] -= 1
        found[key[0], f"{key[1]} {message}"] += 1


def message_name(data: bytes) -> str:
    """Of the head of a netgraph message; "" when it is none."""
    version, _, _, length, number, flags, _, cookie, _ = floor.HEADER.unpack_from(data)
    if version != floor.NG_VERSION or flags > 3 or length > 1 << 20:
        return ""
    return MESSAGES.get((cookie, number & ~_FLAGS), f"message {number & ~_FLAGS} of {cookie}")


def per_vimage(few: Mapping[str, int], many: Mapping[str, int], more: int) -> dict[str, float]:
    """Calls for one, from those for two counts; what is as often in both is left out."""
    return {name: (many.get(name, 0) - few.get(name, 0)) / more
            for name in sorted({*few, *many}) if many.get(name, 0) != few.get(name, 0)}


def merged(counted: Mapping[tuple[str, str], int], commands: str = "python") -> Counter[str]:
    """Without the commands: those of the service by their names, of programs that it started
    all together."""
    found: Counter[str] = Counter()
    for (command, call), number in counted.items():
        found[call if command.startswith(commands) else f"in {command}"] += number
    return found


# -- judging ------------------------------------------------------------------------------------


def check_floor(made: Mapping[str, float], address: bool, verb: str) -> list[str]:
    """The floor makes the calls of its table and no others."""
    expected = FLOOR[address, verb]
    noise = (WAITING | INTERPRETER) - expected.keys()
    return [f"floor, {verb}: {name} {made.get(name, 0):g} times for one vimage, "
            f"not {expected.get(name, 0)}"
            for name in sorted({*made, *expected})
            if name not in noise and made.get(name, 0) != expected.get(name, 0)]


def check_vimage(made: Mapping[str, float], accepted: Mapping[str, float], verb: str) -> list[str]:
    """vimage makes no more than is accepted."""
    return [f"vimage, {verb}: {name} {number:.2f} times for one vimage, "
            f"accepted {accepted.get(name, 0):.2f}"
            for name, number in made.items()
            if name not in WAITING and not name.startswith("in ")
            and number > accepted.get(name, 0) + TOLERANCE]


Accepted = dict[tuple[str, str], dict[str, float]]  # (mode, verb) to call to how often


def read_accepted(path: Path) -> Accepted:
    found: Accepted = {}
    if path.exists():
        with path.open(encoding="ascii", newline="") as file:
            for mode, verb, call, number in list(csv.reader(file))[1:]:
                found.setdefault((mode, verb), {})[call] = float(number)
    return found


def write_accepted(path: Path, accepted: Accepted) -> None:
    with path.open("w", encoding="ascii", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["mode", "verb", "call", "times"])
        writer.writerows([mode, verb, call, f"{number:.2f}"]
                         for (mode, verb), made in sorted(accepted.items())
                         for call, number in sorted(made.items())
                         if number > 0 and call not in WAITING and not call.startswith("in "))


def table(floor_made: Mapping[str, float], vimage_made: Mapping[str, float]) -> str:
    """Both side by side."""
    def cell(made: Mapping[str, float], name: str) -> str:
        return f"{made[name]:.2f}" if name in made else "-"

    names = sorted({*floor_made, *vimage_made}, key=lambda name: (name not in floor_made, name))
    lines = [["call", "floor", "vimage"],
             *([name, cell(floor_made, name), cell(vimage_made, name)] for name in names),
             ["all", f"{sum(floor_made.values()):.2f}", f"{sum(vimage_made.values()):.2f}"]]
    return columns(lines)


# -- tracing ---------------------------------------------------------------------------------------


def run(plan: modes.Plan, counts: Sequence[int], parent: host.Parent, root: host.Root,
        accept: bool = False, file: Path = ACCEPTED) -> list[str]:
    """Trace both, print the tables, return what is not as it should be."""
    accepted, complaints = read_accepted(file), []
    for mode in plan.modes:
        for verb, (of_floor, of_vimage) in counted(plan, mode, counts, parent, root).items():
            print(f"{mode}, {verb}: calls for one vimage, from {counts[0]} and {counts[1]}\n"
                  f"{table(of_floor, of_vimage)}\n", flush=True)
            complaints += check_floor(of_floor, mode == "address", verb)
            if accept:
                accepted[mode, verb] = of_vimage
            elif (mode, verb) in accepted:
                complaints += check_vimage(of_vimage, accepted[mode, verb], verb)
    if accept:
        write_accepted(file, accepted)
    return complaints


Made = dict[str, float]


def counted(plan: modes.Plan, mode: str, counts: Sequence[int], parent: host.Parent,
            root: host.Root, plant: str = "") -> dict[str, tuple[Made, Made]]:
    """Of a start and of a stop: the calls of the floor and of vimage for one vimage.

    ``plant`` is a call that the floor makes once more for each.
    """
    if mode not in ("network", "address"):
        raise host.BenchmarkError("--trace is for the modes network and address")
    if len(counts) != 2 or counts[0] >= counts[1]:
        raise host.BenchmarkError("--trace takes two counts, the lesser first")
    found: dict[str, list[Made]] = {"start": [], "stop": []}
    for trace in (_floor, _service):
        made = []
        for count in counts:
            made.append(dict(trace(Setup(
                count, plan.parent, root.path, plan.directory, address=mode == "address",
                program=plan.program, plant=plant))))
            host.must_be_clean(plan.parent)
            parent.plain()
        for verb, both in found.items():
            both.append(per_vimage(made[0][verb], made[1][verb], counts[1] - counts[0]))
    return {verb: (both[0], both[1]) for verb, both in found.items()}


def _floor(setup: Setup) -> Iterator[tuple[str, Counter[str]]]:
    program = Floor(setup)
    try:
        program.ask("bridge")
        for verb in ("start", "stop"):
            file = _attach(setup, f"floor.{verb}", program.pid)
            program.ask(verb, 0, setup.count)
            _detach(program.pid)
            yield verb, _count(file)
        program.ask("unbridge")
    finally:
        program.close()


def _service(setup: Setup) -> Iterator[tuple[str, Counter[str]]]:
    one = service.Vimage(setup, running=True)
    try:
        for verb, act in (("start", one.start), ("stop", one.stop)):
            pid = service.processes()[0]
            file = _attach(setup, f"vimage.{verb}", pid)
            act()
            if verb == "start":
                _detach(pid)
            yield verb, _count(file)
    finally:
        one.close()


def _attach(setup: Setup, name: str, pid: int) -> Path:
    """Trace a process with those that it has started or starts: calls, and what they read
    and write."""
    file = setup.directory / f"{name}.{setup.count}.ktrace"
    host.run("/usr/bin/ktrace", "-d", "-i", "-t", "ci", "-f", str(file), "-p", str(pid))
    return file


def _detach(pid: int) -> None:
    host.run("/usr/bin/ktrace", "-d", "-c", "-p", str(pid), check=False)


def _count(file: Path) -> Counter[str]:
    time.sleep(0.5)  # the kernel writes a trace by and by
    text = host.run("/usr/bin/kdump", "-H", "-f", str(file), "-m", "64")
    return merged(calls(text.splitlines()))
