"""Starting the service from the command, under daemon(8), which starts it again when it dies.

Part of the command's quick path: it imports almost nothing.
"""

import sys

from vimage.service import wire

#: daemon(8).
SUPERVISOR = "/usr/sbin/daemon"


def start() -> None:
    """Start a service, unless one is starting or ending.

    Returns before the service answers.  It may be called again while none answers: daemon(8)
    refuses to start a second one.  Raises VimageError("not_root", "state_unwritable").
    """
    import os

    directory = os.path.dirname(wire.SOCKET)
    try:
        if os.geteuid() != 0:
            raise PermissionError
        os.makedirs(directory, mode=0o700, exist_ok=True)
    except OSError as error:
        from vimage.messages import VimageError

        if os.geteuid() != 0:
            raise VimageError("not_root") from None
        raise VimageError("state_unwritable", path=directory, why=error.strerror) from error
    if supervised():
        return
    _run([SUPERVISOR, "-r", "-f", "-P", f"{directory}/supervisor.pid",
          "-p", f"{directory}/service.pid", "-t", "vimage", *_program(),
          "service", "--supervised"])


def supervised() -> bool:
    """Whether daemon(8) runs, and so a service runs, is starting or is ending.

    daemon(8) keeps a lock on its pid file as long as it lives.
    """
    import fcntl
    import os

    try:
        descriptor = os.open(f"{os.path.dirname(wire.SOCKET)}/supervisor.pid", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _run(argv: "list[str]") -> None:
    """Run a program to its end, with none of our descriptors but stdout.

    Its stderr is dropped: daemon(8) complains there when one runs already.
    """
    import os

    pid = os.fork()
    if pid == 0:
        try:
            os.chdir("/")
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            os.execv(argv[0], argv)
        finally:
            os._exit(127)
    os.waitpid(pid, 0)


def _program() -> "list[str]":
    """How this program was started, without its arguments."""
    arguments = len(sys.argv) - 1
    return [sys.executable, *sys.orig_argv[1:len(sys.orig_argv) - arguments]]
