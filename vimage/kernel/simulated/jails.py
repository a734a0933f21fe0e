"""jail_set(2), jail_get(2), jail_remove(2) and the life of a VNET (kern_jail.c, vnet.c)."""

from __future__ import annotations

import errno
import os
import signal as signals
from collections.abc import Mapping
from dataclasses import replace

from vimage.kernel import JailInfo, JailId
from vimage.kernel.simulated import interfaces, machine
from vimage.kernel.simulated.errors import fail, fail_in_words, no_such_jail
from vimage.kernel.simulated.paths import Paths
from vimage.kernel.simulated.records import Counter, Prison, Socket
from vimage.kernel.simulated.state import State

Value = str | int | bool | None
Parameters = dict[str, str | int | bool]

NAME_LIMIT = 255  # MAXHOSTNAMELEN less the terminating NUL
_TEXT = {"name", "path", "host.hostname", "host.domainname", "host.hostuuid", "osrelease",
         "ip4.addr", "ip6.addr"}
_NUMBER = {"jid", "securelevel", "children.max", "enforce_statfs", "devfs_ruleset",
           "osreldate", "host.hostid"}
_CHOICE = {"vnet", "host", "ip4", "ip6", "sysvmsg", "sysvsem", "sysvshm"}
_SWITCH = {"persist", "ip4.saddrsel", "ip6.saddrsel"} | {f"allow.{name}" for name in (
    "set_hostname", "sysvipc", "raw_sockets", "chflags", "mount", "mount.devfs",
    "mount.fdescfs", "mount.nullfs", "mount.procfs", "mount.tmpfs", "quotas", "socket_af",
    "mlock", "reserved_ports", "read_msgbuf", "unprivileged_proc_debug", "suser")}
_FIXED = ("vnet", "path", "osrelease", "osreldate", "ip4", "ip6")


# -- parameters --------------------------------------------------------------------------------


def checked(parameters: Mapping[str, Value]) -> Parameters:
    """Every parameter known, every value of its type."""
    known: Parameters = {}
    for name, value in parameters.items():
        if name in _SWITCH:
            known[name] = _switch(name, value)
        elif name in _CHOICE:
            known[name] = _choice(name, value)
        elif name in _NUMBER:
            known[name] = _number(name, value)
        elif name in _TEXT:
            known[name] = _text(name, value)
        elif _negated(name) in _SWITCH:
            known[_negated(name)] = not _switch(name, value)
        else:
            fail_in_words(errno.EINVAL, f"unknown parameter: {name}")
    return known


def _negated(name: str) -> str:
    """``allow.nomount`` is the contrary of ``allow.mount``, ``nopersist`` of ``persist``."""
    head, dot, tail = name.rpartition(".")
    return head + dot + tail[2:] if tail.startswith("no") else name


def _switch(name: str, value: Value) -> bool:
    if value is None or value is True:
        return True
    if value is False:
        return False
    text = str(value).lower()
    if text in ("1", "true", "yes"):
        return True
    if text in ("0", "false", "no"):
        return False
    fail_in_words(errno.EINVAL, f"{name}: unknown boolean value \"{value}\"")


def _choice(name: str, value: Value) -> str:
    allowed = ("new", "inherit") if name in ("vnet", "host") else ("new", "inherit", "disable")
    if value not in allowed:
        fail_in_words(errno.EINVAL, f"{name}: unknown value \"{value}\"")
    return str(value)


