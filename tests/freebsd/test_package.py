"""What is installed: by make and by pkg(8), upgraded while a vimage runs, and gone again."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import vimage
from tests.freebsd import recipes, system

ROOT = Path(__file__).parents[2]
PKG = recipes.PKG

_spec = importlib.util.spec_from_file_location("plist", ROOT / "port/plist.py")
assert _spec is not None and _spec.loader is not None
plist = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(plist)

needs_pkg = pytest.mark.skipif(not os.access(PKG, os.X_OK), reason=f"needs pkg(8), {PKG}")

#: The later version is told from the earlier one by a column of the table of its service.
OLD, NEW = vimage.__version__, f"{vimage.__version__}.1"
MARK = "STATE-OF-THE-NEW-VERSION"

#: A setting that somebody changes.
CHANGED = Path("/usr/local/etc/newsyslog.conf.d/vimage.conf")


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> dict[str, Path]:
    """Packages of two versions, in a directory that is a repository of pkg(8) too."""
    work = tmp_path_factory.mktemp("work")
    shutil.copytree(ROOT, work / NEW, symlinks=True, ignore=shutil.ignore_patterns(
        "build", "__pycache__", ".*"))
    for file, old, new in (("vimage/__init__.py", OLD, NEW),
                           ("vimage/service/daemon.py", '"STATE"', f'"{MARK}"')):
        text = (work / NEW / file).read_text()
        assert old in text
        (work / NEW / file).write_text(text.replace(old, new))
    directory = work / "packages"
    directory.mkdir()
    return {version: Path(system.sh(f"{sys.executable} {tree}/port/package.py {directory}").strip())
            for version, tree in ((OLD, ROOT), (NEW, work / NEW))}


@pytest.fixture(scope="module")
def removed() -> Iterator[None]:
    with recipes.removed():
        yield


@pytest.fixture
def bare(removed: None) -> Iterator[set[str]]:
    """A host without vimage; the files below /usr/local."""
    with recipes.as_before(CHANGED) as files:
        try:
            yield files
        finally:
            if system.running() and not os.path.exists(system.VIMAGE):  # a test has failed
                system.sh(f"make -C {ROOT} -s install PYTHON={sys.executable}")
            system.stop_service()
            if os.access(PKG, os.X_OK):
                system.sh(f"{PKG} delete -fqy vimage", check=False)
            system.sh(f"make -C {ROOT} -s deinstall")


def pkg(words: str, *, rc_scripts: bool = False) -> str:
    return system.sh(f"{PKG} -o HANDLE_RC_SCRIPTS={'true' if rc_scripts else 'false'} "
                    f"-o ASSUME_ALWAYS_YES=true {words} 2>&1")


def listed() -> set[str]:
    """The files of pkg-plist, and the settings made of samples."""
    files = plist.expanded((ROOT / "pkg-plist").read_text())
    return {f"/usr/local/{name}" for file in files
            for name in {file, file.removesuffix(".sample")}}


def type_the_message() -> None:
    """What pkg-message says, and then a vimage is ready."""
    card = system.parents()[0]
    lines = recipes.for_card(recipes.of_the_message(), card)
    assert len([line for line in lines if line.startswith("sysrc ")]) == 3
    assert lines[-1] == "service vimage start"
    for line in lines:
        done = recipes.run(line)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    row = system.vimage("status").stdout.splitlines()[1].split()
    assert row[:2] == ["vj1", "ready"] and row[-1] == "ng0_vj1"
    assert system.ifconfig("vj1")["ng0_vj1"]["inet"] == ["192.0.2.10"]
    assert "192.0.2.10" not in system.sh("ifconfig")
    stopped = system.service("stop")
    assert (stopped.returncode, stopped.stderr) == (0, "")


def run_a_vimage() -> None:
    """vj1, which keeps a program running."""
    system.configure(f"""
        vimage_enable="YES"
        vimage_list="vj1 vj2"
        vimage_vj1_rootdir="/"
        vimage_vj1_bridges="{system.parents()[0]}"
        vimage_vj1_boot="none"
        vimage_vj1_command="/bin/sleep 98765"
        vimage_vj2_rootdir="/"
        vimage_vj2_boot="none"
        """)
    system.sh("service devd onerestart")
    started = system.service("start")
    assert (started.returncode, started.stderr) == (0, ""), started.stdout
    # vj2 is what an administrator has stopped.
    assert system.service("stop", "vj2").returncode == 0


def state() -> list[str]:
    """The jails, the node of vj1, and its processes with the time at which they began."""
    seen = [system.sh("jls jid name").strip(), system.sh("ngctl show ng0_vj1: | head -1").strip(),
            system.sh("ps -o pid= -o lstart= -o command= -J vj1").strip()]
    assert "98765" in seen[2] and "ng0_vj1" in seen[1]
    return seen


def table() -> str:
    """What the service says of itself, "" when it does not run."""
    done = system.vimage("status")
    return done.stdout if done.returncode == 0 else ""


def wait_for(what: str) -> None:
    """Until the table of the service has this in it."""
    deadline = time.monotonic() + 60
    while what not in table():
        assert time.monotonic() < deadline, (what, system.vimage("status"))
        time.sleep(0.2)


# -- by make ----------------------------------------------------------------------------------

def test_make_installs_what_is_listed_and_takes_it_away(bare):
    done = recipes.run(f"make install PYTHON={sys.executable}")
    assert (done.returncode, done.stderr) == (0, "")
    assert recipes.files_of(recipes.installed() - bare) == listed()
    type_the_message()
    done = recipes.run("make deinstall")
    assert (done.returncode, done.stderr) == (0, "")
    assert recipes.installed() == bare


# -- by pkg -----------------------------------------------------------------------------------

@needs_pkg
def test_the_package_is_what_is_listed(bare, packages):
    said = pkg(f"add {packages[OLD]}")
    for line in recipes.of_the_message():
        assert line in said
    assert recipes.files_of(recipes.installed() - bare) == listed()
    pkg("check -s vimage")
    type_the_message()
    pkg("delete vimage")
    left = recipes.installed()
    # pkg takes directories away with the last file in them, whosever they are.
    assert recipes.files_of(left) == recipes.files_of(bare) and left <= bare


@pytest.fixture
def upgrade(packages, tmp_path):
    """How one comes to the new version."""
    def upgrade(way: str, rc_scripts: bool) -> None:
        if way == "add -f":
            pkg(f"add -f {packages[NEW]}", rc_scripts=rc_scripts)
        else:
            directory = packages[NEW].parent
            pkg(f"repo {directory}")
            (tmp_path / "test.conf").write_text(
                f'test: {{ url: "file://{directory}", enabled: yes, signature_type: none }}\n')
            pkg(f"-o REPOS_DIR={tmp_path} upgrade vimage", rc_scripts=rc_scripts)
        assert system.sh(f"{PKG} query %v vimage").strip() == NEW
    return upgrade


@needs_pkg
@pytest.mark.parametrize("rc_scripts", [False, True])
@pytest.mark.parametrize("way", ["add -f", "upgrade"])
def test_an_upgrade_does_not_touch_what_runs(bare, packages, upgrade, way, rc_scripts):
    pkg(f"add {packages[OLD]}")
    run_a_vimage()
    before = state()
    assert MARK not in table()
    upgrade(way, rc_scripts)
    assert state() == before
    wait_for(MARK)
    assert state() == before
    stopped = system.service("stop")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert system.sh("jls jid name") == ""


@needs_pkg
@pytest.mark.parametrize("rc_scripts", [False, True])
def test_an_upgrade_starts_nothing_that_was_stopped(bare, packages, upgrade, rc_scripts):
    pkg(f"add {packages[OLD]}")
    run_a_vimage()
    system.stop_service()
    before = recipes.look()
    upgrade("upgrade", rc_scripts)
    assert recipes.left(before) == []
    assert table() == ""


@needs_pkg
@pytest.mark.parametrize("rc_scripts", [False, True])
def test_deletion_leaves_changed_settings_and_vimages(bare, packages, rc_scripts):
    pkg(f"add {packages[OLD]}")
    run_a_vimage()
    before = state()
    CHANGED.write_text("# changed\n" + CHANGED.read_text())
    pkg("delete vimage", rc_scripts=rc_scripts)
    assert state() == before
    left = recipes.files_of(recipes.installed())
    assert left - bare == {str(CHANGED)} and recipes.files_of(bare) <= left
    deadline = time.monotonic() + 30
    while "vimage" in system.sh("ps -axo command= | grep -E '[s]ervice --supervised'", check=False):
        assert time.monotonic() < deadline
        time.sleep(0.2)

    pkg(f"add {packages[NEW]}")
    assert CHANGED.read_text().startswith("# changed\n")
    assert system.service("start", "vj1").returncode == 0
    assert state() == before
    stopped = system.service("stop")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert system.sh("jls jid name") == ""
