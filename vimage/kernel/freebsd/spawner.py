"""The helper process: starts commands and enters jails on behalf of the service.

It has one thread and does nothing else, so forking it is cheap and safe at any time.  It is
forked early from the service, or run as a program of its own (``python -I -S spawner.py``)
when that has threads by then.  Two channels join them: descriptor 3 for operations that the
service waits for, 4 for commands.  It ends when the service closes one of them or dies;
what it started runs on.

Requests                                        answers
  enter ID JID WORK ARGUMENT                      result ID VALUE [+ descriptors]
                                                  error ID ERRNO
  start ID ARGV ENVIRONMENT DIRECTORY [+ fd]      started ID PID START
    (a command on the host)                       error ID ERRNO
  start_in ID JID ARGV ENVIRONMENT DIRECTORY [+ fd]
    (a command in a jail)                         the same
                                                  ended PID STATUS (once, after started)
  kill PID SIGNAL                                 none

JID is 1 or more, or the answer is EINVAL: what is meant for a jail never runs on the host.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import socket
import sys
import time
from typing import Any, NoReturn

if __name__ == "__main__":
    sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3)))

from vimage.kernel import JailId
from vimage.kernel.freebsd import enter, libc, procs
from vimage.kernel.freebsd.channel import Channel, pair

ENTER_TIMEOUT = 5.0  # seconds that work inside a jail may take
START_TIMEOUT = 10.0  # seconds from fork to exec
KILL_AGAIN = 0.2  # seconds; see Helper.expire

SYNC_FD, COMMAND_FD = 3, 4


class Child:
    """A process that was forked and is not yet waited for."""

    def __init__(self, pid: int, channel: Channel, request: int, timeout: float) -> None:
        self.pid = pid
        self.channel = channel
        self.request = request
        self.deadline = time.monotonic() + timeout
        self.pending = True  # the request is not yet answered
        self.started = False  # a command that runs
        self.start = ""

    #: What tells that the child has got on: a pipe or a channel.
    watch: Any = None


class Helper:
    """The loop of the helper process."""

    def __init__(self, sync: Channel, commands: Channel) -> None:
        self.null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.poll = select.poll()
        self.channels = {channel.fileno(): channel for channel in (sync, commands)}
        self.commands = commands
        self.children: dict[int, Child] = {}
        self.watched: dict[int, Child] = {}
        self.doomed: dict[int, Child] = {}
        self.wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for fd in (*self.channels, self.wake):
            self.poll.register(fd, select.POLLIN)
        self.work = _work()
        self.close_from = libc.raw("closefrom")

    def run(self) -> None:
        """Until the service closes a channel."""
        while True:
            for fd, _ in self.poll.poll(self.timeout()):
                if fd == self.wake:
                    os.read(self.wake, 4096)
                elif fd in self.channels:
                    if not self.serve(self.channels[fd]):
                        return
                elif fd in self.watched:
                    self.progress(self.watched[fd])
            self.reap()
            self.expire()

    def timeout(self) -> int | None:
        """Milliseconds until the first deadline."""
        waiting = [*self.watched.values(), *self.doomed.values()]
        if not waiting:
            return None
        first = min(child.deadline for child in waiting)
        return max(0, int((first - time.monotonic()) * 1000) + 1)

    def serve(self, channel: Channel) -> bool:
        """Carry out what has arrived on a channel; False at its end."""
        try:
            messages = channel.receive()
            self.answer(channel)
        except (EOFError, ConnectionError):
            return False
        for message, fds in messages:
            verb, *arguments = message
            try:
                getattr(self, "do_" + verb)(channel, fds, *arguments)
            except OSError as error:
                if verb != "kill":
                    self.answer(channel, ("error", arguments[0], error.errno or errno.EIO))
            finally:
                for fd in fds:
                    os.close(fd)
        return True

    def answer(self, channel: Channel, message: tuple[Any, ...] | None = None,
               fds: tuple[int, ...] | list[int] = ()) -> None:
        """Send an answer, or what is left of earlier ones."""
        done = channel.flush() if message is None else channel.send(message, fds)
        self.poll.modify(channel.fileno(), select.POLLIN if done
                         else select.POLLIN | select.POLLOUT)

    # -- requests ----------------------------------------------------------------------

    def do_start(self, channel: Channel, fds: list[int], request: int, argv: list[str],
                 environment: dict[str, str] | None, directory: str) -> None:
        self.start(channel, fds, request, enter.Program(argv, environment, directory))

    def do_start_in(self, channel: Channel, fds: list[int], request: int, jid: int,
                    argv: list[str], environment: dict[str, str] | None, directory: str) -> None:
        program = enter.Program(argv, environment, directory).in_jail(_jail(jid))
        self.start(channel, fds, request, program)

    def start(self, channel: Channel, fds: list[int], request: int, program: enter.Program,
              ) -> None:
        end, failed = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            self.become(program, fds[0] if fds else self.null, failed)
        os.close(failed)
        child = self.add(Child(pid, channel, request, START_TIMEOUT), end)
        child.start = _start_time(pid)

    def do_enter(self, channel: Channel, fds: list[int], request: int, jid: int, work: str,
                 argument: Any) -> None:
        jail = _jail(jid)
        ours, theirs = pair()
        pid = os.fork()
        if pid == 0:
            self.work_inside(theirs, jail, work, argument)
        theirs.close()
        self.add(Child(pid, channel, request, ENTER_TIMEOUT), Channel(ours))

    def do_kill(self, channel: Channel, fds: list[int], pid: int, number: int) -> None:
        """Only what is not yet waited for: its number can belong to nobody else."""
        child = self.children.get(pid)
        if child is not None and child.started:
            os.killpg(pid, number)
            if number == signal.SIGKILL:
                self.doom(child)

    # -- in the child ------------------------------------------------------------------

    def become(self, program: enter.Program, output: int, failed: int) -> NoReturn:
        """The child that is to run a command."""
        number = errno.EIO
        try:
            os.setsid()
            os.dup2(self.null, 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            if failed != 3:
                os.dup2(failed, 3, inheritable=False)
            self.close_from(4)
            number = program.become()
        except OSError as error:
            number = error.errno or number
        finally:
            os.write(3, number.to_bytes(4, "little"))
            os._exit(127)

    def work_inside(self, end: socket.socket, jail: JailId, work: str, argument: Any) -> NoReturn:
        """The child that is to do something in a jail."""
        try:
            if end.fileno() != 3:
                os.dup2(end.detach(), 3, inheritable=False)
                end = socket.socket(fileno=3)
            self.close_from(4)
            answer, fds = self.inside(jail, work, argument)
            channel = Channel(end)
            end.setblocking(True)
            channel.send(answer, fds)
        finally:
            os._exit(0)

    def inside(self, jail: JailId, work: str, argument: Any) -> tuple[tuple[Any, ...], list[int]]:
        try:
            enter.untraceable()
            number = enter.attach(jail)
            if number:
                return ("error", number), []
            value, fds = self.work[work](argument)
            return ("result", value), fds
        except OSError as error:
            return ("error", error.errno or errno.EIO), []

    # -- children ----------------------------------------------------------------------

    def add(self, child: Child, watch: int | Channel) -> Child:
        child.watch = watch
        fd = watch if isinstance(watch, int) else watch.fileno()
        self.children[child.pid] = child
        self.watched[fd] = child
        self.poll.register(fd, select.POLLIN)
        return child

    def progress(self, child: Child) -> None:
        """A pipe that ends: the program runs.  Four bytes in it: the errno of the exec."""
        if isinstance(child.watch, int):
            data = os.read(child.watch, 4)
            if data:
                self.finish(child, ("error", child.request, int.from_bytes(data, "little")))
            else:
                child.started = True
                self.finish(child, ("started", child.request, child.pid, child.start))
            return
        try:
            for (kind, value), fds in child.watch.receive():
                self.finish(child, (kind, child.request, value), fds)
                return
        except EOFError:
            self.finish(child, ("error", child.request, errno.EINTR))

    def finish(self, child: Child, message: tuple[Any, ...],
               fds: list[int] | tuple[int, ...] = ()) -> None:
        """Answer the request that made a child, once."""
        watch = child.watch
        fd = watch if isinstance(watch, int) else watch.fileno()
        del self.watched[fd]
        self.poll.unregister(fd)
        if isinstance(watch, int):
            os.close(watch)
        else:
            watch.close()
        child.pending = False
        self.answer(child.channel, message, fds)
        for passed in fds:
            os.close(passed)

    def reap(self) -> None:
        """Wait for every child that has ended."""
        while self.children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.doomed.pop(pid, None)
            child = self.children.pop(pid, None)
            if child is None:
                continue
            if child.pending:
                self.progress(child)
            if child.pending:  # a message that was cut short
                self.finish(child, ("error", child.request, errno.EINTR))
            if child.started:
                self.answer(self.commands, ("ended", pid, _exit_status(status)))

    def expire(self) -> None:
        """End the children that a jail holds up, and say so.

        SIGKILL is sent again until the child has gone: one that gets SIGSTOP while it
        exits is stopped in the middle of that, and only the next SIGKILL gets it on.
        """
        now = time.monotonic()
        for child in [child for child in self.watched.values() if child.deadline <= now]:
            self.finish(child, ("error", child.request, errno.ETIMEDOUT))
            self.doom(child)
        for child in [child for child in self.doomed.values() if child.deadline <= now]:
            self.doom(child)

    def doom(self, child: Child) -> None:
        """Kill a child, and look at it again a little later."""
        os.kill(child.pid, signal.SIGKILL)
        child.deadline = time.monotonic() + KILL_AGAIN
        self.doomed[child.pid] = child


def _jail(jid: int) -> JailId:
    """The jail of a request.  Raises OSError EINVAL for what is not one."""
    try:
        return JailId(jid)
    except ValueError:
        raise OSError(errno.EINVAL, f"not a jail id: {jid}") from None


def _exit_status(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _start_time(pid: int) -> str:
    return procs.Info(procs.read(pid)).start if enter.FREEBSD else ""


def _work() -> dict[str, Any]:
    """What can be done inside a jail, looked up before any is entered."""
    if not enter.FREEBSD:
        return {}
    from vimage.kernel.freebsd import inside
    return inside.WORK


def _signals() -> None:
    """Every signal as by default, but those that must not end this process: they get a
    handler that does nothing, which an exec sets back to the default by itself."""
    for number in signal.valid_signals():
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE,
                   signal.SIGXFSZ, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD,
                   signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, _ignore)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _ignore(number: int, frame: object) -> None:
    pass


def main() -> None:
    """The program: descriptors 3 and 4 are the channels, 0 to 2 are /dev/null."""
    gc.disable()
    libc.raw("closefrom")(COMMAND_FD + 1)
    if enter.FREEBSD:
        libc.raw("setproctitle")(b"-vimage: helper")
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    _signals()
    channels = []
    for fd in (SYNC_FD, COMMAND_FD):
        os.set_inheritable(fd, False)
        channels.append(Channel(socket.socket(fileno=fd)))
    Helper(*channels).run()


if __name__ == "__main__":
    main()