def _number(name: str, value: Value) -> int:
    try:
        return int(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        fail_in_words(errno.EINVAL, f"{name}: non-integer value \"{value}\"")


def _text(name: str, value: Value) -> str:
    if not isinstance(value, str | int):
        fail_in_words(errno.EINVAL, f"{name}: no value")
    if len(str(value)) > NAME_LIMIT and name != "path":
        fail_in_words(errno.ENAMETOOLONG)
    return str(value)


def _check_ranges(state: State, known: Parameters, parent: Prison | None) -> None:
    floor = parent.parameters.get("securelevel", -1) if parent else _host_level(state)
    if int(known.get("securelevel", floor)) < int(floor):
        fail_in_words(errno.EPERM)
    if not 0 <= int(known.get("enforce_statfs", 2)) <= 2:
        fail_in_words(errno.EINVAL)
    if not 0 <= int(known.get("devfs_ruleset", 0)) <= 65535:
        fail_in_words(errno.EINVAL)
    if known.get("osreldate") == 0:
        fail_in_words(errno.EINVAL, "osreldate cannot be 0")
    if known.get("vnet") == "new" and ("ip4.addr" in known or "ip6.addr" in known):
        fail_in_words(errno.EINVAL, "vnet jails cannot have IP address restrictions")


def _host_level(state: State) -> int:
    level = state.sysctl("kern.securelevel")
    return int(level.value) if level else -1


# -- creation and change -----------------------------------------------------------------------


def create(state: State, paths: Paths, parameters: Mapping[str, Value]) -> JailId:
    known = checked(parameters)
    if not known.get("persist"):
        fail_in_words(errno.EINVAL, "new jail must persist or attach")
    path = _root(paths, str(known.get("path", "/")))
    name = str(known.get("name", ""))
    parent = _parent(state, name)
    last = name.rpartition(".")[2]
    jid = int(known.get("jid", 0)) or (int(last) if last.isdecimal() else 0)
    if jid < 0:
        fail_in_words(errno.EINVAL, "negative jid")
    if jid and state.jail(jid) is not None:
        fail_in_words(errno.EEXIST, f"jail {jid} already exists")
    _name_free(state, name)
    jid = jid or _next_jid(state)
    _numeric_name(last, jid)
    _check_ranges(state, known, parent)
    vnet = jid if known.get("vnet") == "new" else parent.vnet if parent else 0
    state.put(Prison(
        jid=jid, name=name or str(jid), path=path, hostname=str(known.get("host.hostname", "")),
        vnet=vnet, parent=parent.jid if parent else 0, persist=True, dying=False,
        parameters=known))
    if vnet == jid:
        interfaces.attach_loopback(state, jid)
    return JailId(jid)


def _root(paths: Paths, path: str) -> str:
    try:
        found = paths.resolve(path)
    except OSError as error:
        fail_in_words(error.errno or errno.ENOENT)
    if not os.path.isdir(paths.real(found)):
        fail_in_words(errno.ENOTDIR)
    return found


def _parent(state: State, name: str) -> Prison | None:
    """The jail of which a name with a dot is a child."""
    parent, dot, _ = name.rpartition(".")
    if not dot:
        return None
    found = _by_name(state, parent)
    if found is None:
        fail_in_words(errno.ENOENT, f"jail \"{parent}\" not found")
    if found.dying:
        fail_in_words(errno.ENOENT, f"jail \"{parent}\" is dying")
    return found


def _name_free(state: State, name: str) -> None:
    found = _by_name(state, name) if name else None
    if found is not None and not found.dying:
        fail_in_words(errno.EEXIST, f"jail \"{name}\" already exists")


def _numeric_name(last: str, jid: int) -> None:
    if last.isdecimal() and last != str(jid):
        fail_in_words(errno.EINVAL, "name cannot be numeric (unless it is the jid)")


def _next_jid(state: State) -> int:
    """get_next_prid(): one more than the last that was given out."""
    jid = state.next("jid")
    while state.jail(jid) is not None:
        jid = state.next("jid")
    return jid


def update(state: State, jid: int, parameters: Mapping[str, Value]) -> None:
    jail = state.jail(jid)
    if jail is None:
        fail_in_words(errno.ENOENT, f"jail {jid} not found")
    if jail.dying:
        fail_in_words(errno.ENOENT, f"jail {jid} is dying")
    known = checked(parameters)
    for name in _FIXED:
        if name in known:
            fail_in_words(errno.EINVAL, f"{name} cannot be changed after creation")
    new = str(known.pop("name", jail.name))
    if new != jail.name:
        _name_free(state, new)
        _numeric_name(new.rpartition(".")[2], jid)
    _check_ranges(state, known, state.jail(jail.parent))
    jail = replace(
        jail, name=new, hostname=str(known.get("host.hostname", jail.hostname)),
        persist=bool(known.get("persist", jail.persist)),
        parameters={**jail.parameters, **known})
    state.put(jail)
    if not jail.persist and not state.tasks_in.get(jid):
        _die(state, jail)


# -- finding -----------------------------------------------------------------------------------


def _by_name(state: State, name: str) -> Prison | None:
    """prison_find_name(): a living jail before a dying one."""
    found = [jail for jail in map(state.jail, state.jails_named.get(name, ())) if jail]
    return next((jail for jail in found if not jail.dying), found[0] if found else None)


def find(state: State, jail: int | str) -> Prison:
    by_id = isinstance(jail, int) or jail.isdecimal()
    found = state.jail(int(jail)) if by_id else _by_name(state, str(jail))
    if found is None:
        no_such_jail(jail)
    return found


def living(state: State, jid: int) -> Prison:
    """A jail that a process can enter (jail_attach(2))."""
    jail = find(state, jid)
    if jail.dying:
        no_such_jail(jid)
    return jail


def describe(jail: Prison) -> JailInfo:
    return JailInfo(JailId(jail.jid), jail.name, jail.path, jail.hostname,
                jail.vnet == jail.jid, jail.dying)


# -- the end -----------------------------------------------------------------------------------


def remove(state: State, jid: int) -> None:
    """prison_deref(PD_KILL): children first, processes killed; it dies on while held."""
    jail = find(state, jid)
    if jail.dying:
        return
    for child in sorted(state.children_of.get(jid, ())):
        remove(state, child)
    _die(state, replace(jail, persist=False))


def _die(state: State, jail: Prison) -> None:
    state.put(replace(jail, dying=True))
    for task in list(state.tasks_in.get(jail.jid, {}).values()):
        state.end_task(task, 128 + signals.SIGKILL)
    free_if_unheld(state, jail.jid)


def free_if_unheld(state: State, jid: int) -> None:
    """The last reference to a dying jail may have gone: then the VNET is freed."""
    jail = state.jail(jid)
    if jail is None or not jail.dying or jail.tcp:
        return
    if state.children_of.get(jid) or any(s.jid == jid for s in state.sockets()):
        return
    if jail.vnet == jid:
        interfaces.return_all(state, jid)
    state.drop(jail)
    free_if_unheld(state, jail.parent)


def last_task_gone(state: State, jid: int) -> None:
    """A jail that does not persist goes with its last process."""
    jail = state.jail(jid)
    if jail is not None and not jail.persist and not jail.dying and not state.tasks_in.get(jid):
        _die(state, jail)


def kill(state: State, jid: int, signal: int) -> bool:
    """Signal every process; whether there was one."""
    tasks = list(state.tasks_in.get(living(state, jid).jid, {}).values())
    for task in tasks:
        if signal and (signal == signals.SIGKILL or signal not in task.ignores):
            state.end_task(task, 128 + signal)
    last_task_gone(state, jid)
    return bool(tasks)


def tcp_drop(state: State, jid: int) -> int:
    return tcp_gone(state, living(state, jid))


def tcp_gone(state: State, jail: Prison) -> int:
    """Every TCP connection of a jail ends."""
    jid = jail.jid
    if jail.tcp:
        state.put(replace(jail, tcp=0))
        free_if_unheld(state, jid)
    return jail.tcp


# -- sockets in a VNET -------------------------------------------------------------------------


def open_socket(state: State, jail: Prison, owner: str) -> Socket:
    socket = Socket(state.next("socket"), jail.jid, owner)
    state.put(socket)
    return socket


def close_socket(state: State, number: int) -> None:
    for socket in state.sockets():
        if socket.id == number:
            state.drop(socket)
            free_if_unheld(state, socket.jid)


def owned_by_the_dead(state: State, mine: str) -> list[tuple[str, int | str]]:
    """What is left of real processes that have ended."""
    return [thing for thing, owner in state.owned.items()
            if owner != mine and not machine.alive(owner)]


def of_real_process(state: State, pid: int) -> JailId | None:
    """The jail of a process of the machine: none, unless a test says otherwise."""
    said = state.sysctl(f"kenv.jail.{pid}")
    return JailId(int(said.value)) if said else None


def seed_counters(state: State) -> None:
    """The first simulated process has a pid that no real one has."""
    state.put(Counter("pid", machine.FIRST_SIMULATED_PID))


def require_vnet(state: State, jid: int, missing: int = errno.ENXIO) -> Prison:
    """The jail of an ioctl that names one (SIOCSIFVNET)."""
    jail = state.jail(jid)
    if jail is None:
        fail(missing, f"jail {jid}")
    return jail
