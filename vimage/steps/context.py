"""What a step is given while it is done or undone: the host, and one entry of a record."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from vimage import consolelog
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
    Vnet,
)
from vimage.messages import VimageError
from vimage.processes import describe_status, wait_or_end
from vimage.references import References
from vimage.threads import KernelThread

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class Host:
    """The host as this process acts on it: kernel, commands, journal, threads."""

    kernel: Kernel
    processes: Processes
    journal: Journal
    references: References
    log: logging.Logger
    #: Jails that were recorded ahead and not begun: one of that name is somebody else's.
    jails_ahead: set[str] = field(default_factory=set)
    #: The processes of ``command`` that this process started itself.
    started: dict[str, Process] = field(default_factory=dict)
    #: The VNETs that are held while something is taken out of them.
    held_vnets: dict[str, Hold] = field(default_factory=dict)
    #: For calls that sleep in the kernel, and for those that enter a jail.
    sleeping: KernelThread = field(init=False)
    entering: KernelThread = field(init=False)

    def __post_init__(self) -> None:
        self.sleeping = KernelThread(thread=self.kernel.sleeps, log=self.log)
        self.entering = KernelThread(thread=self.kernel.sleeps, log=self.log)

    def close(self) -> None:
        """End the threads and release the VNETs."""
        self.sleeping.close()
        self.entering.close()
        for name in list(self.held_vnets):
            self.release_vnet(name)

    def release_vnet(self, name: str) -> None:
        """Let the kernel free the VNET of a vimage."""
        hold = self.held_vnets.pop(name, None)
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
        """Write what is about to be done, so that another process can undo it.

        Raises VimageError("state_unwritable").
        """
        self.record_ahead(**results)
        self.host.journal.write(self.record)

    def record_ahead(self, **results: Any) -> None:
        """Record what is about to be done.  The caller writes the record before the step acts."""
        self.entry.results.update(results)
        if not self.recorded:
            self.record.entries.append(self.entry)
        if "holds" in results:
            self.host.references.add(results["holds"], self.name)

    def forget(self) -> None:
        """Take the entry out of the record: there is nothing to undo."""
        self.record.entries.remove(self.entry)

    def note(self, **results: Any) -> None:
        """Record what came of it.  It is written with the next intent."""
        self.entry.results.update(results)

    def save(self) -> None:
        """Write the record.  While undoing, a failure is only logged."""
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

    @contextlib.asynccontextmanager
    async def vnet(self) -> AsyncIterator[Vnet]:
        """The network stack of the jail, closed at the end of the block.

        Raises VimageError("jail_none"), OSError.
        """
        vnet = await self.entering(self.kernel.vnet, self.jail)
        try:
            yield vnet
        finally:
            vnet.close()

    def hold_vnet(self, hold: Hold) -> None:
        """Keep the VNET of this vimage from being freed, until ``release_vnet``."""
        self.release_vnet()
        self.host.held_vnets[self.name] = hold

    async def holds_vnet(self) -> bool:
        """Hold the VNET of this vimage, if it exists; returns whether it is held.

        Raises OSError when that cannot be known.
        """
        made = any(entry.kind == "jail" for entry in self.record.entries)
        if made and self.name not in self.host.held_vnets:
            with contextlib.suppress(FileNotFoundError):
                # Of a jail that was only begun the number is not known; and that of one that
                # has gone may have been given again.
                jail = self.kernel.jail_get(self.record.jid or self.name)
                if jail.name == self.name:
                    self.hold_vnet(await self.entering(self.kernel.vnet, jail.jid))
        return self.name in self.host.held_vnets

    def release_vnet(self) -> None:
        """Let the kernel free the VNET of this vimage."""
        self.host.release_vnet(self.name)

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

    @contextlib.asynccontextmanager
    async def end_use(self, key: str) -> AsyncIterator[bool]:
        """End the use of a shared thing by this vimage.

        Yields True when no other vimage uses it: the block then takes the thing away.  If that
        fails, this vimage still uses it.
        """
        async with self.host.references.lock(key):
            last = self.host.references.drop(key, self.name)
            try:
                yield last
            except BaseException:
                if last:
                    self.host.references.add(key, self.name)
                raise

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
            status = await wait_or_end(process, timeout)
        except HelperGone as error:
            raise VimageError("command_lost", what=what, why=error.strerror) from error
        if status is None:
            raise VimageError("command_timeout", what=what, seconds=f"{timeout:g}")
        if status:
            raise VimageError("command_failed", what=what, status=describe_status(status))

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
            return consolelog.open_for_appending(self.kernel, self.record.configuration)
        except OSError as error:
            if self.undoing:
                self.host.log.warning("%s: console log %s: %s", self.name, path, error.strerror)
                return None
            raise VimageError("consolelog_unwritable", path=path, why=error.strerror) from error
