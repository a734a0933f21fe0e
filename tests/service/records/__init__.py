"""Hosts on which an earlier version of vimage has left vimages running.

``NAME.json`` holds the variables, what the simulated kernel remembers, and the state files.
It is made by running this module with a checkout of that version:

    git worktree add /tmp/old COMMIT
    PYTHONPATH=/tmp/old python tests/service/records/__init__.py level0.json
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT, PARENT, OTHER = "/usr/jail/r", "em1", "igb1"

CONFIGURATION = {
    "vimage_list": "mounts whole twice hooks lan",
    "vimage_boot": "none",
    "vimage_devfs_enable": "NO",
    "vimage_command": "/bin/sleep 1000000",
    "vimage_bridge_list": "lan0",
    "vimage_bridge_lan0_addr": "10.9.0.1/24",
    "vimage_mounts_rootdir": ROOT,
    "vimage_mounts_devfs_enable": "YES",
    "vimage_mounts_fdescfs_enable": "YES",
    "vimage_mounts_restart": "on-failure",
    "vimage_whole_rootdir": ROOT,
    "vimage_whole_vnets": OTHER,
    "vimage_whole_rctl": "maxproc:deny=100",
    "vimage_whole_cpus": "0",
    "vimage_twice_rootdir": ROOT,
    "vimage_twice_bridges": f"{PARENT} ={PARENT}",
    "vimage_twice_health": "true",
    "vimage_hooks_rootdir": ROOT,
    "vimage_hooks_bridges": PARENT,
    "vimage_hooks_exec_prestart": "true",
    "vimage_hooks_exec_poststop": "true",
    "vimage_hooks_exec_start": "true",
    "vimage_hooks_exec_stop": "true",
    "vimage_hooks_afterstart_services": "sshd",
    "vimage_hooks_securelevel": "1",
    "vimage_lan_rootdir": ROOT,
    "vimage_lan_bridges": f"lan0 {PARENT}",
    "vimage_lan_addr0": "10.9.0.2/24",
    "vimage_lan_depend": "twice",
}
STATE = "var/run/vimage"


def restore(directory: Path, name: str) -> dict[str, str]:
    """Put the host of a file into a directory that a Machine has made; returns its variables."""
    host = json.loads((HERE / name).read_text())
    (directory / "state").write_text("".join(json.dumps(line) + "\n" for line in host["kernel"]))
    for path, text in host["files"].items():
        file = directory / "root" / path
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_text(text)
        file.chmod(0o600)
    for directory_ in host["directories"]:
        (directory / "root" / directory_).mkdir(parents=True, exist_ok=True)
    variables: dict[str, str] = host["variables"]
    return variables


def save(directory: Path, name: str) -> None:
    """Start all vimages with the version on the path and write what is there then."""
    import asyncio
    import logging

    from vimage.configuration.load import loaded_from
    from vimage.kernel import simulated
    from vimage.kernel.simulated import SimulatedKernel, SimulatedProcesses
    from vimage.kernel.simulated.virtual_time import run
    from vimage.service import daemon, wire
    from vimage.service.reading import Reader

    kernel = SimulatedKernel.open(directory)
    for path in ("bin", "dev/fd", "etc", "proc", "usr/sbin"):
        os.makedirs(kernel.path(f"{ROOT}/{path}"), exist_ok=True)
    for path in ("bin/sh", "bin/sleep", "usr/sbin/service"):
        Path(kernel.path(f"{ROOT}/{path}")).touch(mode=0o755)
    kernel.kld_load("ng_ether")
    control: Any = vars(simulated).get("HostControl") or vars(simulated)["Hand"]  # until level 1
    control(kernel).set_sysctl("kern.racct.enable", 1)
    control(kernel).set_sysctl("hw.ncpu", 4)

    make: Any = vars(daemon).get("Daemon") or vars(daemon)["Service"]
    request: Any = wire.request

    class Fixed(Reader):
        async def load(self, file=None):
            self.loaded = loaded_from(kernel, CONFIGURATION)
            return self.loaded

    async def play() -> None:
        service = make(kernel, SimulatedProcesses(kernel), logging.getLogger("old"),
                       reader=Fixed(kernel, None, None))
        task = asyncio.create_task(service.run())
        await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_unix_connection(kernel.path(wire.SOCKET))
        writer.write(request("", "", ["start"]) if wire.VERSION == "1"  # type: ignore
                     else request("start"))
        writer.write_eof()
        print((await reader.read(-1)).decode())
        writer.close()
        service.ended.set()
        await task

    run(play())
    kernel.close()
    root = directory / "root"
    files = {str(path.relative_to(root)): path.read_text()
             for path in sorted((root / STATE).rglob("*.json"))}
    directories = [str(path.relative_to(root)) for path in sorted((root / STATE).rglob("*"))
                   if path.is_dir()]
    changes: dict[tuple[str, object], list[Any]] = {}
    for line in (directory / "state").read_text().splitlines():
        for table, key, value in json.loads(line):
            changes[table, key] = [table, key, value]
    (HERE / name).write_text(json.dumps({
        "variables": CONFIGURATION, "files": files, "directories": directories,
        "kernel": [[change for change in changes.values() if change[2] is not None]],
    }, indent=1) + "\n")


if __name__ == "__main__":
    import tempfile

    save(Path(tempfile.mkdtemp()), sys.argv[1])
