"""vimage, as a user has it: through ``service vimage``, its service process included."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmark import host
from benchmark.tools import MARKS, Sample, Setup, between

STATE = Path("/var/run/vimage")
VIMAGE = "/usr/local/sbin/vimage"


def configuration(setup: Setup) -> str:
    """What rc.conf says; read with ``-f``, so that the host's own is left alone."""
    lines = ['vimage_enable="YES"', f'vimage_list="{" ".join(setup.names)}"',
             'vimage_devfs_enable="NO"', f'vimage_fstab="{setup.directory}/no-fstab"']
    if setup.boot:
        lines += ['vimage_boot="network"', 'vimage_parallel="16"',
                  f'vimage_consolelog="{setup.directory}/console.log"']
    else:
        lines += ['vimage_boot="none"']
    if setup.on_bridge:
        lines.append(f'vimage_bridge_list="{" ".join(dict.fromkeys(setup.bridges))}"')
    for number, (name, bridge) in enumerate(zip(setup.names, setup.bridges, strict=True)):
        lines += [f'vimage_{name}_rootdir="{setup.root}"', f'vimage_{name}_bridges="{bridge}"']
        if setup.address:
            lines.append(f'vimage_{name}_addr0="{setup.ip(number)}/8"')
    return "\n".join(lines) + "\n"


class Vimage:
    """Starts and stops by one command each."""

    def __init__(self, setup: Setup, running: bool = False) -> None:
        self.setup = setup
        self.file = setup.directory / "vimage.conf"
        self.file.write_text(configuration(setup))
        empty = setup.directory / "empty.conf"
        empty.write_text('vimage_enable="YES"\nvimage_list=""\n')
        if running:
            self._command("start", "-f", str(empty))

    def words(self, verb: str, *more: str) -> list[str]:
        """The command line of a verb."""
        if self.setup.program:
            return [*self.setup.program, "--rc", verb, *more]
        return ["/usr/sbin/service", "vimage", f"one{verb}" if verb in (
            "start", "stop", "restart") else verb, *more]

    def _command(self, verb: str, *more: str) -> None:
        host.run(*self.words(verb, *more))

    def start(self) -> Sample:
        """``service vimage start``, with the CPU of the service at the marks."""
        marks: dict[int, host.Usage] = {}
        cpu, begun = host.cpu_time(), time.monotonic()
        with subprocess.Popen(self.words("start", "-f", str(self.file)),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as command:
            assert command.stdout is not None
            said = b""
            pids: list[int] = []
            while more := os.read(command.stdout.fileno(), 65536):
                said += more
                done = said.count(b" ") - 1
                for mark in MARKS:
                    if done >= mark and mark not in marks:
                        pids = pids or processes()
                        marks[mark] = usage(pids)
        wall = time.monotonic() - begun
        cpu = host.cpu_time() - cpu
        if command.returncode:
            raise host.BenchmarkError(f"service vimage start: {said.decode()[-1000:]}")
        return Sample(wall, cpu, between(marks) | self._size())

    def _size(self) -> dict[str, float]:
        pids = processes()
        memory = [float(host.usage(pid).memory) for pid in pids]
        return {"service memory": memory[0], "helper memory": sum(memory[1:]),
                "service CPU": used(pids)}

    def stop(self) -> Sample:
        """``service vimage stop``; that the service ends is waited for, not counted."""
        pids = processes()
        cpu, begun = host.cpu_time(), time.monotonic()
        self._command("stop")
        sample = Sample(time.monotonic() - begun, host.cpu_time() - cpu)
        if pids:
            host.run("/bin/pwait", "-t", "30", *map(str, pids), check=False)
        return sample

    def restart(self, number: int) -> Sample:
        pids = processes()
        before, cpu, begun = used(pids), host.cpu_time(), time.monotonic()
        self._command("restart", "-f", str(self.file), self.setup.names[number])
        wall, cpu = time.monotonic() - begun, host.cpu_time() - cpu
        return Sample(wall, cpu, {"service CPU": used(pids) - before})

    def close(self) -> None:
        if processes() or records():
            host.run(*self.words("stop"), check=False)


def processes() -> list[int]:
    """The service and its helper."""
    try:
        pid = int((STATE / "service.pid").read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return []
    return [pid, *host.children(pid)]


def used(pids: Sequence[int]) -> float:
    """Seconds of CPU."""
    return usage(pids).cpu


def usage(pids: Sequence[int]) -> host.Usage:
    """Of all of them together; the first thread is the service's, which comes first."""
    usages = [host.usage(pid) for pid in pids]
    return host.Usage(sum(one.cpu for one in usages), sum(one.user for one in usages),
                      usages[0].first if usages else 0.0, sum(one.memory for one in usages))


def records() -> list[str]:
    """The vimages that have a record."""
    return [path.stem for path in (STATE / "vimages").glob("*.json")]


# -- the command ----------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[1]


def program(given: Sequence[str] = ()) -> list[str]:
    """How vimage is run: as installed, else from this checkout."""
    if given:
        return list(given)
    return [VIMAGE] if os.access(VIMAGE, os.X_OK) else [sys.executable, "-m", "vimage"]


def interpreter() -> str:
    """The Python that the installed vimage runs with."""
    try:
        first = Path(VIMAGE).read_text().splitlines()[0]
    except (OSError, IndexError):
        return sys.executable
    return first.removeprefix("#!").split()[0]


def library() -> str:
    """Where the installed vimage has its modules."""
    found = re.search(r'sys\.path\.insert\(0, "([^"]+)"\)', Path(VIMAGE).read_text())
    return found[1] if found else str(ROOT)


#: Runs vimage as its command does, with something done before; in the service it says
#: afterwards what took how long.
PROFILED = """\
import sys
sys.path.insert(0, {library!r})
from vimage.__main__ import main
{before}
if {profile!r} and "service" in sys.argv[1:]:
    import cProfile
    profile = cProfile.Profile()
    try:
        sys.exit(profile.runcall(main))
    finally:
        profile.dump_stats({profile!r})
sys.exit(main())
"""


def variant(directory: Path, before: str = "", profile: str = "") -> tuple[str, ...]:
    """A program that is vimage with something before it, or with cProfile around its service."""
    path = directory / "vimage-variant.py"
    path.write_text(PROFILED.format(library=library(), before=before, profile=profile))
    return (interpreter(), "-I", "-S", str(path))


def ask(*words: str) -> str:
    """What the service says on its control socket (framed as in vimage/service/wire.py)."""
    body = json.dumps({"version": 2, "verb": words[0], "names": words[1:]}).encode()
    said = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(STATE / "control"))
        connection.sendall(b"q" + len(body).to_bytes(4, "big") + body)
        while more := connection.recv(1 << 20):
            said += more
    return said.decode(errors="replace")
