"""The helper process: commands, their output, their ends, and its own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from vimage.kernel import HelperGone, HostCommand, JailId
from vimage.kernel.freebsd import enter, spawner
from vimage.kernel.freebsd.channel import Channel, Received, pair
from vimage.kernel.freebsd.helper import Helper
from vimage.kernel.freebsd.processes import HelperProcess, HelperProcesses

Body = Callable[[HelperProcesses], Awaitable[None]]


@pytest.fixture(params=["forked", "spawned"], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test with a helper that is forked, and with one that is spawned since this
    process has a thread."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    if request.param == "spawned":
        thread.start()
    yield
    end.set()
    if thread.is_alive():
        thread.join()


def run(body: Body) -> None:
    """Run ``body`` with a helper of its own."""
    async def main() -> None:
        processes = HelperProcesses()
        try:
            await asyncio.wait_for(body(processes), 60)
        finally:
            processes.close()
    asyncio.run(main())


async def output(processes: HelperProcesses, command: str) -> str:
    """What a shell command prints."""
    with tempfile.TemporaryFile() as stream:
        process = await processes.start(
            HostCommand(["/bin/sh", "-c", command], output=stream.fileno()))
        await process.wait()
        stream.seek(0)
        return stream.read().decode()


async def start(processes: HelperProcesses, *argv: str) -> HelperProcess:
    return await processes.start(HostCommand(argv))


@pytest.mark.parametrize(("command", "status"), [
    ("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_exit_status(command: str, status: int) -> None:
    async def body(processes: HelperProcesses) -> None:
        process = await start(processes, "sh", "-c", command)
        assert [*await asyncio.gather(process.wait(), process.wait())] == [status, status]
        assert await process.wait() == status
    run(body)


def test_what_a_command_gets() -> None:
    async def body(processes: HelperProcesses) -> None:
        assert sorted((await output(processes, "env")).split()) == [
            "HOME=/", "LOGNAME=root",
            "PATH=/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin",
            "PWD=/", "SHELL=/bin/sh", "TERM=dumb", "USER=root"]
        assert await output(processes, "umask; pwd; cat") == "0022\n/\n"
        assert await output(processes, "trap") == ""
    run(body)


def test_a_command_has_three_descriptors_and_default_signals(tmp_path: Path) -> None:
    """Asked of Python, which starts with what it was given."""
    program = ("import os, signal\n"
               "found = []\n"
               "for fd in range(256):\n"
               "    try: os.fstat(fd); found.append(fd)\n"
               "    except OSError: pass\n"
               "print(found, os.getsid(0) == os.getpid(), signal.getsignal(signal.SIGHUP),"
               " signal.pthread_sigmask(signal.SIG_BLOCK, ()))\n")
    script = tmp_path / "asks.py"
    script.write_text(program)

    async def body(processes: HelperProcesses) -> None:
        assert await output(processes, f"exec {sys.executable} -I {script}") == (
            "[0, 1, 2] True 0 set()\n")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run(body)
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize(("program", "number"), [
    ("no-such-program", errno.ENOENT), ("/no/such/program", errno.ENOENT),
    ("/etc/passwd", errno.EACCES), ("/", errno.EACCES)])
def test_what_cannot_be_started(program: str, number: int) -> None:
    async def body(processes: HelperProcesses) -> None:
        with pytest.raises(OSError) as caught:
            await start(processes, program)
        assert (caught.value.errno, caught.value.filename) == (number, program)
    run(body)


def test_kill_ends_the_whole_group(tmp_path: Path) -> None:
    async def body(processes: HelperProcesses) -> None:
        marker = tmp_path / "pid"
        process = await start(processes, "sh", "-c", f"sleep 50 & echo $! >{marker}; wait")
        while not marker.exists() or not marker.read_text():
            await asyncio.sleep(0.01)
        process.kill(signal.SIGKILL)
        assert await process.wait() == 137
        process.kill(signal.SIGKILL)
        pid = int(marker.read_text())
        for _ in range(200):
            if not alive(pid):
                return
            await asyncio.sleep(0.01)
        pytest.fail("the child of the command still runs")
    run(body)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")  # Linux: nobody waits for it in a container
    return not (status.exists() and status.read_text().split(")")[1].split()[0] == "Z")


def test_many_at_once() -> None:
    async def body(processes: HelperProcesses) -> None:
        started = await asyncio.gather(*(start(processes, "sh", "-c", f"exit {number % 100}")
                                         for number in range(200)))
        assert await asyncio.gather(*(process.wait() for process in started)) == [
            number % 100 for number in range(200)]
        assert len({process.id.pid for process in started}) == 200
    run(body)


def test_long_arguments() -> None:
    async def body(processes: HelperProcesses) -> None:
        word = "x" * 100_000
        assert await output(processes, f"printf %s {word}") == word
    run(body)


def test_a_helper_that_dies_is_noticed_and_replaced() -> None:
    async def body(processes: HelperProcesses) -> None:
        process = await start(processes, "sleep", "50")
        os.kill(processes._helper.pid, signal.SIGKILL)
        with pytest.raises(HelperGone):
            await process.wait()
        os.killpg(process.id.pid, signal.SIGKILL)
        again = await start(processes, "sh", "-c", "exit 3")
        assert await again.wait() == 3
    run(body)


def test_what_the_helper_started_outlives_it() -> None:
    async def body(processes: HelperProcesses) -> None:
        process = await start(processes, "sleep", "50")
        helper = processes._helper.pid
        processes.close()
        assert not alive(helper)
        assert alive(process.id.pid)
        os.kill(process.id.pid, signal.SIGKILL)
    run(body)


def test_another_loop_starts_afresh() -> None:
    processes = HelperProcesses()

    async def begin() -> HelperProcess:
        return await start(processes, "sh", "-c", "sleep 0.2")

    async def go_on() -> None:
        assert await (await start(processes, "sh", "-c", "sleep 0.5; exit 4")).wait() == 4
    asyncio.run(begin())
    asyncio.run(go_on())
    processes.close()


def test_signals_do_not_end_the_helper() -> None:
    async def body(processes: HelperProcesses) -> None:
        assert await (await start(processes, "true")).wait() == 0
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGTSTP):
            os.kill(processes._helper.pid, number)
        assert await (await start(processes, "sh", "-c", "exit 5")).wait() == 5
    run(body)


def test_work_without_a_jail_fails_clearly() -> None:
    helper = Helper()
    try:
        with pytest.raises(OSError) as caught:
            helper.enter(JailId(999_999), "kill", 0)
        assert caught.value.errno in (errno.ENOENT, errno.ENOSYS)
        os.kill(helper.pid, signal.SIGKILL)
        time.sleep(0.05)
        with pytest.raises(OSError) as caught:  # by a new helper
            helper.enter(JailId(999_999), "kill", 0)
        assert caught.value.errno in (errno.ENOENT, errno.ENOSYS)
    finally:
        helper.close()


def kill_helper(processes: HelperProcesses) -> None:
    """Returns when it is dead."""
    helper = processes._helper.pid
    os.kill(helper, signal.SIGKILL)
    os.waitid(os.P_PID, helper, os.WEXITED | os.WNOWAIT)


def test_a_helper_that_died_in_silence_is_replaced_for_the_next_command() -> None:
    async def body(processes: HelperProcesses) -> None:
        kill_helper(processes)
        assert await (await start(processes, "sh", "-c", "exit 6")).wait() == 6
    run(body)


def test_channel_keeps_what_does_not_fit() -> None:
    ours, theirs = (Channel(end) for end in pair())
    big = "x" * 3_000_000
    end, other = os.pipe()
    assert not ours.send(("big", big), [end])
    assert not ours.send(("small",), [other])
    os.close(end)
    os.close(other)
    received: list[Received] = []
    while len(received) < 2:
        ours.flush()
        received += theirs.receive()
    assert [message for message, _ in received] == [("big", big), ("small",)]
    (first,), (second,) = (fds or [] for _, fds in received)
    os.write(second, b"through")
    assert os.read(first, 100) == b"through"
    ours.close()
    with pytest.raises(EOFError):
        theirs.receive()
    theirs.close()
    os.close(first)
    os.close(second)


@pytest.mark.parametrize("jid", [0, -1])
@pytest.mark.parametrize("request_", [
    ("enter", 1, "JID", "interfaces", None),
    ("start_in", 1, "JID", ["/usr/bin/true"], None, "/"),
])
def test_the_helper_refuses_what_is_not_a_jail(jid: int, request_: tuple[object, ...]) -> None:
    """The last line of defence: nothing that comes over the channel runs on the host for it."""
    (a, b), (c, d) = pair(), pair()
    helper, service = spawner.HelperLoop(Channel(b), Channel(d)), Channel(c)
    service.send(tuple(jid if word == "JID" else word for word in request_))
    assert helper.serve(helper.commands)
    assert helper.children == {}
    assert service.receive() == [(("error", 1, errno.EINVAL), [])]
    signal.set_wakeup_fd(-1)
    for end in (a, b, c, d):
        end.close()


def test_a_program_for_a_jail_never_runs_without_it() -> None:
    with pytest.raises(ValueError, match="not a jail id"):
        enter.Program(["true"]).in_jail(0)  # type: ignore[arg-type]
    assert enter.attach(0) == errno.EINVAL


# -- process groups ------------------------------------------------------------------------


async def pid_in(file: Path) -> int:
    """The number that a command writes."""
    while not file.exists() or not file.read_text().endswith("\n"):
        await asyncio.sleep(0.01)
    return int(file.read_text())


async def gone(pid: int) -> bool:
    for _ in range(200):
        if not alive(pid):
            return True
        await asyncio.sleep(0.01)
    return False


#: A child that ignores TERM in the group of a shell that does not.
STUBBORN = "(trap '' TERM; exec sleep 50) & echo $! >{}; wait"


def test_end_reaches_what_ignores_term_after_the_leader_has_ended(tmp_path: Path) -> None:
    async def body(processes: HelperProcesses) -> None:
        process = await start(processes, "sh", "-c", STUBBORN.format(tmp_path / "pid"))
        child = await pid_in(tmp_path / "pid")
        await asyncio.sleep(0.1)  # until its trap is set
        assert await process.end(0.3) == 128 + signal.SIGTERM
        assert not alive(child)
    run(body)


def test_end_gives_the_rest_of_a_group_its_time(tmp_path: Path) -> None:
    """What needs a moment after TERM gets it, although its shell has ended at once."""
    tidy = tmp_path / "tidied"
    script = tmp_path / "tidies"
    script.write_text(f"trap 'sleep 0.3; echo done >{tidy}; exit' TERM\n"
                      f"echo $$ >{tmp_path / 'pid'}\nwhile :; do sleep 0.05; done\n")

    async def body(processes: HelperProcesses) -> None:
        process = await start(processes, "sh", "-c", f"sh {script} & wait")
        child = await pid_in(tmp_path / "pid")
        before = time.monotonic()
        await process.end(20)
        assert time.monotonic() - before < 10
        assert tidy.read_text() == "done\n" and not alive(child)
    run(body)


def test_end_of_a_group_that_obeys_is_quick(tmp_path: Path) -> None:
    async def body(processes: HelperProcesses) -> None:
        process = await start(processes, "sh", "-c", "sleep 50 & wait")
        before = time.monotonic()
        assert await process.end(20) == 128 + signal.SIGTERM
        assert time.monotonic() - before < 5
        assert await process.end(20) == 128 + signal.SIGTERM
    run(body)


def test_others_end_and_are_waited_for_while_a_group_is_being_ended(tmp_path: Path) -> None:
    async def body(processes: HelperProcesses) -> None:
        process = await start(processes, "sh", "-c", STUBBORN.format(tmp_path / "pid"))
        await pid_in(tmp_path / "pid")
        await asyncio.sleep(0.1)
        ending = asyncio.create_task(process.end(50))
        for number in range(5):
            other = await start(processes, "sh", "-c", f"exit {number}")
            assert await other.wait() == number
        assert not ending.done()
        process.kill(signal.SIGKILL)
        assert await ending == 128 + signal.SIGTERM
    run(body)


def test_a_cancelled_end_goes_on(tmp_path: Path) -> None:
    async def body(processes: HelperProcesses) -> None:
        process = await start(processes, "sh", "-c", STUBBORN.format(tmp_path / "pid"))
        child = await pid_in(tmp_path / "pid")
        await asyncio.sleep(0.1)
        ending = asyncio.create_task(process.end(0.3))
        await asyncio.sleep(0.05)
        ending.cancel()
        assert await process.wait() == 128 + signal.SIGTERM
        assert not alive(child)
    run(body)


def test_a_service_that_dies_leaves_nothing_that_it_was_ending(tmp_path: Path) -> None:
    async def body(processes: HelperProcesses) -> None:
        process = await start(processes, "sh", "-c", STUBBORN.format(tmp_path / "pid"))
        child = await pid_in(tmp_path / "pid")
        await asyncio.sleep(0.1)
        ending = asyncio.create_task(process.end(30))
        await asyncio.sleep(0.1)
        processes.close()
        assert await gone(child)
        ending.cancel()
    run(body)


def test_what_ends_by_itself_leaves_its_background_alone(tmp_path: Path) -> None:
    """As a shell would: a hook may start a daemon."""
    async def body(processes: HelperProcesses) -> None:
        process = await start(processes, "sh", "-c", f"sleep 50 & echo $! >{tmp_path / 'pid'}")
        assert await process.wait() == 0
        child = await pid_in(tmp_path / "pid")
        await process.end(0.1)
        assert alive(child)
        os.kill(child, signal.SIGKILL)
    run(body)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8])
def test_a_cancelled_start_leaves_nothing(tmp_path: Path, turns: int) -> None:
    """Whenever it is cancelled: neither the command nor what that has started runs on."""
    marker = f"sleep {50 + turns}.{os.getpid()}"

    async def body(processes: HelperProcesses) -> None:
        starting = asyncio.create_task(start(processes, "sh", "-c", f"{marker} & {marker}"))
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        starting.cancel()
        result, = await asyncio.gather(starting, return_exceptions=True)
        if isinstance(result, HelperProcess):  # it was there already
            await result.end(0)
        else:
            assert isinstance(result, asyncio.CancelledError)
        assert running(marker) == []
        assert (processes._starting, processes._running) == ({}, {})
        assert await (await start(processes, "sh", "-c", "exit 3")).wait() == 3
    run(body)


def test_a_start_that_is_cancelled_as_its_answer_comes_leaves_nothing(
        monkeypatch: pytest.MonkeyPatch) -> None:
    marker = f"sleep 61.{os.getpid()}"

    async def body(processes: HelperProcesses) -> None:
        report = processes._report

        def report_and_cancel(verb: str, number: int, *values: object) -> None:
            if verb == "started":
                starting.cancel()
            report(verb, number, *values)
        monkeypatch.setattr(processes, "_report", report_and_cancel)
        starting = asyncio.create_task(start(processes, "sh", "-c", f"{marker}; true"))
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert running(marker) == []
    run(body)


def running(command: str) -> list[str]:
    """The processes with these words in their command."""
    listed = subprocess.run(["ps", "-axww", "-o", "pid=,stat=,args="], capture_output=True,
                            text=True, check=True).stdout
    return [line for line in listed.splitlines()
            if command in line and " Z" not in line and " ps " not in line]


# -- when something is refused -----------------------------------------------------------------


@pytest.fixture
def inner() -> Iterator[tuple[spawner.HelperLoop, Channel, Channel]]:
    """The loop of the helper in this process, and the service's ends of both channels."""
    (a, b), (c, d) = pair(), pair()
    helper = spawner.HelperLoop(Channel(b), Channel(d))
    yield helper, Channel(a), Channel(c)
    signal.set_wakeup_fd(-1)
    for end in (a, b, c, d):
        end.close()
    os.close(helper.null)
    os.close(helper.wake)


