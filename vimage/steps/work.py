"""What a step has at hand while it is done or undone."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from vimage.holders import Holders
from vimage.journal import Entry, Facts, Journal, Record
from vimage.kernel import (
    ENVIRONMENT, Command, Hold, HostCommand, JailCommand, JailId, Kernel, Process, Processes,
)
from vimage.messages import VimageError
from vimage.threads import KernelThread

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds between TERM and KILL for a command that outlives its timeout.
GRACE = 2.0

#: Seconds that a removed jail may take until the kernel has freed it, before it is reported.
FREED_WITHIN = 15.0


@dataclass(slots=True)
class Tools:
    """What is shared by all vimages of this process."""

    kernel: Kernel
    processes: Processes
    journal: Journal
    holders: Holders
    log: logging.Logger
    #: The processes of ``command`` that this process started itself.
    started: dict[str, Process] = field(default_factory=dict)
    #: The VNETs that are held while something is taken out of them.
    holds: dict[str, Hold] = field(default_factory=dict)
    #: For what sleeps in the kernel, and for what is done inside jails.
    kernel_apart: KernelThread = field(init=False)
    visits_apart: KernelThread = field(init=False)

    def __post_init__(self) -> None:
        self.kernel_apart = KernelThread(thread=self.kernel.sleeps, log=self.log)
        self.visits_apart = KernelThread(thread=self.kernel.sleeps, log=self.log)

    def close(self) -> None:
        """End the threads."""
        self.kernel_apart.close()
        self.visits_apart.close()

    def release(self, name: str) -> None:
        """Hold the VNET of a vimage no longer."""
        hold = self.holds.pop(name, None)
        if hold is not None:
            hold.close()


@dataclass(slots=True)
class Work:
    """One step of one vimage."""

    tools: Tools
    record: Record
    entry: Entry
    undoing: bool = False

    @property
    def kernel(self) -> Kernel:
        return self.tools.kernel

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def facts(self) -> Facts:
        return self.entry.facts

    @property
    def jail(self) -> JailId:
        """The jail.  Raises FileNotFoundError, as the kernel does, where none was made."""
        jail = self.record.jid
        if jail is None:
            raise FileNotFoundError(errno.ENOENT, "it has no jail", self.name)
        return jail

    # -- the journal ----------------------------------------------------------------------

    @property
    def intended(self) -> bool:
        """Whether the intent is in the journal."""
        return any(entry is self.entry for entry in self.record.entries)

    def intend(self, **facts: Any) -> None:
        """Write what is about to be done.  Returns when another process could find it.

        Raises VimageError("state_unwritable").
        """
        self.foresee(**facts)
        self.tools.journal.write(self.record)

    def foresee(self, **facts: Any) -> None:
        """Note what is going to be done.  The caller sees to it that it is written first."""
        self.entry.facts.update(facts)
        if not self.intended:
            self.record.entries.append(self.entry)
        if "holds" in facts:
            self.tools.holders.hold(facts["holds"], self.name)

    def forget(self) -> None:
        """Nothing was done, and nothing is to be undone."""
        self.record.entries.remove(self.entry)

    def note(self, **facts: Any) -> None:
        """Remember what came of it.  Written with the next intent."""
        self.entry.facts.update(facts)

    # -- calls that take time ---------------------------------------------------------------

    async def apart(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call that sleeps in the kernel."""
        return await self.tools.kernel_apart(call, *args, **kwargs)

    async def visit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call for which a process enters the jail."""
        return await self.tools.visits_apart(call, *args, **kwargs)

    # -- the VNET -----------------------------------------------------------------------------

    def hold(self, hold: Hold | None) -> None:
        """Keep the VNET of this vimage from being freed, until ``release``."""
        if hold is not None:
            self.release()
            self.tools.holds[self.name] = hold

    async def holds(self) -> bool:
        """Whether its VNET is there and is held; takes hold of it if need be."""
        if self.name not in self.tools.holds and any(e.kind == "jail" for e in self.record.entries):
            with contextlib.suppress(FileNotFoundError):
                # Of a jail that was only begun the number is not known.
                jail = self.record.jid or self.kernel.jail_get(self.name).jid
                self.hold(await self.visit(self.kernel.vnet, jail))
        return self.name in self.tools.holds

    def release(self) -> None:
        """Hold it no longer."""
        self.tools.release(self.name)

    # -- shared things ----------------------------------------------------------------------

    def shared(self, key: str) -> Facts | None:
        """The record of a shared thing."""
        return self.tools.journal.shared.get(key)

    def write_shared(self, key: str, facts: Facts) -> None:
        """Write the record of a shared thing before acting on it."""
        self.tools.journal.write_shared(key, facts)

    def let_go(self, key: str) -> bool:
        """This vimage holds it no longer; True when the thing has to go."""
        return self.tools.holders.let_go(key, self.name)

    # -- commands ----------------------------------------------------------------------------

    async def run_on_host(self, argv: Sequence[str], what: str, timeout: float, *,
                          environment: Mapping[str, str] | None = None) -> None:
        """Run a command on the host.  Raises VimageError: command_failed, command_timeout."""
        with self._console() as output:
            await self._run(HostCommand(argv, output, {**ENVIRONMENT, **(environment or {})}),
                            what, timeout)

    async def run_in_jail(self, argv: Sequence[str], what: str, timeout: float) -> None:
        """Run a command in the jail.  Raises VimageError: command_failed, command_timeout."""
        with self._console() as output:
            await self._run(JailCommand(self.jail, argv, output, ENVIRONMENT), what, timeout)

    async def start_in_jail(self, argv: Sequence[str]) -> Process:
        """Start a command in the jail and leave it running.  Raises OSError."""
        with self._console() as output:
            return await self.tools.processes.start(
                JailCommand(self.jail, argv, output, ENVIRONMENT))

    async def _run(self, command: Command, what: str, timeout: float) -> None:
        try:
            process = await self.tools.processes.start(command)
        except OSError as error:
            raise VimageError("command_not_started", what=what, command=command.argv[0],
                              why=error.strerror) from error
        status = await finished(process, timeout)
        if status is None:
            raise VimageError("command_timeout", what=what, seconds=f"{timeout:g}")
        if status:
            raise VimageError("command_failed", what=what, status=_words(status))

    @contextlib.contextmanager
    def _console(self) -> Any:
        descriptor = self._open_console()
        try:
            yield descriptor
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _open_console(self) -> int | None:
        path = self.record.configuration.get("consolelog")
        if not path:
            return None
        try:
            return open_console(self.kernel, self.record.configuration)
        except OSError as error:
            if self.undoing:
                self.tools.log.warning("%s: console log %s: %s", self.name, path, error.strerror)
                return None
            raise VimageError("consolelog_unwritable", path=path, why=error.strerror) from error


def open_console(kernel: Kernel, configuration: Mapping[str, Any]) -> int:
    """A descriptor that appends to the console log of a vimage.

    A symbolic link in its place is refused, and none is followed on the way to a log below
    the root of the vimage.  Raises OSError.
    """
    flags = (os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
             | os.O_NONBLOCK)
    path, root = configuration["consolelog"], configuration.get("rootdir", "/")
    if root == "/" or not path.startswith(root + "/"):
        return os.open(kernel.path(path), flags, 0o600)
    parent = kernel.open_directory(root, os.path.dirname(path[len(root):]))
    try:
        return os.open(os.path.basename(path), flags, 0o600, dir_fd=parent)
    finally:
        os.close(parent)


async def finished(process: Process, timeout: float) -> int | None:
    """Its exit status, or None when it took longer and its process group was ended."""
    try:
        async with asyncio.timeout(timeout):
            return await process.wait()
    except TimeoutError:
        await process.end(GRACE)
        return None
    except asyncio.CancelledError:
        await process.end(GRACE)
        raise


def _words(status: int) -> str:
    """An exit status as a person says it."""
    if status > 128:
        try:
            return f"killed by {signal.Signals(status - 128).name}"
        except ValueError:
            pass
    return f"exit status {status}"
