"""The package: made, added, upgraded while a vimage runs, and deleted again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.freebsd import stage

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    subprocess.run("pkg -N", shell=True, capture_output=True).returncode != 0,
    reason="needs pkg(8)")

ALL = ("/usr/local/sbin/vimage", "/usr/local/lib/vimage", "/usr/local/etc/rc.d/vimage",
       "/usr/local/etc/devd/vimage.conf", "/usr/local/etc/newsyslog.conf.d/vimage.conf",
       "/usr/local/share/man/man8/vimage.8.gz", "/usr/local/share/examples/vimage")


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> dict[str, Path]:
    """Packages of two versions."""
    directory = tmp_path_factory.mktemp("packages")
    return {version: Path(stage.sh(
        f"{sys.executable} {ROOT}/port/package.py --version {version} {directory}").strip())
        for version in ("2.0.0", "2.0.1")}


@pytest.fixture
def host(clean_host: None) -> Iterator[None]:
    """What make has installed goes for the time of the test."""
    make = f"make -C {ROOT} -s PYTHON={sys.executable}"
    stage.stop_service()
    stage.sh(f"{make} deinstall")
    try:
        yield
    finally:
        stage.sh("pkg delete -fqy vimage", check=False)
        stage.sh(f"{make} install")


def pkg(words: str, *, rc_scripts: bool = False) -> str:
    return stage.sh(f"pkg -o HANDLE_RC_SCRIPTS={'true' if rc_scripts else 'false'} "
                    f"-o AUTOCLEAN=false {words}")


def state() -> tuple[str, str]:
    """The jail and the node of the vimage."""
    return (stage.sh("jls -j vj1 jid").strip(),
            stage.sh("ngctl show ng0_vj1: | head -1").strip())


@pytest.mark.parametrize("rc_scripts", [False, True])
def test_the_life_of_a_package(host, packages, rc_scripts):
    parent = stage.parents()[0]
    stage.configure(f"""
        vimage_enable="YES"
        vimage_list="vj1"
        vimage_vj1_rootdir="/"
        vimage_vj1_bridges="{parent}"
        vimage_vj1_boot="none"
        """)
    said = pkg(f"add {packages['2.0.0']}")
    assert "sysrc vimage_enable=YES vimage_list=vj1" in said
    assert stage.sh("pkg check -s vimage 2>&1", check=False).count("mismatch") == 0
    for path in ALL:
        assert Path(path).exists(), path
    started = stage.service("start")
    assert (started.returncode, started.stdout) == (0, "Starting vimages: vj1.\n"), started.stderr
    before = state()

    pkg(f"add {packages['2.0.1']}", rc_scripts=rc_scripts)
    assert "2.0.1" in stage.sh("pkg query %v vimage")
    assert state() == before
    for _ in range(60):
        if stage.service("status").returncode == 0:
            break
        stage.sh("sleep 0.5")
    else:
        raise AssertionError("no service after the upgrade")

    changed = Path("/usr/local/etc/newsyslog.conf.d/vimage.conf")
    changed.write_text("# changed\n" + changed.read_text())
    pkg("delete -qy vimage", rc_scripts=rc_scripts)
    assert state() == before
    left = [path for path in ALL if Path(path).exists()]
    assert left == [str(changed)]
    changed.unlink()
    pkg(f"add {packages['2.0.1']}")
    assert stage.service("start").returncode == 0
    assert state() == before
    assert stage.service("stop").returncode == 0
    assert stage.sh("jls -j vj1 jid", check=False) == ""