def descriptors() -> int:
    """How many this process has open."""
    found = 0
    for fd in range(512):
        with contextlib.suppress(OSError):
            os.fstat(fd)
            found += 1
    return found


REQUESTS = [("start", 1, ["/usr/bin/true"], None, "/"),
            ("start_in", 1, 7, ["/usr/bin/true"], None, "/"),
            ("enter", 1, 7, "interfaces", None)]


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize(("function", "number"), [
    ("os.fork", errno.EAGAIN), ("os.pipe2", errno.EMFILE), ("socket.socketpair", errno.EMFILE)])
def test_what_is_refused_is_answered_and_leaks_nothing(
        inner: tuple[spawner.HelperLoop, Channel, Channel], monkeypatch: pytest.MonkeyPatch,
        request_: tuple[object, ...], function: str, number: int) -> None:
    helper, sync, commands = inner
    if function == ("os.pipe2" if request_[0] == "enter" else "socket.socketpair"):
        pytest.skip("not called for this request")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    channel, ours = ((sync, 0) if request_[0] == "enter" else (commands, 1))
    before = descriptors()
    with open(os.devnull, "wb") as output:
        with monkeypatch.context() as patched:
            patched.setattr(function, refuse)
            for _ in range(20):
                channel.send(request_, [output.fileno()] if request_[0] != "enter" else [])
                assert helper.serve([*helper.channels.values()][ours])
        assert channel.receive() == [(("error", 1, number), [])] * 20
    assert descriptors() == before
    assert helper.children == helper.watched == {}


