"""Reading rc.conf: a shell does it, since rc.conf is a shell script.

The shell reads what ``load_rc_config vimage`` of rc.subr(8) reads and then writes the
variables, separated by NULs, to a descriptor of its own.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from typing import IO

from vimage.configuration import variables
from vimage.messages import VimageError

#: The shell.
SHELL = "/bin/sh"

#: Where rc.subr(8) is, on a system that has it.
RC_SUBR = "/etc/rc.subr"

#: Seconds that rc.conf may take.
TIMEOUT = 30.0

#: Variables of rc.conf(5) that do not begin with vimage_ but matter to it.
FOREIGN = tuple(row.form for row in variables.OF_THE_HOST)

_PATH = "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"

#: What rc.subr's load_rc_config reads: defaults, rc.conf, rc.conf.local, rc.conf.d/vimage.
_LOAD_HOST = """\
. "$1"
name=vimage
load_rc_config vimage
"""

#: FILE in place of all of these.  Where sh(1) is bash, it goes on after an error of syntax
#: in a file that it reads with ".", and is asked beforehand.
_LOAD_FILE = """\
if [ -n "${BASH_VERSION-}" ]; then "$3" -n "$2" || exit; fi
if [ -r "$1" ]; then
    . "$1"
    name=vimage
    if [ -r /etc/defaults/rc.conf ]; then . /etc/defaults/rc.conf; fi
fi
. "$2"
"""

# Descriptor 3 carries the result; what rc.conf prints goes to stderr.  "set" without
# arguments also shows lines within values; such a line passes for a variable only if one
# of that name is set, and then its real value is written.  Functions that rc.conf defines
# do not come into it ("command").  The final record tells a whole answer from a part.
_SCRIPT = """\
exec 3>&1 1>&2
{load}
set +e +u +v +x -f
IFS='
'
command printf '\\0' >&3
for _vimage_line in $(set); do
    case $_vimage_line in
    {foreign}) ;;
    *) continue ;;
    esac
    _vimage_name=${{_vimage_line%%=*}}
    case $_vimage_name in
    *[!A-Za-z0-9_]*) continue ;;
    esac
    eval "_vimage_set=\\${{$_vimage_name+set}}"
    case $_vimage_set in
    set) ;;
    *) continue ;;
    esac
    eval "_vimage_value=\\${{$_vimage_name}}"
    command printf '%s\\0%s\\0' "$_vimage_name" "$_vimage_value" >&3
