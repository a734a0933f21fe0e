"""This FreeBSD host, as the contract tests want it.

It makes what it needs (epair(4), vlan(4), directories) and takes it away again; a test
that leaves something behind fails.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import time

import pytest

from tests.contract.any_host import Host
from vimage.kernel import Command
from vimage.kernel.freebsd import FreeBSD
from vimage.kernel.freebsd.libc import libc

#: How long a VNET may take to be freed.
PATIENCE = 30.0


def ifconfig(*argv: str) -> str:
    done = subprocess.run(["/sbin/ifconfig", *argv], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())
    return done.stdout.strip()


class FreeBSDHost(Host):
    def __init__(self, directory) -> None:
        self.directory = tempfile.mkdtemp(prefix="vimage", dir="/var/tmp")
        self.kernel = self._kernel = FreeBSD()
        self.kernel.kld_load("ng_ether")
        self.processes = self._kernel.processes()
        self._peers: list[socket.socket] = []
        self.begin()

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
        """A directory with /rescue's programs as those of a jail."""
        path = os.path.join(self.directory, self.name("r"))
        for directory in ("bin", "rescue"):
            os.makedirs(os.path.join(path, directory))
        os.link("/rescue/sh", f"{path}/bin/sh") if self._same_device(path) else shutil.copy(
            "/rescue/sh", f"{path}/bin/sh")
        for program in ("sleep", "echo"):
            os.link(f"{path}/bin/sh", f"{path}/bin/{program}")
        self.on_close(shutil.rmtree, path)
        return path

    def _same_device(self, path: str) -> bool:
        return os.stat("/rescue/sh").st_dev == os.stat(path).st_dev

    def freed(self, jid: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                self.kernel.jail_get(jid)
            except FileNotFoundError:
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

    def hold_tcp(self, jid: int) -> None:
        outside = ifconfig("epair", "create")
        inside = outside[:-1] + "b"
        self.on_close(self._destroy, outside)
        self.kernel.if_vmove(inside, jid)
        host, jail = self.kernel.vnet(0), self.kernel.vnet(jid)
        host.add_address(outside, "198.18.77.1/30")
        jail.add_address(inside, "198.18.77.2/30")
        jail.close()
        host.close()
        server = socket.create_server(("198.18.77.1", 0))
        server.settimeout(PATIENCE)
        self.run(self._connect(jid, server.getsockname()[1]))
        peer, _ = server.accept()
        server.close()
        self.on_close(peer.close)

    async def _connect(self, jid: int, port: int) -> None:
        """A process of the jail that connects and keeps the connection."""
        path = self.kernel.jail_get(jid).path
        shutil.copy("/rescue/nc", f"{path}/bin/nc")
        await self.processes.start(Command(["/bin/nc", "198.18.77.1", str(port)], jid))

    def with_accounting(self, wanted: bool) -> None:
        if self.kernel.sysctl("kern.racct.enable") != int(wanted):
            pytest.skip(f"needs kern.racct.enable={int(wanted)}")

    def kld_load_at_securelevel(self, level: int, module: str) -> int:
        """Asked by a process in a jail of that securelevel."""
        jid = self.jail(securelevel=level)
        child = os.fork()
        if child == 0:
            try:
                libc().jail_attach(jid)
                self.kernel.kld_load(module)
            except OSError as error:
                os._exit(error.errno or 0)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)

    def run(self, main):
        return asyncio.run(main)
