"""The host: what it is, what it has spent, whether anything of ours is left on it."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: Names of the vimages, their interfaces (floor and vimage, jng, jib) and nodes.
OURS = re.compile(r"(?:ng0_|e0[ab]_)?bm\d+|bmbridge\d+|ngeth\d+|epair\d+[ab]")

#: Names of the host-only bridges, and of their interfaces.
BRIDGE = "bmbridge{}"

#: Seconds in which what was removed must be gone.
GONE_WITHIN = 30.0

#: Seconds that are waited at most until the host is idle, and what part of one CPU is idle.
SETTLED_WITHIN, IDLE = 15.0, 0.2

# struct kinfo_proc of sys/user.h (1088 bytes on every 64-bit FreeBSD): ki_ppid, ki_rssize
# in pages, ki_runtime in microseconds, ki_childtime (a struct timeval), ki_rusage and
# ki_rusage_ch (struct rusage, which begins with ru_utime, a struct timeval).
_KINFO_SIZE, _PPID, _RSSIZE, _RUNTIME, _CHILDTIME = 1088, 76, 264, 328, 352
_RUSAGE, _RUSAGE_CH = 608, 752
_TIMEVAL = struct.Struct("<qq")

# sys/sysctl.h: CTL_KERN, KERN_PROC, KERN_PROC_PID, KERN_PROC_INC_THREAD.
_CTL_KERN, _KERN_PROC, _PID, _INC_THREAD = 1, 14, 1, 0x10


class BenchmarkError(Exception):
    """The measurement cannot be made, or does not count."""


def freebsd() -> bool:
    return sys.platform.startswith("freebsd")


def sysctl(name: str) -> bytes:
    """The raw value of a variable: sysctlbyname(3)."""
    return _sysctl("sysctlbyname", name.encode())


def _sysctl(function: str, *key: Any) -> bytes:
    size = ctypes.c_size_t(65536)
    buffer = ctypes.create_string_buffer(size.value)
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, function)(*key, buffer, ctypes.byref(size), None, ctypes.c_size_t(0)):
        raise OSError(ctypes.get_errno(), f"sysctl {key[0]!r}")
    return buffer.raw[:size.value]


def cpu_time() -> float:
    """Seconds of CPU spent by everything on this host, interrupts included: kern.cp_time
    (user, nice, sys, intr, idle) in ticks of the statistics clock."""
    ticks = struct.unpack("<5q", sysctl("kern.cp_time"))
    _, _, _, stathz, _ = struct.unpack("<5i", sysctl("kern.clockrate"))
    return float(sum(ticks[:4]) / stathz)


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one process."""

    cpu: float  # seconds, its ended children included
    user: float  # of these, outside the kernel
    first: float  # seconds of its first thread
    memory: int  # resident bytes


def usage(pid: int) -> Usage:
    """What a process has used (sysctl kern.proc.pid), to the microsecond."""
    raw, threads = _kinfo(_PID, pid), _kinfo(_PID | _INC_THREAD, pid)
    pages, = struct.unpack_from("<q", raw, _RSSIZE)
    return Usage(_runtime(raw) + _seconds(raw, _CHILDTIME),
                 _seconds(raw, _RUSAGE) + _seconds(raw, _RUSAGE_CH),
                 _runtime(threads), pages * os.sysconf("SC_PAGE_SIZE"))


def _kinfo(what: int, pid: int) -> bytes:
    """struct kinfo_proc of a process, or of each of its threads, the first one first."""
    raw = _sysctl("sysctl", (ctypes.c_int * 4)(_CTL_KERN, _KERN_PROC, what, pid), 4)
    if not raw or len(raw) % _KINFO_SIZE:
        raise OSError(0, f"no process {pid}")
    return raw


def _runtime(raw: bytes) -> float:
    """Seconds of CPU."""
    micro, = struct.unpack_from("<Q", raw, _RUNTIME)
    return float(micro / 1e6)


def _seconds(raw: bytes, offset: int) -> float:
    """A struct timeval."""
    seconds, micro = _TIMEVAL.unpack_from(raw, offset)
    return float(seconds + micro / 1e6)


def children(pid: int) -> list[int]:
    """The processes that a process has started and not yet waited for."""
    done = subprocess.run(["/bin/pgrep", "-P", str(pid)], capture_output=True, text=True,
                          check=False)
    return [int(word) for word in done.stdout.split()]


def run(*words: str, check: bool = True, timeout: float = 36000) -> str:
    """Run a program; its stdout.  Raises BenchmarkError when it fails."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout, check=False)
    if check and done.returncode:
        raise BenchmarkError(f"{' '.join(words)}: exit status {done.returncode}\n"
                             f"{done.stdout}{done.stderr}".rstrip())
    return done.stdout


# -- what it is ----------------------------------------------------------------------------


def facts() -> dict[str, str]:
    """What the figures depend on."""
    found = {"uname": " ".join(os.uname()), "python": platform.python_version(),
             "cpus": str(os.cpu_count())}
    if freebsd():
        for name in ("hw.ncpu", "hw.model", "hw.physmem", "kern.hz", "kern.vm_guest",
                     "kern.timecounter.hardware"):
            found[name] = run("/sbin/sysctl", "-n", name, check=False).strip()
        running = run("/bin/pgrep", "-x", "devd", check=False).strip()
        found["devd"] = "runs" if running else "does not run"
    return found


# -- what is left ----------------------------------------------------------------------------


def left(parent: str) -> list[str]:
    """Jails, interfaces and nodes of ours that are there now, and the parent's bridges."""
    bridge = bridge_node(parent)
    found = [f"jail {name}" for name in run("/usr/sbin/jls", "-d", "name").split()
             if OURS.fullmatch(name)]
    found += [f"interface {name}" for name in run("/sbin/ifconfig", "-l").split()
              if OURS.fullmatch(name) or name == f"{parent}bridge"]
    for line in run("/usr/sbin/ngctl", "list").splitlines():
        node = re.match(r"\s+Name: (\S+)\s+Type: (\S+)", line)
        if node and (node[2] == "eiface" or node[1] == bridge or OURS.match(node[1])):
            found.append(f"node {node[1]} of type {node[2]}")
    return found


