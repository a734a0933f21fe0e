"""Which test covers which operation of the contract, and which of its errors."""

from __future__ import annotations

import errno
import inspect
import re
from collections.abc import Callable
from typing import TypeVar

from vimage.kernel import Events, Hold, Kernel, Process, Processes, Vnet

F = TypeVar("F", bound=Callable[..., object])

PROTOCOLS = (Kernel, Vnet, Hold, Events, Process, Processes)
#: (operation, errno); None for success.
Case = tuple[str, int | None]

COVERED: set[Case] = set()


def contract(operation: str, *errors: int) -> Callable[[F], F]:
    """The test covers an operation: its success, or the errors given.

    The operations of ``Kernel`` go by their name, others by class and name
    (``Vnet.rename``).
    """
    def register(test: F) -> F:
        COVERED.update((operation, number) for number in errors or (None,))
        return test
    return register


def operations(protocol: type) -> dict[str, Callable[..., object]]:
    """The operations of a protocol, named as ``contract`` wants them."""
    prefix = "" if protocol is Kernel else f"{protocol.__name__}."
    return {prefix + name: member for name, member in vars(protocol).items()
            if inspect.isfunction(member) and not name.startswith("_")}


def documented(docstring: str) -> set[int]:
    """The errnos that a docstring names from "Errors" on."""
    _, _, text = docstring.partition("Errors")
    return {getattr(errno, word) for word in re.findall(r"\bE[A-Z0-9]+\b", text)
            if hasattr(errno, word)}


def promised() -> set[Case]:
    """Everything that the docstrings of the contract say."""
    cases: set[Case] = set()
    for protocol in PROTOCOLS:
        for name, function in operations(protocol).items():
            cases.add((name, None))
            cases.update((name, number) for number in documented(inspect.getdoc(function) or ""))
    return cases


def describe(case: Case) -> str:
    name, number = case
    return f"{name}: {'success' if number is None else errno.errorcode[number]}"
