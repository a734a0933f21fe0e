"""What rc.d/netif and rc.d/routing do in a jail, from its rc.conf as sh reads it."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence

from vimage.kernel import Iff
from vimage.kernel.simulated import addresses, interfaces
from vimage.kernel.simulated.running import SERVICES, Running
from vimage.kernel.simulated.state import State

FILES = ("/etc/rc.conf", "/etc/rc.conf.local")


def variables(process: Running, names: Sequence[str]) -> dict[str, str]:
    """The variables of those names that the jail's rc.conf sets."""
    files = [file for file in map(process.file, FILES) if file]
    if not files or not names:
        return {}
    text = "".join(f". {shlex.quote(file)}\n" for file in files) + "".join(
        f'printf "%s\\0" "${{{name}}}"\n' for name in names)
    done = subprocess.run(["/bin/sh", "-c", text], stdin=subprocess.DEVNULL, capture_output=True,
                          env={"PATH": "/sbin:/bin:/usr/sbin:/usr/bin"}, check=False)
    values = done.stdout.decode(errors="replace").split("\0")
    return {name: value for name, value in zip(names, values, strict=False) if value}


def variable_name(prefix: str, interface: str) -> str:
    """rc.subr's ltr: what cannot stand in a variable's name becomes an underscore."""
    return prefix + re.sub(r"[^A-Za-z0-9_]", "_", interface)


def _vnet(process: Running) -> int:
    jail = process.kernel.state.jail(process.jid)
    return jail.vnet if jail else 0


def configure_interfaces(process: Running, only: Sequence[str] = ()) -> None:
    """``netif start``: lo0, and every interface that rc.conf names."""
    state = process.kernel.state
    with state.operation():
        vnet = _vnet(process)
        names = [i.name for i in interfaces.listed(state, vnet) if i.name in only or not only]
    wanted = [variable_name("ifconfig_", name) for name in names]
    found = variables(process, wanted + [f"{name}_ipv6" for name in wanted])
    with state.operation():
        for name in names:
            if name == "lo0":
                _add(state, vnet, name, "127.0.0.1/8")
            variable = variable_name("ifconfig_", name)
            for value in (found.get(variable, ""), found.get(f"{variable}_ipv6", "")):
                if value:
                    _apply(state, vnet, name, value)


def _apply(state: State, vnet: int, name: str, value: str) -> None:
    for address in parse_addresses(value):
        _add(state, vnet, name, address)
    iface = interfaces.find(state, vnet, name)
    interfaces.set_flags(state, iface, 0 if "down" in value.split() else Iff.UP, 0)


def _add(state: State, vnet: int, name: str, address: str) -> None:
    with contextlib.suppress(OSError):
        addresses.add(state, vnet, name, address)


def parse_addresses(value: str) -> Iterator[str]:
    """The addresses of an ifconfig(8) line: ``inet A netmask M``, ``inet6 A prefixlen P``."""
    words = value.split()
    for position, word in enumerate(words[:-1]):
        if word not in ("inet", "inet6"):
            continue
        address, rest = words[position + 1], words[position + 2:position + 4]
        if "/" not in address and rest[:1] == ["netmask"]:
            address += "/" + str(_mask(rest[1])) if len(rest) == 2 else ""
        elif "/" not in address and rest[:1] == ["prefixlen"]:
            address += f"/{rest[1]}" if len(rest) == 2 else ""
        elif "/" not in address:
            address += "/64" if word == "inet6" else "/24"
        with contextlib.suppress(ValueError):
            yield str(ipaddress.ip_interface(address))


def _mask(text: str) -> str:
    return str(ipaddress.ip_address(int(text, 16))) if text.startswith("0x") else text


def configure_routes(process: Running) -> None:
    """``routing start``: the default routes."""
    found = variables(process, ["defaultrouter", "ipv6_defaultrouter"])
    state = process.kernel.state
    with state.operation():
        for gateway in found.values():
            if gateway.upper() != "NO":
                _add_route(process, state, gateway)


def _add_route(process: Running, state: State, gateway: str) -> None:
    try:
        addresses.add_default_route(state, _vnet(process), gateway)
    except OSError as error:
        if error.errno != errno.EEXIST:
            process.write(f"route: writing to routing socket: {error.strerror}\n")


def enabled_services(process: Running) -> list[str]:
    """The known services that rc.conf enables."""
    names = sorted(SERVICES)
    found = variables(process, [f"{name}_enable" for name in names])
    return [name for name in names if found.get(f"{name}_enable", "NO").upper() == "YES"]