def test_a_helper_that_cannot_be_started_leaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    helper = Helper()
    before = descriptors()
    with monkeypatch.context() as patched:
        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EAGAIN, "refused")
        patched.setattr("os.fork", refuse)
        patched.setattr("os.posix_spawn", refuse)
        for _ in range(10):
            with pytest.raises(BlockingIOError):
                helper.start()
    assert descriptors() == before
    helper.start()
    helper.close()
    assert descriptors() == before


@pytest.mark.parametrize("room", [0, 1])
def test_descriptors_for_which_there_is_no_room_are_reported(room: int) -> None:
    """The message arrives all the same, those before and after it as well."""
    import resource

    ours, theirs = (Channel(end) for end in pair())
    with open(os.devnull, "rb") as one, open(os.devnull, "rb") as two:
        ours.send(("before",))
        ours.send(("with", 1), [one.fileno(), two.fileno()])
        ours.send(("after",))
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + room, limits[1]))
        try:
            received: list[Received] = []
            while len(received) < 3:
                received += theirs.receive()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert received == [(("before",), []), (("with", 1), None), (("after",), [])]
        ours.send(("again",), [one.fileno()])
        (_, fds), = theirs.receive()
        assert fds is not None and len(fds) == 1
        os.close(fds[0])
    ours.close()
    theirs.close()


