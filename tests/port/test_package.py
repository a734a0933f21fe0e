"""The list of files for pkg(8) alone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

sys.path.insert(0, str(ROOT / "port"))
_spec = importlib.util.spec_from_file_location("package", ROOT / "port/package.py")
assert _spec is not None and _spec.loader is not None
package = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(package)


def test_samples_are_copied_and_taken_away():
    assert package.entries("@sample etc/devd/x.conf.sample\nsbin/x\n") == [
        "etc/devd/x.conf.sample",
        "@postexec test -e %D/etc/devd/x.conf || "
        "cp -p %D/etc/devd/x.conf.sample %D/etc/devd/x.conf",
        "@preunexec ! cmp -s %D/etc/devd/x.conf.sample %D/etc/devd/x.conf || "
        "rm -f %D/etc/devd/x.conf",
        "sbin/x"]


def test_every_entry_is_a_file_or_a_command():
    for line in package.entries((ROOT / "pkg-plist").read_text()):
        assert "%%" not in line
        assert not line.startswith("@") or line.split()[0] in ("@postexec", "@preunexec")
