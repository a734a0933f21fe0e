"""Starting the service from the command, under daemon(8), which restarts it when it dies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
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
    flags = "".join(letter for letter, on in (
        ("t", sys.stdout.isatty()), ("r", context.rc), ("j", context.json)) if on)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        status = client.ask(flags, file, words, kernel.path(wire.SOCKET))
        if status is not None:
            return status
        time.sleep(0.02)
    raise VimageError("service_silent", seconds=f"{PATIENCE:g}")


def _program() -> list[str]:
    """How this program was started, without its arguments."""
    arguments = len(sys.argv) - 1
    return [sys.executable, *sys.orig_argv[1:len(sys.orig_argv) - arguments]]