def test_a_send_that_fails_half_way_sends_the_rest_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOBUFS, and no room for a copy of a descriptor: nothing is lost, and nothing leaks."""
    ours, theirs = (Channel(end) for end in pair())
    before = descriptors()
    big = "x" * 3_000_000
    assert not ours.send(("big", big))
    with open(os.devnull, "rb") as one, monkeypatch.context() as patched:
        copies: list[int] = []

        def dup(fd: int) -> int:
            if copies:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            copies.append(real(fd))
            return copies[0]
        real = os.dup
        patched.setattr("os.dup", dup)
        with pytest.raises(OSError):
            ours.send(("never",), [one.fileno(), one.fileno()])
    assert descriptors() == before
    assert not ours.send(("last",))
    received: list[Received] = []
    while len(received) < 2:
        ours.flush()
        received += theirs.receive()
    assert [message for message, _ in received] == [("big", big), ("last",)]
    ours.close()
    theirs.close()


# -- several at once -------------------------------------------------------------------------------


def slow_helper(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Visits to jail 1 take that long, others none; there need be no jail."""
    def inside(self: spawner.HelperLoop, jail: JailId, work: str, argument: object) -> object:
        if jail == 1:
            time.sleep(seconds)
        return ("result", int(jail)), []
    monkeypatch.setattr(spawner.HelperLoop, "inside", inside)


