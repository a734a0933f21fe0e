"""Two commands at once through ``service vimage``, the second shortly after the first.

VIMAGE_TEST_PAIRS is the number of pairs, chosen by a seed from every pair of verbs, named and
unnamed; in a third of them one of the two commands is killed.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.freebsd import system

SEED = int(os.environ.get("VIMAGE_TEST_SEED", "20130410"))
PAIRS = int(os.environ.get("VIMAGE_TEST_PAIRS", "12"))
VERBS = (("start",), ("start", "a"), ("stop",), ("stop", "a"), ("restart",), ("restart", "a"),
         ("reload",), ("status",), ("status", "a"), ("reexec",), ("stop", "--service-only"),
         ("SIGHUP",))


@pytest.fixture
def host(clean_host: None) -> Iterator[None]:
    parent, _ = system.parents()
    nano = system.nano_root("nano", "sleep")
    root = system.make_root("r")
    system.configure(f"""
        vimage_enable="YES"
        vimage_list="a b"
        vimage_boot="none"
        vimage_a_rootdir="{nano}"
        vimage_a_bridges="{parent}"
        vimage_a_addr0="10.1.0.1/24"
        vimage_a_command="/sleep 100000"
        vimage_a_exec_prestop="sleep 0.5"
        vimage_b_rootdir="{root}"
        vimage_b_fstab="/etc/fstab.r"
        vimage_b_devfs_enable="YES"
        vimage_b_bridges="{parent} ={parent}"
        vimage_b_exec_start="sleep 1"
        """)
    yield
    system.stop_service()
    system.remove_root("r")
    system.remove_root("nano")


@dataclass
class Command:
    """A command under way."""

    words: tuple[str, ...]
    process: subprocess.Popen[str] | None

    @classmethod
    def begin(cls, words: tuple[str, ...]) -> Command:
        if words == ("SIGHUP",):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((system.STATE / "service.pid").read_text()), signal.SIGHUP)
            return cls(words, None)
        argv = [system.VIMAGE, *words] if "--service-only" in words else [
            "/usr/sbin/service", "vimage", *words]
        return cls(words, subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True))

    def die(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> tuple[int, str]:
        """Its exit status and what it said on stderr."""
        if self.process is None:
            return 0, ""
        _, said = self.process.communicate(timeout=300)
        return self.process.returncode, said

    @property
    def stops(self) -> set[str]:
        return set(self.words[1:] or "ab") if self.words[0] in ("stop", "restart") \
            and "--service-only" not in self.words else set()

    @property
    def starts(self) -> set[str]:
        return set(self.words[1:] or "ab") if self.words[0] in ("start", "restart") else set()


def ready() -> set[str]:
    """Of all that runs; a service is begun for it where there is none."""
    out = system.vimage("status").stdout
    return {line.split()[0] for line in out.splitlines() if re.search(r"\sready\b", line)}


def test_pairs(host: None) -> None:
    random_ = random.Random(SEED)
    before = system.look_before()
    print(f"seed {SEED}, {PAIRS} pairs", flush=True)
    for number in range(PAIRS):
        first_words, second_words = random_.choice(VERBS), random_.choice(VERBS)
        # Closer together, either may be accepted first.
        delay = random_.choice([0.5, random_.uniform(0.5, 1), random_.uniform(0.5, 4)])
        dies = random_.choice(["", "", "first", "second"])
        what = (f"pair {number} of seed {SEED}: {' '.join(first_words)}, after {delay:.2f} s "
                f"{' '.join(second_words)}, {dies or 'nobody'} dies")
        up = set() if first_words[0] == "start" else {"a", "b"}
        begin_with(up, what)
        first = Command.begin(first_words)
        time.sleep(delay)
        second = Command.begin(second_words)
        if dies == "first":
            first.die()
        elif dies == "second":
            time.sleep(0.2)
            second.die()
        (status_1, said_1), (status_2, said_2) = first.end(), second.end()
        for said in (said_1, said_2):
            assert not re.search("Traceback|internal error|exists already", said), (what, said)
        interrupted = "start interrupted by stop" in said_1
        if dies != "first" and first_words[0] != "status":
            assert status_1 == (1 if interrupted else 0), (what, status_1, said_1)
            assert not interrupted or first.starts & second.stops, (what, said_1)
        if dies != "second" and second_words[0] in ("start", "stop", "restart"):
            if first.stops & second.starts or not interrupted:
                assert status_2 in (0, 1), (what, status_2, said_2)
            if second.stops or not first.stops:
                assert status_2 == 0, (what, status_2, said_2)
        wanted = (up | first.starts) - (first.stops - first.starts)
        wanted = (wanted | second.starts) - (second.stops - second.starts)
        if dies == "second":  # it may have been killed before it had asked
            unsure = second.starts | second.stops
        else:
            unsure = first.starts | first.stops if dies == "first" else set()
        deadline = time.monotonic() + 60
        while (now := ready()) - unsure != wanted - unsure and time.monotonic() < deadline:
            time.sleep(0.5)
        assert now - unsure == wanted - unsure, (what, now, wanted)
    system.stop_service()
    assert system.left(before) == []


def begin_with(up: set[str], what: str) -> None:
    """A service, and these vimages ready and no others."""
    deadline = time.monotonic() + 60
    while True:
        if up:
            done = system.vimage("start", *sorted(up))
        else:
            system.vimage("start", "a")
            done = system.vimage("stop", "a", "b")
        if done.returncode == 0 and ready() == up:
            return
        assert time.monotonic() < deadline, (what, done)
        time.sleep(0.5)
