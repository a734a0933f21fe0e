"""A `Jail` as variables of a vimage."""

from __future__ import annotations

import ipaddress
import re

from vimage.configuration import names, variables
from vimage.importing.jail import Jail, is_on, left, order
from vimage.importing.network import Network, network
from vimage.messages import Problem
from vimage.model import HOST_HOOKS

_HOOKS = tuple(hook.replace("_", ".", 1) for hook in HOST_HOOKS)
_RC = re.compile(r"(/bin/)?sh /etc/rc")
_RC_SHUTDOWN = re.compile(r"(/bin/)?sh /etc/rc\.shutdown( jail)?")

#: One value, taken as it is.
_AS_IT_IS = {
    "path": "rootdir", "exec.consolelog": "consolelog", "exec.timeout": "start_timeout",
    "stop.timeout": "stop_timeout", "mount.fstab": "fstab", "devfs_ruleset": "devfs_ruleset",
    "enforce_statfs": "enforce_statfs", "securelevel": "securelevel", "osrelease": "osrelease",
    "osreldate": "osreldate",
}

#: Switches that are off by default, there as here.
_SWITCHES = {
    "mount.fdescfs": "fdescfs_enable", "mount.procfs": "procfs_enable",
    "allow.mount": "mount_enable", "allow.set_hostname": "set_hostname_allow",
    "allow.sysvipc": "sysvipc_allow",
}

#: Values that say what is the case anyway, or that other parameters are read with.
_IGNORED = {
    "vnet", "vnet.interface", "persist", "exec.clean", "allow.dying", "name", "host.hostname",
    "exec.start", "exec.stop", "command", "mount.devfs", "depend", "interface", "ip4.addr",
    "ip6.addr", *_HOOKS,
}
_NOTHING = {("exec.system_user", "root"), ("exec.jail_user", "root"), ("ip4", "disable"),
            ("ip6", "disable"), ("ip4", "new"), ("ip6", "new"), ("host", "new"),
            ("exec.timeout", "0"), ("ip_hostname", "false")}


def convert(jail: Jail, name: str) -> tuple[dict[str, str], list[Problem]]:
    """The parts (``rootdir``, ``mac0``) of a vimage, and notes."""
    return _Conversion(jail, name).run()


