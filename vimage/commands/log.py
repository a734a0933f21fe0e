"""log: the end of the console log of a vimage, and what is added to it."""

from __future__ import annotations

import codecs
import errno
import os
import select
import signal
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vimage import consolelog
from vimage.commands.context import Context
from vimage.commands.line import Line, UsageError
from vimage.commands.output import complain
from vimage.messages import VimageError
from vimage.status import unknown_name
from vimage.steps.mounts import no_directory

#: Lines that are shown where -n does not say how many, as by tail(1).
LINES = 10

#: Octets that are read at once.
BLOCK = 64 * 1024

#: Milliseconds between two looks at a log that is followed.
PAUSE = 500


def run(context: Context, line: Line) -> int:
    """Print it."""
    lines = _number_of_lines(line)
    if not context.privileged:
        raise VimageError("not_root")
    name = line.arguments[0]
    configuration = _configuration(context, name)
    if configuration is None:
        return 2
    log = ConsoleLog(context, name, configuration)
    output = Terminal() if sys.stdout.isatty() else Output()
    try:
        for octets in log.end(lines):
            output.write(octets)
        while line.has("follow"):
            output.pause()
            for octets in log.added():
                output.write(octets)
        output.close()
    except VimageError as error:
        complain(error.problem)
        return 1
    except KeyboardInterrupt:
        if not line.has("follow"):
            raise
        return 128 + signal.SIGINT  # how one ends it
    finally:
        log.close()
    return 0


def _number_of_lines(line: Line) -> int:
    text = line.value("lines")
    if text is None:
        return LINES
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise UsageError(f"-n needs a number of lines, not {text[:40]!r}", line.verb)
    return int(text)


def _configuration(context: Context, name: str) -> Mapping[str, Any] | None:
    """What the vimage was started with, else what it would be; None after a complaint."""
    journal = context.journal()
    if name in journal.records:
        return journal.records[name].configuration
    loaded = context.loaded
    if name in loaded.configuration.vimages:
        return loaded.configuration.vimages[name].to_dict()
    for problem in loaded.problems_of(name) or [
            unknown_name(name, {*loaded.names, *journal.records})]:
        complain(problem)
    return None


class ConsoleLog:
    """The file that a vimage writes to, and those that take its place."""

    def __init__(self, context: Context, name: str, configuration: Mapping[str, Any]) -> None:
        self._context = context
        self._name = name
        self._configuration = configuration
        self._descriptor = -1
        self._offset = 0

    def close(self) -> None:
        """Read no more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def end(self, lines: int) -> Iterator[bytes]:
        """The last lines.  Raises VimageError: log_missing, log_unreadable."""
        descriptor = self._open()
        if descriptor is None:
            raise VimageError("log_missing", name=self._name, path=self._path)
        self._descriptor = descriptor
        self._offset = _beginning(descriptor, lines)
        yield from self._rest()

    def added(self) -> Iterator[bytes]:
        """What has been added since; of another file that is in its place by now, all.

        Raises VimageError("log_unreadable").
        """
        other = self._open()
        if other is not None and os.path.sameopenfile(other, self._descriptor):
            os.close(other)
            other = None
            if os.fstat(self._descriptor).st_size < self._offset:  # the service cut it back
                self._offset = 0
        try:
            yield from self._rest()
        finally:
            if other is not None:
                self.close()
                self._descriptor, self._offset = other, 0
        if other is not None:
            yield from self._rest()

    @property
    def _path(self) -> str:
        return str(self._configuration["consolelog"])

    def _open(self) -> int | None:
        """A descriptor; None where there is no file.  Raises VimageError("log_unreadable")."""
        try:
            descriptor = consolelog.open_for_reading(self._context.kernel, self._configuration)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(no_directory(error)) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise self._unreadable("not a regular file")
        return descriptor

    def _unreadable(self, why: str) -> VimageError:
        return VimageError("log_unreadable", name=self._name, path=self._path, why=why)

    def _rest(self) -> Iterator[bytes]:
        while octets := os.pread(self._descriptor, BLOCK, self._offset):
            self._offset += len(octets)
            yield octets


def _beginning(descriptor: int, lines: int) -> int:
    """Where the last lines begin."""
    size = position = os.fstat(descriptor).st_size
    if not lines:
        return size
    while position:
        length = min(BLOCK, position)
        position -= length
        block = os.pread(descriptor, length, position)
        end = len(block)
        if position + length == size and block.endswith(b"\n"):
            end -= 1  # of the last line
        while (end := block.rfind(b"\n", 0, end)) >= 0:
            lines -= 1
            if not lines:
                return position + end + 1
    return 0


class Output:
    """stdout, for which octets are octets."""

    def __init__(self) -> None:
        self._gone = _reader_gone()

    def write(self, octets: bytes) -> None:
        """Write as it is."""
        sys.stdout.buffer.write(octets)

    def pause(self) -> None:
        """Wait a moment.  Raises BrokenPipeError when nobody reads any more."""
        sys.stdout.flush()
        if self._gone(PAUSE):
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def close(self) -> None:
        """Nothing more is written."""


class Terminal(Output):
    """A terminal obeys what is written to it, so what is not plain text is written as \\x1b."""

    def __init__(self) -> None:
        super().__init__()
        # A character may begin in one block and end in the next.
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def write(self, octets: bytes) -> None:
        """Write as text."""
        sys.stdout.write(_harmless(self._decoder.decode(octets)))

    def close(self) -> None:
        """Nothing more is written: a character without its end neither."""
        sys.stdout.write(_harmless(self._decoder.decode(b"", True)))


def _harmless(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\t" else
                   c.encode("unicode_escape").decode("ascii") for c in text)


def _reader_gone() -> Callable[[int], bool]:
    """What waits so many milliseconds for the reader of stdout to go."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    ended = select.POLLHUP | select.POLLERR
    return lambda milliseconds: any(event & ended for _, event in poll.poll(milliseconds))
