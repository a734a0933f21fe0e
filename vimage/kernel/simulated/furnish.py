"""What a simulated host has when it has booted."""

from __future__ import annotations

import ipaddress
import os
import platform
import uuid
from collections.abc import Mapping

from vimage.kernel import Iff
from vimage.kernel.simulated import interfaces, jails
from vimage.kernel.simulated.paths import Paths
from vimage.kernel.simulated.records import Module, Mounted, Ruleset, Sysctl
from vimage.kernel.simulated.state import State

INTERFACES: Mapping[str, str] = {
    "em0": "192.0.2.10/24", "em1": "", "igb0": "", "igb1": "", "vtnet0": "",
}
DIRECTORIES = ("/dev", "/etc/rc.conf.d", "/etc/rc.d", "/root", "/tmp", "/usr/jail",
               "/usr/local/etc", "/var/log", "/var/run")
MODULES = ("ng_bridge ng_eiface ng_ether ng_socket ng_hole netgraph nullfs fdescfs procfs "
           "tmpfs linprocfs linsysfs if_epair if_bridge if_tap if_vlan")
#: /etc/defaults/devfs.rules of 13.2: ruleset -> how many rules.
RULESETS = {1: 1, 2: 14, 3: 6, 4: 4, 5: 5}
HARDWARE_MAC = "08:00:27:00:00"
RUNNING = int(interfaces.ETHERNET | Iff.UP | Iff.RUNNING)


def furnish(state: State, paths: Paths, cards: Mapping[str, str]) -> None:
    """Install and boot a host."""
    for directory in DIRECTORIES:
        os.makedirs(paths.real(directory), exist_ok=True)
    keep = state.sysctl("kern.hostuuid")
    host_id = str(keep.value) if keep else str(uuid.uuid4())
    boot(state, cards, host_id)


def boot(state: State, cards: Mapping[str, str], host_id: str) -> None:
    """The kernel starts with nothing but its hardware."""
    state.clear()
    jails.seed_counters(state)
    for name, value in _sysctls(host_id, cards).items():
        state.put(Sysctl(name, value))
    for number, rules in RULESETS.items():
        state.put(Ruleset(number, rules))
    state.put(Module("netgraph"))
    _mount(state, "ufs", "/dev/vtbd0p2", "/", 0)
    _mount(state, "devfs", "devfs", "/dev", 1)
    for number, (name, address) in enumerate(cards.items(), 1):
        iface = interfaces.attach(state, name, "ether", mac=f"{HARDWARE_MAC}:{number:02x}",
                                  flags=RUNNING)
        if address:
            state.retag(iface, addresses=(str(ipaddress.ip_interface(address)),))
    loopback = interfaces.attach_loopback(state, 0)
    state.retag(loopback, flags=loopback.flags | int(Iff.UP | Iff.RUNNING),
                addresses=("127.0.0.1/8", "::1/128"))


def _mount(state: State, fstype: str, source: str, directory: str, below: int) -> None:
    state.put(Mounted(state.next("mount"), fstype, source, directory, below, {}))


def _sysctls(host_id: str, cards: Mapping[str, str]) -> dict[str, str | int]:
    return {
        "kern.hostuuid": host_id,
        "kern.hostname": platform.node() or "host",
        "kern.ostype": "FreeBSD",
        "kern.osrelease": "13.2-RELEASE",
        "kern.osreldate": 1302001,
        "kern.features.vimage": 1,
        "kern.securelevel": -1,
        "kern.hz": 1000,
        "hw.ncpu": os.cpu_count() or 1,
        "security.jail.jailed": 0,
        "security.jail.vnet": 0,
        "net.inet6.ip6.dad_count": 1,
        "kern.racct.enable": 0,
        "kenv.vimage.boot": uuid.uuid4().hex,
        "kenv.modules": MODULES,
        "kenv.cards": " ".join(f"{name}={address}" for name, address in cards.items()),
    }
