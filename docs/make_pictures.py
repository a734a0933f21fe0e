"""Makes the pictures of the README from what the program prints.

    python3 docs/make_pictures.py

``session.svg`` is the first half of ``vimage demo``, ``network.svg`` what ``vimage graph``
draws of ``docs/examples/network.conf``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent

LINE = 17
CHARACTER = 7.25
MARGIN = 18
BAR = 30
MOST_LINES = 58

STYLE = """\
text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  fill: #cbd5e1; white-space: pre }
.window { fill: #0f172a } .bar { fill: #1e293b }
.prompt { fill: #4ade80 } .command { fill: #f8fafc; font-weight: 600 } .note { fill: #94a3b8 }
"""

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def vimage(*arguments: str) -> str:
    """What the program of this checkout prints."""
    return subprocess.run([sys.executable, "-m", "vimage", *arguments], cwd=ROOT, check=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).stdout


def beginning(text: str, longest: int) -> str:
    """The first lines of a session, up to where a new section begins with a comment."""
    lines = text.strip().splitlines()
    sections = [i for i, line in enumerate(lines) if line.startswith("# ") and 0 < i <= longest]
    end = len(lines) if len(lines) <= longest else (sections or [longest])[-1]
    return "\n".join(lines[:end]).rstrip()


def terminal(text: str) -> str:
    """An SVG of a terminal window that shows ``text``; a line "$ ..." is a command."""
    lines = [_ESCAPES.sub("", line).expandtabs().rstrip() for line in text.splitlines()]
    width = 2 * MARGIN + CHARACTER * max([72, *map(len, lines)])
    height = BAR + 2 * MARGIN + LINE * len(lines) - 6
    size = f'width="{width:.0f}" height="{height}"'
    lights = "".join(f'<circle cx="{18 + 18 * i}" cy="15" r="5.5" fill="{fill}"/>'
                     for i, fill in enumerate(("#f87171", "#fbbf24", "#4ade80")))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width:.0f} {height}">',
        f"<style>\n{STYLE}</style>",
        f'<rect class="window" {size} rx="9"/>',
        f'<path class="bar" d="M0 {BAR}V9q0 -9 9 -9H{width - 9:.0f}q9 0 9 9V{BAR}z"/>{lights}',
        *(row(MARGIN, BAR + MARGIN + 8 + LINE * i, line) for i, line in enumerate(lines)),
        "</svg>", ""]
    return "\n".join(filter(None, parts))


def row(x: float, y: float, line: str) -> str:
    """One line of the terminal."""
    if not line:
        return ""
    start = f'<text x="{x}" y="{y}" xml:space="preserve"'
    if line.startswith(("$ ", "# ")):
        kind = "command" if line[0] == "$" else "note"
        return (f'{start}><tspan class="prompt">{line[0]}</tspan>'
                f'<tspan class="{kind}">{escape(line[1:])}</tspan></text>')
    return f"{start}>{escape(line)}</text>"


def main() -> None:
    with tempfile.TemporaryDirectory() as host:
        (DOCS / "network.svg").write_text(vimage(
            "graph", "--simulate", "--simulated-host", host, "-f",
            str(DOCS / "examples" / "network.conf"), "--format", "svg"))
    (DOCS / "session.svg").write_text(terminal(beginning(vimage("demo"), MOST_LINES)))


if __name__ == "__main__":
    main()
