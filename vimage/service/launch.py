"""Starting the service from the command, under daemon(8), which restarts it when it dies.

Imported by the command's first steps, so it imports almost nothing itself.
"""

import os
import sys
import time
from typing import TYPE_CHECKING

from vimage import client
from vimage.service import wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vimage.commands.output import Printer

#: Seconds that the service may take until it answers.
PATIENCE = 30.0

#: Seconds between two tries to reach it.
PAUSE = 0.02

SUPERVISOR = "/usr/sbin/daemon"


def and_ask(request: bytes, file: "str | None", printer: "Printer") -> int:
    """Start the service, then ask it; returns the exit status."""
    directory = os.path.dirname(wire.SOCKET)
    if os.geteuid() != 0:
        return _fail("not_root")
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    except OSError as error:
        return _fail("state_unwritable", path=directory, why=error.strerror)
    # daemon(8) refuses when there is a service already; then that one is asked.
    _run([SUPERVISOR, "-r", "-f", "-P", f"{directory}/supervisor.pid",
          "-p", f"{directory}/service.pid", "-t", "vimage", *_program(),
          "service", "--supervised", *(("-f", file) if file else ())])
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        status = client.ask(request, printer)
        if status is not None:
            return status
        time.sleep(PAUSE)
    return _fail("service_silent", seconds=f"{PATIENCE:g}")


def or_here(ask: "Callable[[], int | None]", act: "Callable[[], int]") -> int:
    """Act in this process, unless a service that is just starting has the journal already."""
    from vimage.messages import VimageError

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return act()
        except VimageError as error:
            if error.problem.key != "state_busy" or time.monotonic() > deadline:
                raise
        status = ask()
        if status is not None:
            return status
        time.sleep(PAUSE)


def _run(argv: list[str]) -> None:
    """Run a program to its end, with none of our descriptors."""
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir("/")
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            os.execv(argv[0], argv)
        finally:
            os._exit(127)
    os.waitpid(pid, 0)


def _program() -> list[str]:
    """How this program was started, without its arguments."""
    arguments = len(sys.argv) - 1
    return [sys.executable, *sys.orig_argv[1:len(sys.orig_argv) - arguments]]


def _fail(key: str, **fields: "Any") -> int:
    """One line on stderr, and the exit status."""
    from vimage.messages import Problem

    sys.stderr.write(f"vimage: {Problem.of(key, **fields)}\n")
    return 2
