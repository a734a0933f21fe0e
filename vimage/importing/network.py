"""The lines of jail.conf(5) that call jng and jib, as links of a vimage."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field

from vimage.configuration import names
from vimage.importing.jail import Jail, left
from vimage.messages import Problem

_TOOLS = {"jng": ("bridge", "shutdown"), "jib": ("addm", "destroy")}
_SEVERAL = re.compile(r"[;&|<>`()\n]")


@dataclass(slots=True)
class Network:
    """What becomes of the interfaces of a jail."""

    name: str  # of the vimage
    parents: list[str] = field(default_factory=list)  # words of bridges
    macs: dict[int, str] = field(default_factory=dict)
    inside: dict[str, int] = field(default_factory=dict)  # ng0_www, e0b_www: number of the link
    outside: set[str] = field(default_factory=set)  # e0a_www
    hooks: dict[str, list[str]] = field(default_factory=dict)  # what is left of the commands
    problems: list[Problem] = field(default_factory=list)

    def renamed(self, command: str) -> str:
        """A command with the names that the interfaces have now."""
        for old, number in self.inside.items():
            command = re.sub(rf"(?<![\w.]){re.escape(old)}(?![\w.])",
                             names.link(number, self.name), command)
        return command


def network(jail: Jail, name: str, hooks: tuple[str, ...]) -> Network:
    """Read the commands on the host; ``hooks`` are the parameters that hold them."""
    result = Network(name)
    moved: list[str] = []
    for hook in hooks:
        kept = []
        for command in jail.parameters.get(hook, ()):
            if _is_of_network(result, jail, hook, command):
                continue
            if hook in ("exec.prepare", "exec.prestart") and (late := _mentions(result, command)):
                result.problems.append(left(jail.name, f"{hook}={command}",
                                            f"{late} is made later; moved to exec_created"))
                moved.append(command)
                continue
            kept.append(command)
        result.hooks[hook] = kept
    result.hooks["exec.created"] = moved + result.hooks.get("exec.created", [])
    for old, number in result.inside.items():
        new = names.link(number, name)
        if old != new:
            result.problems.append(left(
                jail.name, old, f"is {new} now; change the name in the jail's rc.conf"))
    return result


def _mentions(result: Network, command: str) -> str:
    """The first interface of the vimage that a command speaks of."""
    return next((name for name in result.inside
                 if re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", command)), "")


def _is_of_network(result: Network, jail: Jail, hook: str, command: str) -> bool:
    """Whether the command is about the interfaces only, and is done with."""
    if _SEVERAL.search(command):
        tool = re.search(r"\b(jng|jib)\s+(bridge|addm|shutdown|destroy)\b", command)
        if tool is None:
            return False
        result.problems.append(left(
            jail.name, f"{hook}={command}", f"{tool[1]} is part of a longer command; set "
            f"vimage_{names.variable(result.name)}_bridges by hand"))
        return True
    try:
        words = shlex.split(command)
    except ValueError:
        return False
    if len(words) > 1 and os.path.basename(words[0]) == "sh":
        del words[0]
    program = os.path.basename(words[0]) if words else ""
    if program in _TOOLS:
        return _tool(result, jail, f"{hook}={command}", words)
    return program == "ifconfig" and len(words) > 1 and _ifconfig(result, words[1:])


def _tool(result: Network, jail: Jail, what: str, words: list[str]) -> bool:
    """jng bridge [-b BRIDGE] NAME [=|!]IFACE ..., jib addm ..., and what undoes them."""
    tool = os.path.basename(words[0])
    make, undo = _TOOLS[tool]
    verb, arguments = (words[1] if len(words) > 1 else ""), words[2:]
    if verb == undo:
        return True
    if verb != make:
        return False
    bridge = ""
    if arguments[:1] == ["-b"]:
        bridge, arguments = arguments[1], arguments[2:]
    for number, parent in enumerate(arguments[1:]):
        inside = f"ng{number}_{arguments[0]}" if tool == "jng" else f"e{number}b_{arguments[0]}"
        result.inside[inside[:names.MAX_INTERFACE]] = len(result.parents)
        result.outside.add(f"e{number}a_{arguments[0]}")
        result.parents.append(parent)
        node = names.bridge_node(parent.lstrip("=!"))
        if bridge:
            result.problems.append(left(jail.name, what, f"the bridge is {node} now"))
    return True


def _ifconfig(result: Network, arguments: list[str]) -> bool:
    """ifconfig IFACE ether MAC, for one of ours."""
    interface, rest = arguments[0], arguments[1:]
    if interface in result.outside:
        return True
    number = result.inside.get(interface)
    if number is None:
        return False
    if rest[:1] in (["description"], ["descr"]):
        return True
    if len(rest) == 2 and rest[0] in ("ether", "lladdr", "link"):
        result.macs[number] = rest[1].lower()
        result.parents[number] = result.parents[number].lstrip("=!")
        return True
    return False
