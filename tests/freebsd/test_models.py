"""The networks of docs/guide/networks.md, each with its rc.conf as it stands there.

The host's card is one end of an epair(4); the other end is in a jail of its own that plays the
network outside, with the router 192.0.2.1.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.freebsd import recipes, system

GUIDE = (recipes.ROOT / "docs/guide/networks.md").read_text()
PF_CONF = Path("/etc/pf.conf")
DEVFS_RULES = Path("/etc/devfs.rules")

#: What a jail's /etc/rc would start for nothing here; and time for a slow machine.
QUIET = 'sendmail_enable="NONE"\ncron_enable="NO"\nsyslogd_enable="NO"\n'
PATIENT = 'vimage_start_timeout="600"\n'

#: Hands 192.0.2.77 to whoever asks.  Arguments: none.
DHCP_SERVER = """\
import socket, struct
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
server.bind(("", 67))
me, mask = socket.inet_aton("192.0.2.1"), socket.inet_aton("255.255.255.0")
while True:
    asked = server.recv(2048)
    kind = asked[asked.index(b"\\x35\\x01", 240) + 2]
    options = (bytes((53, 1, {1: 2}.get(kind, 5))) + b"\\x36\\x04" + me + b"\\x01\\x04" + mask
               + b"\\x03\\x04" + me + b"\\x33\\x04" + struct.pack("!I", 3600) + b"\\xff")
    server.sendto(b"\\x02" + asked[1:16] + socket.inet_aton("192.0.2.77") + me + asked[24:236]
                  + b"\\x63\\x82\\x53\\x63" + options, ("192.0.2.255", 68))
