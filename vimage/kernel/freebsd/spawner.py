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
                                                  ended PID STATUS (once, after started)
  start_in ID JID ARGV ENVIRONMENT DIRECTORY [+ fd]
    (a command in a jail)                         the same
  cancel ID    end what start ID began            error ID ECANCELED, or ended
  kill PID SIGNAL                                 none
  end PID GRACE                                   ended, when its whole group has ended

JID is 1 or more, or the answer is EINVAL: what is meant for a jail never runs on the host.

A process group is signalled only while the process that leads it is not waited for: until
then no other process or group can get its number.
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
from collections.abc import Sequence
from typing import Any, NoReturn

if __name__ == "__main__":
    sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3)))

from vimage.kernel import JailId
from vimage.kernel.freebsd import enter, libc, procs
from vimage.kernel.freebsd.channel import Channel, Received, close_all, pair

ENTER_TIMEOUT = 5.0  # seconds that work inside a jail may take
START_TIMEOUT = 10.0  # seconds from fork to exec
KILL_AGAIN = 0.2  # seconds; see HelperLoop.doom
LOOK_AGAIN = 0.01  # seconds until the first look at a group that is to end; then twice as long

SYNC_FD, COMMAND_FD = 3, 4


class Child:
    """A process that was forked and is not yet waited for."""

    def __init__(self, pid: int, channel: Channel, request: int, timeout: float,
                 watch: int | Channel) -> None:
        self.pid = pid
        self.channel = channel
        self.request = request
        self.deadline = time.monotonic() + timeout
        self.watch = watch  # what tells that the child has got on: a pipe or a channel
        self.pending = True  # the request is not yet answered
        self.started = False  # a command that runs
        self.cancelled = False  # a command that nobody waits for any more
        self.start = ""
        # Of a group that is to end: when what is left of it gets SIGKILL, when to look at it.
        self.kill_at = 0.0
        self.look_at = 0.0
        self.pause = LOOK_AGAIN

    @property
    def watched(self) -> int:
        return self.watch if isinstance(self.watch, int) else self.watch.fileno()


