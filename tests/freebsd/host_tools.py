"""What a FreeBSD host has, as its own tools tell it: a look that shares no code with vimage."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from tests.lib.snapshot import Snapshot, difference

__all__ = ["Jail", "Process", "Snapshot", "difference", "jails", "processes", "take"]


@dataclass(frozen=True)
class Jail:
    jid: int
    name: str
    path: str
    dying: bool


@dataclass(frozen=True)
class Process:
    pid: int
    jid: int
    command: str


def _run(*argv: str) -> str:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=True).stdout


def jails() -> list[Jail]:
    """``jls -d``."""
    found = []
    for line in _run("/usr/sbin/jls", "-dq", "jid", "dying", "name", "path").splitlines():
        jid, dying, name, path = line.split(" ", 3)
        found.append(Jail(int(jid), name, path, dying in ("1", "true")))
    return found


def processes() -> list[Process]:
    """``ps``."""
    found = []
    for line in _run("/bin/ps", "-axww", "-o", "pid=", "-o", "jid=", "-o", "command=").splitlines():
        pid, jid, *command = line.split(None, 2)
        found.append(Process(int(pid), int(jid), "".join(command)))
    return found


def nodes() -> dict[str, str]:
    """``ngctl list -l``, without the nodes of sockets."""
    found: dict[str, str] = {}
    name = ""
    for line in _run("/usr/sbin/ngctl", "list", "-l").splitlines():
        node = re.match(r"\s*Name: (\S+)\s+Type: (\S+)\s+ID: (\S+)", line)
        if node:
            name = node[1] if node[1] != "<unnamed>" else f"(no name, {node[2]})"
            if node[2] != "socket":
                found[name] = node[2]
            continue
        hook = line.split()
        if name in found and len(hook) == 5 and not hook[0].startswith(("-", "Local")) \
                and hook[2] != "socket":
            found[name] += f", {hook[0]} to {hook[1]}:{hook[4]}"
    return {name: ", ".join(sorted(text.split(", "))) for name, text in found.items()}


def interfaces() -> dict[str, str]:
    """``ifconfig -a``: flags, options, ether, addresses."""
    found: dict[str, str] = {}
    name = ""
    for line in _run("/sbin/ifconfig", "-a").splitlines():
        head = re.match(r"(\S+): (.*)", line)
        if head:
            name = head[1] if head[1] not in found else f"{head[1]} (2)"
            found[name] = _flags(head[2])
        elif line.split()[:1] not in (["media:"], ["status:"], ["groups:"]):
            found[name] += f", {line.strip()}"
    return found


#: Of net/if.h, what a driver says of this moment: IFF_DRV_OACTIVE, its queue is full or it
#: has been stopped; IFF_NETLINK_1 (LOWER_UP) of FreeBSD 15, it has carrier.
_OF_THE_MOMENT = {"OACTIVE": 0x400, "DRV_OACTIVE": 0x400, "LOWER_UP": 0x1000000}


def _flags(text: str) -> str:
    """"flags=8c22<BROADCAST,OACTIVE,..> metric 0 mtu 1500" without what a driver only
    says of this moment."""
    match = re.match(r"flags=([0-9a-f]+)<([^>]*)>(.*)", text)
    if match is None:
        return text
    names = ",".join(name for name in match[2].split(",") if name not in _OF_THE_MOMENT)
    flags = int(match[1], 16)
    for bit in _OF_THE_MOMENT.values():
        flags &= ~bit
    return f"flags={flags:x}<{names}>{match[3]}"


def mounts() -> dict[str, str]:
    """``mount -p``."""
    found: dict[str, str] = {}
    for line in _run("/sbin/mount", "-p").splitlines():
        source, directory, fstype, options = line.split()[:4]
        while directory in found:
            directory += " (again)"
        found[directory] = f"{fstype} from {source}, {options}"
    return found


def rules() -> list[str]:
    """``rctl``; none where the kernel keeps no account."""
    done = subprocess.run(["/usr/bin/rctl"], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


def files(directories: Iterable[str]) -> dict[str, str]:
    """``find``."""
    listed = [line for directory in directories
              for line in _run("/usr/bin/find", directory, "-mindepth", "1").splitlines()]
    return dict.fromkeys(listed, "there")


def take(directories: Iterable[str] = (), ignore: str = r"$^") -> Snapshot:
    """Everything; processes of the host whose command matches ``ignore`` do not count."""
    return Snapshot(
        nodes=nodes(), interfaces=interfaces(),
        jails={str(jail.jid): f"{jail.name}, {jail.path}" + ", dying" * jail.dying
               for jail in jails()},
        mounts=mounts(),
        processes={str(process.pid): f"in jail {process.jid}, {process.command}"
                   for process in processes() if not _own(process, ignore)},
        rules=dict.fromkeys(rules(), "there"), files=files(directories))


def _own(process: Process, ignore: str) -> bool:
    """Kernel threads, what has ended, and the tool that looks."""
    return (process.command.startswith(("[", "<defunct>")) or "/bin/ps -axww" in process.command
            or re.search(ignore, process.command) is not None)
