"""Commands at random, the process killed at a random instant of each; nothing is lost.

After each kill the next start makes every vimage ready, and the process of a vimage that
was ready and was not asked to stop is the same as before.  The seed and the number of runs
are printed; VIMAGE_CAMPAIGN gives another number.
"""

from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.engine.machine import OTHER, PARENT, ROOT, Machine
from tests.lib.faulty import Faults, Killed, When
from tests.lib.snapshot import difference
from vimage import journal
from vimage.commands.output import Printer
from vimage.journal import READY
from vimage.kernel.simulated import SimulatedKernel, SimulatedProcesses
from vimage.kernel.simulated.virtual_time import run
from vimage.reload import reload
from vimage.restart import restart

SEED = 238326
RUNS = int(os.environ.get("VIMAGE_CAMPAIGN", "3000"))

CONFIGURATION = {
    "vimage_list": "mounts whole twice hooks lan",
    "vimage_boot": "none",
    "vimage_devfs_enable": "NO",
    "vimage_command": "/bin/sleep 1000000",
    "vimage_bridge_list": "lan0",
    "vimage_bridge_lan0_addr": "10.9.0.1/24",
    "vimage_mounts_rootdir": ROOT,
    "vimage_mounts_devfs_enable": "YES",
    "vimage_whole_rootdir": ROOT,
    "vimage_whole_vnets": OTHER,
    "vimage_twice_rootdir": ROOT,
    "vimage_twice_bridges": f"{PARENT} ={PARENT}",
    "vimage_hooks_rootdir": ROOT,
    "vimage_hooks_bridges": PARENT,
    "vimage_hooks_exec_prestart": "true",
    "vimage_hooks_exec_poststop": "true",
    "vimage_lan_rootdir": ROOT,
    "vimage_lan_bridges": f"lan0 {PARENT}",
    "vimage_lan_addr0": "10.9.0.2/24",
    "vimage_lan_depend": "twice",
}
NAMES = CONFIGURATION["vimage_list"].split()


class Campaign:
    """One host and its history."""

    def __init__(self, directory: Path, random_: random.Random) -> None:
        self.machine = Machine(directory, "bridge")
        self.random = random_
        self.machine.variables = dict(CONFIGURATION)
        self.before = self.machine.look()
        self.kills = 0

    def processes(self) -> dict[str, object]:
        """The process of each vimage that is ready."""
        session = self.machine.session()
        session.journal.close()
        return {name: next((e.results.get("pid") for e in record.entries if e.kind == "command"),
                           None)
                for name, record in session.journal.records.items() if record.state == READY}

    def step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One command, killed somewhere, and the start after it."""
        verb = self.random.choice(["start", "stop", "restart", "reload"])
        names = self.random.sample(NAMES, self.random.randrange(1, 4))
        links = self.random.choice([PARENT, f"{PARENT} {PARENT}", f"{PARENT} ={PARENT}"])
        self.machine.variables["vimage_twice_bridges"] = links
        ready = self.processes()
        self.act(verb, names, monkeypatch)
        answer = self.machine.start()
        what = f"{verb} {' '.join(names)}"
        assert answer.status == 0, (what, [str(p) for r in answer.results for p in r.problems])
        now = self.processes()
        assert sorted(now) == sorted(NAMES), what
        touched = set(names) | ({"lan"} if "twice" in names else set())
        for name, pid in ready.items():
            if verb not in ("stop", "restart") or name not in touched:
                assert now[name] == pid, f"{what}: {name} was not to be touched"

    def act(self, verb: str, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """The command, in a process that dies at a random operation or write, if it gets there."""
        faults = Faults(at=self.random.randrange(1, 40), when=self.random.choice(list(When)))
        writes = self.random.randrange(1, 12) if self.random.random() < 0.4 else 0
        if writes:
            faults.at = 0
        replace, written = journal.replace, [0]

        def dying(path: str, body: bytes) -> None:
            if faults.dead:
                raise Killed
            written[0] += 1
            if written[0] == writes and faults.when is When.BEFORE:
                faults.die()
            replace(path, body)
            if written[0] == writes:
                faults.die()

        monkeypatch.setattr(journal, "replace", dying)
        session = self.machine.session(faults.kernel(self.machine.kernel),
                                     faults.processes(SimulatedProcesses(self.machine.kernel)))

        async def play() -> None:
            await session.recover()
            if verb == "reload":
                await reload(session, self.machine.loaded, Printer("reload"))
            else:
                act: Any = {"start": session.start, "stop": session.stop,
                            "restart": partial(restart, session)}[verb]
                await act(self.machine.loaded, names)

        try:
            run(play())
        except Killed:
            pass
        finally:
            monkeypatch.setattr(journal, "replace", replace)
            session.journal.close()
        if faults.dead:
            self.kills += 1
            self.machine.kernel.close()
            self.machine.kernel = SimulatedKernel(self.machine.directory)
            self.machine.control.kernel = self.machine.kernel
            self.machine.control.state = self.machine.kernel.state


def test_campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = Campaign(tmp_path, random.Random(SEED))
    for number in range(RUNS):
        try:
            campaign.step(monkeypatch)
        except BaseException as error:
            error.add_note(f"run {number} of seed {SEED}")
            raise
    answer = campaign.machine.stop()
    assert answer.status == 0
    left = [line for line in difference(campaign.before, campaign.machine.look())
            if not line.startswith("process ") or "in jail 0," not in line]
    assert left == []
    assert campaign.kills > RUNS // 4
    print(f"seed {SEED}, {RUNS} runs, killed in {campaign.kills}")
