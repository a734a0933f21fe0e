"""The long-running service: its life, and the requests that it carries out.

It may be killed at any instant: the vimages keep running, and the next service takes them over
from the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any

from vimage import events, status
from vimage.configuration.load import Loaded, record_macs
from vimage.engine import Result
from vimage.events import Event, Sink
from vimage.journal import READY, Record
from vimage.kernel import Kernel, Processes
from vimage.messages import Problem, VimageError
from vimage.model import Vimage
from vimage.reload import ChangedVimages, reload
from vimage.service import wire
from vimage.service.consoles import Consoles
from vimage.service.health import HealthChecks
from vimage.service.logs import LogFile
from vimage.service.reading import Reader
from vimage.service.restarts import Restarts
from vimage.service.server import PATIENCE, Request, Server, ServiceEnding
from vimage.service.watch import Watch, runs
from vimage.operation import DONE, FAILED, NOTHING_TOUCHED, Operation
from vimage.restart import Restart
from vimage.session import Session, open_session

#: The key in the journal of a start that an ending service leaves to the next one.
_LEFT = "request.{}"

#: Seconds that a new service waits for the journal while the one before it ends, and seconds
#: between two tries.
LOCKED_WITHIN = 15.0
LOCKED_PAUSE = 0.05


class Daemon:
    """The service of one host."""

    def __init__(self, kernel: Kernel, processes: Processes, log: logging.Logger, *,
                 reader: Reader, supervisor: int | None = None) -> None:
        """``supervisor`` is the pid of the daemon(8) that starts a service again."""
        self.kernel = kernel
        self.log = log
        self.supervisor = supervisor
        self.session: Session = open_session(kernel, processes, log, privileged=True,
                                             observer=self)
        self.logfile = LogFile(log)
        self.reader = reader
        self.server = Server(kernel.path(wire.SOCKET), self.handle, self._allowed, log)
        self.consoles = Consoles(kernel, self.session.records)
        self.restarts = Restarts(self.session, self._load, log)
        self.watch = Watch(self.session.host, self.restarts.lost, log, self._bound_logs)
        self.health = HealthChecks(self.session.host, self.restarts.lost,
                                   self.restarts.recovered, log)
        self.changed = ChangedVimages()
        self._background: set[asyncio.Task[Any]] = set()
        self._starts = 0  # starts and restarts that were accepted and have not ended
        self._ending = False  # the service ends: requests are left to the next one
        self._terminating = False  # by SIGTERM
        self._stopping = False  # starts and restarts are refused
        self._numbers = itertools.count(1)
        self.ended = asyncio.Event()
        self.reexec: bool = False  # execute the installed version in place of this one

    # -- its own life --------------------------------------------------------------------------

    async def run(self) -> bool:
        """Serve until told to end; True when the service is to be executed anew."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._log_exception)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminate)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        self.watch.open()
        self._take_over()
        await self.server.open()
        self.log.info("serving; %d vimages", len(self.session.records))
        try:
            await self.ended.wait()
        finally:
            self._ending = True
            await self.restarts.close()
            await self.session.jobs.cancel()
            await self.server.close(None if self.reexec else PATIENCE)
            await self.session.jobs.cancel()  # of requests that were being accepted
            for task in self._background:
                task.cancel()
            await asyncio.gather(*self._background, return_exceptions=True)
            await self.health.close()
            self.watch.close()
            self.session.close()
            self.logfile.close()
        return self.reexec

    def _take_over(self) -> None:
        """Take over the vimages of an earlier service.

        What it left half done is put into the queues before the first request is accepted.
        """
        self.session.accept_settle()
        for record in list(self.session.records.values()):
            if record.state == READY:
                self.ready(record)
        self._in_background(self._resume())

    async def _resume(self) -> None:
        """Check what was taken over, and go on with restarts and starts that were left."""
        remembered = self.session.journal.remembered
        if self.session.records or remembered:
            try:
                async with self.session.admission:
                    await self._load()
            except (VimageError, OSError) as error:  # the vimages run on, whatever it is
                self.log.error("%s", error)
        for record in list(self.session.records.values()):
            if record.state != READY:
                continue
            try:
                if not runs(self.session.host, record):
                    self.restarts.lost(record, "its jail has gone")
                    continue
            except OSError as error:
                self.log.warning("%s: %s", record.name, error.strerror)
            self.log.info("%s: taken over, jail %s", record.name, record.jid)
        self.restarts.resume()
        for key in [key for key in remembered if key.startswith(_LEFT.format(""))]:
            left = remembered[key]
            with contextlib.suppress(VimageError):
                self.session.journal.forget(key)
            request = Request(left.get("verb", ""), tuple(left.get("names", ())),
                              left.get("file") or None)
            self._in_background(self._handle_for_nobody(request))

    async def _handle_for_nobody(self, request: Request) -> None:
        """Carry out a request that has no client; its events go to the log."""
        with contextlib.suppress(ServiceEnding):
            await self.handle(request, LogSink(self.log))

    def _in_background(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background_ended)

    def _background_ended(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.log.error("internal error", exc_info=task.exception())

    def _log_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an exception in a callback, or in a task that nobody waits for."""
        self.log.error("internal error: %s", context.get("message"),
                       exc_info=context.get("exception"))

    def _terminate(self) -> None:
        """SIGTERM: end; the vimages keep running.  Also sent by daemon(8) after ``_finish``."""
        if not self._ending:
            self._stopping = True
        if not self._terminating:
            self._terminating = True
            self._in_background(self._terminated())

    async def _terminated(self) -> None:
        """End when the jobs under way have ended, after PATIENCE seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self.session.jobs.idle()
        self.ended.set()

    def _hang_up(self) -> None:
        """SIGHUP: reload."""
        self._in_background(self._handle_for_nobody(Request("reload")))

    def _finish(self) -> None:
        """End the service, and have daemon(8) start no other."""
        self._ending = True
        if self.supervisor is not None and os.getppid() == self.supervisor > 1:
            supervisor, self.supervisor = self.supervisor, None
            with contextlib.suppress(ProcessLookupError):
                os.kill(supervisor, signal.SIGTERM)
        asyncio.get_running_loop().call_soon(self.ended.set)

    def _bound_logs(self) -> None:
        for name in self.consoles.look():
            self.log.warning("%s: its console log was too long and was cut", name)

    def _allowed(self, connection: socket.socket) -> bool:
        """Whether the client is root and in the same jail as the service.

        Root of a jail that shares / can reach the socket, too.
        """
        try:
            uid, jail = self.kernel.peer(connection.fileno())
            return uid == os.geteuid() and jail == self.kernel.jail_of(os.getpid())
        except OSError:
            return False

    # -- vimages that are ready (the observer of the engine) --------------------------------------

    def ready(self, record: Record) -> None:
        """Watch a vimage that is ready, and check its health."""
        self.restarts.notes.pop(record.name, None)
        self.watch.watch(record)
        self.health.begin(record)

    def leaving(self, record: Record) -> None:
        """Stop watching a vimage and checking its health."""
        self.watch.unwatch(record)
        self.health.end(record.name)

    def failed(self, vimage: Vimage, file: str, result: Result) -> None:
        """Start a vimage whose start failed again, if its configuration says so."""
        self.restarts.failed(vimage, file, result)

    # -- requests --------------------------------------------------------------------------------

    async def handle(self, request: Request, sink: Sink) -> int:
        """Carry out one request; returns the exit status.  Raises ServiceEnding."""
        verbs: dict[str, Callable[[Request, Sink], Awaitable[int]]] = {
            "start": self._start, "stop": self._stop, "restart": self._restart,
            "reload": self._reload, "reexec": self._reexec}
        if request.verb == "status":
            try:
                return await self._status(request, sink)
            except OSError as error:
                sink.send(_look_failed(error))
                return NOTHING_TOUCHED
        if self._stopping and request.verb in ("start", "restart"):
            sink.send(events.problem(Problem.of("service_stopping")))
            return FAILED
        if self._ending and "shutdown" not in request.options:
            await self._leave_to_next_service(request)
        starts = request.verb in ("start", "restart")
        self._starts += starts
        try:
            return await verbs[request.verb](request, sink)
        except VimageError as error:
            sink.send(events.problem(error.problem))
            return FAILED if error.problem.key == "service_stopping" else NOTHING_TOUCHED
        except OSError as error:
            sink.send(_look_failed(error))
            return NOTHING_TOUCHED
        finally:
            self._starts -= starts

    async def _leave_to_next_service(self, request: Request) -> None:
        """Wait for the end of this service, then send the client to the next one.

        A start is put into the journal, since its client may die before it asks again.
        Raises ServiceEnding.
        """
        if request.verb == "start" or request == Request("reload"):
            key = _LEFT.format(f"{next(self._numbers):06}")
            with contextlib.suppress(VimageError):
                self.session.journal.remember(key, {
                    "verb": request.verb, "names": list(request.names),
                    "file": request.file or ""})
        await self.ended.wait()
        raise ServiceEnding

    async def _load(self, file: str | None = None) -> Loaded:
        """Read the configuration, record how MAC clashes were resolved, open vimage_logfile."""
        loaded = await self.reader.load(file or None)
        configuration = loaded.configuration
        record_macs(self.kernel, configuration)
        self.logfile.use(configuration.logfile and self.kernel.path(configuration.logfile))
        return loaded

    def _check_open(self) -> None:
        """Raise VimageError("service_stopping") where nothing is started any more: that may have
        become so while the configuration was read."""
        if self._stopping or self.ended.is_set():
            raise VimageError("service_stopping")

    async def _start(self, request: Request, sink: Sink) -> int:
        async with self.session.admission:
            loaded = await self._load(request.file)
            self._check_open()
            operation = self.session.accept_start(loaded, request.names, self._report_to(sink),
                                                  request.file or "")
            if not request.names and not request.file and not operation.refused:
                skipped = {result.name for result in operation.skipped}
                self.session.apply_list(name for name in loaded.configuration.list
                                        if name not in skipped)
            self._accepted("start", operation, sink)
        return await self._answer(operation, sink)

    async def _restart(self, request: Request, sink: Sink) -> int:
        async with self.session.admission:
            loaded = await self._load(request.file)
            self._check_open()
            operation = Restart(self.session, loaded, request.names, self._report_to(sink),
                                request.file or "").accept()
            self._accepted("restart", operation, sink)
        return await self._answer(operation, sink)

    async def _stop(self, request: Request, sink: Sink) -> int:
        if "service_only" in request.options:
            return await self._end(reexec=False)
        if "shutdown" in request.options:
            return await self._shut_down(request, sink)
        async with self.session.admission:
            operation = self.session.accept_stop(await self.reader.current(), request.names,
                                                 self._report_to(sink))
            stopped = [job.name for job in operation.jobs]
            if not request.names and not operation.refused:
                stopped += self.restarts.waiting()
                self.session.forget_list()
            self._cancel_restarts(self.restarts.depending_on(stopped))
            self._accepted("stop", operation, sink)
        result = await self._answer(operation, sink)
        if not request.names and not operation.refused and not self._starts \
                and not self._ending:
            self._finish()
        return result

    async def _shut_down(self, request: Request, sink: Sink) -> int:
        """Stop everything because the host goes down, without waiting for admission."""
        self._stopping = True
        self._cancel_restarts(self.restarts.waiting())
        sink.send(events.begin("stop", len(self.session.records)))
        answer = await self.session.shut_down(self.reader.loaded, self._report_to(sink))
        for problem in answer.problems:
            sink.send(events.problem(problem))
        self.session.forget_list()
        self._finish()
        return answer.status

    async def _reload(self, request: Request, sink: Sink) -> int:
        async with self.session.admission:
            loaded = await self._load(request.file)
            await self.session.jobs.idle()
            self._check_open()
            return await reload(self.session, loaded, sink, request.file or "",
                                self._cancel_restarts)

    async def _reexec(self, request: Request, sink: Sink) -> int:
        sink.send(events.say("the installed version takes over"))
        return await self._end(reexec=True)

    async def _end(self, *, reexec: bool) -> int:
        """End the service after the jobs under way; the vimages keep running."""
        self._ending = True
        async with self.session.admission:
            await self.session.jobs.idle()
        self.reexec = reexec
        if reexec:
            asyncio.get_running_loop().call_soon(self.ended.set)
        else:
            self._finish()
        return DONE

    def _accepted(self, verb: str, operation: Operation, sink: Sink) -> None:
        """Report that an operation begins.  It takes the place of restarts that wait."""
        self._cancel_restarts(job.name for job in operation.jobs)
        if not operation.refused:
            sink.send(events.begin(verb, operation.count))

    def _cancel_restarts(self, names: Iterable[str]) -> None:
        for name in names:
            self.restarts.cancel(name)

    async def _answer(self, operation: Operation, sink: Sink) -> int:
        answer = await operation.answer()
        for problem in answer.problems:
            sink.send(events.problem(problem))
        return answer.status

    def _report_to(self, sink: Sink) -> Callable[[Result], None]:
        def report(result: Result) -> None:
            self._log_result(result)
            sink.send(events.result(result))

        return report

    def _log_result(self, result: Result) -> None:
        for problem in result.problems:
            self.log.error("%s", problem)
        if not result.problems:
            self.log.info("%s: %s", result.name, result.outcome.value)

    async def _status(self, request: Request, sink: Sink) -> int:
        loaded = await self.reader.current()
        session = self.session
        names, unknown = status.select(request.names, loaded, session.records, session.newer)
        if unknown:
            for problem in unknown:
                sink.send(events.problem(problem))
            return NOTHING_TOUCHED
        rows = status.rows(self.kernel, names, session.records, session.newer)
        listed = loaded.configuration.list if loaded is not None else ()
        changed = self.changed.of(loaded, session.records) if loaded is not None else []
        waiting = {*self.restarts.waiting(), *session.jobs.starts()}
        for row in rows:
            name = row["name"]
            row["changed"] = name in changed
            row["note"] = self.restarts.notes.get(name) or row["note"]
            if name in waiting and row["state"] == "stopped":
                row["state"] = "waiting"
            if name not in listed and name in session.records:
                row["note"] = ", ".join(filter(None, (row["note"], "not listed")))
        sink.send(events.status(rows))
        return DONE


def _look_failed(error: OSError) -> Event:
    return events.problem(Problem.of("host_look_failed", why=error.strerror or error))


class LogSink:
    """Writes the events of a request that has no client to the log."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def send(self, event: Event) -> None:
        """A line for the log, if the event is worth one."""
        if event["event"] == "problem":
            self._log.error("%s", event["problem"]["text"])
        elif event["event"] == "applied":
            self._log.info("%s: applied: %s; needs restart: %s", event["name"],
                           " ".join(event["applied"]), " ".join(event["restart"]))


async def open_daemon(make: Callable[[], Daemon]) -> Daemon:
    """Make a service, waiting for the one before it to close the journal.

    Raises VimageError: state_busy after LOCKED_WITHIN seconds, state_unwritable.
    """
    waited = 0.0
    while True:
        try:
            return make()
        except VimageError as error:
            if error.problem.key != "state_busy" or waited >= LOCKED_WITHIN:
                raise
        await asyncio.sleep(LOCKED_PAUSE)
        waited += LOCKED_PAUSE


def execute_installed_version(arguments: Sequence[str]) -> None:
    """Put the installed version in place of this process.  Does not return."""
    os.execv(sys.executable, [sys.executable, *arguments])
