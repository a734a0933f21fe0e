"""What the kernel tells by itself, and who is at the other end of a socket."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket

import pytest

from tests.contract.expect import fails
from tests.contract.registry import contract
from vimage.kernel import HostCommand

LONG_ENOUGH = 30


@pytest.fixture
def events(host):
    events = host.kernel.events()
    host.on_close(events.close)
    return events


def told(events):
    """What the kernel has told, as soon as there is something."""
    readable, _, _ = select.select([events.fileno()], [], [], LONG_ENOUGH)
    assert readable
    return events.read()


@contract("events")
@contract("Events.fileno")
@contract("Events.read")
def test_nothing_has_happened(events):
    events.read()
    assert select.select([events.fileno()], [], [], 0) == ([], [], [])
    assert events.read() == []


@contract("Events.interfaces")
def test_an_interface_came_and_went(host, events):
    events.interfaces()
    assert not events.interfaces()
    _, name = host.eiface()
    assert events.interfaces()
    assert not events.interfaces()
    jid = host.jail()
    host.kernel.if_vmove(name, jid)
    assert events.interfaces()
    assert not events.interfaces()
    host.remove(jid)
    assert events.interfaces()


@contract("Events.watch_process")
def test_a_process_ended(host, events):
    async def main():
        process = await host.processes.start(HostCommand(["/bin/sleep", "1000"]))
        events.watch_process(process.id.pid)
        process.kill(15)
        await process.wait()
        return process.id.pid

    pid = host.run(main())
    assert ("process", pid) in told(events)


@contract("Events.watch_process", errno.ESRCH)
def test_a_process_that_is_not_there_cannot_be_watched(host, events):
    with fails(errno.ESRCH):
        events.watch_process(99_999_999)


@contract("Events.watch_jail")
def test_a_jail_can_be_watched_on_every_kernel(host, events):
    jid = host.jail()
    events.watch_jail(jid)
    host.remove(jid)
    if host.kernel.sysctl("kern.osreldate") >= 1_500_100:
        assert ("jail", jid) in told(events)


@contract("Events.close")
def test_close_twice(events):
    events.close()
    events.close()


@contract("Events.close")
def test_after_close_nothing_is_watched_and_nothing_told(host, events):
    """A start that is still under way when the service ends may ask for it."""
    jail = host.jail()

    async def main():
        process = await host.processes.start(HostCommand(["/bin/sleep", "1000"]))
        events.watch_process(process.id.pid)
        events.close()
        events.watch_jail(jail)
        events.watch_process(process.id.pid)
        process.kill(9)
        await process.wait()

    host.run(main())
    host.remove(jail)
    assert events.read() == []
    assert events.interfaces() is False


@contract("Events.fileno", errno.EBADF)
def test_after_close_there_is_no_descriptor(events):
    events.close()
    with fails(errno.EBADF):
        events.fileno()


@contract("ng_ids")
def test_the_ids_are_those_of_the_nodes(host):
    before = host.kernel.ng_ids()
    bridge = host.bridge()
    assert bridge.id in host.kernel.ng_ids() - before
    assert host.kernel.ng_ids() == {node.id for node in host.kernel.ng_nodes()}


@contract("peer")
def test_the_other_end_of_a_socket(host, tmp_path):
    del tmp_path
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert host.kernel.peer(ours.fileno()) == (0, None)


@contract("peer")
def test_the_other_end_of_a_connection(host):
    path = host.file(f"{host.root()}/s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
        connection, _ = server.accept()
        with connection:
            assert host.kernel.peer(connection.fileno()) == (0, None)
    os.unlink(path)


@contract("peer", errno.ESRCH)
def test_the_other_end_has_ended(host):
    path = host.file(f"{host.root()}/s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        child = os.fork()
        if child == 0:
            try:
                socket.socket(socket.AF_UNIX).connect(path)
            finally:
                os._exit(0)
        connection, _ = server.accept()
        os.waitpid(child, 0)
        with connection, fails(errno.ESRCH):
            host.kernel.peer(connection.fileno())
    os.unlink(path)


def test_events_can_be_awaited(host, events):
    async def main():
        loop = asyncio.get_running_loop()
        heard = asyncio.Event()
        loop.add_reader(events.fileno(), heard.set)
        process = await host.processes.start(HostCommand(["/bin/sleep", "1000"]))
        events.watch_process(process.id.pid)
        process.kill(15)
        await heard.wait()
        loop.remove_reader(events.fileno())

    host.run(main())
