"""The command vimage: read the command line, ask the service, or else act in this process.

Starting up is most of what a short command costs, so only what a verb needs is imported, and
when.  Whatever goes wrong ends here, in one line and an exit status.
"""

import sys

from vimage import client
from vimage.commands.line import Line, UsageError, read
from vimage.commands.output import Printer
from vimage.service import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

#: Exit status after Ctrl-C, and after the reader of stdout has gone: 128 + the signal's number.
INTERRUPTED, PIPE_CLOSED = 128 + 2, 128 + 13


def main(words: "Sequence[str] | None" = None) -> int:
    """Run one command line; returns the exit status.  Raises nothing."""
    line: Line | None = None
    try:
        _prepare_streams()
        line = read(sys.argv[1:] if words is None else words)
        status = run(line)
        sys.stdout.flush()
        return status
    except UsageError as error:
        return _misused(error)
    except KeyboardInterrupt as error:
        return _interrupted(error)
    except BrokenPipeError:
        _leave_streams()
        return PIPE_CLOSED
    except Exception as error:
        return _failed(error, line)


def run(line: Line) -> int:
    """Do what a command line says; returns the exit status."""
    if line.asks_for:
        return _inform(line)
    verb = line.verb
    assert verb is not None
    printer = Printer(verb.name, rc=line.has("rc"), json=line.has("json"))
    try:
        status = _ask(line, printer) if verb.asked and not line.alone else None
        if status is None:
            status = _act(line, printer)
    except BaseException:
        printer.break_off()
        raise
    if printer.error is not None:
        raise printer.error
    return status


def _ask(line: Line, printer: Printer) -> int | None:
    """Have the service do it; None when none runs, nor is to be started."""
    verb = line.verb
    assert verb is not None
    file = line.value("file")
    if file and not file.startswith("/"):
        from os.path import abspath

        file = abspath(file)
    request = wire.request(verb.name, line.names, file, [
        option.name for option in verb.options if line.has(option.name)])
    launches = verb.launches and sys.platform.startswith("freebsd")
    return client.ask(request, printer, _launch if launches else None,
                      leaves_work=not verb.looks,
                      in_version_1=_IN_VERSION_1.get(_named(line)))


def _launch() -> None:
    from vimage.service import launch

    launch.start()


#: What a service of version 1 is still asked for, so that it can be replaced: as it was called.
_IN_VERSION_1 = {"reexec": ("reexec",), "stop --service-only": ("end",)}


def _named(line: Line) -> str:
    assert line.verb is not None
    return line.verb.name + (" --service-only" if line.has("service_only") else "")


def _act(line: Line, printer: Printer) -> int:
    """Do it in this process.

    A service that is just starting may have the journal by then; it is asked instead.
    """
    verb = line.verb
    assert verb is not None
    if verb.name == "service":
        _without_ssl()
    from importlib import import_module

    from vimage.commands.context import Context
    from vimage.messages import VimageError

    module: Any = import_module(f"vimage.commands.{verb.module}")
    context = Context.of(line, printer, lambda words: run(read(words)))
    patience = client.Patience()
    while True:
        try:
            return int(module.run(context, line))
        except VimageError as error:
            if (error.problem.key != "state_busy" or not verb.asked or line.alone
                    or patience.over()):
                raise
        status = _ask(line, printer)
        if status is not None:
            return status


def _without_ssl() -> None:
    """Keep asyncio from loading ssl, which the service has no use for: it makes up a good part
    of what the service loads when it starts.  asyncio does without it where it is missing."""
    sys.modules["ssl"] = None  # type: ignore[assignment]


def _inform(line: Line) -> int:
    """--help and --version."""
    from vimage import __version__
    from vimage.commands import verbs

    if line.asks_for == "version":
        print(f"vimage {__version__}")
    else:
        print(verbs.help_of(line.verb) if line.verb else verbs.help_of_all(), end="")
    return 0


# -- how it can end ------------------------------------------------------------------------------

def _misused(error: UsageError) -> int:
    from vimage.commands import verbs

    verb = error.verb
    more = verbs.usage(verb) if verb else "usage: vimage VERB [ARGUMENT ...]; see vimage --help"
    _complain(f"{error}\n{more}")
    return 2


def _interrupted(error: KeyboardInterrupt) -> int:
    _complain(str(error) or "interrupted")
    return INTERRUPTED


def _failed(error: Exception, line: "Line | None") -> int:
    """A VimageError has a text of its own; any other is a mistake of vimage."""
    import os

    looked = line is None or line.verb is None or line.verb.looks
    if hasattr(error, "problem"):
        _complain(str(error))
        status = 2
    elif isinstance(error, OSError) and _of_stdout(error):
        _complain(f"standard output: {error.strerror}")
        status = 1
    else:
        if os.environ.get("VIMAGE_DEBUG"):
            import traceback

            traceback.print_exception(error)
        _complain(f"internal error: {_described(error)}; please report it with the output of "
                  "the same command run with VIMAGE_DEBUG=1")
        status = 2 if looked else 1
    _leave_streams()
    return status


def _described(error: Exception) -> str:
    """What and where, on one line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = ""
    if trace is not None:
        code = trace.tb_frame.f_code
        where = f" in {code.co_filename.rpartition('/')[2]}, line {trace.tb_lineno}"
    return " ".join(f"{type(error).__name__}: {error}".split()) + where


def _complain(text: str) -> None:
    try:
        sys.stderr.write(f"vimage: {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # there is nobody to tell


def _prepare_streams() -> None:
    """Write what the encoding of stdout does not have as \\x.. or \\u....; have streams even
    where the caller has closed them."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            from os import devnull

            setattr(sys, name, open(devnull, "w", encoding="utf-8"))  # noqa: SIM115
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _of_stdout(error: OSError) -> bool:
    """Whether it is stdout that could not be written: an error of no file that has a name,
    as only a file to write to has it."""
    import errno

    return error.filename is None and error.errno in (
        errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def _leave_streams() -> None:
    """Let the interpreter end without a word about what it could not write."""
    import os

    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
