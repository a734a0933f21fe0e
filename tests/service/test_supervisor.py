"""The service ends its supervisor, daemon(8), once, and nobody else: process 1 least of all.

Real processes: this test adopts orphans, as init does, and counts the signals that it gets.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.service.conftest import decode, encode

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs prctl(2)")

ROOT = Path(__file__).parents[2]
PR_SET_CHILD_SUBREAPER = 36

#: The service, on a simulated host in real time.
SERVICE = """
import asyncio, logging, os, sys
from vimage.kernel.simulated import SimulatedKernel, SimulatedProcesses
from vimage.service.daemon import Daemon
from vimage.service.reading import Reader
kernel = SimulatedKernel.open(sys.argv[1])
async def live():
    service = Daemon(kernel, SimulatedProcesses(kernel), logging.getLogger("service"),
                     reader=Reader(kernel, None, sys.argv[2]), supervisor=os.getppid())
    return await service.run()
asyncio.run(live())
"""

#: daemon(8): hands TERM on to the service and ends at once, as daemon.c does.
DAEMON = """
import os, signal, subprocess, sys
terms = 0
def term(*_):
    with open(sys.argv[3], "a") as log:
        log.write("TERM\\n")
    child.send_signal(signal.SIGTERM)
    os._exit(1)
signal.signal(signal.SIGTERM, term)
child = subprocess.Popen([sys.executable, "-c", sys.argv[4], *sys.argv[1:3]])
with open(sys.argv[3] + ".pid", "w") as file:
    file.write(str(child.pid))
sys.exit(child.wait())
"""


@dataclass
class SupervisedService:
    """A service, its supervisor, and this process as init."""

    directory: Path
    daemon: subprocess.Popen[bytes] | None = None
    got: list[int] = field(default_factory=list)

    @property
    def control(self) -> str:
        return str(self.directory / "root/var/run/vimage/control")

    def begin(self) -> None:
        self.daemon = subprocess.Popen(
            [sys.executable, "-c", DAEMON, str(self.directory), str(self.directory / "rc.conf"),
             str(self.directory / "log"), SERVICE], cwd=ROOT)
        until(lambda: os.path.exists(self.control))
        assert self.ask("start").status == 0

    def service_pid(self) -> int:
        return int((self.directory / "log.pid").read_text())

    def ask(self, *words: str, patience: float = 60, **options: Any):
        """A client; one that is impatient goes away before the answer."""
        import socket

        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(patience)
            connection.connect(self.control)
            connection.sendall(encode(*words, **options))
            octets = b""
            try:
                while more := connection.recv(65536):
                    octets += more
            except TimeoutError:
                return None
        return decode(octets)

    def service_ends(self) -> None:
        """Wait for it, as init would."""
        pid = self.service_pid()
        until(lambda: not os.path.exists(f"/proc/{pid}") or _reaped(pid))

    @property
    def terms(self) -> int:
        """How often the supervisor was signalled."""
        log = self.directory / "log"
        return log.read_text().count("TERM") if log.exists() else 0


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return not os.path.exists(f"/proc/{pid}")


def until(true: Callable[[], bool]) -> None:
    for _ in range(6000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to pass")


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[SupervisedService]:
    from vimage.kernel.simulated import SimulatedKernel

    kernel = SimulatedKernel.open(tmp_path)
    os.makedirs(kernel.path("/usr/jail/r/bin"))
    Path(kernel.path("/usr/jail/r/bin/sh")).touch(mode=0o755)
    kernel.close()
    (tmp_path / "rc.conf").write_text(
        'vimage_list="a b"\nvimage_boot=none\nvimage_devfs_enable=NO\n'
        'vimage_a_rootdir=/usr/jail/r\nvimage_b_rootdir=/usr/jail/r\n'
        'vimage_a_exec_stop="sleep 0.5"\n')
    running = SupervisedService(tmp_path)
    was = signal.signal(signal.SIGTERM, lambda *_: running.got.append(signal.SIGTERM))
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        running.begin()
        yield running
    finally:
        if running.daemon is not None:
            running.daemon.kill()
            running.daemon.wait()
        try:
            os.kill(running.service_pid(), signal.SIGKILL)
            os.waitpid(running.service_pid(), 0)
        except (OSError, ValueError):
            pass
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        signal.signal(signal.SIGTERM, was)


def test_a_stop_ends_the_supervisor_once(supervised: SupervisedService) -> None:
    assert supervised.daemon is not None
    assert supervised.ask("stop").status == 0
    assert supervised.daemon.wait(60) == 1
    supervised.service_ends()
    assert (supervised.terms, supervised.got) == (1, [])


def test_the_service_only(supervised: SupervisedService) -> None:
    assert supervised.daemon is not None
    assert supervised.ask("stop", service_only=True).status == 0
    assert supervised.daemon.wait(60) == 1
    supervised.service_ends()
    assert (supervised.terms, supervised.got) == (1, [])


@pytest.mark.parametrize("number", range(3))
def test_a_stop_that_is_interrupted_and_given_again(supervised: SupervisedService,
                                                    number: int) -> None:
    """Ctrl-C and the same once more: the supervisor has gone when the second has ended."""
    assert supervised.daemon is not None
    for _ in range(number + 1):
        assert supervised.ask("stop", patience=0.1) is None
    supervised.ask("stop")
    supervised.daemon.wait(60)
    supervised.service_ends()
    assert (supervised.terms, supervised.got) == (1, [])


@pytest.mark.parametrize("words, options", [
    (["stop"], {}), (["stop"], {"service_only": True}), (["stop"], {"shutdown": True})],
    ids=["stop", "service only", "shutdown"])
def test_a_supervisor_that_was_killed(supervised: SupervisedService, words: list[str],
                                      options: dict[str, bool]) -> None:
    """The service's parent is init by now; it is not told to end."""
    assert supervised.daemon is not None
    supervised.daemon.kill()
    supervised.daemon.wait()
    assert supervised.ask(*words, **options).status == 0
    supervised.service_ends()
    assert (supervised.terms, supervised.got) == (0, [])


def test_a_stop_beside_a_stop_of_the_service_only(supervised: SupervisedService) -> None:
    assert supervised.daemon is not None
    assert supervised.ask("stop", patience=0.1) is None
    supervised.ask("stop", service_only=True)
    supervised.daemon.wait(60)
    supervised.service_ends()
    assert (supervised.terms, supervised.got) == (1, [])
