"""The service on the kernel: killed at any instant, watching, holding up nobody."""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.freebsd import system
from tests.freebsd.host_tools import jails
from vimage.service import wire

SEED = 20130407
#: Each run is random by its own number, so that a campaign can be done in parts.
FIRST = int(os.environ.get("VIMAGE_TEST_KILLS_FROM", "0"))
RUNS = int(os.environ.get("VIMAGE_TEST_KILLS", "300"))
NAMES = ("one", "two", "lan", "whole")


@pytest.fixture
def mixed(clean_host: None) -> Iterator[None]:
    parent, other = system.parents()
    nano = system.nano_root("nano", "sleep")
    root = system.make_root("r")
    system.configure(f"""
        vimage_enable="YES"
        vimage_list="{' '.join(NAMES)}"
        vimage_boot="none"
        vimage_bridge_list="lan0"
        vimage_bridge_lan0_addr="10.9.0.1/24"
        vimage_one_rootdir="{nano}"
        vimage_one_bridges="{parent}"
        vimage_one_addr0="10.1.0.1/24"
        vimage_one_command="/sleep 100000"
        vimage_two_rootdir="{root}"
        vimage_two_fstab="/etc/fstab.r"
        vimage_two_devfs_enable="YES"
        vimage_two_bridges="{parent} ={parent}"
        vimage_two_command="/bin/sleep 100000"
        vimage_lan_rootdir="{nano}"
        vimage_lan_bridges="lan0 {parent}"
        vimage_lan_addr0="10.9.0.2/24"
        vimage_lan_command="/sleep 100000"
        vimage_whole_rootdir="{nano}"
        vimage_whole_vnets="{other}"
        vimage_whole_command="/sleep 100000"
        """)
    yield
    system.stop_service()
    system.remove_root("r")
    system.remove_root("nano")


def service_pid() -> int:
    return int((system.STATE / "service.pid").read_text())


def kill_service() -> None:
    """SIGKILL to the service and to daemon(8), so that the next start starts another."""
    for name in ("supervisor.pid", "service.pid"):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((system.STATE / name).read_text()), signal.SIGKILL)


def programs() -> dict[str, tuple[int, str]]:
    """The program of each vimage: pid and start time."""
    names = {str(jail.jid): jail.name for jail in jails()}
    found = {}
    for line in system.sh("ps -axww -o pid= -o jid= -o lstart= -o command=").splitlines():
        pid, jid, *start, command = line.split(None, 7)
        if jid in names and command.endswith("sleep 100000"):
            found[names[jid]] = int(pid), " ".join(start)
    return found


def ready() -> set[str]:
    out = system.vimage("status").stdout
    return {line.split()[0] for line in out.splitlines() if " ready " in line}


