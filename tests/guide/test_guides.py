"""The guides: every example can be started and stopped, and every picture is up to date."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from tests.lib import snapshot
from vimage.kernel.simulated import HostControl, SimulatedKernel
from vimage.main import main

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs/guide"
EXAMPLES = sorted((GUIDE / "examples").glob("*.conf"))

_spec = importlib.util.spec_from_file_location("make_examples", GUIDE / "make_examples.py")
assert _spec is not None and _spec.loader is not None
make_examples = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_examples)

#: Interfaces that the host's part of an example makes, and programs of the host that its
#: hooks call.
INTERFACES = ("igb0.100", "igb0.200", "vxlan42")
PROGRAMS = ("/sbin/mdconfig",)

#: Programs of the vimages that are kept running.
COMMANDS = ("/usr/jail/echo/server", "/compat/ubuntu/usr/sbin/sshd")
#: Devices that they mount.
DEVICES = ("/dev/md71",)


@pytest.fixture
def host(tmp_path):
    """A simulated host that has what the host's own rc.conf would have made."""
    kernel = SimulatedKernel.open(tmp_path / "host")
    for number, name in enumerate(INTERFACES):
        HostControl(kernel).attach(name, f"58:9c:fc:00:00:{number:02x}")
    for program in PROGRAMS:
        path = Path(kernel.path(program))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o755)
    for file, text in (*((d, "") for d in DEVICES),
                       *((c, "#!simulated\nsleep forever\n") for c in COMMANDS)):
        path = Path(kernel.path(file))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    HostControl(kernel).set_sysctl("kern.racct.enable", 1)
    for module in ("ng_ether", "linprocfs"):
        kernel.kld_load(module)
    yield kernel
    kernel.close()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_example(example, host, tmp_path, capsys):
    """check, start, status, stop; and the host is as before."""
    def vimage(*words):
        return main(["--simulated-host", str(tmp_path / "host"), "-f", str(example), *words])

    for directory in ("dev", "proc", "sys"):
        Path(host.path(f"/compat/ubuntu/{directory}")).mkdir(exist_ok=True)
    assert vimage("check") == 0, capsys.readouterr()
    before = snapshot.take(host, ["/var/run/vimage/vimages", "/var/run/vimage/shared"])
    assert vimage("start") == 0, capsys.readouterr()
    capsys.readouterr()
    assert vimage("status") == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert rows and all(row.split()[1] == "ready" for row in rows)
    assert snapshot.take(host) != before
    assert vimage("stop") == 0, capsys.readouterr()
    after = snapshot.take(host, ["/var/run/vimage/vimages", "/var/run/vimage/shared"])
    assert snapshot.difference(before, after) == []


def test_guides_and_pictures_are_up_to_date():
    stale = [path.name for path, text in make_examples.wanted().items()
             if not path.exists() or path.read_text() != text]
    assert stale == [], "python3 docs/guide/make_examples.py"


def test_every_example_is_in_a_guide():
    texts = "".join(path.read_text() for path in GUIDE.glob("*.md"))
    for example in EXAMPLES:
        assert texts.count(f"<!-- BEGIN {example.stem} -->") == 1


@pytest.mark.parametrize("guide", sorted(GUIDE.glob("*.md")), ids=lambda guide: guide.name)
def test_links_lead_somewhere(guide):
    for target in re.findall(r"\]\(([^)#]+)\)", guide.read_text()):
        if "://" not in target:
            assert (guide.parent / target).exists(), target
