"""The service is killed at every instant of a reload: the next one finishes it or undoes it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.engine.machine import Machine
from tests.lib import forked
from tests.lib.faulty import When
from tests.lib.snapshot import difference
from tests.service.conftest import Host, ask, rows, write_script
from tests.service.instants import Die, Instants
from tests.service.lives import Lives

#: What rc.conf says before, and after.
CHANGES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "a link more": ({"a_bridges": "em1"}, {"a_bridges": "em1 em1"}),
    "a link less": ({"a_bridges": "em1 em1"}, {"a_bridges": "em1"}),
    "another parent": ({"a_bridges": "em1"}, {"a_bridges": "igb1"}),
    "a host-only bridge": (
        {"a_bridges": "em1"},
        {"a_bridges": "em1 lan0", "bridge_list": "lan0", "bridge_lan0_addr": "10.9.0.1/24"}),
    "addresses": ({"a_bridges": "em1", "a_addr0": "192.0.2.1/24 192.0.2.2/24"},
                  {"a_bridges": "em1", "a_addr0": "192.0.2.2/24 192.0.2.3/24"}),
    "services": ({"a_bridges": "em1", "a_afterstart_services": "one two"},
                 {"a_bridges": "em1", "a_afterstart_services": "two three"}),
    "limits": ({"a_bridges": "em1", "a_rctl": "maxproc:deny=10"},
               {"a_bridges": "em1", "a_rctl": "maxproc:deny=20"}),
}


def ready_host(directory: Path, before: dict[str, str]) -> Lives:
    """A host on which a is ready."""
    machine = Machine(directory, "bridge")
    machine.control.set_sysctl("kern.racct.enable", 1)
    for name in ("one", "two", "three"):
        write_script(machine, f"etc/rc.d/{name}", ["true"])
    machine.variables |= {f"vimage_{name}": value for name, value in before.items()}
    lives = Lives.of(machine)

    async def start(host: Host) -> None:
        assert (await ask(host.machine, "start")).status == 0

    lives.live(start)
    return lives


@pytest.mark.parametrize("change", CHANGES)
def test_killed_at_every_instant(change: str, tmp_path: Path) -> None:
    """Afterwards a is ready, as before or as asked; the same reload succeeds; and a stop
    leaves nothing."""
    before, after = CHANGES[change]
    first = ready_host(tmp_path / "0", before)
    jid = first.host().jid("a")
    now = {f"vimage_{name}": value for name, value in after.items()}
    for at in itertools.count(1):
        lives = first.copy(tmp_path / str(at))
        lives.variables |= now
        instants = Instants({at: Die(When.BEFORE)}, looks=False)

        async def reload(host: Host, instants: Instants = instants) -> None:
            instants.armed = True
            reply = await ask(host.machine, "reload")
            assert reply.status == 0, reply
            instants.armed = False  # the last kill is after all of them
            forked.note("the answer")
            forked.die()

        life = lives.live(reload, instants)
        assert life.killed
        what = f"killed at instant {at}: {life.notes[-1]}"

        async def again(host: Host, what: str = what) -> None:
            shown = (await rows(host.machine))["a"]
            assert shown["state"] == "ready", (what, shown)
            assert host.jid("a") == jid, what
            reply = await ask(host.machine, "reload")
            assert (reply.status, reply.err) == (0, ""), (what, reply)
            shown = (await rows(host.machine))["a"]
            assert (shown["state"], shown["changed"]) == ("ready", False), (what, shown)
            assert (await ask(host.machine, "reload")).out == "", what
            assert host.interfaces() == ["lan0"] * ("lan0" in after.get("a_bridges", "")), what
            assert (await ask(host.machine, "stop", "a")).status == 0, what
            left = [line for line in difference(host.machine.before, host.machine.look())
                    if "in jail 0" not in line and "/usr/sbin/" not in line]
            assert left == [], what

        later = lives.live(again)
        assert later.complaints == [], what
        if life.notes[-1] == "the answer":
            assert at > 2
            print(f"{change}: killed at each of {at} instants")
            return