class _Conversion:
    def __init__(self, jail: Jail, name: str) -> None:
        self.jail = jail
        self.name = name
        self.variable = f"vimage_{names.variable(name)}"
        self.network: Network = network(jail, name, _HOOKS)
        self.problems: list[Problem] = self.network.problems
        self.parts: dict[str, str] = {}
        self.addresses: dict[int, list[str]] = {}

    def run(self) -> tuple[dict[str, str], list[Problem]]:
        self._identity()
        if is_on(self.get("vnet")) or "vnet.interface" in self.jail.parameters:
            self._interfaces()
        else:
            self._shared_network()
        self._links()
        self._boot()
        self._commands()
        self._devfs()
        self._rest()
        return self._checked(), self.problems

    def get(self, parameter: str) -> list[str] | None:
        return self.jail.parameters.get(parameter)

    def _note(self, what: str, why: str) -> None:
        self.problems.append(left(self.jail.name, what, why))

    def _identity(self) -> None:
        host = "".join((self.get("host.hostname") or [""])[-1:])
        self.parts["hostname"] = host if host != self.name else ""
        self.parts["depend"] = " ".join(
            word for value in self.get("depend") or () for word in re.split(r"[,\s]+", value))

    # -- network ---------------------------------------------------------------------------

    def _interfaces(self) -> None:
        listed = [word for value in self.get("vnet.interface") or ()
                  for word in re.split(r"[,\s]+", value) if word]
        self.parts["vnets"] = " ".join(
            word for word in listed if word not in self.network.inside)

    def _shared_network(self) -> None:
        """Addresses of the host's interfaces become links bridged to these."""
        default = "".join((self.get("interface") or [""])[-1:])
        for parameter in ("ip4", "ip6"):
            if (self.get(parameter) or [""])[-1] == "inherit":
                self._note(f"{parameter}=inherit", "a vimage has a network of its own")
            for value in self.get(f"{parameter}.addr") or ():
                self._address(f"{parameter}.addr={value}", value, default)

    def _address(self, what: str, value: str, interface: str) -> None:
        if "|" in value:
            interface, _, value = value.partition("|")
        address = value.replace(" netmask ", "/").split()[0]
        if not interface:
            self._note(what, "no interface is given to bridge to; set "
                       f"{self.variable}_bridges and {self.variable}_addr0")
            return
        if re.fullmatch(r"lo[0-9]+", interface):
            self._note(what, f"nothing can be bridged to {interface}, which is not Ethernet; "
                       "vimage_bridge_list makes networks without a network card")
            return
        if interface not in self.network.parents:
            self.network.parents.append(interface)
        number = self.network.parents.index(interface)
        try:
            host = ipaddress.ip_interface(address)
        except ValueError:
            self._note(what, "no address")
            return
        if "/" not in address:
            self._note(what, f"its prefix length is not in the file; set "
                       f"{self.variable}_addr{number}")
            return
        self.addresses.setdefault(number, []).append(str(host))
        router = "defaultrouter" if host.version == 4 else "defaultrouter6"
        self._note(what, f"was an address of the host, is one of "
                   f"{names.link(number, self.name)} now; set {self.variable}_{router}")

    def _links(self) -> None:
        self.parts["bridges"] = " ".join(self.network.parents)
        for number, mac in self.network.macs.items():
            self.parts[f"mac{number}"] = mac
        for number, addresses in self.addresses.items():
            self.parts[f"addr{number}"] = " ".join(addresses)

    # -- commands --------------------------------------------------------------------------

    def _boot(self) -> None:
        start = [self.network.renamed(command) for command in self.get("exec.start") or ()]
        stop = [self.network.renamed(command) for command in self.get("exec.stop") or ()]
        if start and _RC.fullmatch(start[0]):
            self.parts["boot"] = "full"
            self._numbered("exec_afterstart", start[1:])
            stop = [command for command in stop if not _RC_SHUTDOWN.fullmatch(command)]
        elif not start:
            self.parts["boot"] = "none"
            self.parts["command"] = " ".join(self.get("command") or ())
        self.parts["exec_stop"] = " && ".join(stop)
        if "boot" not in self.parts:
            self.parts["exec_start"] = " && ".join(start)

    def _commands(self) -> None:
        for hook, commands in self.network.hooks.items():
            self._numbered(hook.replace(".", "_"), commands)

    def _numbered(self, hook: str, commands: list[str]) -> None:
        for number, command in enumerate(commands):
            self.parts[f"{hook}{number}"] = self.network.renamed(command)

    # -- the rest --------------------------------------------------------------------------

    def _devfs(self) -> None:
        wanted = is_on(self.get("mount.devfs"))
        root = (self.get("path") or [""])[-1] == "/"
        if root and wanted:
            self._note("mount.devfs", "the root directory is /")
        elif not root and wanted is (self.parts.get("boot") == "none"):
            self.parts["devfs_enable"] = "YES" if wanted else "NO"

    def _rest(self) -> None:
        parameters = []
        for parameter, values in self.jail.parameters.items():
            text = values[-1] if values else ""
            if parameter in _IGNORED or (parameter, text) in _NOTHING or not values:
                continue
            if parameter in _AS_IT_IS:
                part = _AS_IT_IS[parameter]
                self.parts[part] = text if text != _row(part).default_text else ""
            elif parameter in _SWITCHES:
                self.parts[_SWITCHES[parameter]] = "YES" if is_on(values) else ""
            elif parameter == "mount":
                for line in values:
                    self._note(f"mount={line}", f"put the line into /etc/fstab.{self.name}")
            elif parameter in ("ip4", "ip6"):
                pass  # told with the network
            else:
                parameters += self._parameter(parameter, values)
        self.parts["parameters"] = " ".join(parameters)

    def _parameter(self, parameter: str, values: list[str]) -> list[str]:
        """One of jail_set(2), if it is one that a vimage can have."""
        text = ",".join(values)
        word = parameter if text == "true" else f"{parameter}={text}"
        if parameter.startswith("allow.") or text == "false":
            head, dot, last = parameter.rpartition(".")
            word = parameter if is_on(values) else f"{head}{dot}no{last}"
        try:
            if " " in word:
                raise ValueError
            _row("parameters").type.parse(word)
        except ValueError:
            self._note(f"{parameter}={text}", "has no counterpart")
            return []
        return [word]

    def _checked(self) -> dict[str, str]:
        """The parts that have a good value, in the order of the table."""
        parts = {}
        for part in sorted(self.parts, key=order):
            text = self.parts[part]
            if not text:
                continue
            row = _row(part)
            try:
                row.type.parse(text)
            except ValueError as error:
                self._note(f"{_origin(part)}={text}", f"{error}; allowed: {row.type.allowed}")
            else:
                parts[part] = text
        return parts


def _row(part: str) -> variables.Variable:
    if part in variables.VIMAGE:
        return variables.VIMAGE[part]
    return variables.NUMBERED[part.rstrip("0123456789")]


def _origin(part: str) -> str:
    """The parameter that a part came from."""
    return next((name for name, other in _AS_IT_IS.items() if other == part), part)
