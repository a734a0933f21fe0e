"""Becoming another program, in a jail or on the host.

Everything is prepared before the jail is entered: arguments, environment, the paths to
try, the functions of the C library.  Then come jail_attach(2), chdir(2) and execve(2),
with nothing in between that opens, imports or writes anything.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from vimage.kernel import ENVIRONMENT, JailId
from vimage.kernel.freebsd import libc

FREEBSD = sys.platform.startswith("freebsd")

_P_PID, _PROC_TRACE_CTL = 0, 7
_DISABLE = ctypes.c_int(2)  # PROC_TRACE_CTL_DISABLE: until the exec

_chdir = libc.raw("chdir")
_execve = libc.raw("execve")
_jail_attach = libc.raw("jail_attach") if FREEBSD else None
_procctl = libc.raw("procctl") if FREEBSD else None


def untraceable() -> None:
    """No process of a jail, its root included, may trace this one from now on, until it
    execs (root of the host may: PRIV_DEBUG_DENIED)."""
    if _procctl is not None:
        _procctl(_P_PID, os.getpid(), _PROC_TRACE_CTL, ctypes.addressof(_DISABLE))


def attach(jail: int) -> int:
    """jail_attach(2); an errno, 0 when all is well.  ENOENT: no such jail, or a dying one;
    EINVAL: not the number of a jail."""
    if jail < 1:
        return errno.EINVAL
    if _jail_attach is None:
        return errno.ENOSYS
    if _jail_attach(jail) == 0:
        return 0
    number = ctypes.get_errno()
    return errno.ENOENT if number == errno.EINVAL else number


def candidates(program: str, environment: Mapping[str, str]) -> list[bytes]:
    """The paths at which execve(2) is tried: of PATH, unless there is a slash."""
    if "/" in program:
        return [os.fsencode(program)]
    path = environment.get("PATH") or ENVIRONMENT["PATH"]
    return [os.fsencode(os.path.join(directory or ".", program))
            for directory in path.split(":")]


class Program:
    """A program ready to be become, on the host or in a jail (``in_jail``)."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str] | None = None,
                 directory: str = "/") -> None:
        if not argv:
            raise OSError(errno.EINVAL, "no command")
        if environment is None:
            environment = ENVIRONMENT
        self._jail: JailId | None = None
        self._argv = _strings(os.fsencode(word) for word in argv)
        self._environment = _strings(os.fsencode(f"{name}={value}")
                                     for name, value in environment.items())
        self._paths = candidates(argv[0], environment)
        self._directory = os.fsencode(directory)

    def in_jail(self, jail: JailId) -> Program:
        """This program, to be run in a jail."""
        self._jail = JailId(jail)
        return self

    def become(self) -> int:
        """Enter the jail, if there is one, and exec.  Returns only on failure, with an errno."""
        if self._jail is not None:
            untraceable()
            failed = attach(self._jail)
            if failed:
                return failed
        if _chdir(self._directory) != 0:
            return ctypes.get_errno()
        result = errno.ENOENT
        for path in self._paths:
            _execve(path, self._argv, self._environment)
            number = ctypes.get_errno()
            if number == errno.EACCES:
                result = number
            elif number not in (errno.ENOENT, errno.ENOTDIR):
                return number
        return result


def _strings(words: Iterable[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    """A NULL terminated array of C strings."""
    encoded = list(words)
    return (ctypes.c_char_p * (len(encoded) + 1))(*encoded, None)


def execute(jail: JailId, argv: Sequence[str], environment: Mapping[str, str] | None = None,
            directory: str = "/") -> int:
    """Run a command in a jail with the standard streams of this process, and wait for it.

    For a process with one thread.  Returns the exit status: 0..255, or 128 + signal.
    Signals of the terminal are the command's affair meanwhile.

    Errors: ENOENT no such program, or no such jail; EACCES not executable.
    """
    program = Program(argv, environment, directory).in_jail(jail)
    close_from = libc.raw("closefrom")
    end, failed = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _become(program, failed, close_from)
    os.close(failed)
    before = [(terminal, signal.signal(terminal, signal.SIG_IGN))
              for terminal in (signal.SIGINT, signal.SIGQUIT)]
    try:
        with open(end, "rb") as stream:
            error = stream.read()
        _, status = os.waitpid(pid, 0)
    finally:
        for terminal, handler in before:
            signal.signal(terminal, handler)
    if error:
        number = int.from_bytes(error, "little")
        raise OSError(number, os.strerror(number), argv[0])
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _become(program: Program, failed: int, close_from: Callable[[int], None]) -> NoReturn:
    """The child: become the program, or say why not."""
    number = errno.EIO
    try:
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
            signal.signal(ignored, signal.SIG_DFL)
        if failed != 3:
            os.dup2(failed, 3, inheritable=False)
        close_from(4)
        number = program.become()
    finally:
        os.write(3, number.to_bytes(4, "little"))
        os._exit(127)
