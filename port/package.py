"""Makes a package of the checkout with pkg(8) alone, without a ports tree.  On FreeBSD:

    python3 port/package.py [--version VERSION] DIRECTORY

It prints the name of the package in DIRECTORY.  The port makes the packages that are
distributed; this one is for trying things out, and depends on nothing but Python being there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "port")]

import plist  # noqa: E402

import vimage  # noqa: E402

#: Files of the port, and what pkg-create(8) calls them.
METADATA = {"pkg-descr": "+DESC", "pkg-message": "+DISPLAY", "pkg-install": "+INSTALL",
            "pkg-deinstall": "+DEINSTALL"}


def entries(text: str) -> list[str]:
    """pkg-plist for pkg(8) alone: ``@sample`` is a keyword of the ports tree."""
    lines = []
    for line, file in zip(text.splitlines(), plist.expanded(text), strict=True):
        lines.append(file)
        if line.startswith("@sample "):
            sample = f"%D/{file}"
            target = sample.removesuffix(".sample")
            lines += [f"@postexec test -e {target} || cp -p {sample} {target}",
                      f"@preunexec ! cmp -s {sample} {target} || rm -f {target}"]
    return lines


def manifest(version: str) -> dict[str, object]:
    """The +MANIFEST."""
    return {"name": "vimage", "version": version, "origin": "sysutils/vimage", "prefix":
            "/usr/local", "comment": "Boot service for VNET jails wired with netgraph",
            "maintainer": "ports@FreeBSD.org", "www": "UNKNOWN", "abi": "FreeBSD:*:*",
            "categories": ["sysutils"], "licenses": ["BSD2CLAUSE"], "licenselogic": "single"}


def make(version: str, directory: Path) -> Path:
    """The package.  Raises subprocess.CalledProcessError."""
    with tempfile.TemporaryDirectory() as work:
        stage, metadata = Path(work, "stage"), Path(work, "metadata")
        metadata.mkdir()
        subprocess.run(["make", "-s", "stage", f"DESTDIR={stage}", f"PYTHON={sys.executable}"],
                       cwd=ROOT, check=True, stdin=subprocess.DEVNULL)
        for file, name in METADATA.items():
            shutil.copy(ROOT / file, metadata / name)
        (metadata / "+MANIFEST").write_text(json.dumps(manifest(version)))
        listed = Path(work, "plist")
        listed.write_text("\n".join(entries((ROOT / "pkg-plist").read_text())) + "\n")
        subprocess.run(["pkg", "create", "-q", "-m", metadata, "-r", stage, "-p", listed,
                        "-o", directory], check=True, stdin=subprocess.DEVNULL)
    return max(directory.glob(f"vimage-{version}.*"))


def main() -> int:
    """Make it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", default=vimage.__version__)
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    print(make(arguments.version, arguments.directory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
