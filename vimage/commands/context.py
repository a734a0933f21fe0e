"""What a verb needs: kernel, configuration, journal.  Each is made when it is first used."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from vimage.commands.output import Printer
from vimage.configuration.load import Loaded, load
from vimage.journal import Journal
from vimage.kernel import Kernel, Processes
from vimage.messages import VimageError
from vimage.session import Session, open_journal, open_session

if TYPE_CHECKING:
    from vimage.commands.line import Line

T = TypeVar("T")


def simulated_directory() -> str:
    """Where a simulated host lives when no directory is named."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return f"{base}/vimage/simulated"


def _no_command(words: Sequence[str]) -> int:
    raise NotImplementedError


@dataclass
class Context:
    """The options of the command line and what follows from them."""

    file: str | None = None
    simulate: bool = False
    directory: str | None = None
    json: bool = False
    without_service: bool = False
    printer: Printer = field(default_factory=lambda: Printer(""))
    #: Runs another command line.
    command: Callable[[Sequence[str]], int] = _no_command
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("vimage"))

    @classmethod
    def of(cls, line: Line, printer: Printer, command: Callable[[Sequence[str]], int]) -> Context:
        """From a command line."""
        context = cls(
            file=line.value("file"), simulate=line.simulated,
            directory=line.value("simulated_host"), json=line.has("json"),
            without_service=line.has("without_service"), printer=printer, command=command)
        if not context.log.handlers:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(logging.Formatter("vimage: %(message)s"))
            context.log.addHandler(handler)
            context.log.setLevel(logging.WARNING)
        return context

    @cached_property
    def kernel(self) -> Kernel:
        """The kernel of this host, or the simulated one.  Raises VimageError("not_freebsd")."""
        if self.simulate:
            from vimage.commands import simulated

            return simulated.host(self.directory or simulated_directory(), self.file)
        if not sys.platform.startswith("freebsd"):
            raise VimageError("not_freebsd", system=os.uname().sysname)
        from vimage.kernel.freebsd.host import FreeBSD

        return FreeBSD()

    @cached_property
    def processes(self) -> Processes:
        """What starts commands.  Made before any thread is."""
        if self.simulate:
            from vimage.kernel.simulated import SimulatedKernel
            from vimage.kernel.simulated.processes import SimulatedProcesses

            assert isinstance(self.kernel, SimulatedKernel)
            return SimulatedProcesses(self.kernel)
        from vimage.kernel.freebsd.host import FreeBSD
        from vimage.kernel.freebsd.processes import HelperProcesses

        assert isinstance(self.kernel, FreeBSD)
        return HelperProcesses(self.kernel.helper)

    @property
    def alone(self) -> bool:
        """Whether this process acts itself, with no service running or to be started."""
        return self.simulate or self.without_service

    @property
    def privileged(self) -> bool:
        return self.simulate or os.geteuid() == 0

    @cached_property
    def loaded(self) -> Loaded:
        """The configuration.  Raises VimageError when it cannot be read at all."""
        return load(self.kernel, self.file)

    def journal(self) -> Journal:
        """The journal, for reading."""
        return open_journal(self.kernel)

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """A session, closed at the end.  Raises VimageError: state_busy, state_unwritable."""
        session = open_session(self.kernel, self.processes, self.log,
                               privileged=self.privileged)
        try:
            yield session
        finally:
            session.close()
            self.processes.close()

    def run(self, act: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine to its end, on a simulated host in virtual time."""
        if self.simulate:
            from vimage.kernel.simulated.virtual_time import VirtualTimeLoop

            with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
                return runner.run(act())
        return asyncio.run(act())
