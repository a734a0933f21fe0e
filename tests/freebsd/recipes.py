"""What the documents tell a user to type, taken out of them and run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.freebsd import host_tools, system

ROOT = Path(__file__).parents[2]
RC_CONF = Path("/etc/rc.conf")
PKG = "/usr/local/sbin/pkg"


def section(text: str, title: str) -> str:
    """One section of a text in Markdown."""
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert match is not None, f"no section {title!r}"
    return match[1]


def commands(text: str) -> list[str]:
    """The lines that are indented by four, which is how commands are shown."""
    return [line[4:].rstrip() for line in text.splitlines() if re.match(r"    \S", line)]


def of_the_message() -> list[str]:
    """What the package says to somebody who has just installed it."""
    message = (ROOT / "pkg-message").read_text()
    installed = re.search(r"type: install.*?<<EOM\n(.*?)^EOM$", message, re.M | re.S)
    assert installed is not None
    return commands(installed[1])


def for_card(lines: list[str], card: str) -> list[str]:
    """With the name of this host's card for ``em0``, as the documents ask."""
    return [re.sub(r"\bem0\b", card, line) for line in lines]


def run(command: str, shell: str = "/bin/sh",
        directory: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Type it at a login shell of root, which has the PATH that login(1) gives."""
    path = "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/root/bin"
    print(f"# {command}", flush=True)
    done = subprocess.run(
        ["/usr/bin/env", "-i", "HOME=/root", f"PATH={path}",
         "ASSUME_ALWAYS_YES=yes", shell, *(["-f"] if shell.endswith("csh") else []), "-c",
         command],
        cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900)
    print(done.stdout, done.stderr, sep="", end="", flush=True)
    return done


@contextmanager
def kept(*files: Path) -> Iterator[None]:
    """These files have their contents back afterwards."""
    before = {file: file.read_bytes() if file.exists() else None for file in files}
    try:
        yield
    finally:
        for file, contents in before.items():
            if contents is None:
                file.unlink(missing_ok=True)
            else:
                file.write_bytes(contents)


def installed() -> set[str]:
    """All that is below /usr/local, but not what Python keeps for itself; directories have a
    slash at the end."""
    found: set[str] = set()
    for directory, below, files in os.walk("/usr/local"):
        below[:] = [name for name in below if not re.fullmatch(r"python3\.\d+", name)]
        found |= {f"{directory}/{name}" for name in files}
        found |= {f"{directory}/{name}/" for name in below}
    return found


def files_of(names: set[str]) -> set[str]:
    return {name for name in names if not name.endswith("/")}


def look() -> host_tools.Snapshot:
    """The host, but for devd(8), which the documents have the user restart."""
    directories = [str(path) for path in (system.STATE / "vimages", system.STATE / "shared")
                   if path.is_dir()]
    return host_tools.take(directories, ignore=rf"{system.DEVD}|^/sbin/devd")


def left(before: host_tools.Snapshot) -> list[str]:
    """How the host differs from before, once processes have had time to end."""
    deadline = time.monotonic() + 30
    while (lines := host_tools.difference(before, look())) and time.monotonic() < deadline:
        time.sleep(0.5)
    return lines


@contextmanager
def removed() -> Iterator[None]:
    """What make has installed goes meanwhile."""
    make = f"make -C {ROOT} -s PYTHON={sys.executable}"
    system.stop_service()
    system.sh("kldload -n ng_socket ng_ether ng_bridge ng_eiface")
    system.sh(f"{make} deinstall")
    try:
        yield
    finally:
        system.sh(f"{make} install")
        system.sh("service devd onerestart")


@contextmanager
def as_before(*files: Path) -> Iterator[set[str]]:
    """The host has to be as it was afterwards; rc.conf and ``files`` have their contents back.
    Gives the files below /usr/local."""
    before = look()
    try:
        with kept(RC_CONF, system.CONFIGURATION, *files):
            yield installed()
    finally:
        system.stop_service()
        differences = left(before)
    assert differences == []
