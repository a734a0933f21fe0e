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


#: What the keyword ``@sample`` of the ports tree does, as scripts of the package.
SAMPLES = {
    "+POST_INSTALL": '[ -e "$file" ] || cp -p "$file.sample" "$file"',
    "+PRE_DEINSTALL": '! cmp -s "$file" "$file.sample" || rm "$file"',
}


def sample_scripts(text: str) -> dict[str, str]:
    """Scripts of the package that make settings of the samples in pkg-plist, and take away
    the settings that are still as in the sample."""
    files = " ".join(line.removeprefix("@sample ").removesuffix(".sample")
                     for line in text.splitlines() if line.startswith("@sample "))
    return {name: f'cd "${{PKG_ROOTDIR%/}}$PKG_PREFIX" || exit\n'
                  f"for file in {files}; do\n\t{command}\ndone\n"
            for name, command in SAMPLES.items()}


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
        listing = (ROOT / "pkg-plist").read_text()
        for name, script in sample_scripts(listing).items():
            (metadata / name).write_text(script)
        (metadata / "+MANIFEST").write_text(json.dumps(manifest(version)))
        listed = Path(work, "plist")
        listed.write_text("\n".join(plist.expanded(listing)) + "\n")
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
