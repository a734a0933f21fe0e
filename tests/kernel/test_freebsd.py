"""What the kernel layer does on FreeBSD beyond the contract: size, hostile jails, odd moments."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.expect import cleared
from vimage.kernel import Iff, JailCommand, JailId

pytestmark = pytest.mark.freebsd


@pytest.fixture
def host() -> Iterator[Any]:
    from vimage.kernel.freebsd import FreeBSD
    host = FreeBSD()
    try:
        yield host
    finally:
        host.close()


@pytest.fixture
def undo() -> Iterator[contextlib.ExitStack]:
    """Calls at the end; an OSError means that it was done already."""
    with contextlib.ExitStack() as stack:
        yield stack


def later(undo: contextlib.ExitStack, function, *arguments) -> None:
    def attempt() -> None:
        with contextlib.suppress(OSError):
            function(*arguments)
    undo.callback(attempt)


@pytest.fixture
def jid(host, undo) -> JailId:
    """A VNET jail on the host's own files."""
    jid = host.jail_create({"name": f"k{os.getpid()}", "path": "/", "vnet": "new",
                            "persist": True})
    later(undo, remove, host, jid)
    return jid


def remove(host, jid: JailId) -> None:
    host.jail_remove(jid)
    for _ in range(1000):
        try:
            host.jail_get(jid)
        except OSError:
            return
        time.sleep(0.01)
    pytest.fail("the jail is not freed")


def seconds(function, *arguments) -> float:
    before = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - before


# -- netgraph ----------------------------------------------------------------------------


def test_a_thousand_hooks(host, undo) -> None:
    host.ng_mkpeer(".:", "bridge", "big", "link0")
    bridge = f"[{host.ng_node('.:big').id:x}]:"
    later(undo, host.ng_shutdown, bridge)
    for number in range(1, 1001):
        host.ng_mkpeer(bridge, "tee", f"link{number}", "left")
        later(undo, host.ng_shutdown, f"{bridge}link{number}")
    hooks = host.ng_hooks(bridge)
    assert len(hooks) == 1001
    assert sum(node.type == "tee" for node in host.ng_nodes()) == 1000


def test_a_name_of_31_characters(host, undo) -> None:
    host.ng_mkpeer(".:", "tee", "x", "left")
    name = "n" * 31
    host.ng_name(".:x", name)
    later(undo, host.ng_shutdown, f"{name}:")
    assert host.ng_node(f"{name}:").name == name


def test_the_socket_node_shut_down_by_somebody(host) -> None:
    own = host.ng_node(".:")
    assert own.name in (f"vimage{os.getpid()}", "")  # "": another socket of this process has it
    host.ng_shutdown(".:")
    again = host.ng_node(".:")
    assert again.id != own.id


# -- interfaces --------------------------------------------------------------------------


def test_all_interfaces_are_those_asked_for_one_by_one(host) -> None:
    every = host.if_list()
    assert {found.name for found in every} >= {"lo0"}
    for found in every:
        assert host.if_get(found.name) == found


def test_an_ipv6_address_is_usable_at_once(host, undo, jid) -> None:
    host.ng_mkpeer(".:", "eiface", "e", "ether")
    later(undo, host.ng_shutdown, ".:e")
    name = host.ng_eiface_ifname(".:e")
    host.ng_eiface_set_mac(".:e", "02:00:00:00:00:42")
    host.if_vmove(name, jid)
    vnet = host.vnet(jid)
    undo.callback(vnet.close)
    vnet.set_up(name)
    vnet.set_up("lo0")
    vnet.add_address(name, "2001:db8::2/64")
    vnet.add_address(name, "192.0.2.2/24")
    vnet.add_default_route("192.0.2.1")
    vnet.add_default_route("2001:db8::1")
    output = subprocess.run(["jexec", str(jid), "ifconfig", name], capture_output=True,
                            text=True, check=True).stdout
    [line] = [line for line in output.splitlines() if "2001:db8::2" in line]
    assert "tentative" not in line
    assert "prefixlen 64" in line
    assert "IFDISABLED" not in output
    assert "NO_DAD" not in output
    assert "ether 02:00:00:00:00:42" in output
    assert "inet 192.0.2.2 netmask 0xffffff00 broadcast 192.0.2.255" in output
    [found] = [found for found in vnet.interfaces() if found.name == name]
    assert (found.mac, found.driver[:5], Iff.UP in found.flags) == (
        "02:00:00:00:00:42", "ngeth", True)


# -- hostile jails -----------------------------------------------------------------------


