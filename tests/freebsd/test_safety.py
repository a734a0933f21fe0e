"""What the specification says of safety, attacked on the kernel."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.freebsd import system
from vimage.service import wire
from vimage.service.consoles import LIMIT

KNOCK = f"""
import socket, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from vimage.service import wire
connection = socket.socket(socket.AF_UNIX)
connection.connect(wire.SOCKET)
try:
    connection.sendall(wire.request("stop"))
    while data := connection.recv(4096):
        sys.stdout.buffer.write(data)
except ConnectionError:
    pass
"""


@pytest.fixture
def root(clean_host: None) -> Iterator[Path]:
    yield system.make_root("r")
    system.stop_service()
    system.remove_root("r")


def configure(root: Path | str, more: str = "") -> None:
    system.configure(f"""
        vimage_list="one"
        vimage_one_rootdir="{root}"
        vimage_one_fstab="/etc/fstab.r"
        vimage_one_boot="none"
        {more}
        """)


def test_another_user_does_not_reach_the_service(root: Path) -> None:
    configure(root)
    assert system.vimage("start").returncode == 0
    knock = subprocess.run(["su", "-m", "nobody", "-c", f"{sys.executable} -"], input=KNOCK,
                           text=True, capture_output=True, check=False)
    assert knock.returncode != 0 and "PermissionError" in knock.stderr, knock
    assert " ready " in system.vimage("status").stdout


def test_root_of_a_jail_that_shares_the_root_is_sent_away(root: Path) -> None:
    configure(root)
    assert system.vimage("start").returncode == 0
    system.sh("jail -c name=shares path=/ vnet persist")
    try:
        knock = subprocess.run(["jexec", "shares", sys.executable, "-"], input=KNOCK,
                               text=True, capture_output=True, check=False)
    finally:
        system.sh("jail -r shares")
    assert "only root of the host may speak to the service" in knock.stdout
    assert " ready " in system.vimage("status").stdout


def test_what_runs_in_a_jail_inherits_nothing(root: Path) -> None:
    configure(root, """vimage_one_exec_start="env > /tmp/env; procstat -f \\$\\$ > /tmp/fds" """)
    assert system.vimage("start").returncode == 0, "exec_start"
    names = {line.split("=")[0] for line in (root / "tmp/env").read_text().splitlines()}
    assert names <= {"PATH", "HOME", "SHELL", "USER", "LOGNAME", "TERM", "PWD"}
    descriptors = re.findall(r"^\s*\d+ \S+\s+(\d+) ", (root / "tmp/fds").read_text(), re.MULTILINE)
    # The shell opens the file that procstat writes to.
    assert set(descriptors) <= {"0", "1", "2"}, (root / "tmp/fds").read_text()


def test_a_console_log_that_is_a_link_is_not_followed(root: Path) -> None:
    log, victim = Path("/var/log/vimage_one_console.log"), Path("/var/tmp/victim")
    victim.write_text("untouched")
    log.unlink(missing_ok=True)
    log.symlink_to(victim)
    try:
        configure(root, 'vimage_one_exec_start="echo overwritten"')
        system.vimage("start")
        assert victim.read_text() == "untouched"
    finally:
        log.unlink()
        victim.unlink()


def test_a_jail_that_floods_its_log_fills_no_disk(root: Path) -> None:
    log = Path("/var/log/vimage_one_console.log")
    log.unlink(missing_ok=True)
    configure(root, 'vimage_one_command="/bin/sh -c \'while :; do /bin/cat /bin/sh /sbin/init; '
                    'done\'"')
    assert system.vimage("start").returncode == 0
    deadline, biggest, cut = time.monotonic() + 120, 0, False
    while time.monotonic() < deadline and not cut:
        size = log.stat().st_size
        cut, biggest = size < biggest, max(size, biggest)
    assert cut and biggest > LIMIT, f"{biggest} bytes"


def test_a_link_in_the_root_leads_no_mount_astray(root: Path) -> None:
    target = Path("/var/tmp/astray")
    target.mkdir(exist_ok=True)
    (root / "dev").rmdir()
    (root / "dev").symlink_to(target)
    configure(root, 'vimage_one_devfs_enable="YES"')
    started = system.vimage("start", "one")
    assert started.returncode != 0 and f"{root}/dev" in started.stderr
    assert str(target) not in system.sh("mount -p")
    (root / "dev").unlink()
    target.rmdir()


def test_a_thousand_clients_that_say_nothing_hold_up_nobody(root: Path) -> None:
    configure(root)
    assert system.vimage("start").returncode == 0
    clients: list[socket.socket] = []
    try:
        while len(clients) < 1000:
            client = socket.socket(socket.AF_UNIX)
            try:
                client.connect(wire.SOCKET)
                clients.append(client)
            except ConnectionRefusedError:  # kern.ipc.soacceptqueue of them wait already
                client.close()
        assert " ready " in system.vimage("status").stdout
    finally:
        for client in clients:
            client.close()
    assert os.path.exists(wire.SOCKET)
    assert " ready " in system.vimage("status").stdout