class HelperLoop:
    """The loop of the helper process."""

    def __init__(self, sync: Channel, commands: Channel) -> None:
        self.null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.poll = select.poll()
        self.channels = {channel.fileno(): channel for channel in (sync, commands)}
        self.commands = commands
        self.children: dict[int, Child] = {}
        self.watched: dict[int, Child] = {}
        self.doomed: dict[int, Child] = {}  # they got SIGKILL
        self.ending: dict[int, Child] = {}  # their groups are to end
        self.wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for fd in (*self.channels, self.wake):
            self.poll.register(fd, select.POLLIN)
        self.work = _work()
        self.close_from = libc.raw("closefrom")

    def run(self) -> None:
        """Until the service closes a channel."""
        try:
            while self.turn():
                pass
        except ConnectionError:
            pass
        finally:
            self.leave()

    def turn(self) -> bool:
        """Wait for something, and do it; False at the end of a channel."""
        for fd, _ in self.poll.poll(self.timeout()):
            if fd == self.wake:
                os.read(self.wake, 4096)
            elif fd in self.channels:
                if not self.serve(self.channels[fd]):
                    return False
            elif fd in self.watched:
                self.progress(self.watched[fd])
        self.reap()
        self.expire()
        return True

    def leave(self) -> None:
        """The service has gone.  What it started runs on; not what it was ending or had not
        been told of."""
        for child in self.children.values():
            if child.pid in self.ending or (child.pending and isinstance(child.watch, int)):
                self.kill_group(child)

    def timeout(self) -> int | None:
        """Milliseconds until the first deadline."""
        due = [child.deadline for child in (*self.watched.values(), *self.doomed.values())]
        due += [child.look_at for child in self.ending.values()]
        return max(0, int((min(due) - time.monotonic()) * 1000) + 1) if due else None

    def serve(self, channel: Channel) -> bool:
        """Carry out what has arrived on a channel; False at its end."""
        try:
            messages = channel.receive()
            self.flush(channel)
            for message in messages:
                self.carry_out(channel, message)
        except (EOFError, ConnectionError):
            return False
        return True

    def carry_out(self, channel: Channel, received: Received) -> None:
        """One request."""
        (verb, *arguments), fds = received
        try:
            if fds is None:
                raise OSError(errno.EMFILE, "the descriptors of a request were lost")
            getattr(self, "do_" + verb)(channel, fds, *arguments)
        except ConnectionError:
            raise
        except OSError as error:
            if verb in ("start", "start_in", "enter"):
                self.answer(channel, ("error", arguments[0], error.errno or errno.EIO))
        finally:
            close_all(fds or ())

    def flush(self, channel: Channel) -> None:
        """Send what is left of earlier answers."""
        self.watch_for(channel, all_sent=channel.flush())

    def answer(self, channel: Channel, message: tuple[Any, ...], fds: Sequence[int] = ()) -> None:
        self.watch_for(channel, all_sent=channel.send(message, fds))

    def watch_for(self, channel: Channel, *, all_sent: bool) -> None:
        self.poll.modify(channel.fileno(), select.POLLIN if all_sent
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
        try:
            pid = os.fork()
            if pid == 0:
                self.become(program, fds[0] if fds else self.null, failed)
        except OSError:
            os.close(end)
            raise
        finally:
            os.close(failed)
        child = self.add(Child(pid, channel, request, START_TIMEOUT, end))
        try:
            child.start = procs.start_of(pid)
        except OSError as error:
            self.finish(child, ("error", request, error.errno or errno.EIO))
            self.doom(child)

    def do_enter(self, channel: Channel, fds: list[int], request: int, jid: int, work: str,
                 argument: Any) -> None:
        jail = _jail(jid)
        ours, theirs = pair()
        try:
            pid = os.fork()
            if pid == 0:
                self.work_inside(theirs, jail, work, argument)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.add(Child(pid, channel, request, ENTER_TIMEOUT, Channel(ours)))

    def do_kill(self, channel: Channel, fds: list[int], pid: int, number: int) -> None:
        """Only what is not yet waited for: its number can belong to nobody else."""
        child = self.children.get(pid)
        if child is None or not child.started:
            return
        if number == signal.SIGKILL:
            self.end_group(child, 0.0)
        else:
            os.killpg(pid, number)

    def do_end(self, channel: Channel, fds: list[int], pid: int, grace: float) -> None:
        child = self.children.get(pid)
        if child is not None and child.started:
            self.end_group(child, grace)

    def do_cancel(self, channel: Channel, fds: list[int], request: int) -> None:
        for child in self.children.values():
            if child.request == request and child.channel is channel:
                if child.pending:
                    child.cancelled = True
                    self.unwatch(child)
                self.end_group(child, 0.0)
                return

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

    def add(self, child: Child) -> Child:
        self.children[child.pid] = child
        self.watched[child.watched] = child
        self.poll.register(child.watched, select.POLLIN)
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
                if fds is None:
                    self.finish(child, ("error", child.request, errno.EMFILE))
                else:
                    self.finish(child, (kind, child.request, value), fds)
                return
        except EOFError:
            self.finish(child, ("error", child.request, errno.EINTR))

    def finish(self, child: Child, message: tuple[Any, ...], fds: Sequence[int] = ()) -> None:
        """Answer the request that made a child, once."""
        self.unwatch(child)
        child.pending = False
        try:
            self.answer(child.channel, message, fds)
        except ConnectionError:
            raise
        except OSError as error:  # no descriptors left, for example
            self.answer(child.channel, ("error", child.request, error.errno or errno.EIO))
        finally:
            close_all(fds)

    def unwatch(self, child: Child) -> None:
        del self.watched[child.watched]
        self.poll.unregister(child.watched)
        if isinstance(child.watch, int):
            os.close(child.watch)
        else:
            child.watch.close()

    def reap(self) -> None:
        """Wait for every child that has ended.  The leader of a group that is to end is waited
        for when the group has ended, see ``look``."""
        if self.ending:
            for pid in [pid for pid in self.children if pid not in self.ending]:
                self.reap_one(pid)
            return
        while self.children and self.reap_one(-1):
            pass

    def reap_one(self, pid: int) -> bool:
        try:
            pid, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return False
        child = self.children.get(pid)
        if child is not None:
            self.ended(child, status)
        return pid != 0

    def ended(self, child: Child, status: int) -> None:
        """A child has ended and was waited for."""
        del self.children[child.pid]
        self.doomed.pop(child.pid, None)
        self.ending.pop(child.pid, None)
        if child.cancelled:
            self.answer(child.channel, ("error", child.request, errno.ECANCELED))
            return
        if child.pending:
            self.progress(child)
        if child.pending:  # a message that was cut short
            self.finish(child, ("error", child.request, errno.EINTR))
        if child.started:
            self.answer(self.commands, ("ended", child.pid, _exit_status(status)))

    def expire(self) -> None:
        """End what has taken too long, and say so; look at the groups that are to end."""
        now = time.monotonic()
        for child in [child for child in self.watched.values() if child.deadline <= now]:
            self.finish(child, ("error", child.request, errno.ETIMEDOUT))
            self.doom(child)
        for child in [child for child in self.doomed.values() if child.deadline <= now]:
            self.doom(child)
        for child in [child for child in self.ending.values() if child.look_at <= now]:
            self.look(child, now)

    def doom(self, child: Child) -> None:
        """Kill a child, and look at it again a little later.

        SIGKILL is sent again until the child has gone: one that gets SIGSTOP while it
        exits is stopped in the middle of that, and only the next SIGKILL gets it on.
        """
        os.kill(child.pid, signal.SIGKILL)
        child.deadline = time.monotonic() + KILL_AGAIN
        self.doomed[child.pid] = child

    # -- groups that are to end ----------------------------------------------------------

    def end_group(self, child: Child, grace: float) -> None:
        """SIGTERM to the whole group, after ``grace`` seconds SIGKILL to what is left."""
        now = time.monotonic()
        kill_at = now + grace
        if child.pid in self.ending:
            kill_at = min(kill_at, child.kill_at)
        elif grace > 0:
            self.signal_group(child, signal.SIGTERM)
        child.kill_at, child.look_at, child.pause = kill_at, now, LOOK_AGAIN
        self.ending[child.pid] = child
        self.look(child, now)

    def look(self, child: Child, now: float) -> None:
        """See whether a group has ended.  Its leader is waited for last."""
        leader_ended = os.waitid(os.P_PID, child.pid,
                                 os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        if leader_ended and not self.lives(child, now):
            _, status = os.waitpid(child.pid, 0)
            self.ended(child, status)
            return
        if child.kill_at <= now:
            self.kill_group(child)
        child.look_at = now + child.pause
        child.pause = min(2 * child.pause, KILL_AGAIN)
        if child.kill_at > now:
            child.look_at = min(child.look_at, child.kill_at)

    def lives(self, child: Child, now: float) -> bool:
        """Whether something of a group is left.  Where the kernel does not say: not any more
        after it got SIGKILL."""
        try:
            return bool(procs.group(child.pid))
        except OSError:
            return child.kill_at > now

    def kill_group(self, child: Child) -> None:
        self.signal_group(child, signal.SIGKILL)

    def signal_group(self, child: Child, number: int) -> None:
        """Signal the group that a child leads, and the child, which may lead none yet."""
        try:
            os.killpg(child.pid, number)
        except (ProcessLookupError, PermissionError):  # FreeBSD: EPERM where all have ended
            os.kill(child.pid, number)


def _jail(jid: int) -> JailId:
    """The jail of a request.  Raises OSError EINVAL for what is not one."""
    try:
        return JailId(jid)
    except ValueError:
        raise OSError(errno.EINVAL, f"not a jail id: {jid}") from None


def _exit_status(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


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
    HelperLoop(*channels).run()


if __name__ == "__main__":
    main()