@contextlib.contextmanager
def storm(jid: int, number: str) -> Iterator[None]:
    """A process of the jail that signals everything there all the time."""
    process = subprocess.Popen(
        ["jexec", str(jid), "/bin/sh", "-c",
         f"trap '' TERM; while :; do kill -{number} -1; done"],
        stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", ["STOP", "KILL"])
def test_a_jail_that_signals_whoever_enters(host, jid, number) -> None:
    async def commands() -> None:
        processes = host.processes()
        for _ in range(10):
            try:
                process = await processes.start(JailCommand(jid, ["/usr/bin/true"]))
            except OSError as error:
                assert error.errno == errno.ETIMEDOUT
                break
            process.kill(signal.SIGKILL)
            assert await process.wait() in (0, 137)

    with storm(jid, number):
        before = time.monotonic()
        for _ in range(5):
            with contextlib.suppress(OSError):
                host.vnet(jid).close()
            if time.monotonic() - before > 4:
                break
        asyncio.run(asyncio.wait_for(commands(), 60))
    assert cleared(host, jid, signal.SIGKILL) in (True, False)
    assert seconds(cleared, host, jid) < 5


def test_what_a_jail_kills_is_all_that_is_in_it(host, jid) -> None:
    inside = subprocess.Popen(["jexec", str(jid), "sleep", "100"])
    outside = subprocess.Popen(["sleep", "100"])
    try:
        while host.jail_of(inside.pid) != jid:
            time.sleep(0.01)
        assert not cleared(host, jid)
        assert not cleared(host, jid, signal.SIGKILL)
        assert inside.wait() == -signal.SIGKILL
        assert cleared(host, jid)
        assert outside.poll() is None
    finally:
        inside.kill()
        outside.kill()
        outside.wait()


@pytest.mark.skipif(shutil.which("truss") is None, reason="needs truss(1)")
@pytest.mark.parametrize("forbidden", [False, True])
def test_what_enters_a_jail_cannot_be_traced_there(jid, tmp_path, forbidden) -> None:
    """Without procctl(2), root of the jail would get hold of it with truss(1)."""
    from vimage.kernel.freebsd import enter
    pid = os.fork()
    if pid == 0:
        if forbidden:
            enter.untraceable()
        if enter.attach(jid) == 0:
            while True:
                time.sleep(0.05)
        os._exit(1)
    try:
        time.sleep(0.5)
        log = tmp_path / "truss"
        with subprocess.Popen(
                ["jexec", str(jid), "truss", "-o", str(log), "-p", str(pid)],
                stderr=subprocess.DEVNULL) as truss:
            time.sleep(3)
            truss.terminate()
        assert (log.exists() and log.stat().st_size > 0) is not forbidden
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# -- mounts --------------------------------------------------------------------------------


def test_stacked_mounts_are_told_apart(host, undo, tmp_path) -> None:
    (tmp_path / "dev").mkdir()
    directory = host.open_directory(str(tmp_path), "/dev")
    undo.callback(os.close, directory)
    before = os.getcwd()
    first = host.mount("tmpfs", directory, {"from": "tmpfs"})
    later(undo, lambda: host.unmount(first, force=True))
    second = host.mount("tmpfs", directory, {"from": "tmpfs", "ro": None})
    later(undo, lambda: host.unmount(second, force=True))
    assert first != second
    assert os.getcwd() == before
    here = [mount.fsid for mount in host.mounts() if mount.directory == str(tmp_path / "dev")]
    assert here == [first, second]
    with pytest.raises(OSError) as caught:  # the second is mounted on it
        host.unmount(first)
    assert caught.value.errno == errno.EBUSY
    host.unmount(second)
    assert [mount.fsid for mount in host.mounts()
            if mount.directory == str(tmp_path / "dev")] == [first]
    host.unmount(first)


def test_a_name_swapped_for_a_link_does_not_move_a_mount(host, undo, tmp_path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "elsewhere").mkdir()
    directory = host.open_directory(str(tmp_path), "/dev")
    undo.callback(os.close, directory)
    (tmp_path / "dev").rename(tmp_path / "old")
    (tmp_path / "dev").symlink_to("elsewhere")
    fsid = host.mount("tmpfs", directory, {"from": "tmpfs"})
    later(undo, lambda: host.unmount(fsid))
    [mount] = [mount for mount in host.mounts() if mount.fsid == fsid]
    assert mount.directory == str(tmp_path / "old")


def test_words_of_the_kernel_about_a_mount(host, undo, tmp_path) -> None:
    directory = host.open_directory(str(tmp_path), "/")
    undo.callback(os.close, directory)
    with pytest.raises(OSError) as caught:
        host.mount("tmpfs", directory, {"from": "tmpfs", "nonsense": "1"})
    assert caught.value.errno == errno.EINVAL
    assert "nonsense" in str(caught.value.strerror)


# -- processes -------------------------------------------------------------------------------


def test_a_command_in_a_jail(host, jid, tmp_path) -> None:
    async def main() -> None:
        processes = host.processes()
        log = tmp_path / "log"
        with log.open("wb") as stream:
            process = await processes.start(JailCommand(
                jid, ["sh", "-c", "sysctl -n security.jail.jailed; pwd;"
                      " procstat -f $$ | tail -n +2 | awk '{print $3}' | sort |"
                      " tr '\\n' ' '; exec sleep 100"],
                stream.fileno(), directory="/tmp"))
        assert host.jail_of(process.id.pid) == jid
        assert host.process(process.id.pid) == process.id
        for _ in range(300):
            if log.read_text().count("\n") >= 2 and "2 " in log.read_text():
                break
            await asyncio.sleep(0.02)
        assert log.read_text().split("\n")[:2] == ["1", "/tmp"]
        assert set(log.read_text().split("\n")[2].split()) <= {
            "0", "1", "2", "cwd", "root", "text", "jail", "ctty"}
        process.kill(signal.SIGTERM)
        assert await process.wait() == 143
        with pytest.raises(ProcessLookupError):
            host.process(process.id.pid)
        with pytest.raises(FileNotFoundError):
            await processes.start(JailCommand(JailId(999_999), ["true"]))
        with pytest.raises(FileNotFoundError):
            await processes.start(JailCommand(jid, ["no-such-program"]))
        assert not list(Path("/tmp").glob("nothing-here"))
    asyncio.run(main())


def test_a_command_run_in_the_foreground(jid) -> None:
    from vimage.kernel.freebsd import enter
    assert enter.execute(jid, ["sh", "-c", "exit 7"]) == 7
    assert enter.execute(jid, ["sh", "-c", "kill -9 $$"]) == 137
    with pytest.raises(FileNotFoundError):
        enter.execute(jid, ["no-such-program"])
    with pytest.raises(FileNotFoundError):
        enter.execute(JailId(999_999), ["true"])


def test_a_console_has_a_terminal(jid, tmp_path) -> None:
    """Run by a program of its own, so that its standard streams are ours."""
    script = tmp_path / "console.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from vimage.kernel import ENVIRONMENT, JailId\n"
        "from vimage.kernel.freebsd import console\n"
        f"sys.exit(console.console(JailId({jid}), ['sh', '-c', 'tty -s && read x && echo got $x;"
        " exit 5'], ENVIRONMENT))\n")
    from sys import executable
    result = subprocess.run([executable, str(script)], input="word\n", capture_output=True,
                            text=True, timeout=60, check=False)
    assert result.returncode == 5, result
    assert "got word" in result.stdout


