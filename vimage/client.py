"""The command's first steps: ask the running service, else do it here.

Imported before anything else, so it imports almost nothing itself.
"""

import sys

from vimage.commands.output import Printer
from vimage.service import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

#: How often a connection that is refused is tried again, 50 ms apart.
REFUSALS = 10

#: Verbs that the service carries out when it runs.
ASKED = frozenset({"start", "stop", "restart", "status", "reload", "reexec"})


def main(argv: list[str] | None = None) -> int:
    """Run one command line; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parsed = _quick(argv)
    if parsed is not None:
        status = ask(parsed[0], parsed[2])
        if status is not None:
            return status
        if argv[:2] == ["stop", "--service-only"]:
            return 0  # there is no service to end
        if "start" in argv and sys.platform.startswith("freebsd"):
            from vimage.service import launch

            return launch.and_ask(*parsed)
    if argv[:2] == ["service", "--supervised"]:
        return _serve(argv[2:])
    from vimage.commands import main as local

    return local(argv)


def _serve(argv: list[str]) -> int:
    """Be the service, as ``launch`` starts it; the whole command line is not needed."""
    # asyncio brings ssl along where it is; the service has no use for it, and starts sooner.
    sys.modules["ssl"] = None  # type: ignore[assignment]
    from vimage.commands import attempt
    from vimage.commands.context import Context
    from vimage.commands.service import serve

    context = Context(file=argv[1] if argv[:1] == ["-f"] else None)
    return attempt(lambda: serve(context, supervised=True))


def _quick(argv: list[str]) -> "tuple[bytes, str | None, Printer] | None":
    """(request, file, printer) when this is for the service, None when it is not.

    Whatever is not plainly for it is left to the full command line.
    """
    file, words, options, json, rc = None, [], [], False, False
    left = list(argv)
    while left:
        word = left.pop(0)
        if word == "--json":
            json = True
        elif word == "--rc":
            rc = True
        elif word in ("--shutdown", "--service-only"):
            options.append(word[2:].replace("-", "_"))
        elif word == "-f" and left:
            file = left.pop(0)
        elif word.startswith("-"):
            return None
        else:
            words.append(word)
    if not words or words[0] not in ASKED or options and words[0] != "stop":
        return None
    if file and not file.startswith("/"):
        import os

        file = os.path.abspath(file)
    return (wire.request(words[0], words[1:], file, options), file,
            Printer(words[0], rc=rc, json=json))


def ask(request: bytes, printer: "Printer", path: str = wire.SOCKET) -> int | None:
    """The exit status that the service answers with, None when no service answers."""
    connection = _connect(path)
    if connection is None:
        return None
    try:
        connection.sendall(request)
        return _print(connection, printer)
    except OSError as error:
        sys.stderr.write(f"vimage: the service: {error.strerror}\n")
        return 1
    finally:
        connection.close()


def _connect(path: str) -> "_socket.socket | None":
    """A connection, None when no service answers.

    The kernel refuses when more clients wait than kern.ipc.soacceptqueue allows, and also
    when the service that made the socket has died: a refusal is tried again for a while.
    """
    import _socket

    for tries in range(REFUSALS + 1):
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            connection.connect(path)
            return connection
        except ConnectionRefusedError:
            connection.close()
            if tries < REFUSALS:
                import time

                time.sleep(0.05)
        except OSError:
            connection.close()
            break
    return None


def _print(connection: object, printer: "Printer") -> int:
    """Print what the service says, until it gives the exit status."""
    buffer = b""
    while True:
        found = wire.split(buffer)
        if found is None:
            more = connection.recv(65536)  # type: ignore[attr-defined]
            if not more:
                sys.stderr.write("vimage: the service ended before it had answered\n")
                return 1
            buffer += more
            continue
        kind, body, buffer = found
        if kind == wire.EVENT:
            printer.send(wire.object_of(body))
        if printer.status is not None:
            return printer.status