"""


def loads(module: str) -> bool:
    return subprocess.run(["/sbin/kldload", "-n", module], stdin=subprocess.DEVNULL,
                          capture_output=True).returncode == 0


def needs(module: str) -> None:
    if not loads(module):
        pytest.skip(f"this host has no {module}")


def until(what: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


@dataclass
class Outside:
    """A jail with the far ends of the host's cards, and what has to end before it."""

    cards: list[str] = field(default_factory=list)  # on the host
    ends: list[str] = field(default_factory=list)  # in the jail
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def sh(self, command: str) -> str:
        return system.sh(f"jexec outside /bin/sh -c '{command}'")

    def run(self, *argv: str, jail: str = "outside") -> subprocess.Popen[bytes]:
        """A program that runs until the test is over."""
        program = subprocess.Popen(["/usr/sbin/jexec", jail, *argv], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.programs.append(program)
        return program

    def end(self) -> None:
        for program in self.programs:
            program.kill()
            program.wait()
        if "outside" in system.sh("jls name").split():
            system.sh("jexec outside /usr/sbin/tcpdrop -a", check=False)
            for end in self.ends:
                system.sh(f"ifconfig {end} -vnet outside", check=False)
            system.sh("jail -r outside")
        for card in self.cards:
            system.sh(f"ifconfig {card} destroy")


@pytest.fixture
def outside(clean_host: None) -> Iterator[Outside]:
    needs("if_epair")
    made = Outside()
    try:
        for _ in range(2):
            card = system.sh("ifconfig epair create").strip()
            made.cards.append(card)
            made.ends.append(card[:-1] + "b")
        # What devd(8) runs for a new interface is not to meet the settings of a test.
        assert until(lambda: not re.search(system.DEVD, system.sh("ps -axo command=")))
        system.sh("jail -c name=outside path=/ vnet persist "
                 + " ".join(f"vnet.interface={end}" for end in made.ends))
        made.sh(f"ifconfig lo0 127.0.0.1/8; ifconfig {made.ends[0]} inet 192.0.2.1/24 up")
        yield made
    finally:
        made.end()


def example(name: str, cards: dict[str, str]) -> str:
    """A complete rc.conf of the guide, with the cards and directories of this host."""
    match = re.search(rf"<!-- BEGIN {name} -->\n```sh\n(.*?)```", GUIDE, re.S)
    assert match is not None, name
    text = match[1].replace("/usr/jail/", f"{system.JAILS}/")
    for card, other in cards.items():
        text, count = re.subn(rf"(?<![A-Za-z0-9]){card}(?![A-Za-z0-9])", other, text)
        assert count, f"{name} has no {card}"
    return text


@contextmanager
def running(text: str, host_cards: list[str], settings: dict[str, str] | None = None,
            more: str = "") -> Iterator[None]:
    """The vimages of an rc.conf while they run; ``settings`` are what the rc.conf of their roots
    say.  Everything is taken back, and the host is then as it was with its own network alone."""
    names = re.findall(rf"{system.JAILS}/(\w+)", text)
    with recipes.kept(recipes.RC_CONF):
        with recipes.RC_CONF.open("a") as rc_conf:
            rc_conf.write(text + PATIENT + more)
        for name in names:
            root = system.make_root(name, QUIET + (settings or {}).get(name, ""))
            for directory in ("var/empty", "var/run/dhclient", "var/tmp"):
                (root / directory).mkdir(parents=True, exist_ok=True)
        try:
            for card in host_cards:
                system.sh(f"service netif start {card}", check=False)
            before = system.look_before()
            started = system.service("start", timeout=1500)
            assert (started.returncode, started.stderr) == (0, ""), started.stdout
            rows = [row.split() for row in system.vimage("status").stdout.splitlines()[1:]]
            assert {row[0]: row[1] for row in rows} == dict.fromkeys(names, "ready")
            try:
                yield
            finally:
                stopped = system.service("stop")
            assert (stopped.returncode, stopped.stderr) == (0, "")
            assert system.left(before) == []
        finally:
            system.stop_service()
            for card in host_cards:
                system.sh(f"service netif stop {card}", check=False)
            for name in names:
                system.remove_root(name)


def reaches(jail: str, *addresses: str) -> bool:
    """Whether all of them answer, the first time perhaps only after a while."""
    return all(until(partial(system.pings, jail, address, 1), 30) for address in addresses)


def test_bridged(outside: Outside) -> None:
    card = outside.cards[0]
    with running(example("bridged", {"em0": card}), [card]):
        assert reaches("outside", "192.0.2.80", "192.0.2.25", "192.0.2.2")
        assert reaches("", "192.0.2.80", "192.0.2.25")
        assert reaches("www", "192.0.2.25", "192.0.2.1")
        assert "gateway: 192.0.2.1" in system.sh("jexec mail /sbin/route -n get 203.0.113.1")


def test_inside_the_host_with_nat(outside: Outside) -> None:
    needs("pf")
    card = outside.cards[0]
    *rules, command = recipes.commands(recipes.section(GUIDE, "Inside the host, with NAT"))
    with recipes.kept(PF_CONF), running(example("nat", {"em0": card}), [card]):
        assert reaches("web", "10.9.0.1", "10.9.0.3")
        assert not system.pings("web", "192.0.2.1", 1)  # nobody forwards yet
        PF_CONF.write_text("\n".join(recipes.for_card(rules, card)) + "\n")
        try:
            assert recipes.run(command).returncode == 0
            # The outside has no route to 10.9.0.0/24: its answers are for the host.
            assert reaches("web", "192.0.2.1") and reaches("db", "192.0.2.1")
            assert not system.pings("outside", "10.9.0.2", 1)
            server = outside.run("/usr/bin/nc", "-l", "80", jail="web")
            assert until(lambda: ":80" in system.sh("sockstat -j web -4 -l -p 80"))
            system.sh("echo hello | jexec outside /usr/bin/nc -N -w 10 192.0.2.2 80")
            assert server.communicate(timeout=60)[0] == b"hello\n"
        finally:
            system.sh("service pf stop; pfctl -F all; sysctl net.inet.ip.forwarding=0", check=False)


def test_a_whole_card(outside: Outside) -> None:
    card, second = outside.cards
    outside.sh(f"ifconfig {outside.ends[1]} inet 198.51.100.1/24 up")
    own = f'ifconfig_{second}="inet 203.0.113.1/24"\n'
    with running(example("whole", {"em0": card, "igb1": second}), [card, second],
                 {"dmz": f'ifconfig_{second}="inet 198.51.100.9/24"\n'}, own):
        assert second not in system.sh("ifconfig -l").split()
        assert reaches("outside", "198.51.100.9")
        assert reaches("dmz", "198.51.100.1")


def test_a_whole_card_with_a_driver_of_its_own(clean_host: None) -> None:
    card, second = system.parents()
    with running(example("whole", {"em0": card, "igb1": second}), [],
                 {"dmz": f'ifconfig_{second}="inet 198.51.100.9/24"\n'}):
        assert second not in system.sh("ifconfig -l").split()
        assert system.ifconfig("dmz")[second]["inet"] == ["198.51.100.9"]
        assert reaches("dmz", "198.51.100.9")
    assert second in system.sh("ifconfig -l").split()


def test_routed(outside: Outside) -> None:
    card = outside.cards[0]
    outside.sh("route add 198.51.100.0/28 192.0.2.4")
    with running(example("routed", {"em0": card}), [card]):
        assert reaches("outside", "198.51.100.1", "198.51.100.2", "198.51.100.3")
        assert reaches("app1", "192.0.2.1", "198.51.100.3")
        assert "198.51.100." not in system.sh("ifconfig")


def test_vlans(outside: Outside) -> None:
    needs("if_vlan")
    card, end = outside.cards[0], outside.ends[0]
    for tag, network in ((100, "10.1.0"), (200, "10.2.0")):
        outside.sh(f"ifconfig {end}.{tag} create; ifconfig {end}.{tag} inet {network}.1/24 up")
    with running(example("vlan", {"igb0": card}), [card]):
        assert reaches("outside", "10.1.0.2", "10.1.0.3", "10.2.0.2", "10.2.0.3")
        assert reaches("both", "10.1.0.2", "10.2.0.2")
        assert not system.pings("red", "10.2.0.2", 1)


def test_ipv4_and_ipv6(outside: Outside) -> None:
    card, end = outside.cards[0], outside.ends[0]
    inside, rules = re.findall(r"^(?:    .*\n)+", recipes.section(GUIDE, "IPv6"), re.M)
    ruleset = re.search(r"`(vimage_auto_devfs_ruleset=\S+)`", GUIDE)
    assert ruleset is not None
    outside.sh(f"ifconfig {end} inet6 -ifdisabled no_dad auto_linklocal up; "
               f"ifconfig {end} inet6 2001:db8::1/64; ifconfig {end} inet6 fe80::1 prefixlen 64; "
               "sysctl net.inet6.ip6.forwarding=1")
    outside.run("/usr/sbin/rtadvd", "-f", end)
    outside.run(sys.executable, "-ISc", DHCP_SERVER)
    with recipes.kept(DEVFS_RULES):
        DEVFS_RULES.write_text(textwrap.dedent(rules))
        try:
            assert recipes.run("service devfs restart").returncode == 0
            with running(example("ipv6", {"em0": card}), [card],
                         {"auto": textwrap.dedent(inside)}, f"{ruleset[1]}\n"):
                assert reaches("dual", "192.0.2.1", "192.0.2.2")
                assert reaches("outside", "192.0.2.10", "2001:db8::10", "2001:db8::11")
                assert reaches("dual", "2001:db8::11", "2001:db8::2")
                assert reaches("six", "2001:db8::1", "fe80::1%ng0_six")
                default = system.sh("jexec six /sbin/route -n get -inet6 2001:db8:9::1")
                assert "gateway: fe80::1%ng0_six" in default
                assert until(lambda: any(
                    address.startswith("2001:db8:")
                    for address in system.ifconfig("auto")["ng0_auto"]["inet6"]))
                assert system.ifconfig("auto")["ng0_auto"]["inet"] == ["192.0.2.77"]
                assert reaches("auto", "192.0.2.1", "2001:db8::1")
        finally:
            system.sh("devfs rule -s 20 delset", check=False)


def test_every_complete_rc_conf_of_the_guide_is_here() -> None:
    named = re.findall(r"<!-- BEGIN ([\w-]+) -->", GUIDE)
    assert named == ["bridged", "nat", "whole", "routed", "vlan", "ipv6"]
