"""Writes pkg-plist: what "make stage" puts in place, as ports(7) lists it.

    python3 port/plist.py               write it
    python3 port/plist.py --check       only say whether it is stale; then the exit status is 1
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLIST = ROOT / "pkg-plist"

_COMPILED = re.compile(r"\.cpython-[0-9]+\.pyc$")
_PLACES = (("share/doc/vimage/", "%%PORTDOCS%%%%DOCSDIR%%/"),
           ("share/examples/vimage/", "%%PORTEXAMPLES%%%%EXAMPLESDIR%%/"))


def staged(make: str = "make") -> list[str]:
    """The files below the prefix."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([make, "-s", "stage", f"DESTDIR={directory}", f"PYTHON={sys.executable}",
                        "PREFIX=/usr/local"], cwd=ROOT, check=True, stdin=subprocess.DEVNULL)
        prefix = Path(directory, "usr/local")
        return [str(path.relative_to(prefix)) for path in prefix.rglob("*") if path.is_file()]


def entry(file: str) -> str:
    """One line of pkg-plist."""
    for place, variable in _PLACES:
        if file.startswith(place):
            return variable + file.removeprefix(place)
    if file.endswith(".sample"):
        return f"@sample {file}"
    return _COMPILED.sub(".cpython-%%PYTHON_SUFFIX%%.pyc", file)


def expanded(plist: str, suffix: str = f"{sys.version_info[0]}{sys.version_info[1]}") -> list[str]:
    """The files that a list stands for, for a version of Python (``311``)."""
    files = []
    for line in plist.splitlines():
        line = line.removeprefix("@sample ").replace("%%PYTHON_SUFFIX%%", suffix)
        for place, variable in _PLACES:
            if line.startswith(variable):
                line = place + line.removeprefix(variable)
        files.append(line)
    return files


def main(arguments: list[str]) -> int:
    """Write the list, or say that it is stale."""
    text = "".join(f"{line}\n" for line in sorted(map(entry, staged())))
    if arguments == ["--check"]:
        if text == PLIST.read_text():
            return 0
        print("pkg-plist is stale: python3 port/plist.py")
        return 1
    PLIST.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