def test_a_visit_that_takes_long_holds_up_neither_commands_nor_other_visits(
        monkeypatch: pytest.MonkeyPatch, threads: None) -> None:
    if threading.active_count() > 1:
        pytest.skip("the helper has to be a copy of this process")
    slow_helper(monkeypatch, 2.0)
    helper = Helper()

    async def main() -> None:
        processes = HelperProcesses(helper)
        loop = asyncio.get_running_loop()
        before = time.monotonic()
        slow = loop.run_in_executor(None, helper.enter, JailId(1), "interfaces")
        await asyncio.sleep(0.1)
        assert await (await start(processes, "true")).wait() == 0
        others = [loop.run_in_executor(None, helper.enter, JailId(n), "interfaces")
                  for n in (2, 3, 4)]
        assert [value for value, _ in await asyncio.gather(*others)] == [2, 3, 4]
        assert time.monotonic() - before < 1.5
        assert not slow.done()
        assert await slow == (1, [])
        processes.close()

    asyncio.run(main())


def test_a_helper_that_dies_is_noticed_by_every_visitor(monkeypatch: pytest.MonkeyPatch,
                                                        threads: None) -> None:
    if threading.active_count() > 1:
        pytest.skip("the helper has to be a copy of this process")
    slow_helper(monkeypatch, 30.0)
    helper = Helper()

    async def main() -> None:
        processes = HelperProcesses(helper)
        running = await start(processes, "sleep", "50")
        loop = asyncio.get_running_loop()
        visits = [loop.run_in_executor(None, helper.enter, JailId(1), "interfaces")
                  for _ in range(3)]
        await asyncio.sleep(0.2)
        os.kill(helper.pid, signal.SIGKILL)
        found = await asyncio.gather(*visits, running.wait(), return_exceptions=True)
        assert [type(error) for error in found] == [HelperGone] * 4
        again = await start(processes, "sh", "-c", "exit 6")
        assert await again.wait() == 6
        assert await running.end(1) is None
        assert not alive(running.id.pid)
        processes.close()

    asyncio.run(main())


def test_a_pending_start_hears_of_the_end_of_the_helper() -> None:
    async def body(processes: HelperProcesses) -> None:
        os.kill(processes._helper.pid, signal.SIGSTOP)
        starting = asyncio.create_task(start(processes, "true"))
        await asyncio.sleep(0.05)
        os.kill(processes._helper.pid, signal.SIGKILL)
        with pytest.raises(HelperGone):
            await starting
        assert await (await start(processes, "sh", "-c", "exit 6")).wait() == 6
    run(body)


def test_after_many_helpers_there_are_as_many_descriptors() -> None:
    async def body(processes: HelperProcesses) -> None:
        await (await start(processes, "true")).wait()
        before = descriptors()
        for _ in range(5):
            kill_helper(processes)
            await (await start(processes, "true")).wait()
        assert descriptors() == before
    run(body)
