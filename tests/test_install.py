"""make install and make deinstall, with every make(1) at hand."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAKES = [pytest.param(name, marks=() if shutil.which(name) else pytest.mark.skip("not here"))
         for name in ("make", "bmake", "gmake")]


def files(directory: Path) -> set[str]:
    return {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()}


@pytest.fixture(params=MAKES)
def make(request, tmp_path):
    def run(target: str, **variables: str) -> None:
        settings = {"DESTDIR": str(tmp_path), "PYTHON": sys.executable, **variables}
        subprocess.run([request.param, "-s", target, *(f"{k}={v}" for k, v in settings.items())],
                       cwd=ROOT, check=True, stdin=subprocess.DEVNULL)
    return run


def test_what_is_installed(make, tmp_path):
    make("install")
    installed = files(tmp_path / "usr/local")
    assert {"sbin/vimage", "etc/rc.d/vimage", "etc/rc.conf.d/vimage.sample",
            "etc/rc.conf.d/vimage", "etc/devd/vimage.conf", "etc/devd/vimage.conf.sample",
            "lib/vimage/vimage/model.py"} <= installed
    assert {f for f in installed if f.endswith(".pyc")}
    assert not [f for f in installed if "tests" in f]
    assert (tmp_path / "usr/local/etc/rc.d/vimage").read_text() == (
        ROOT / "rc.d/vimage").read_text()


def test_deinstall_leaves_nothing(make, tmp_path):
    make("install")
    make("install")
    make("deinstall")
    assert files(tmp_path) == set()


def test_changed_settings_stay(make, tmp_path):
    make("install")
    changed = tmp_path / "usr/local/etc/rc.conf.d/vimage"
    changed.write_text('vimage_list="vj1"\n')
    make("install")
    assert changed.read_text() == 'vimage_list="vj1"\n'
    make("deinstall")
    assert files(tmp_path) == {"usr/local/etc/rc.conf.d/vimage"}


def test_another_prefix(make, tmp_path):
    make("install", PREFIX="/opt/other")
    script = (tmp_path / "opt/other/etc/rc.d/vimage").read_text()
    assert "/opt/other/sbin/vimage --rc" in script
    assert "/usr/local" not in script


def test_the_program_runs_where_it_is_installed(make, tmp_path):
    make("install", DESTDIR="", PREFIX=str(tmp_path))
    subprocess.run([tmp_path / "sbin/vimage", "--help"], check=True, cwd="/",
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