def must_be_clean(parent: str) -> None:
    """Raises BenchmarkError when something is left after a while."""
    deadline = time.monotonic() + GONE_WITHIN
    while found := left(parent):
        if time.monotonic() > deadline:
            raise BenchmarkError(f"left on the host: {', '.join(found[:10])}")
        time.sleep(0.1)


def settle() -> None:
    """Wait until the host has nothing to do any more, for a while at most: devd(8) runs
    scripts for interfaces that come and go, and they are not to burden the next one."""
    deadline = time.monotonic() + SETTLED_WITHIN
    quiet = 0
    while quiet < 2 and time.monotonic() < deadline:
        used, begun = cpu_time(), time.monotonic()
        time.sleep(0.5)
        busy = (cpu_time() - used) / (time.monotonic() - begun)
        quiet = quiet + 1 if busy < IDLE else 0


def bridge_node(parent: str) -> str:
    return re.sub(r"[.:]", "_", parent) + "bridge"


# -- the parent -------------------------------------------------------------------------------


#: Offloads that a bridge cannot carry, as ifconfig(8) shows them and takes them.
OFFLOADS = {"TXCSUM": "txcsum", "TXCSUM_IPV6": "txcsum6", "TSO4": "tso4", "TSO6": "tso6",
            "LRO": "lro"}


class Parent:
    """The host's interface, made ready before the first clock starts.

    It is brought up and its offloads are switched off: both may reset the card, which takes
    as long as the card takes (``seconds``), once.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        flags, options = marks(name)
        self.was_up = "UP" in flags
        self.were_on = [word for mark, word in OFFLOADS.items() if mark in options]
        self.seconds = 0.0

    def prepare(self) -> None:
        run("/sbin/kldload", "-n", "ng_socket", "ng_ether", "ng_bridge", "ng_eiface",
            "if_bridge", "if_epair")
        begun = time.monotonic()
        self._set("up", *(f"-{word}" for word in self.were_on))
        self.seconds = time.monotonic() - begun
        self.plain()

    def plain(self) -> None:
        """Not promiscuous, source addresses its own: as jng finds it at boot."""
        node = f"{re.sub(r'[.:]', '_', self.name)}:"
        run("/usr/sbin/ngctl", "msg", node, "setpromisc", "0")
        run("/usr/sbin/ngctl", "msg", node, "setautosrc", "1")

    def restore(self) -> None:
        self._set(*self.were_on, *([] if self.was_up else ["down"]))

    def _set(self, *words: str) -> None:
        for word in words:
            run("/sbin/ifconfig", self.name, word, check=False)


def marks(interface: str) -> tuple[Sequence[str], Sequence[str]]:
    """Flags and options as ifconfig(8) names them."""
    found = re.findall(r"(?:flags|options)=[0-9a-f]+<([^>]*)>", run("/sbin/ifconfig", interface))
    flags, options = [*found, "", ""][:2]
    return flags.split(","), options.split(",")


# -- a root to boot in ---------------------------------------------------------------------------


class Root:
    """A directory for jails: empty, or one whose network can be booted.

    That one borrows the host's programs by nullfs(5), read-only, mounted here once for all
    jails, and has an /etc of its own.
    """

    BORROWED = ("bin", "sbin", "lib", "libexec", "usr")
    ETC = ("rc", "rc.subr", "network.subr", "rc.d", "defaults", "rc.shutdown", "passwd",
           "master.passwd", "group", "pwd.db", "spwd.db", "login.conf", "services", "protocols")

    def __init__(self, path: str) -> None:
        self.path = path
        self.mounted: list[str] = []
        os.makedirs(path, exist_ok=True)

    def furnish(self, rc_conf: str) -> None:
        """Make it bootable, with this rc.conf."""
        if not self.mounted:
            for name in (*self.BORROWED, "dev", "tmp", "etc", "var/run", "var/log", "var/db"):
                os.makedirs(f"{self.path}/{name}", exist_ok=True)
            run("/bin/cp", "-R", *(f"/etc/{name}" for name in self.ETC
                                   if os.path.exists(f"/etc/{name}")), f"{self.path}/etc/")
            for name in self.BORROWED:
                self._mount("nullfs", "-o", "ro", f"/{name}", f"{self.path}/{name}")
            self._mount("devfs", "-o", "ruleset=4", "devfs", f"{self.path}/dev")
        with open(f"{self.path}/etc/rc.conf", "w", encoding="ascii") as file:
            file.write(rc_conf)

    def _mount(self, *words: str) -> None:
        run("/sbin/mount", "-t", *words)
        self.mounted.append(words[-1])

    def close(self) -> None:
        while self.mounted:
            run("/sbin/umount", self.mounted.pop())
