"""An interactive program in a jail on a terminal of its own.

The pseudo terminal is the host's.  The program in the jail only gets its slave, so it
cannot type into the terminal of whoever looks at it (TIOCSTI), nor change its settings.
"""

from __future__ import annotations

import errno
import fcntl
import os
import selectors
import signal
import sys
import termios
import tty
from collections.abc import Mapping, Sequence

from vimage.kernel import JailId
from vimage.kernel.freebsd import enter, libc


def console(jail: JailId, argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a program on a new terminal, joined to the standard streams until it ends.

    For a process with one thread.  Returns its exit status: 0..255, or 128 + signal; 126
    or 127 with a line on stderr when it could not be run.
    """
    program = enter.Program(argv, environment).in_jail(jail)
    close_from = libc.raw("closefrom")
    master, slave = os.openpty()
    _copy_size(slave)
    pid = os.fork()
    if pid == 0:
        _become(program, slave, close_from, argv[0])
    os.close(slave)
    with _Raw(0):
        previous = signal.signal(signal.SIGWINCH, lambda *_: _copy_size(master))
        try:
            _copy(master)
        finally:
            signal.signal(signal.SIGWINCH, previous)
    os.close(master)
    _, status = os.waitpid(pid, 0)
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _become(program: enter.Program, slave: int, close_from: object, name: str) -> None:
    """The child: a session whose terminal is the slave."""
    number = 0
    try:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in (0, 1, 2):
            os.dup2(slave, fd)
        close_from(3)  # type: ignore[operator]
        number = program.become()
        os.write(2, os.fsencode(f"vimage: {name}: errno {number}\r\n"))
    finally:
        os._exit(127 if number == 2 else 126)


def _copy_size(terminal: int) -> None:
    """Give a terminal the size of ours (struct winsize, 8 bytes)."""
    try:
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
    except OSError as error:
        if error.errno != errno.ENOTTY:  # ours is not a terminal
            raise


class _Raw:
    """A terminal in raw mode for a while; nothing to do for what is none."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[object] | None = None

    def __enter__(self) -> None:
        if os.isatty(self._fd):
            self._before = termios.tcgetattr(self._fd)
            tty.setraw(self._fd)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            termios.tcsetattr(self._fd, termios.TCSAFLUSH, self._before)  # type: ignore[arg-type]


def _copy(master: int) -> None:
    """Until the last process lets go of the slave."""
    sys.stdout.flush()
    with selectors.DefaultSelector() as selector:
        selector.register(master, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                data = _read(key.fd)
                if key.fd == master:
                    if not data:
                        return
                    _write(1, data)
                elif data:
                    _write(master, data)
                else:
                    selector.unregister(0)
                    _write(master, b"\x04")


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError as error:
        if error.errno != errno.EIO:  # no slave is open any more
            raise
        return b""


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]
