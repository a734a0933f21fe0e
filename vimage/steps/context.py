"""What a step has at hand while it is done or undone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from vimage.journal import Entry, Journal, JsonObject, Record
from vimage.kernel import (
    ENVIRONMENT,
    Command,
    HelperGone,
    Hold,
    HostCommand,
    JailCommand,
    JailId,
    Kernel,
    Process,
    Processes,
)
from vimage.messages import VimageError
from vimage.references import References
from vimage.threads import KernelThread

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds between TERM and KILL for a command that outlives its timeout.
GRACE = 2.0

#: Seconds that a removed jail may take until the kernel has freed it, before it is reported.
FREED_WITHIN = 15.0

@dataclass(slots=True)
class Host:
    """What is shared by all vimages of this process."""

    kernel: Kernel
    processes: Processes
    journal: Journal
    references: References
    log: logging.Logger
    #: The processes of ``command`` that this process started itself.
    started: dict[str, Process] = field(default_factory=dict)
    #: The VNETs that are held while something is taken out of them.
    held: dict[str, Hold] = field(default_factory=dict)
    #: For calls that sleep in the kernel, and for those that enter a jail.
    sleeping: KernelThread = field(init=False)
    entering: KernelThread = field(init=False)

    def __post_init__(self) -> None:
        self.sleeping = KernelThread(thread=self.kernel.sleeps, log=self.log)
        self.entering = KernelThread(thread=self.kernel.sleeps, log=self.log)

    def close(self) -> None:
        """End the threads, let go of the VNETs."""
        self.sleeping.close()
        self.entering.close()
        for name in list(self.held):
            self.release(name)

    def release(self, name: str) -> None:
        """Hold the VNET of a vimage no longer."""
        hold = self.held.pop(name, None)
        if hold is not None:
            hold.close()


@dataclass(slots=True)
class StepContext:
    """One step of one vimage."""

    host: Host
    record: Record
    entry: Entry
    undoing: bool = False

    @property
    def kernel(self) -> Kernel:
        return self.host.kernel

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def results(self) -> JsonObject:
        return self.entry.results

    @property
    def jail(self) -> JailId:
        """The jail of the vimage.  Raises VimageError("jail_none") while it has none: what is
        meant for a jail is never done to the host."""
        jid = self.record.jid
        if jid is None:
            raise VimageError("jail_none", name=self.name)
        return jid

    # -- the journal ----------------------------------------------------------------------

    @property
    def recorded(self) -> bool:
        """Whether the intent is in the record."""
        return any(entry is self.entry for entry in self.record.entries)

    def record_intent(self, **results: Any) -> None:
        """Write what is about to be done.  Returns when another process could find it.

        Raises VimageError("state_unwritable").
        """
        self.record_ahead(**results)
        self.host.journal.write(self.record)

    def record_ahead(self, **results: Any) -> None:
        """Record what is going to be done.  The caller sees to it that it is written first."""
        self.entry.results.update(results)
        if not self.recorded:
            self.record.entries.append(self.entry)
        if "holds" in results:
            self.host.references.add(results["holds"], self.name)

    def forget(self) -> None:
        """Nothing was done, and nothing is to be undone."""
        self.record.entries.remove(self.entry)

    def note(self, **results: Any) -> None:
        """Remember what came of it.  Written with the next intent."""
        self.entry.results.update(results)

    def save(self) -> None:
        """Write the record.  A full disk must not keep anything from being undone."""
        try:
            self.host.journal.write(self.record)
        except VimageError as error:
            if not self.undoing:
                raise
            self.host.log.error("%s", error)

    # -- calls that take time ---------------------------------------------------------------

    async def sleeping(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call that sleeps in the kernel."""
        return await self.host.sleeping(call, *args, **kwargs)

    async def entering(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call for which a process enters the jail."""
        return await self.host.entering(call, *args, **kwargs)

    # -- the VNET -----------------------------------------------------------------------------

    def hold(self, hold: Hold) -> None:
        """Keep the VNET of this vimage from being freed, until ``release``."""
        self.release()
        self.host.held[self.name] = hold

    async def held(self) -> bool:
        """Whether its VNET is there and is held; takes hold of it if need be.

        Raises OSError when that cannot be known.
        """
        if self.name not in self.host.held and any(e.kind == "jail" for e in self.record.entries):
            with contextlib.suppress(FileNotFoundError):
                # Of a jail that was only begun the number is not known.
                jail = self.record.jid or self.kernel.jail_get(self.name).jid
                self.hold(await self.entering(self.kernel.vnet, jail))
        return self.name in self.host.held

    def release(self) -> None:
        """Hold it no longer."""
        self.host.release(self.name)

    # -- shared things ----------------------------------------------------------------------

    def shared(self, key: str) -> JsonObject | None:
        """The record of a shared thing.  Raises VimageError("state_newer")."""
        newer = self.host.journal.newer["shared"].get(key)
        if newer is not None:
            raise VimageError(newer.problem)
        return self.host.journal.shared.get(key)

    def write_shared(self, key: str, results: JsonObject) -> None:
        """Write the record of a shared thing before acting on it."""
        self.host.journal.write_shared(key, results)

    def drop(self, key: str) -> bool:
        """This vimage uses it no longer; True when the thing has to go."""
        return self.host.references.drop(key, self.name)

    # -- commands ----------------------------------------------------------------------------

    async def run_on_host(self, argv: Sequence[str], what: str, timeout: float, *,
                          environment: Mapping[str, str] | None = None) -> None:
        """Run a command on the host.  Raises VimageError: command_failed, command_timeout."""
        with self._console() as output:
            await self._run(HostCommand(argv, output=output,
                                        environment={**ENVIRONMENT, **(environment or {})}),
                            what, timeout)

    async def run_in_jail(self, argv: Sequence[str], what: str, timeout: float) -> None:
        """Run a command in the jail.  Raises VimageError: command_failed, command_timeout,
        jail_none."""
        with self._console() as output:
            await self._run(self._in_jail(argv, output), what, timeout)

    async def start_in_jail(self, argv: Sequence[str]) -> Process:
        """Start a command in the jail and leave it running.  Raises OSError, VimageError."""
        with self._console() as output:
            return await self.host.processes.start(self._in_jail(argv, output))

    def _in_jail(self, argv: Sequence[str], output: int | None) -> JailCommand:
        return JailCommand(self.jail, argv, output=output, environment=ENVIRONMENT)

    async def _run(self, command: Command, what: str, timeout: float) -> None:
        try:
            process = await self.host.processes.start(command)
        except OSError as error:
            raise VimageError("command_not_started", what=what, command=command.argv[0],
                              why=error.strerror) from error
        try:
            status = await finished(process, timeout)
        except HelperGone as error:
            raise VimageError("command_lost", what=what, why=error.strerror) from error
        if status is None:
            raise VimageError("command_timeout", what=what, seconds=f"{timeout:g}")
        if status:
            raise VimageError("command_failed", what=what, status=_words(status))

    @contextlib.contextmanager
    def _console(self) -> Iterator[int | None]:
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
                self.host.log.warning("%s: console log %s: %s", self.name, path, error.strerror)
                return None
            raise VimageError("consolelog_unwritable", path=path, why=error.strerror) from error


def open_console(kernel: Kernel, configuration: Mapping[str, Any], *,
                 reading: bool = False) -> int:
    """A descriptor that appends to the console log of a vimage, or reads it.

    A symbolic link in its place is refused, and none is followed on the way to a log below
    the root of the vimage.  Raises OSError.
    """
    flags = os.O_RDONLY if reading else os.O_WRONLY | os.O_APPEND | os.O_CREAT
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
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
