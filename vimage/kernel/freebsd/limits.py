"""What a jail may use: CPUs (cpuset_setaffinity(2)) and resources (rctl_add_rule(2))."""

from __future__ import annotations

import errno
import os
import re
from typing import Any

from vimage.kernel import JailId
from vimage.kernel.freebsd import sysctl
from vimage.kernel.freebsd.libc import libc

_CPU_LEVEL_WHICH, _CPU_WHICH_JAIL = 3, 5

#: An amount as expand_number(3) takes it: hexadecimal, octal or decimal, then a unit, then "b".
_AMOUNT = re.compile(r"=\+?(0x[0-9a-f]+|0[0-7]*|[1-9][0-9]*)([kmgtpe]?)b?(?=/|$)", re.IGNORECASE)
_UNITS = ("", *"kmgtpe")
_MOST = 2 ** 64 - 1


def cpus(jail: JailId, numbers: frozenset[int]) -> None:
    """Errors: ENOENT no such jail; EINVAL a CPU that is not there."""
    size = int(sysctl.value("kern.sched.cpusetsize"))  # bytes of a cpuset_t
    if not numbers or min(numbers) < 0 or max(numbers) >= 8 * size:
        raise OSError(errno.EINVAL, f"no such CPUs: {sorted(numbers)}")
    mask = sum(1 << number for number in numbers).to_bytes(size, "little")
    try:
        libc().cpuset_setaffinity(_CPU_LEVEL_WHICH, _CPU_WHICH_JAIL, jail, size, mask)
    except OSError as error:
        if error.errno == errno.ESRCH:
            raise OSError(errno.ENOENT, f"jail {jail} not found") from error
        raise


def plain(rule: str) -> str:
    """A rule as the kernel takes it: the amount in decimal digits, as rctl(8) expands it.
    What rctl(8) refuses is left as it is, for the kernel to refuse."""
    def number(match: re.Match[str]) -> str:
        digits = match[1].lower()
        base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
        amount: int = int(digits, base) * 1024 ** _UNITS.index(match[2].lower())
        return f"={amount}" if amount <= _MOST else match[0]
    return _AMOUNT.sub(number, rule)


def add(rule: str) -> None:
    """Errors: ENOSYS the kernel keeps no account; EINVAL a bad rule."""
    _call(libc().rctl_add_rule, plain(rule))


def remove(pattern: str) -> None:
    """Errors: ESRCH no rule matches; ENOSYS the kernel keeps no account."""
    _call(libc().rctl_remove_rule, pattern)


def _call(function: Any, rule: str) -> None:
    """The length counts the NUL; nothing is answered."""
    data = os.fsencode(rule) + b"\0"
    try:
        function(data, len(data), None, 0)
    except OSError as error:
        raise OSError(error.errno, f"{rule}: {error.strerror}") from None
