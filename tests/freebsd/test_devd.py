"""What devd(8) does with interfaces of vimages and with those moved back.

A devd of our own runs in the foreground with the host's rules, /etc/pccard_ether in them
replaced by a program that writes down for which interface it was called.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

RULES = Path(__file__).parents[2] / "devd" / "vimage.conf"


class Devd:
    """The running devd, and a directory with what it did."""

    def __init__(self, directory: Path) -> None:
        self.calls = directory / "calls"
        self.returning = directory / "returning"
        self.calls.touch()
        self.returning.mkdir()
        program = directory / "pccard_ether"
        program.write_text(f'#!/bin/sh\necho "$@" >>{self.calls}\n')
        program.chmod(0o755)
        rules = directory / "rules"
        rules.mkdir()
        ours = RULES.read_text().replace("/var/run/vimage/returning", str(self.returning))
        (rules / "vimage.conf").write_text(ours.replace("/etc/pccard_ether", str(program)))
        theirs = Path("/etc/devd.conf").read_text().replace("/etc/pccard_ether", str(program))
        theirs = re.sub(r'directory "[^"]*";', "", theirs).replace(
            "options {", f'options {{\n\tdirectory "{rules}";', 1)
        theirs = re.sub(r'pid-file "[^"]*"', f'pid-file "{directory}/pid"', theirs)
        self.configuration = directory / "devd.conf"
        self.configuration.write_text(theirs)

    def start(self) -> subprocess.Popen[bytes]:
        with self.calls.with_name("log").open("wb") as log:
            return subprocess.Popen(["devd", "-d", "-f", str(self.configuration)],
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def called_for(self, marker: str) -> list[str]:
        """The interfaces that were configured until ``marker``, an interface made now."""
        name = make_epair(marker)
        try:
            for _ in range(200):
                calls = [line.removesuffix(" start")
                         for line in self.calls.read_text().splitlines()]
                if marker in calls:
                    return calls[:calls.index(marker)]
                time.sleep(0.1)
        finally:
            ifconfig(name, "destroy")
        raise AssertionError(f"devd did not act: {self.calls.read_text()}")


def ifconfig(*arguments: str) -> str:
    return subprocess.run(["ifconfig", *arguments], capture_output=True, text=True,
                          check=True).stdout.strip()


def make_epair(wanted: str) -> str:
    """An Ethernet interface of a fixed name; the name of its first half comes back."""
    return ifconfig(wanted.removesuffix("a"), "create")


def ngctl(*commands: str) -> None:
    subprocess.run(["ngctl", "-f", "-"], input="\n".join(commands), text=True, check=True,
                   capture_output=True)


@pytest.fixture
def devd(tmp_path) -> Iterator[Devd]:
    """Our devd in place of the host's, which is started again afterwards."""
    ours = Devd(tmp_path)
    was_running = subprocess.run(["service", "devd", "onestatus"],
                                 capture_output=True).returncode == 0
    if was_running:
        subprocess.run(["service", "devd", "onestop"], check=True, capture_output=True)
    process = ours.start()
    time.sleep(2)
    try:
        assert process.poll() is None, (tmp_path / "log").read_text()
        yield ours
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        if was_running:
            subprocess.run(["service", "devd", "onestart"], check=True, capture_output=True,
                           stdin=subprocess.DEVNULL)


@pytest.fixture
def eiface():
    """An eiface as vimage makes it: ngethN."""
    subprocess.run(["kldload", "-n", "ng_socket", "ng_ether", "ng_eiface", "ng_bridge"],
                   check=True)
    ngctl("mkpeer . eiface probe ether", "name .:probe vimage_probe")
    reply = subprocess.run(["ngctl", "msg", "vimage_probe:", "getifname"], check=True,
                           capture_output=True, text=True).stdout
    found = re.search(r'"(ngeth\d+)"', reply)
    assert found
    yield found[1]
    subprocess.run(["ngctl", "shutdown", "vimage_probe:"], check=True)


def test_the_rules_are_those_of_this_devd():
    """If devd.conf comes to do something else for a new interface, so must our rule."""
    default = Path("/etc/devd.conf").read_text()
    assert re.search(
        r'notify 0 \{\s*match "system"\s*"IFNET";\s*'
        r'match "subsystem"\s*"!\(usbus\|wlan\)\[0-9\]\+";\s*'
        r'match "type"\s*"ATTACH";\s*action "/etc/pccard_ether \$subsystem start";\s*\};',
        default)


def test_interfaces_of_vimages_are_left_alone(devd, eiface):
    assert eiface not in devd.called_for("epair90a")


def test_interfaces_that_a_jail_gives_back_are_left_alone(devd, eiface):
    ifconfig(eiface, "name", "ng0_probe")
    in_and_out("ng0_probe")
    in_and_out("ng0_probe", "em9;halt")
    assert devd.called_for("epair90a") == []


def test_a_whole_interface_that_is_moved_back_is_left_alone_once(devd):
    name = make_epair("epair91a")
    try:
        assert "epair91a" in devd.called_for("epair90a")
        devd.calls.write_text("")
        (devd.returning / name).touch()
        in_and_out(name)
        assert "epair91a" not in devd.called_for("epair90a")
        assert not (devd.returning / name).exists()
        devd.calls.write_text("")
        in_and_out(name)
        assert "epair91a" in devd.called_for("epair90a")
    finally:
        ifconfig(name, "destroy")


def test_a_name_made_for_a_path_deletes_nothing(devd, eiface):
    precious = devd.returning.parent / "precious"
    precious.touch()
    in_and_out(eiface, "../precious")
    assert devd.called_for("epair90a") == []
    assert precious.exists()


def in_and_out(name: str, renamed: str = "") -> None:
    """Move an interface into a jail, perhaps rename it there, and bring it back."""
    jail = "vimage_devd_test"
    subprocess.run(["jail", "-c", f"name={jail}", "vnet", "persist", "path=/",
                    f"vnet.interface={name}"], check=True, capture_output=True)
    if renamed:
        subprocess.run(["jexec", jail, "ifconfig", name, "name", renamed], check=True,
                       capture_output=True)
    subprocess.run(["jail", "-r", jail], check=True)
    for _ in range(100):
        if (renamed or name) in os.popen("ifconfig -l").read().split():
            break
        time.sleep(0.1)
    if renamed:
        ifconfig(renamed, "name", name)
