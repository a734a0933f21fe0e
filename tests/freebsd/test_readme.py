"""README's "On a FreeBSD host", typed as it stands there, by somebody who adds nothing of his own.

Only the name of the network card is another, as README asks.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.freebsd import recipes, system

NETWORK = recipes.ROOT / "network.svg"

#: csh is root's shell before FreeBSD 14.
SHELLS = ("/bin/sh", "/bin/csh")


def install_python(command: str) -> None:
    """Its packages may be out of reach; then the Python that runs this has to do."""
    done = recipes.run(command)
    if done.returncode:
        print(f"without {command!r}: pkg ended with {done.returncode}; {sys.executable} is here")
        assert sys.version_info >= (3, 11) and shutil.which("python3.11")


@pytest.mark.parametrize("shell", [shell for shell in SHELLS if os.access(shell, os.X_OK)])
def test_readme(shell: str) -> None:
    text = recipes.section((recipes.ROOT / "README.md").read_text(), "On a FreeBSD host")
    lines = recipes.for_card(recipes.commands(text), system.parents()[0])
    said: dict[str, str] = {}
    with recipes.removed(), recipes.as_before(NETWORK) as before:
        settings = recipes.RC_CONF.read_bytes()
        for line in lines:
            if line.startswith("pkg install"):
                install_python(line)
                continue
            done = recipes.run(line, shell)
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            said[line] = done.stdout
            if line == "service vimage start":
                row = system.vimage("status").stdout.splitlines()[1].split()
                assert row[:2] == ["vj1", "ready"] and row[-1] == "ng0_vj1"
                assert "192.0.2.10" not in system.sh("ifconfig")
            elif line.startswith("vimage graph"):
                assert NETWORK.read_text().lstrip().startswith("<svg")
            elif line == "service vimage stop":
                assert system.sh("jls jid") == ""
        assert said["service vimage start"] == "Starting vimages: vj1.\n"
        assert "inet 192.0.2.10 " in said["jexec vj1 ifconfig"]
        assert "ng0_vj1" in said["vimage plan"]
        assert recipes.installed() == before
        assert recipes.RC_CONF.read_bytes() == settings
        assert Path("/var/run/vimage/control").exists() is False
