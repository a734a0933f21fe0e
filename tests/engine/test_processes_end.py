"""Whatever runs for a vimage ends with it: TERM first, KILL for what does not heed that."""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.machine import Machine
from tests.lib.snapshot import difference
from vimage.engine import Outcome
from vimage.kernel import JailId
from vimage.kernel.simulated import SimulatedProcesses
from vimage.kernel.simulated.virtual_time import run
from vimage.session import Session

STUBBORN = "trap '' TERM; sleep forever"


def stubborn_process(machine: Machine, jid: JailId) -> None:
    """A process of the jail that ignores TERM."""
    with machine.kernel.state.operation():
        task = machine.kernel.new_task(jid, ("/usr/sbin/stubborn",))
        machine.kernel.state.put(replace(task, ignores=(int(signal.SIGTERM),)))


def stopped(machine: Machine, session: Session) -> tuple[float, tuple[Outcome, ...]]:
    """How long a stop takes, and what comes of it."""
    async def play() -> tuple[float, tuple[Outcome, ...]]:
        answer = await session.stop(machine.loaded, [])
        return asyncio.get_running_loop().time(), tuple(r.outcome for r in answer.results)

    return run(play())


def test_a_process_that_ignores_term_is_killed(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(tmp_path, "bridge")
    machine.variables["vimage_a_stop_timeout"] = "20"
    machine.start()
    stubborn_process(machine, machine.kernel.jail_get("a").jid)
    caplog.set_level(logging.WARNING)
    seconds, outcomes = stopped(machine, machine.session())
    assert outcomes == (Outcome.STOPPED,)
    assert 20 <= seconds < 22
    assert caplog.messages == []  # it had gone before its jail
    assert difference(machine.before, machine.look()) == []


@pytest.mark.parametrize("command, least, most", [
    (STUBBORN, 20, 21), ("sleep 1000000", 0, 1)], ids=["ignores TERM", "heeds TERM"])
def test_a_command_that_an_earlier_process_started(
        tmp_path: Path, command: str, least: float, most: float) -> None:
    """It has as much time after TERM as one that this process started."""
    machine = Machine(tmp_path, "bridge")
    program = Path(machine.kernel.path("/usr/jail/r/bin/program"))
    program.write_text("#!simulated\n" + command.replace("; ", "\n") + "\n")
    program.chmod(0o755)
    machine.variables |= {"vimage_a_stop_timeout": "20", "vimage_a_command": "/bin/program"}
    first, processes = machine.session(), SimulatedProcesses(machine.kernel)
    first.journal.close()

    async def play() -> float:
        session = machine.session(processes=processes)
        await session.start(machine.loaded, [])
        await asyncio.sleep(1)
        session.journal.close()
        session = machine.session(processes=processes)
        begun = asyncio.get_running_loop().time()
        answer = await session.stop(machine.loaded, [])
        assert answer.status == 0
        return asyncio.get_running_loop().time() - begun

    assert least <= run(play()) <= most
    assert difference(machine.before, machine.look()) == []


def test_a_hook_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "bridge")
    machine.variables |= {"vimage_a_exec_prestart": STUBBORN, "vimage_a_start_timeout": "5"}
    answer = machine.start()
    assert [result.outcome for result in answer.results] == [Outcome.FAILED]
    assert machine.control.processes() == []
    assert difference(machine.before, machine.look()) == []


@pytest.mark.parametrize("command", ["sleep forever", STUBBORN])
def test_a_hook_of_a_start_that_is_interrupted_is_ended(tmp_path: Path, command: str) -> None:
    machine = Machine(tmp_path, "bridge")
    machine.variables["vimage_a_exec_prestart"] = command
    session = machine.session()

    async def play() -> None:
        start = asyncio.create_task(session.start(machine.loaded, []))
        await asyncio.sleep(1)
        assert len(machine.control.processes()) == 1
        assert (await session.stop(machine.loaded, [])).status == 0
        assert (await start).status == 1
        assert machine.control.processes() == []

    run(play())
    assert difference(machine.before, machine.look()) == []