# -- tcp -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"),
                                                 (socket.AF_INET6, "::1")])
def test_connections_of_a_jail_are_dropped(host, jid, tmp_path, family, address) -> None:
    vnet = host.vnet(jid)
    vnet.set_up("lo0")
    if family == socket.AF_INET:
        vnet.add_address("lo0", "127.0.0.1/8")
    vnet.close()
    script = tmp_path / "holds.py"
    script.write_text(
        "import socket, sys, time\n"
        f"listener = socket.create_server(({address!r}, 7777), family={int(family)})\n"
        f"one = socket.create_connection(({address!r}, 7777))\n"
        "two, _ = listener.accept()\n"
        "one.close()\n")
    from sys import executable
    subprocess.run(["jexec", str(jid), executable, str(script)], check=True)
    connections = ["jexec", str(jid), "netstat", "-an", "-p", "tcp"]
    if b".7777" not in subprocess.check_output(connections):
        pytest.skip("this kernel has no connection of its own wait out its time")
    assert cleared(host, jid)
    assert b".7777" not in subprocess.check_output(connections)


# -- the rest -------------------------------------------------------------------------------


def test_events(host, undo) -> None:
    events = host.events()
    undo.callback(events.close)
    assert events.read() == []
    process = subprocess.Popen(["sleep", "100"])
    events.watch_process(process.pid)
    process.kill()
    process.wait()
    assert ("process", process.pid) in events.read()
    host.ng_mkpeer(".:", "eiface", "e", "ether")
    later(undo, host.ng_shutdown, ".:e")
    time.sleep(0.1)
    assert events.read() == []
    assert events.interfaces()
    with pytest.raises(ProcessLookupError):
        events.watch_process(process.pid)


def test_the_peer_of_a_socket(host) -> None:
    ours, theirs = socket.socketpair()
    assert host.peer(ours.fileno()) == (0, host.jail_of(os.getpid()))
    ours.close()
    theirs.close()


def test_the_boot_has_a_name(host) -> None:
    from vimage.kernel.freebsd import FreeBSD
    other = FreeBSD()
    assert host.boot_id() == other.boot_id()
    other.close()


def test_cpus(host, jid) -> None:
    host.jail_cpus(jid, frozenset({0}))
    result = subprocess.run(["jexec", str(jid), "cpuset", "-g"], capture_output=True, text=True,
                            check=True)
    assert result.stdout.splitlines()[0].endswith("mask: 0")
    for cpus in (frozenset({250}), frozenset()):
        with pytest.raises(OSError) as caught:
            host.jail_cpus(jid, cpus)
        assert caught.value.errno == errno.EINVAL
    with pytest.raises(FileNotFoundError):
        host.jail_cpus(JailId(999_999), frozenset({0}))


def test_words_of_the_kernel_about_a_jail(host, jid) -> None:
    with pytest.raises(OSError) as caught:
        host.jail_create({"name": f"k{os.getpid()}", "path": "/", "persist": True})
    assert (caught.value.errno, "already exists" in str(caught.value.strerror)) == (
        errno.EEXIST, True)
    with pytest.raises(OSError) as caught:
        host.jail_create({"name": "x", "path": "/", "allow.nonsense": True, "persist": True})
    assert (caught.value.errno, caught.value.strerror) == (
        errno.EINVAL, "unknown parameter: allow.nonsense")
