"""Limits of jails: resource rules (kern_rctl.c) and CPUs (kern_cpuset.c)."""

from __future__ import annotations

import errno
import re
from dataclasses import replace

from vimage.kernel.simulated import jails
from vimage.kernel.simulated.errors import fail
from vimage.kernel.simulated.records import Rule
from vimage.kernel.simulated.state import State

RESOURCES = frozenset((
    "cputime", "datasize", "stacksize", "coredumpsize", "memoryuse", "memorylocked", "maxproc",
    "openfiles", "vmemoryuse", "pseudoterminals", "swapuse", "nthr", "msgqqueued", "msgqsize",
    "nmsgq", "nsem", "nsemop", "nshm", "shmsize", "wallclock", "pcpu", "readbps", "writebps",
    "readiops", "writeiops"))
SUBJECTS = frozenset(("process", "user", "loginclass", "jail"))
_ACTION = re.compile(r"(deny|log|devctl|throttle|sig[a-z0-9]+)=\d+[kmgtpe]?b?(/(process|user|"
                     r"loginclass|jail))?", re.IGNORECASE)


def _accounting(state: State) -> None:
    enabled = state.sysctl("kern.racct.enable")
    if enabled is None or not int(enabled.value):
        fail(errno.ENOSYS, "kern.racct.enable")


def add(state: State, text: str) -> None:
    """rctl_add_rule(2)."""
    _accounting(state)
    parts = text.split(":")
    if len(parts) != 4 or not parts[1] or parts[0] not in SUBJECTS:
        fail(errno.EINVAL, text)
    if parts[2] not in RESOURCES or not _ACTION.fullmatch(parts[3]):
        fail(errno.EINVAL, text)
    state.put(Rule(text))


def remove(state: State, pattern: str) -> None:
    """rctl_remove_rule(2): empty parts of the pattern match everything."""
    _accounting(state)
    wanted = pattern.split(":")
    found = [rule for rule in state.rules() if _matches(rule.text.split(":"), wanted)]
    if not found:
        fail(errno.ESRCH, pattern)
    for rule in found:
        state.drop(rule)


def _matches(parts: list[str], wanted: list[str]) -> bool:
    return all(not want or want == part or part.startswith(f"{want}=")
               for part, want in zip(parts, wanted, strict=False))


def set_cpus(state: State, jid: int, cpus: frozenset[int]) -> None:
    """cpuset_setaffinity(2) of a jail."""
    jail = jails.living(state, jid)
    number = state.sysctl("hw.ncpu")
    if not cpus or (number is not None and max(cpus) >= int(number.value)) or min(cpus) < 0:
        fail(errno.EINVAL, "cpus")
    listed = ",".join(map(str, sorted(cpus)))
    state.put(replace(jail, parameters={**jail.parameters, "cpus": listed}))
