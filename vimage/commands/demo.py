"""demo: the whole life of two vimages on a simulated host, from rc.conf to teardown."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path

from vimage import graph
from vimage.commands.context import Context
from vimage.commands.graph import topology
from vimage.commands.line import Line
from vimage.kernel import Iff
from vimage.kernel.simulated import SimulatedKernel
from vimage.kernel.simulated.control import HostControl

RC_CONF = """\
vimage_enable="YES"
vimage_list="vj1 vj2"

vimage_vj1_rootdir="/usr/jail/vj1"
vimage_vj1_bridges="igb0 igb0"       # two interfaces on one wire
vimage_vj1_afterstart_services="sshd"

vimage_vj2_rootdir="/usr/jail/vj1"   # the same root directory
vimage_vj2_bridges="igb0"
"""

JAIL_RC_CONF = """\
ifconfig_ng0_vj1="inet 192.168.1.100 netmask 255.255.255.0"
ifconfig_ng1_vj1="inet 10.0.0.1 netmask 255.255.255.0"
ifconfig_ng0_vj2="inet 10.0.0.2 netmask 255.255.255.0"
defaultrouter="192.168.1.1"
"""

#: Seconds between two lines of a command that is typed, when a person is watching.
PACE = 0.6


def run(context: Context, line: Line) -> int:
    """Play it.  Returns the first exit status that is not 0."""
    directory = Path(line.value("keep") or tempfile.mkdtemp(prefix="vimage-demo-"))
    try:
        return Demonstration(directory, context).play()
    finally:
        if not line.has("keep"):
            shutil.rmtree(directory, ignore_errors=True)


class Demonstration:
    """A simulated host, and the commands that are shown on it."""

    def __init__(self, directory: Path, context: Context) -> None:
        self.directory = directory
        self.command = context.command
        self.watched = sys.stdout.isatty()
        self.rc_conf = directory / "rc.conf"

    def play(self) -> int:
        """From rc.conf to graph to teardown."""
        self._furnish()
        picture = Path(tempfile.gettempdir()) / "vimage-demo.svg"
        status = 0
        self._say("The host's rc.conf: two vimages that share a root directory.")
        self._show("cat /etc/rc.conf", RC_CONF)
        self._say("The rc.conf inside that root: who gets which address.")
        self._show("cat /usr/jail/vj1/etc/rc.conf", JAIL_RC_CONF)
        self._say("Nothing is touched before it is known to be right, and nothing by surprise.")
        status = status or self._vimage("check")
        status = status or self._vimage("plan", "start", "vj1")
        self._say("Up.")
        status = status or self._vimage("start")
        status = status or self._vimage("status")
        self._ifconfig("vj1")
        self._ifconfig("vj2")
        self._say("The same MAC addresses after every restart and every reboot.")
        status = status or self._vimage("restart", "vj1")
        self._ifconfig("vj1")
        self._say("The network as a picture, for any browser.")
        self._type(f"vimage graph --format svg > {picture}")
        picture.write_text(self._graph(), encoding="utf-8")
        print()
        self._say("Down, and nothing stays.")
        status = status or self._vimage("plan", "stop", "vj1")
        status = status or self._vimage("stop")
        status = status or self._vimage("status")
        self._left()
        return status

    def _furnish(self) -> None:
        kernel = SimulatedKernel.open(self.directory)
        root = Path(kernel.path("/usr/jail/vj1"))
        for name in ("bin", "dev", "etc", "usr/sbin"):
            (root / name).mkdir(parents=True, exist_ok=True)
        for name in ("bin/sh", "usr/sbin/service"):
            (root / name).touch(mode=0o755)
        (root / "etc/rc.conf").write_text(JAIL_RC_CONF, encoding="ascii")
        self.rc_conf.write_text(RC_CONF, encoding="ascii")
        kernel.close()

    # -- the screen ------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        print(f"\n\033[36m# {text}\033[0m" if self.watched else f"\n# {text}")
        self._pause()

    def _type(self, line: str) -> None:
        print(f"\033[1m# {line}\033[0m" if self.watched else f"$ {line}", flush=True)
        self._pause()

    def _pause(self) -> None:
        if self.watched:
            time.sleep(PACE)

    def _show(self, line: str, text: str) -> None:
        self._type(line)
        print(text, end="")

    def _vimage(self, *words: str) -> int:
        asked = f"vimage {shlex.join(words)}"
        if words[0] in ("start", "stop", "restart"):
            asked = f"service {asked}"
        self._type(asked)
        status = self.command(["--simulated-host", str(self.directory), "-f", str(self.rc_conf),
                               *words])
        if status:
            print(f"exit status {status}")
        return status

    def _graph(self) -> str:
        context = Context(file=str(self.rc_conf), simulate=True, directory=str(self.directory))
        return graph.render(topology(context, [], {"vj1", "vj2"}), "svg")

    def _ifconfig(self, name: str) -> None:
        """What jexec NAME ifconfig would show."""
        self._type(f"jexec {name} ifconfig")
        kernel = SimulatedKernel.open(self.directory)
        try:
            jid = kernel.jail_get(name).jid
            addresses = HostControl(kernel).addresses_inside(jid)
            vnet = kernel.vnet(jid)
            for interface in vnet.interfaces():
                up = "UP" if interface.flags & Iff.UP else "DOWN"
                print(f"{interface.name}: flags=<{up}> mtu {interface.mtu}")
                if interface.mac:
                    print(f"\tether {interface.mac}")
                for address in addresses.get(interface.name, ()):
                    print(f"\tinet {address}")
            vnet.close()
        finally:
            kernel.close()

    def _left(self) -> None:
        kernel = SimulatedKernel.open(self.directory)
        try:
            bridges = [node.name for node in kernel.ng_nodes() if node.type in ("bridge", "eiface")]
            print(f"jails: {len(kernel.jail_list())}, bridges and eifaces: {len(bridges)}, "
                  f"interfaces: {' '.join(i.name for i in kernel.if_list())}")
        finally:
            kernel.close()
