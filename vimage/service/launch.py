"""Starting the service from the command, under daemon(8), which restarts it when it dies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vimage import client
from vimage.journal import DIRECTORY
from vimage.messages import VimageError
from vimage.service import wire

if TYPE_CHECKING:
    from vimage.commands.context import Context

#: Seconds that the service may take until it answers.
PATIENCE = 30.0

SUPERVISOR = "/usr/sbin/daemon"


def and_ask(context: Context, words: list[str]) -> int:
    """Start the service, then ask it.

    Raises VimageError: not_root, service_silent.
    """
    kernel = context.kernel
    if not context.privileged:
        raise VimageError("not_root")
    directory = kernel.path(DIRECTORY)
    # daemon(8) refuses when there is a service already; then that one is asked.
    os.makedirs(directory, mode=0o700, exist_ok=True)
    file = os.path.abspath(context.file) if context.file else ""
    subprocess.run(
        [SUPERVISOR, "-r", "-f", "-P", f"{directory}/supervisor.pid",
         "-p", f"{directory}/service.pid", "-t", "vimage", *_program(),
         "service", "--supervised", *(("-f", file) if file else ())],
        check=False, stdin=subprocess.DEVNULL, close_fds=True, cwd="/")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        status = ask(context, words)
        if status is not None:
            return status
        time.sleep(0.02)
    raise VimageError("service_silent", seconds=f"{PATIENCE:g}")


def ask(context: Context, words: list[str]) -> int | None:
    """What the service answers; None when there is none, or none yet."""
    flags = "".join(letter for letter, on in (
        ("t", sys.stdout.isatty()), ("r", context.rc), ("j", context.json)) if on)
    file = os.path.abspath(context.file) if context.file else ""
    return client.ask(flags, file, words, context.kernel.path(wire.SOCKET))


def or_here(context: Context, words: list[str], act: Callable[[], int]) -> int:
    """Act in this process, unless a service that is just starting has the journal already."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return act()
        except VimageError as error:
            if error.problem.key != "state_busy" or context.alone or time.monotonic() > deadline:
                raise
        status = ask(context, words)
        if status is not None:
            return status
        time.sleep(0.02)


def _program() -> list[str]:
    """How this program was started, without its arguments."""
    arguments = len(sys.argv) - 1
    return [sys.executable, *sys.orig_argv[1:len(sys.orig_argv) - arguments]]
