"""The helper process: commands, their output, their ends, and its own."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from vimage.kernel import HostCommand, JailId
from vimage.kernel.freebsd import enter, spawner
from vimage.kernel.freebsd.channel import Channel, pair
from vimage.kernel.freebsd.helper import Helper, HelperGone
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
            "HOME=/", "PATH=/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin",
            "PWD=/", "SHELL=/bin/sh", "USER=root"]
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
        with pytest.raises(HelperGone):
            helper.enter(JailId(999_999), "kill", 0)
    finally:
        helper.close()


def test_channel_keeps_what_does_not_fit() -> None:
    ours, theirs = (Channel(end) for end in pair())
    big = "x" * 3_000_000
    end, other = os.pipe()
    assert not ours.send(("big", big), [end])
    assert not ours.send(("small",), [other])
    os.close(end)
    os.close(other)
    received: list[tuple[tuple[object, ...], list[int]]] = []
    while len(received) < 2:
        ours.flush()
        received += theirs.receive()
    assert [message for message, _ in received] == [("big", big), ("small",)]
    os.write(received[1][1][0], b"through")
    assert os.read(received[0][1][0], 100) == b"through"
    ours.close()
    with pytest.raises(EOFError):
        theirs.receive()
    theirs.close()
    for _, fds in received:
        for fd in fds:
            os.close(fd)


@pytest.mark.parametrize("jid", [0, -1])
@pytest.mark.parametrize("request_", [
    ("enter", 1, "JID", "interfaces", None),
    ("start_in", 1, "JID", ["/usr/bin/true"], None, "/"),
])
def test_the_helper_refuses_what_is_not_a_jail(jid: int, request_: tuple[object, ...]) -> None:
    """The last line of defence: nothing that comes over the channel runs on the host for it."""
    (a, b), (c, d) = pair(), pair()
    helper, service = spawner.Helper(Channel(b), Channel(d)), Channel(c)
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