def test_killed_at_any_instant(mixed: None) -> None:
    before = system.look_before()
    assert system.vimage("start").returncode == 0
    for run in range(FIRST, FIRST + RUNS):
        random_ = random.Random(f"{SEED}/{run}")
        verb = random_.choice(["start", "stop", "restart", "reload", "reexec"])
        names = random_.sample(NAMES, random_.randrange(1, 3)) if verb in (
            "start", "stop", "restart") else []
        was = programs()
        with subprocess.Popen([system.VIMAGE, verb, *names], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as command:
            timer = threading.Timer(random_.uniform(0, 4), kill_service)
            timer.start()
            command.wait()
            timer.join()
        started = system.vimage("start")
        what = f"run {run} of seed {SEED}: {verb} {' '.join(names)}"
        assert started.returncode == 0, (what, started.stderr)
        assert ready() == set(NAMES), what
        now = programs()
        assert set(now) == set(NAMES), what
        for name, process in was.items():
            if verb not in ("stop", "restart") or name not in names:
                assert now[name] == process, f"{what}: {name} was not to be touched"
    system.stop_service()
    assert system.left(before) == []
    print(f"seed {SEED}, runs {FIRST} to {FIRST + RUNS - 1}, {RUNS} runs")


def _noticed(act: Callable[[], object], words: str) -> float:
    """Seconds until the log says ``words``."""
    size = os.path.getsize("/var/log/daemon.log")
    act()
    begun = time.monotonic()
    while time.monotonic() - begun < 30:
        with open("/var/log/daemon.log", "rb") as log:
            log.seek(size)
            if re.search(words.encode(), log.read()):
                return time.monotonic() - begun
        time.sleep(0.05)
    raise AssertionError(f"nobody said {words}")


def test_what_happens_behind_its_back_is_noticed(mixed: None) -> None:
    text = system.CONFIGURATION.read_text()
    system.configure(text + 'vimage_restart="on-failure"\n')
    assert system.vimage("start").returncode == 0
    for act, words in (
            # The end of its program is told at once, that of the jail is looked for.
            (lambda: system.sh("jail -r one"),
             "one: (jail [0-9]+ has gone|its command has ended); restarted in"),
            (lambda: system.sh("ngctl shutdown ng0_two:"), "two: node ng0_two has gone; restarted"),
            (lambda: system.sh(f"kill -9 {programs()['lan'][0]}"),
             "lan: its command has ended; restarted")):
        seconds = _noticed(act, words)
        print(f"noticed after {seconds:.2f} s: {words}")
        deadline = time.monotonic() + 120
        while ready() != set(NAMES) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert ready() == set(NAMES)


def test_a_parent_that_is_destroyed_and_comes_back(clean_host: None) -> None:
    nano = system.nano_root("nano", "sleep")
    system.configure(f"""
        vimage_list="one"
        vimage_one_rootdir="{nano}"
        vimage_one_boot="none"
        vimage_one_bridges="epair55a"
        vimage_one_addr0="10.55.0.2/24"
        vimage_one_command="/sleep 100000"
        """)
    try:
        system.sh("ifconfig epair55 create; ifconfig epair55b inet 10.55.0.1/24")
        assert system.vimage("start").returncode == 0
        program = programs()["one"]
        assert system.pings("", "10.55.0.2")
        seconds = _noticed(lambda: system.sh("ifconfig epair55a destroy"), "epair55a: has gone")
        print(f"noticed after {seconds:.2f} s: a parent was destroyed")
        _noticed(lambda: system.sh("ifconfig epair55 create; ifconfig epair55b inet 10.55.0.1/24"),
                 "epair55a: is back on its bridge")
        assert system.pings("", "10.55.0.2")
        assert programs()["one"] == program
    finally:
        system.stop_service()
        system.sh("ifconfig epair55a destroy", check=False)
        system.remove_root("nano")


def test_one_that_hangs_holds_up_nobody(clean_host: None) -> None:
    root = system.make_root("r")
    names = [f"v{number}" for number in range(10)]
    system.configure(f"""
        vimage_list="{' '.join(names)}"
        vimage_parallel="10"
        vimage_fstab="/etc/fstab.r"
        vimage_boot="none"
        vimage_devfs_enable="NO"
        vimage_v5_exec_start="sleep 100000"
        vimage_v5_start_timeout="60"
        """ + "".join(f"        vimage_{name}_rootdir=\"{root}\"\n" for name in names))
    started = system.vimage("start")
    assert started.returncode == 1
    assert started.stderr == "vimage: v5: exec_start: not finished within 60 s, ended\n"
    lines = started.stdout.splitlines()
    assert sorted(lines[:9]) == sorted(f"{name} ready" for name in names if name != "v5")
    assert lines[9:] == ["v5 failed"]
    system.stop_service()
    system.remove_root("r")


def _used(pid: int) -> tuple[int, int]:
    """Open descriptors and resident memory (KiB) of a process."""
    descriptors = system.sh(f"procstat -f {pid} | awk '$3 ~ /^[0-9]+$/' | wc -l")
    return int(descriptors), int(system.sh(f"ps -o rss= -p {pid}"))


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    minutes, seconds = system.sh(f"ps -o cputime= -p {pid}").strip().split(":")
    return 60 * int(minutes) + float(seconds)


def test_idle_and_ten_thousand_requests_leave_no_trace(clean_host: None) -> None:
    count = int(os.environ.get("VIMAGE_TEST_MANY", "100"))
    requests = int(os.environ.get("VIMAGE_TEST_REQUESTS", "10000"))
    idle = float(os.environ.get("VIMAGE_TEST_IDLE", "600"))
    parent, _ = system.parents()
    nano = system.nano_root("nano", "sleep")
    names = [f"v{number}" for number in range(count)]
    system.configure(f"""
        vimage_list="{' '.join(names)}"
        vimage_boot="none"
        """ + "".join(f"""
        vimage_{name}_rootdir="{nano}"
        vimage_{name}_bridges="{parent}"
        """ for name in names))
    assert system.vimage("start").returncode == 0
    pid = service_pid()
    words = [["status", names[0]], ["status", "nobody"], ["nonsense"], ["stop", "nobody"],
             ["status", names[0], names[1]]] * 20
    words[0] = ["start", names[-1]]
    for number in range(500):
        _ask(words[number % len(words)])
    cpu, begun = _cpu(pid), time.monotonic()
    select.select([], [], [], idle)
    percent = 100 * (_cpu(pid) - cpu) / (time.monotonic() - begun)
    used = [_used(pid)]
    for _ in range(2):
        for number in range(requests // 2):
            _ask(words[number % len(words)])
        used.append(_used(pid))
    print(f"{count} vimages, idle for {idle:g} s: {percent:.3f} % of a CPU; descriptors and "
          f"KiB of memory before, after half and after all of {requests} requests: {used}")
    assert service_pid() == pid
    assert len({descriptors for descriptors, _ in used}) == 1
    assert used[2][1] <= used[1][1] + 64  # Python keeps what the first half has needed
    system.stop_service()
    system.remove_root("nano")


def _ask(words: list[str]) -> None:
    """One request to the service, whatever it answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(wire.SOCKET)
        connection.sendall(wire.request(words[0], words[1:]))
        while connection.recv(65536):
            pass


def test_restart_loses_no_packet_between_the_others(clean_host: None) -> None:
    parent, _ = system.parents()
    root = system.make_root("r")
    pings = int(os.environ.get("VIMAGE_TEST_PINGS", "5000"))
    system.configure("""
        vimage_list="vj1 vj2 vj3"
        vimage_boot="none"
        vimage_fstab="/etc/fstab.r"
        vimage_devfs_enable="YES"
        """ + "".join(f"""
        vimage_vj{n}_rootdir="{root}"
        vimage_vj{n}_bridges="{parent}"
        vimage_vj{n}_addr0="10.3.0.{n}/24"
        """ for n in (1, 2, 3)))
    assert system.vimage("start").returncode == 0
    assert system.pings("vj2", "10.3.0.3")
    command = f"jexec vj2 /sbin/ping -q -c {pings} -i 0.01 10.3.0.3"
    with subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, text=True) as ping:
        for _ in range(10):
            assert system.vimage("restart", "vj1").returncode == 0
        said, _ = ping.communicate(timeout=1200)
    lost = re.search(r"(\d+) packets transmitted, (\d+) packets received", said)
    assert lost is not None and lost[1] == lost[2] == str(pings), said
    print(said.splitlines()[-2])
    system.stop_service()
    system.remove_root("r")


FAR_END = """
import socket
server = socket.create_server(("10.66.0.2", 7))
print("listening", flush=True)
connection, _ = server.accept()
while data := connection.recv(4096):
    connection.sendall(data)
"""


def test_the_hosts_own_connection_survives_on_the_parent(clean_host: None) -> None:
    """The vimage is the first and the last on its parent each time."""
    nano = system.nano_root("nano", "sleep")
    system.configure(f"""
        vimage_list="vj1"
        vimage_boot="none"
        vimage_vj1_rootdir="{nano}"
        vimage_vj1_bridges="epair66a"
        """)
    system.sh("ifconfig epair66 create; jail -c name=far vnet persist path=/; "
             "ifconfig epair66b vnet far; jexec far ifconfig epair66b inet 10.66.0.2/24; "
             "ifconfig epair66a inet 10.66.0.1/24")
    try:
        with subprocess.Popen(["jexec", "far", sys.executable, "-c", FAR_END], text=True,
                              stdout=subprocess.PIPE) as far:
            assert far.stdout is not None and far.stdout.readline() == "listening\n"
            with socket.create_connection(("10.66.0.2", 7), timeout=60) as connection:
                for _ in range(10):
                    for verb in ("start", "restart", "stop"):
                        assert system.vimage(verb, "vj1").returncode == 0
                        connection.sendall(b"still there?")
                        assert connection.recv(4096) == b"still there?"
    finally:
        system.stop_service()
        system.sh("jail -r far; ifconfig epair66a destroy", check=False)
        system.remove_root("nano")
