"""A FreeBSD host for end-to-end tests: jail roots, configurations, the command itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import textwrap
import time
from pathlib import Path

from tests.freebsd import host_tools

VIMAGE = "/usr/local/sbin/vimage"
CONFIGURATION = Path("/etc/rc.conf.d/vimage")
STATE = Path("/var/run/vimage")
JAILS = Path("/var/tmp/vimage-tests")

#: What devd(8) runs when a parent's link comes up.
DEVD = r"quietstart|pccard_ether"

#: Parts of the host that a jail root borrows, read-only.
BORROWED = ("bin", "sbin", "lib", "libexec", "usr")


def parents() -> list[str]:
    """Ethernet interfaces that the tests may take over."""
    return os.environ.get("VIMAGE_TEST_PARENTS", "em0 vtnet1").split()


def sh(command: str, *, check: bool = True, timeout: float = 300) -> str:
    """Run a shell command; its stdout."""
    done = subprocess.run(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=timeout)
    if check and done.returncode:
        raise AssertionError(f"{command}: exit status {done.returncode}\n"
                             f"{done.stdout}{done.stderr}")
    return done.stdout


def vimage(*words: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    return subprocess.run([VIMAGE, *words], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=timeout)


def service(*words: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """``service vimage ...``."""
    return subprocess.run(["/usr/sbin/service", "vimage", *words], stdin=subprocess.DEVNULL,
                          text=True, capture_output=True, timeout=timeout)


def running() -> list[str]:
    """The vimages that have a record."""
    return [path.stem for path in (STATE / "vimages").glob("*.json")]


def stop_service() -> None:
    """Stop all vimages and the service, and wait until its processes have ended."""
    pids = [path.read_text().strip() for path in STATE.glob("*.pid")]
    if pids or running():
        service("onestop")
    if running():
        vimage("--without-service", "stop")
    if pids:
        sh(f"pwait -t 30 {' '.join(pids)}", check=False)


def configure(text: str) -> None:
    """Make this the configuration of vimage."""
    CONFIGURATION.parent.mkdir(exist_ok=True)
    CONFIGURATION.write_text(textwrap.dedent(text))


def make_root(name: str, rc_conf: str = "") -> Path:
    """A jail root of its own that borrows the host's programs through its fstab."""
    root = JAILS / name
    for directory in (*BORROWED, "dev", "proc", "tmp", "var/run", "var/log", "var/db", "etc"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    sh(f"cp -R /etc/rc /etc/rc.subr /etc/network.subr /etc/rc.d /etc/defaults /etc/rc.shutdown "
       f"/etc/passwd /etc/master.passwd /etc/group /etc/pwd.db /etc/spwd.db /etc/login.conf "
       f"/etc/services /etc/protocols {root}/etc/")
    (root / "etc/rc.conf").write_text(textwrap.dedent(rc_conf))
    fstab = Path(f"/etc/fstab.{name}")
    fstab.write_text("".join(f"/{part} {root}/{part} nullfs ro 0 0\n" for part in BORROWED))
    return root


def remove_root(name: str) -> None:
    """Take a root away again; never through a mount."""
    root = JAILS / name
    assert str(root) not in sh("mount -p"), sh("mount -p")
    Path(f"/etc/fstab.{name}").unlink(missing_ok=True)
    shutil.rmtree(root, ignore_errors=True)


def nano_root(name: str, *programs: str) -> Path:
    """A root that holds static programs and nothing else (those of /rescue)."""
    root = JAILS / name
    root.mkdir(parents=True, exist_ok=True)
    for program in programs:
        shutil.copy(f"/rescue/{program}", root / program)
    return root


def ifconfig(jail: str) -> dict[str, dict[str, list[str]]]:
    """Interface to {"ether": [...], "inet": [...], "inet6": [...]}, from inside a jail."""
    found: dict[str, dict[str, list[str]]] = {}
    name = ""
    for line in sh(f"jexec {jail} /sbin/ifconfig").splitlines():
        head = re.match(r"(\S+): ", line)
        if head:
            name = head[1]
            found[name] = {"ether": [], "inet": [], "inet6": []}
        else:
            words = line.split()
            if len(words) > 1 and words[0] in found[name]:
                found[name][words[0]].append(words[1].split("%")[0])
    return found


def macs(jail: str) -> dict[str, str]:
    """Interface to MAC."""
    return {name: facts["ether"][0] for name, facts in ifconfig(jail).items() if facts["ether"]}


def pings(jail: str, address: str, count: int = 3) -> bool:
    """Whether ``address`` answers, asked from inside a jail ("" is the host)."""
    inside = f"jexec {jail} " if jail else ""
    return subprocess.run(f"{inside}/sbin/ping -c {count} -i 0.3 -t 10 {address}", shell=True,
                          stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def look() -> host_tools.Snapshot:
    """The host as its own tools tell it, state files of vimage included."""
    directories = [str(path) for path in (STATE / "vimages", STATE / "shared") if path.is_dir()]
    return host_tools.take(directories, ignore=DEVD)


def look_before() -> host_tools.Snapshot:
    """The host when nothing comes or goes any more: a script of devd(8), say, has ended."""
    found = look()
    for _ in range(20):
        again = look()
        if host_tools.difference(found, again) == []:
            break
        found = again
    return found


def left(before: host_tools.Snapshot) -> list[str]:
    """How the host differs from before.

    A process of the host gets half a minute to end: a parent's link that comes up has
    devd(8) run some scripts, and these their children.
    """
    deadline = time.monotonic() + 30
    while True:
        lines = host_tools.difference(before, look())
        ending = all(line.startswith("process ") and "in jail 0," in line for line in lines)
        if not lines or not ending or time.monotonic() > deadline:
            return lines
        time.sleep(0.5)
