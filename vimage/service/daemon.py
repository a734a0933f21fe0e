"""The long-running service: keeps the vimages as they were asked to be.

One thread, one loop.  It may be killed at any instant: the vimages run on, and the next
service takes them over from the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from vimage import events
from vimage.commands.status import row
from vimage.configuration.load import Loaded, record_macs
from vimage.engine import Outcome, Result
from vimage.events import Event, Sink
from vimage.journal import READY, Record
from vimage.kernel import Kernel, ProcessId, Processes
from vimage.messages import VimageError
from vimage.service import wire
from vimage.service.consoles import Consoles
from vimage.service.health import Health
from vimage.service.logs import LogFile
from vimage.service.reading import Reader
from vimage.service.reload import Changes, Reload
from vimage.service.restarts import Restarts
from vimage.service.server import PATIENCE, Request, Server, refusal
from vimage.service.watch import Watch, command_of
from vimage.session import Answer, Session, open_session
from vimage.steps.bridges import reconnect

#: How the journal calls vimage_list as it was last applied.
_LIST = "list"


class Service:
    """The service of one host."""

    def __init__(self, kernel: Kernel, processes: Processes, log: logging.Logger, *,
                 reader: Reader, supervised: bool = False) -> None:
        self.kernel = kernel
        self.log = log
        self.supervised = supervised
        self.session: Session = open_session(kernel, processes, log, privileged=True, parallel=1)
        self.logfile = LogFile(log)
        self.reader = reader
        self.server = Server(kernel.path(wire.SOCKET), self.handle, self._allowed, log)
        self.consoles = Consoles(kernel, self.session.journal.records)
        self.restarts = Restarts(self.session, self._load, self._follow, self._unfollow, log)
        self.watch = Watch(kernel, self.session.journal.records, self.restarts.gone,
                           self._interfaces, log, self._bound_logs)
        self.health = Health(self.session.engine.tools, self.restarts.gone)
        self.changes = Changes()
        self._background: set[asyncio.Task[Any]] = set()
        self.ended = asyncio.Event()
        self.again: bool = False  # execute the installed version in place of this one

    # -- its own life --------------------------------------------------------------------------

    async def run(self) -> bool:
        """Serve until told to end; True when the service is to be executed anew."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ended.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        if self.session.journal.records or self.session.journal.remembered:
            await self._take_over()
        await self.server.open()
        self.watch.open()
        self.log.info("serving; %d vimages", len(self.session.journal.records))
        try:
            await self.ended.wait()
        finally:
            self.watch.close()
            for task in self._background:
                task.cancel()
            self.health.close()
            await self.restarts.close()
            await asyncio.gather(*self._background, return_exceptions=True)
            await self.server.close(PATIENCE if not self.again else None)
            self.session.close()
            self.logfile.close()
        return self.again

    def _bound_logs(self) -> None:
        for name in self.consoles.look():
            self.log.warning("%s: its console log was too long and was cut", name)

    async def _take_over(self) -> None:
        """Undo what an earlier service has left half done, go on with what it has left running."""
        try:
            await self._load()
        except VimageError as error:  # the vimages run on, whatever rc.conf has become
            self.log.error("%s", error)
        await self.session.recover()
        for name, record in list(self.session.journal.records.items()):
            if record.state != READY:
                continue
            try:
                jail = self.kernel.jail_get(record.jid or name)
            except OSError:
                self.restarts.gone(name, "its jail has gone")
                continue
            if jail.dying or jail.name != name:
                self.restarts.gone(name, "its jail has gone")
                continue
            process = command_of(record)
            if process is not None and not self._runs(process):
                self.restarts.gone(name, "its command has ended", broken=False)
            self._follow(record)
            self.log.info("%s: taken over, jail %d", name, jail.jid)
        self.restarts.resume()

    def _runs(self, process: ProcessId) -> bool:
        try:
            return self.kernel.process(process.pid) == process  # same pid, same start
        except OSError:
            return False

    def _allowed(self, connection: socket.socket) -> bool:
        """Root, from a process in our own jail: root of a jail that shares / may knock too."""
        try:
            uid, jid = self.kernel.peer(connection.fileno())
            return uid == os.geteuid() and jid == self.kernel.jail_of(os.getpid())
        except OSError:
            return False

    def _hang_up(self) -> None:
        """SIGHUP: reload, with nobody there to be told but the log."""
        async def reload() -> None:
            try:
                await self._reload(Request("reload", ()), LogSink(self.log))
            except VimageError as error:
                self.log.error("%s", error)

        task = asyncio.create_task(reload())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # -- requests --------------------------------------------------------------------------------

    async def handle(self, request: Request, client: Sink) -> int:
        """Carry out one request; returns the exit status."""
        verb = {"start": self._start, "stop": self._stop, "restart": self._restart,
                "status": self._status, "reload": self._reload,
                "reexec": self._reexec}.get(request.verb)
        if verb is None:
            client.send(refusal(f"the service: unknown verb {request.verb[:40]!r}"))
            return 2
        try:
            return await verb(request, client)
        except VimageError as error:
            client.send(events.problem(error.problem))
            return 2

    async def _start(self, request: Request, client: Sink) -> int:
        loaded = await self._load(request.file)
        if not request.names:
            self._remember_list(loaded)
        return await self._act(request, client, loaded, self.session.start)

    async def _restart(self, request: Request, client: Sink) -> int:
        loaded = await self._load(request.file)
        self._let_go(request.names)
        return await self._act(request, client, loaded, self.session.restart)

    async def _load(self, file: str | None = None) -> Loaded:
        """Read the configuration, and go by what it says of the service itself."""
        loaded = await self.reader.load(file)
        configuration = loaded.configuration
        record_macs(self.kernel, configuration)
        self.session.set_parallel(configuration.parallel)
        self.logfile.use(configuration.logfile and self.kernel.path(configuration.logfile))
        return loaded

    async def _act(self, request: Request, client: Sink, loaded: Loaded,
                   operation: Any) -> int:
        names = list(request.names)
        client.send(events.begin(request.verb,
                                 self.session.how_many(request.verb, loaded, names)))

        def report(result: Result) -> None:
            if result.outcome is Outcome.READY:
                self.restarts.cancel(result.name)
                self._follow(self.session.journal.records[result.name])
            self._log(result)
            client.send(events.result(result))

        answer: Answer = await operation(loaded, names, report)
        for problem in answer.problems:
            client.send(events.problem(problem))
        return answer.status

    async def _stop(self, request: Request, client: Sink) -> int:
        if "service_only" in request.options:
            self._finish()
            return 0
        names = list(request.names)
        loaded = self.reader.loaded
        self._let_go(names)
        client.send(events.begin("stop", self.session.how_many("stop", loaded, names)))

        def report(result: Result) -> None:
            self._log(result)
            client.send(events.result(result))

        if "shutdown" in request.options:
            timeout = loaded.configuration.shutdown_timeout if loaded is not None else 90.0
            stopping = self.session.shut_down(report, timeout)
        else:
            stopping = self.session.stop(loaded, names, report)
        answer = await stopping
        for problem in answer.problems:
            client.send(events.problem(problem))
        if not names:
            self.session.journal.forget(_LIST)
            self._finish()
        return answer.status

    def _finish(self) -> None:
        if self.supervised:
            with contextlib.suppress(OSError):
                os.kill(os.getppid(), signal.SIGTERM)  # daemon(8): do not start another
        asyncio.get_running_loop().call_soon(self.ended.set)

    async def _status(self, request: Request, client: Sink) -> int:
        loaded = await self.reader.current()
        records = self.session.journal.records
        listed = loaded.configuration.list if loaded is not None else ()
        names = request.names or dict.fromkeys([*listed, *records])
        living = self.kernel.jail_list()
        rows = [row(self.kernel, living, name, records.get(name)) for name in names]
        changed = dict.fromkeys(self.changes.of(loaded, records) if loaded is not None else ())
        for each in rows:
            each["note"] = self.restarts.notes.get(each["name"], "")
            each["changed"] = each["name"] in changed
        client.send(events.status(rows))
        return 0

    async def _reload(self, request: Request, client: Sink) -> int:
        loaded = await self._load(request.file)
        applied = self.session.journal.remembered.get(_LIST, {}).get("names")
        before = loaded.configuration.list if applied is None else applied
        status = await Reload(self.session, loaded, before).apply(client)
        self._remember_list(loaded)
        for record in self.session.journal.records.values():
            if record.state == READY:
                self._follow(record)
        return status

    async def _reexec(self, request: Request, client: Sink) -> int:
        client.send(events.say("the installed version takes over"))
        self.again = True
        asyncio.get_running_loop().call_soon(self.ended.set)
        return 0

    def _remember_list(self, loaded: Loaded) -> None:
        self.session.journal.remember(_LIST, {"names": list(loaded.configuration.list)})

    def _log(self, result: Result) -> None:
        for problem in result.problems:
            self.log.error("%s", problem)
        if not result.problems:
            self.log.info("%s: %s", result.name, result.outcome.value)

    # -- what happens behind its back ---------------------------------------------------------

    def _follow(self, record: Record) -> None:
        """Watch over a vimage that is ready."""
        self.restarts.notes.pop(record.name, None)
        self.watch.watch(record)
        self.health.follow(record)

    def _unfollow(self, name: str) -> None:
        self.health.forget(name)
        self.restarts.notes.pop(name, None)

    def _let_go(self, names: Sequence[str]) -> None:
        """Somebody stops these, or all; what was to become of them counts no longer."""
        for name in names or [*self.session.journal.records, *self.restarts.waiting()]:
            self._unfollow(name)
            self.restarts.cancel(name)

    def _interfaces(self) -> None:
        """An interface of the host came or went: a parent, or one that is to be moved in."""
        for text in reconnect(self.session.engine.tools):
            self.log.warning("%s", text)


class LogSink:
    """Output of a request that nobody made."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def send(self, event: Event) -> None:
        """A line for the log, if the event is worth one."""
        if event["event"] == "problem":
            self._log.error("%s", event["problem"]["text"])
        elif event["event"] == "applied":
            self._log.info("%s: applied: %s; needs restart: %s", event["name"],
                           " ".join(event["applied"]), " ".join(event["restart"]))
        elif event["event"] == "result":
            self._log.info("%s %s", event["name"], event["outcome"])
            for problem in event["problems"]:
                self._log.error("%s", problem["text"])


def execute_again() -> None:
    """Put the installed version in place of this process.  Does not return."""
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
