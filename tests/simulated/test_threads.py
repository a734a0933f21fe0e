"""The simulated kernel, called by several threads at once."""

from __future__ import annotations

import asyncio
import threading
import time

from vimage.kernel import HostCommand, JailCommand, JailId
from vimage.kernel.simulated import SimulatedKernel, SimulatedProcesses
from vimage.kernel.simulated.virtual_time import run
from vimage.threads import KernelThread


def test_it_says_whether_it_wants_threads(tmp_path):
    assert SimulatedKernel.open(tmp_path / "one").sleeps is False
    assert SimulatedKernel.open(tmp_path / "two", threads=True).sleeps is True
    assert SimulatedKernel.open(tmp_path / "two").sleeps is False
    assert SimulatedKernel.open(tmp_path / "two", threads=True).real_clock is False


def test_many_threads(kernel):
    """Jails come and go with their interfaces; nothing is lost and nothing left."""
    kernel.kld_load("ng_ether")
    before = (kernel.ng_ids(), kernel.if_list(), kernel.jail_list())
    errors = []

    def live(number):
        try:
            for turn in range(15):
                name = f"e{number}t{turn}"
                kernel.ng_mkpeer(".:", "eiface", name, "ether")
                node = kernel.ng_node(f".:{name}")
                kernel.if_rename(kernel.ng_eiface_ifname(f"[{node.id:x}]:"), name)
                jail = kernel.jail_create({"name": name, "persist": True, "vnet": "new"})
                kernel.if_vmove(name, jail)
                vnet, events = kernel.vnet(jail), kernel.events()
                events.watch_jail(jail)
                assert name in [i.name for i in vnet.interfaces()]
                vnet.close()
                kernel.jail_remove(jail)
                kernel.ng_shutdown(f"[{node.id:x}]:")
                events.read()
                events.close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=live, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    own_node = len(kernel.ng_ids() - before[0])
    assert own_node == 1
    assert (kernel.if_list(), kernel.jail_list()) == before[1:]


def test_a_command_that_another_thread_ends_is_waited_for(kernel):
    """Also when it ends before ``start`` has returned."""
    processes, thread = SimulatedProcesses(kernel), KernelThread(thread=True)
    jail = kernel.jail_create({"name": "j", "persist": True})
    stop = threading.Event()

    def kill():
        while not stop.is_set():
            kernel.jail_clear(jail, 9)
            time.sleep(0)

    async def main():
        killing = asyncio.create_task(thread(kill))
        found = {await (await processes.start(JailCommand(jail, ["/bin/sleep", "1000000"]))).wait()
                 for _ in range(200)}
        stop.set()
        await killing
        return found

    assert run(asyncio.wait_for(main(), 1000)) == {128 + 9}
    thread.close()


def test_events_tell_of_what_other_threads_do(kernel):
    thread, events = KernelThread(thread=True), kernel.events()
    jail = kernel.jail_create({"name": "j", "persist": True})
    processes = SimulatedProcesses(kernel)

    async def main():
        heard = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(events.fileno(), heard.set)
        process = await processes.start(JailCommand(jail, ["/bin/sleep", "1000000"]))
        events.watch_process(process.id.pid)
        await thread(kernel.jail_remove, JailId(jail))
        await asyncio.wait_for(heard.wait(), 10)
        loop.remove_reader(events.fileno())
        return process.id.pid

    assert ("process", run(main())) in events.read()
    events.close()
    thread.close()


def test_a_command_on_the_host_is_not_touched(kernel):
    processes = SimulatedProcesses(kernel)
    jail = kernel.jail_create({"name": "j", "persist": True})

    async def main():
        process = await processes.start(HostCommand(["/bin/sh", "-c", "exit 4"]))
        kernel.jail_clear(jail, 9)
        return await process.wait()

    assert run(main()) == 4
