"""This FreeBSD host, as the contract tests want it.

It makes what it needs (epair(4), vlan(4), directories) and takes it away again; a test
that leaves something behind fails.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import functools
import ipaddress
import itertools
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

import pytest

from tests.contract.any_host import Host
from vimage.kernel import JailCommand, JailId
from vimage.kernel.freebsd import FreeBSD

PROGRAMS = ("/bin/sh", "/bin/sleep", "/bin/echo", "/usr/bin/nc")
#: How long a VNET may take to be freed.
PATIENCE = 30.0


_networks = itertools.count()


def ifconfig(*argv: str) -> str:
    done = subprocess.run(["/sbin/ifconfig", *argv], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())
    return done.stdout.strip()


@functools.cache
def userland() -> str:
    """A directory with programs and the libraries that they need, made once."""
    template = tempfile.mkdtemp(prefix="vimage", dir="/var/tmp")
    atexit.register(shutil.rmtree, template)
    listed = subprocess.run(["/usr/bin/ldd", "-f", "%p\\n", *PROGRAMS], capture_output=True,
                            text=True, check=True).stdout
    libraries = {line for line in listed.splitlines() if line.startswith("/") and ":" not in line}
    for file in {*PROGRAMS, *libraries, "/libexec/ld-elf.so.1"}:
        if os.path.exists(file):  # not so for [vdso]
            os.makedirs(os.path.dirname(template + file), exist_ok=True)
            shutil.copy(file, template + file)
    return template


class FreeBSDHost(Host):
    def __init__(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="vimage", dir="/var/tmp")
        self.kernel = self._kernel = FreeBSD()
        self.kernel.kld_load("ng_ether")
        self.processes = self._kernel.processes()
        self._peers: list[tuple[int, socket.socket]] = []

    def shut(self) -> None:
        self.processes.close()
        self._kernel.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def parent(self) -> str:
        name = ifconfig("epair", "create")
        self.on_close(self._destroy, name)
        return name

    def _destroy(self, name: str) -> None:
        ifconfig(name, "destroy")

    def vlan(self, parent: str) -> str:
        name = ifconfig("vlan", "create", "vlan", "7", "vlandev", parent)
        self.on_close(self._destroy, name)
        return name

    def root(self) -> str:
        """A directory with a few programs of the base system, linked together."""
        path = os.path.join(self.directory, self.name("r"))
        shutil.copytree(userland(), path, copy_function=os.link)
        self.on_close(shutil.rmtree, path)
        return path

    def freed(self, jid: JailId) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                self.kernel.jail_get(jid)
            except OSError:
                break
            time.sleep(0.01)
        else:
            raise AssertionError(f"jail {jid} is still dying")
        self._vnets_freed()

    def _vnets_freed(self) -> None:
        """A VNET is destroyed a moment after its jail has gone: when it has, what was in it
        is back.  Interfaces settle when two looks are the same."""
        before = None
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            now = self.kernel.if_list()
            if now == before:
                return
            before = now
            time.sleep(0.05)

    def hold_tcp(self, jid: JailId) -> None:
        outside = ifconfig("epair", "create")
        inside = outside[:-1] + "b"
        self.on_close(self._destroy, outside)
        self.kernel.if_vmove(inside, jid)
        host, jail = self.kernel.host_vnet(), self.kernel.vnet(jid)
        network = f"198.18.{os.getpid() % 250}.{4 * (next(_networks) % 60)}"
        near, far = (str(ipaddress.ip_address(network) + number) for number in (1, 2))
        host.add_address(outside, f"{near}/30")
        jail.add_address(inside, f"{far}/30")
        jail.close()
        host.close()
        server = socket.create_server((near, 0))
        server.settimeout(PATIENCE)
        self.run(self._connect(jid, *server.getsockname()))
        peer, _ = server.accept()
        server.close()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._peers.append((jid, peer))
        self.on_close(peer.close)

    def give_up_tcp(self, jid: JailId) -> None:
        for peer in [peer for owner, peer in self._peers if owner == jid]:
            peer.close()

    async def _connect(self, jid: JailId, address: str, port: int) -> None:
        """A process of the jail that connects and keeps the connection."""
        await self.processes.start(JailCommand(jid, ["/usr/bin/nc", address, str(port)]))

    def other_processes(self):
        other = FreeBSD()
        self.on_close(other.close)
        return other.processes()

    def helper_dies(self, processes) -> None:
        os.kill(processes._helper.pid, signal.SIGKILL)

    def with_accounting(self, wanted: bool) -> None:
        if self.kernel.sysctl("kern.racct.enable") != int(wanted):
            pytest.skip(f"needs kern.racct.enable={int(wanted)}")

    def kld_load_at_securelevel(self, level: int, module: str) -> int:
        """Asked by a process in a jail of that securelevel."""
        jid = self.jail(securelevel=level)
        child = os.fork()
        if child == 0:
            try:
                ctypes.CDLL(None).jail_attach(jid)
                self.kernel.kld_load(module)
            except OSError as error:
                os._exit(error.errno or 0)
            finally:
                os._exit(255)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)

    def run(self, main):
        return asyncio.run(main)
