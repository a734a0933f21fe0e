"""Runs the FreeBSD tests in a virtual machine, as root, and brings the results back.

    python3 -m tests.freebsd.runner [--image FILE] [--results DIRECTORY] [PYTEST-ARGUMENT ...]
    python3 -m tests.freebsd.runner --benchmark [-- ARGUMENT-OF-BENCHMARK/RUN.PY ...]

The image (see docs/testing.md) is booted with QEMU and never written to.  The tree
goes in as a tar archive on a second disk, the results come back as one on a third,
and the serial console is used to say what to do.  The exit status is that of pytest
or of the benchmark in the guest, 2 when there were no results.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).resolve().parents[2]
QEMU = "qemu-system-x86_64"
CACHE = Path("~/.cache/vimage").expanduser()
IMAGES = ("freebsd.qcow2", "freebsd.img", "freebsd.raw")
RESULTS_SIZE = 64 << 20
NOT_PACKED = {"build", "__pycache__"}

#: What the guest runs.  Its arguments are those of pytest.
GUEST_SCRIPT = """\
cd /var/tmp/vimage || exit 2
VIMAGE_TEST_PARENTS="em0 vtnet1"
export VIMAGE_TEST_PARENTS {settings}
rm -rf build/tests
sh tests/freebsd/guest.sh "$@"
status=$?
mkdir -p build/tests
echo $status >build/tests/status
uname -a >build/tests/uname
tar -cf /dev/vtbd2 -C build/tests .
exit $status
"""

#: How often the long tests repeat here; by hand on a host they repeat in full.
REPETITIONS = {"VIMAGE_TEST_CYCLES": "3", "VIMAGE_TEST_KILLS": "5", "VIMAGE_TEST_PINGS": "300",
               "VIMAGE_TEST_OPERATIONS": "40", "VIMAGE_TEST_PAIRS": "8",
               "VIMAGE_TEST_MANY": "20", "VIMAGE_TEST_REQUESTS": "1000",
               "VIMAGE_TEST_IDLE": "30"}

#: A kernel that has given up says one of these.
PANIC = re.compile(rb"\npanic: [^\n]*|\nKDB: enter: [^\n]*|\ndb> ")


class RunnerError(Exception):
    """The tests could not be run."""


# -- what is there to boot -------------------------------------------------------------


def find_image() -> Path | None:
    """The image that the environment names, else the one in the cache directory."""
    named = os.environ.get("VIMAGE_FREEBSD_IMAGE")
    candidates = [Path(named).expanduser()] if named else [CACHE / name for name in IMAGES]
    return next((path for path in candidates if path.is_file()), None)


def where() -> str:
    """Where an image is looked for, in words."""
    named = os.environ.get("VIMAGE_FREEBSD_IMAGE")
    return f"no image of FreeBSD at {named or CACHE / IMAGES[0]}"


def kvm_usable() -> bool:
    """Whether this machine can run guests without emulating the processor
    (VIMAGE_FREEBSD_ACCEL=kvm or =tcg decides it)."""
    kvm_create_vm = 0xAE01
    wanted = os.environ.get("VIMAGE_FREEBSD_ACCEL")
    if wanted:
        return wanted == "kvm"
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
        if "vmx" not in flags and "svm" not in flags:
            return False  # there may be a /dev/kvm all the same, of no use for FreeBSD
        device = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.close(fcntl.ioctl(device, kvm_create_vm, 0))
    except OSError:
        return False
    finally:
        os.close(device)
    return True


# -- disks -----------------------------------------------------------------------------


def tree_files(root: Path = ROOT) -> Iterator[Path]:
    """Every file of the checkout that belongs in the guest."""
    for directory, names, files in os.walk(root):
        names[:] = sorted(n for n in names if n not in NOT_PACKED and not n.startswith("."))
        yield from (Path(directory, name) for name in sorted(files))


def pack_tree(disk: Path) -> None:
    """Write the tree and the script that the guest runs as a tar archive."""
    with tarfile.open(disk, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in tree_files():
            tar.add(path, arcname=str(path.relative_to(ROOT)), recursive=False,
                    filter=owned_by_root)
        text = guest_script().encode()
        script = tarfile.TarInfo("run-in-guest.sh")
        script.size = len(text)
        script.mtime = int(time.time())
        tar.addfile(script, io.BytesIO(text))


def guest_script() -> str:
    """With the repetitions that the long tests are to make: as many as the caller's
    environment says, else few."""
    settings = " ".join(f"{name}={shlex.quote(os.environ.get(name, few))}"
                        for name, few in REPETITIONS.items())
    return GUEST_SCRIPT.replace("{settings}", settings)


def owned_by_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname, info.gname = "root", "wheel"
    return info


def unpack_results(disk: Path, directory: Path, prefix: str) -> list[str]:
    """Copy the plain files of the results to ``directory`` as ``prefix``NAME."""
    names = []
    try:
        with tarfile.open(disk, "r:") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None:
                    name = os.path.basename(member.name)
                    (directory / (prefix + name)).write_bytes(content.read())
                    names.append(name)
    except tarfile.TarError:
        pass  # the guest wrote none
    return names


# -- the machine -----------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """What to boot, and the files around it."""

    image: Path
    directory: Path
    memory: int
    cpus: int

    @property
    def tree(self) -> Path:
        return self.directory / "tree.tar"

    @property
    def results(self) -> Path:
        return self.directory / "results.tar"

    @property
    def console(self) -> Path:
        return self.directory / "console"

    def accelerator(self) -> list[str]:
        if kvm_usable():
            return ["-accel", "kvm", "-cpu", "host"]
        return ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"]

    def command(self) -> list[str]:
        """The QEMU command line: vtnet0 reaches out, em0 and vtnet1 only each other."""
        form = "qcow2" if self.image.suffix == ".qcow2" else "raw"
        disks = ((self.image, form, "on"), (self.tree, "raw", "on"), (self.results, "raw", "off"))
        return [
            QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-vga", "std",
            "-rtc", "base=utc", "-smp", str(self.cpus), "-m", str(self.memory),
            "-device", "virtio-rng-pci", *self.accelerator(),
            *(part for file, kind, snapshot in disks for part in (
                "-drive", f"file={str(file).replace(',', ',,')},format={kind},"
                          f"snapshot={snapshot},if=virtio,cache=unsafe")),
            "-netdev", "user,id=out", "-device", "virtio-net-pci,netdev=out",
            "-netdev", "hubport,id=a,hubid=1", "-device", "e1000,netdev=a",
            "-netdev", "hubport,id=b,hubid=1", "-device", "virtio-net-pci,netdev=b",
            "-chardev", f"socket,id=console,path={self.console},server=on,wait=off",
            "-serial", "chardev:console",
        ]


@dataclass
class Console:
    """The serial console of the guest, read until something expected appears."""

    connection: socket.socket
    qemu: subprocess.Popen[bytes]
    log: BinaryIO
    deadline: float
    echo: bool = False
    seen: bytes = field(default=b"", init=False)

    def read(self, timeout: float) -> None:
        """Take in what the guest says within ``timeout`` seconds."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise RunnerError("the time for the whole run is over")
        self.connection.settimeout(max(0.01, min(timeout, left)))
        try:
            data = self.connection.recv(65536)
        except TimeoutError:
            return
        except ConnectionError:
            data = b""
        if not data:
            raise RunnerError(last_words(self.qemu))
        self.log.write(data)
        self.log.flush()
        if self.echo:
            sys.stdout.write(data.replace(b"\r", b"").decode(errors="replace"))
            sys.stdout.flush()
        self.seen += data

    def drain(self, timeout: float) -> None:
        """Read on until the machine is gone, so that it never waits for its console."""
        end = time.monotonic() + timeout
        try:
            while time.monotonic() < end:
                self.read(end - time.monotonic())
        except (RunnerError, OSError):
            pass

    def send(self, text: str) -> None:
        self.connection.settimeout(30)
        self.connection.sendall(text.encode())

    def find(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """A match in what was seen; everything up to its end is forgotten."""
        match = pattern.search(self.seen)
        if match:
            self.seen = self.seen[match.end():]
            return match
        panic = PANIC.search(self.seen)
        if panic:
            raise RunnerError(f"the kernel of the guest: {panic[0].decode().strip()}")
        self.seen = self.seen[-65536:]
        return None

    def expect(self, pattern: bytes, timeout: float, again: str = "",
               every: float = 20) -> re.Match[bytes]:
        """Wait for ``pattern``, sending ``again`` while it does not come."""
        compiled = re.compile(pattern)
        end = time.monotonic() + timeout
        repeat = time.monotonic() + every
        while True:
            match = self.find(compiled)
            if match:
                return match
            now = time.monotonic()
            if now > end:
                raise RunnerError(f"the guest did not say {pattern.decode()!r} "
                                  f"within {timeout:.0f} s")
            if again and now > repeat:
                repeat = now + every
                self.send(again)
            self.read(min(1.0, end - now + 0.01))

    def log_in(self, timeout: float) -> None:
        """From power-on to a shell of root."""
        self.expect(rb"login: ?$", timeout, again="\n", every=60)
        self.send("root\n")
        if self.expect(rb"[#%$>] ?$|[Pp]assword: ?$", 120)[0].lower().startswith(b"password"):
            raise RunnerError("root of the image has a password; it must have none")
        # No prompt and no echo from here on.
        ready = ("exec /bin/sh -c 'stty -echo; printf vimage-%s\\\\n shell; "
                 "while read -r line; do eval \"$line\" </dev/null; done'\n")
        self.send(ready)
        self.expect(rb"vimage-shell\r?\n", 60, again=ready)

    def run(self, command: str, timeout: float) -> int:
        """Run a command of the shell; returns its exit status."""
        self.send(f"{command}; printf 'vimage-%s-%d-\\n' status $?\n")
        return int(self.expect(rb"vimage-status-(\d+)-", timeout)[1])


@contextmanager
def booted(machine: Machine, log: BinaryIO, deadline: float) -> Iterator[Console]:
    """The machine while it runs, and its end, whatever happens."""
    qemu = subprocess.Popen(machine.command(), stdin=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, start_new_session=True)
    try:
        with connect(machine.console, qemu) as connection:
            yield Console(connection, qemu, log, deadline)
            try:
                qemu.wait(5)
            except subprocess.TimeoutExpired:
                print("runner: the guest did not power off", file=sys.stderr)
    finally:
        if qemu.poll() is None:
            qemu.kill()
        qemu.wait()


def last_words(qemu: subprocess.Popen[bytes]) -> str:
    """Why QEMU ended."""
    qemu.wait(10)
    assert qemu.stderr is not None
    lines = qemu.stderr.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "the virtual machine ended"


def connect(path: Path, qemu: subprocess.Popen[bytes]) -> socket.socket:
    """The console's socket, as soon as QEMU has made it."""
    connection = socket.socket(socket.AF_UNIX)
    for _ in range(300):
        if qemu.poll() is not None:
            raise RunnerError(last_words(qemu))
        try:
            connection.connect(str(path))
            return connection
        except OSError:
            time.sleep(0.1)
    raise RunnerError(f"{QEMU} did not start")


# -- the run ---------------------------------------------------------------------------


def say(text: str) -> None:
    print(f"runner: {text}", flush=True)


@dataclass
class Run:
    """One run of the tests: the phases before and after a reboot of the guest."""

    machine: Machine
    console: Console
    results: Path
    limit: float

    def log_in(self) -> None:
        started = time.monotonic()
        self.console.log_in(self.limit)
        say(f"FreeBSD is up after {time.monotonic() - started:.0f} s")

    def prepare(self) -> None:
        """The tree, and Python and pytest where the image has none."""
        run = self.console.run
        if run("mkdir -p /var/tmp/vimage && tar -xf /dev/vtbd1 -C /var/tmp/vimage", 300):
            raise RunnerError("the guest cannot unpack the tree")
        if run("sh /var/tmp/vimage/tests/freebsd/guest.sh --find-python >/dev/null 2>&1", 120):
            say("installing Python in the guest")
            if run("env ASSUME_ALWAYS_YES=yes pkg install -y python311 py311-pytest", self.limit):
                raise RunnerError("pkg cannot install python311 and py311-pytest")

    def tests(self, prefix: str, arguments: Sequence[str], result: str = "freebsd.xml") -> int:
        """Run guest.sh there; its exit status.  ``result`` is the file that must come back."""
        with self.machine.results.open("r+b") as disk:
            disk.write(bytes(1 << 20))
        self.console.echo = True
        try:
            self.console.run(f"sh /var/tmp/vimage/run-in-guest.sh {shlex.join(arguments)}",
                             self.limit)
        finally:
            self.console.echo = False
            print(flush=True)
        names = unpack_results(self.machine.results, self.results, prefix)
        if not {"status", result} <= set(names):
            raise RunnerError("the guest gave no results")
        return int((self.results / f"{prefix}status").read_text())

    def reboot(self) -> None:
        say("rebooting the guest")
        self.console.send("shutdown -r now\n")
        self.log_in()

    def power_off(self) -> None:
        self.console.send("shutdown -p now\n")
        self.console.drain(60)

    def everything(self, arguments: Sequence[str], benchmark: bool) -> int:
        """All tests; ``arguments`` choose others.  Or the benchmark."""
        self.log_in()
        self.prepare()
        if benchmark:
            status = self.tests("freebsd-", ["--benchmark", *arguments], "figures.csv")
        elif arguments:
            status = self.tests("freebsd-", arguments)
        else:
            status = self.tests("freebsd-", [])
            before, after = REBOOT
            if (ROOT / before).exists():
                status = max(status, self.tests("freebsd-before-", [before]))
                self.reboot()
                status = max(status, self.tests("freebsd-after-", [after]))
        say((self.results / "freebsd-uname").read_text().strip())
        self.power_off()
        return status


#: Tests on both sides of a reboot.
REBOOT = ("tests/freebsd/reboot/test_before.py", "tests/freebsd/reboot/test_after.py")


def run(options: argparse.Namespace, image: Path) -> int:
    options.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vimage-") as name:
        machine = Machine(image, Path(name), options.memory, options.cpus)
        pack_tree(machine.tree)
        with machine.results.open("wb") as disk:
            disk.truncate(RESULTS_SIZE)
        deadline = time.monotonic() + options.timeout
        say(f"booting {image} ({'KVM' if kvm_usable() else 'emulated, this takes a while'})")
        with (options.results / "console.log").open("wb") as log, \
                booted(machine, log, deadline) as console:
            return Run(machine, console, options.results, options.timeout).everything(
                options.arguments, options.benchmark)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="runner", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, default=find_image(), help="a FreeBSD disk image")
    parser.add_argument("--find", action="store_true",
                        help="print the image that would be used; status 1 without one")
    parser.add_argument("--where", action="store_true", help="say why no image would be used")
    parser.add_argument("--results", type=Path, default=Path("build/tests"),
                        help="where results go (%(default)s)")
    parser.add_argument("--timeout", type=float, default=4200,
                        help="seconds for everything (%(default)s)")
    parser.add_argument("--memory", type=int, default=4096, help="MiB (%(default)s)")
    parser.add_argument("--cpus", type=int, default=2, help="%(default)s")
    parser.add_argument("--benchmark", action="store_true",
                        help="run the benchmark; its figures come back as freebsd-figures.csv "
                             "and freebsd-figures.svg")
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT",
                        help="of pytest, or of benchmark/run.py")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.find:
        if options.image:
            print(options.image)
        return 0 if options.image else 1
    if options.where:
        print(where())
        return 0
    if options.image is None or not options.image.is_file():
        print(f"runner: {where()}", file=sys.stderr)
        return 2
    if shutil.which(QEMU) is None:
        print(f"runner: {QEMU} is not installed", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    try:
        return run(options, options.image)
    except (RunnerError, OSError) as error:
        print(f"runner: {error} (see {options.results / 'console.log'})", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