done
command printf '=\\0=\\0' >&3
"""

#: How a whole answer ends: no variable is named "=".
_END = b"\0=\0=\0"


def read(
    file: str | None = None,
    *,
    begin: tuple[str, ...] = ("vimage_",),
    shell: str = SHELL,
    rc_subr: str = RC_SUBR,
    timeout: float = TIMEOUT,
) -> dict[str, str]:
    """The variables of rc.conf whose names begin with ``begin``, and those of FOREIGN.

    With ``file``, that file is read in place of rc.conf, rc.conf.local and
    rc.conf.d/vimage; the system's defaults still come first.  Without rc.subr(8) and
    without a file, ``/etc/rc.conf`` alone is read.  The environment of the caller does not
    reach the shell.  Octets that are not UTF-8 come as surrogate escapes.

    rc.subr's load_rc_config does nothing to the variables that rc.subr reads itself
    (``vimage_flags``, ``vimage_user``, ...): they arrive here as they were set, and
    run_rc_command would act on them later.

    Raises VimageError: ``rcconf_unreadable`` (a file that is missing or cannot be read: the
    system's words; an error of syntax: the shell's words), ``rcconf_timeout``.
    """
    argv, path = command(file, begin=begin, shell=shell, rc_subr=rc_subr)
    return parse(*_run(argv, path, timeout), path)


def command(
    file: str | None, *, begin: tuple[str, ...] = ("vimage_",), shell: str = SHELL,
    rc_subr: str = RC_SUBR, to: str = ""
) -> tuple[list[str], str]:
    """The command that reads rc.conf, and the file it reads, for errors.

    It writes its answer to stdout and everything else to stderr; with ``to`` it writes the
    answer to that file, for a caller who cannot part the two.

    Raises VimageError("rcconf_unreadable").
    """
    host = file is None and os.path.exists(rc_subr)
    path = os.path.abspath(file or "/etc/rc.conf")
    if not host:
        _must_open(path)
    script = _SCRIPT.format(
        load=_LOAD_HOST if host else _LOAD_FILE,
        foreign="|".join([*(f"{each}*=*" for each in begin), *(f"{name}=*" for name in FOREIGN)]),
    )
    if to:
        script = script.replace("exec 3>&1 1>&2", 'exec 3>"$4"', 1)
    return [shell, "-c", script, "vimage", rc_subr, path, shell, to], path


def parse(out: bytes, err: bytes, status: int | None, path: str) -> dict[str, str]:
    """What the command has written.  Raises VimageError("rcconf_unreadable")."""
    if not out.endswith(_END):
        raise VimageError("rcconf_unreadable", file=path, why=_reason(err, path, status))
    return _pairs(out[1 : 1 - len(_END)])


def _must_open(path: str) -> None:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        raise VimageError("rcconf_unreadable", file=path, why=error.strerror) from None


def _pairs(octets: bytes) -> dict[str, str]:
    fields = octets.decode("utf-8", "surrogateescape").split("\0")
    return dict(zip(fields[0:-1:2], fields[1::2], strict=True))


def _reason(err: bytes, path: str, status: int | None) -> str:
    """What the shell said about the file, of all that was said."""
    lines = [line.strip() for line in err.decode("utf-8", "replace").splitlines() if line.strip()]
    about = [line for line in lines if path in line] or lines[-1:]
    if about:
        return "; ".join(dict.fromkeys(about[-3:]))
    return f"the shell ended before its end (exit status {status})"


def _run(argv: list[str], path: str, timeout: float) -> tuple[bytes, bytes, int | None]:
    """Run the shell; what it wrote, what else was said, its exit status.

    A process that rc.conf left in the background may keep the pipes open: the final
    record, or the end of the shell itself, is the end.
    """
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        env={"PATH": _PATH, "HOME": "/", "LC_ALL": "C"},
        start_new_session=True,
        bufsize=0,
    ) as shell:
        try:
            return _collect(shell, path, time.monotonic() + timeout, timeout)
        finally:
            if shell.poll() is None:
                _kill(shell)


def _collect(
    shell: subprocess.Popen[bytes], path: str, deadline: float, timeout: float
) -> tuple[bytes, bytes, int | None]:
    out, err = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for stream, buffer in ((shell.stdout, out), (shell.stderr, err)):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ, buffer)
        while selector.get_map() and not out.endswith(_END):
            ended = shell.poll() is not None
            ready = selector.select(0 if ended else 0.1)
            for chosen, _ in ready:
                if not _take(chosen.fileobj, chosen.data):  # type: ignore[arg-type]
                    selector.unregister(chosen.fileobj)
            del err[:-65536]
            if ended and not ready:
                break
            if time.monotonic() > deadline:
                raise VimageError("rcconf_timeout", file=path, seconds=f"{timeout:g}")
    try:
        shell.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise VimageError("rcconf_timeout", file=path, seconds=f"{timeout:g}") from None
    return bytes(out), bytes(err), shell.returncode


def _take(stream: IO[bytes], buffer: bytearray) -> bool:
    """Append what there is to read; whether there may be more."""
    try:
        octets = os.read(stream.fileno(), 1 << 20)
    except BlockingIOError:
        return True
    buffer += octets
    return bool(octets)


def _kill(shell: subprocess.Popen[bytes]) -> None:
    """End the shell and what it started."""
    try:
        os.killpg(shell.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
