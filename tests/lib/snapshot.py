"""What a host has: its nodes, interfaces, jails, mounts, processes and files, to compare.

    before = snapshot.take(kernel)
    ...
    assert snapshot.difference(before, snapshot.take(kernel)) == []

Numbers that the kernel gives out anew each time (node ids, interface indexes, fsids) are
left out, and so are the socket nodes of netgraph(4): every process that looks has one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from vimage.kernel import Interface, Kernel, NgHook, NgNode

#: name of the thing -> what there is to say of it
Things = Mapping[str, str]


@dataclass(frozen=True)
class Snapshot:
    """One moment of a host; every field maps names to descriptions."""

    nodes: Things
    interfaces: Things
    jails: Things
    mounts: Things
    processes: Things
    rules: Things  # of rctl(8)
    files: Things


def take(kernel: Kernel, directories: Iterable[str] = ()) -> Snapshot:
    """Look at a host; ``directories`` are those of it whose files count."""
    return Snapshot(
        nodes=_nodes(kernel), interfaces=_interfaces(kernel), jails=_jails(kernel),
        mounts=_mounts(kernel), processes=_processes(kernel), rules=_rules(kernel),
        files=_files(kernel, directories))


def difference(before: Snapshot, after: Snapshot) -> list[str]:
    """What came, went and changed, one line each; empty when nothing did."""
    lines = []
    for field in fields(Snapshot):
        old: Things = getattr(before, field.name)
        new: Things = getattr(after, field.name)
        kind = _SINGULAR[field.name]
        lines += [f"{kind} {name} is left: {new[name]}" for name in new if name not in old]
        lines += [f"{kind} {name} is missing: {old[name]}" for name in old if name not in new]
        lines += [f"{kind} {name} changed: {old[name]} -> {new[name]}"
                  for name in new if name in old and old[name] != new[name]]
    return lines


_SINGULAR = {"nodes": "node", "interfaces": "interface", "jails": "jail", "mounts": "mount",
             "processes": "process", "rules": "rule", "files": "file"}


def _numbered(things: Iterable[tuple[str, str]]) -> dict[str, str]:
    """A mapping in which the second of one name is called "name (2)"."""
    seen: Counter[str] = Counter()
    named = {}
    for name, text in things:
        seen[name] += 1
        named[name if seen[name] == 1 else f"{name} ({seen[name]})"] = text
    return named


# -- netgraph ----------------------------------------------------------------------


def _nodes(kernel: Kernel) -> Things:
    described = []
    for node in sorted(kernel.ng_nodes(), key=lambda node: (node.name, node.type)):
        if node.type != "socket":
            try:
                described.append((node.name or f"(no name, {node.type})", _node(kernel, node)))
            except FileNotFoundError:
                continue  # went away meanwhile
    return _numbered(described)


def _node(kernel: Kernel, node: NgNode) -> str:
    path = f"[{node.id:x}]:"
    words = [node.type]
    if node.type == "ether":
        promisc, autosrc = kernel.ng_ether_get(path)
        words += ["promisc"] * promisc + ["autosrc"] * autosrc
    hooks = sorted(_hook(hook) for hook in kernel.ng_hooks(path) if hook.peer.type != "socket")
    return ", ".join(words + hooks)


def _hook(hook: NgHook) -> str:
    return f"{hook.hook} to {hook.peer.name or hook.peer.type}:{hook.peer_hook}"


# -- interfaces ----------------------------------------------------------------------


def _interfaces(kernel: Kernel) -> Things:
    found = sorted(kernel.if_list(), key=lambda interface: (interface.name, interface.driver))
    unique = Counter(interface.name for interface in found)
    return _numbered((interface.name, _interface(kernel, interface, unique[interface.name] == 1))
                     for interface in found)


def _interface(kernel: Kernel, interface: Interface, alone: bool) -> str:
    words = [f"driver {interface.driver}", f"flags {interface.flags:x}",
             f"mtu {interface.mtu}", f"ether {interface.mac}"]
    if alone:  # by name, only one of two with the same name can be asked
        words.append(f"options {kernel.if_caps(interface.name):x}")
        words += kernel.if_users(interface.name)
    return ", ".join(words)


# -- jails, mounts, processes, files ---------------------------------------------------


def _jails(kernel: Kernel) -> Things:
    return {f"{jid}": text for jid, text in _backend(kernel).jails(kernel)}


def _mounts(kernel: Kernel) -> Things:
    return _numbered((mount.directory, f"{mount.fstype} from {mount.source}")
                     for mount in kernel.mounts())


def _processes(kernel: Kernel) -> Things:
    return {f"{pid}": text for pid, text in _backend(kernel).processes(kernel)}


def _rules(kernel: Kernel) -> Things:
    return dict.fromkeys(_backend(kernel).rules(kernel), "there")


def _files(kernel: Kernel, directories: Iterable[str]) -> Things:
    found = {}
    for directory in directories:
        top = kernel.path(directory)
        for path, names, files in os.walk(top):
            for name in names + files:
                full = os.path.join(path, name)
                kind = "directory" if os.path.isdir(full) else f"{os.lstat(full).st_size} bytes"
                found[directory + full[len(top):]] = kind
    return found


class _Simulated:
    """What the contract cannot tell, of a simulated host."""

    def jails(self, kernel) -> list[tuple[int, str]]:
        with kernel.state.operation():
            return [(jail.jid, _jail(jail.name, jail.path, jail.dying))
                    for jail in kernel.state.jails()]

    def processes(self, kernel) -> list[tuple[int, str]]:
        with kernel.state.operation():
            return [(task.pid, f"in jail {task.jid}, {' '.join(task.argv)}")
                    for task in kernel.state.tasks()]

    def rules(self, kernel) -> list[str]:
        with kernel.state.operation():
            return [rule.text for rule in kernel.state.rules()]


class _FreeBSD:
    """What the contract cannot tell, of FreeBSD: asked of its base tools."""

    def jails(self, kernel) -> list[tuple[int, str]]:
        from tests.freebsd import host_tools
        return [(jail.jid, _jail(jail.name, jail.path, jail.dying))
                for jail in host_tools.jails()]

    def processes(self, kernel) -> list[tuple[int, str]]:
        """Those in jails: on the host, processes come and go by themselves."""
        from tests.freebsd import host_tools
        return [(process.pid, f"in jail {process.jid}, {process.command}")
                for process in host_tools.processes() if process.jid]

    def rules(self, kernel) -> list[str]:
        from tests.freebsd import host_tools
        return host_tools.rules()


def _jail(name: str, path: str, dying: bool) -> str:
    return f"{name}, {path}" + ", dying" * dying


def _backend(kernel) -> _Simulated | _FreeBSD:
    inner = getattr(kernel, "wrapped", kernel)
    return _Simulated() if hasattr(inner, "state") else _FreeBSD()
