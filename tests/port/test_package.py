"""A package made by pkg(8) alone."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

sys.path.insert(0, str(ROOT / "port"))
_spec = importlib.util.spec_from_file_location("package", ROOT / "port/package.py")
assert _spec is not None and _spec.loader is not None
package = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(package)


PLIST = "@sample etc/devd/x.conf.sample\n@sample etc/y.sample\nsbin/x\n"


def test_settings_are_made_of_samples_and_go_with_them_unless_changed(tmp_path):
    def run(name):
        done = subprocess.run(
            ["sh", "-c", package.sample_scripts(PLIST)[name]], text=True, capture_output=True,
            stdin=subprocess.DEVNULL,
            env={"PATH": "/bin:/usr/bin", "PKG_ROOTDIR": f"{tmp_path}/", "PKG_PREFIX": "/local"})
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    etc = tmp_path / "local/etc"
    (etc / "devd").mkdir(parents=True)
    (etc / "devd/x.conf.sample").write_text("x\n")
    (etc / "y.sample").write_text("y\n")
    run("+POST_INSTALL")
    assert [(etc / name).read_text() for name in ("devd/x.conf", "y")] == ["x\n", "y\n"]
    (etc / "y").write_text("changed\n")
    run("+POST_INSTALL")
    assert (etc / "y").read_text() == "changed\n"
    run("+PRE_DEINSTALL")
    assert not (etc / "devd/x.conf").exists()
    assert (etc / "y").read_text() == "changed\n"
    (etc / "y").unlink()
    run("+PRE_DEINSTALL")


def test_every_sample_is_seen_to():
    text = (ROOT / "pkg-plist").read_text()
    for script in package.sample_scripts(text).values():
        assert [f"@sample {file}.sample" for file in script.split("for file in ")[1].split(
            ";")[0].split()] == [line for line in text.splitlines() if line.startswith("@")]
