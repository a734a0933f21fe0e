"""Puts the examples into the guides and draws their networks.

    python3 docs/guide/make_examples.py             write all of it
    python3 docs/guide/make_examples.py --check     only say what is stale; then the status is 1

In a guide, ``<!-- BEGIN NAME -->`` and ``<!-- END NAME -->`` enclose ``examples/NAME.conf`` and
its picture, ``examples/NAME.svg``, which is what ``vimage graph --format svg`` draws.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

GUIDE = Path(__file__).resolve().parent
sys.path.insert(0, str(GUIDE.parents[1]))

from vimage import graph  # noqa: E402
from vimage.configuration import rcconf  # noqa: E402
from vimage.configuration.resolve import lines, resolve  # noqa: E402

EXAMPLES = GUIDE / "examples"

#: Stands for kern.hostuuid, from which MAC addresses are derived.
HOST = "example"

_BLOCK = re.compile(r"(<!-- BEGIN ([a-z0-9-]+) -->\n).*?(<!-- END \2 -->\n)", re.S)


def picture(example: Path) -> str:
    """The network of an example.  Raises ValueError when the example has an error."""
    configuration, problems = resolve(rcconf.read(str(example)), hostuuid=HOST, cpus=4)
    if problems:
        raise ValueError(f"{example.name}: {lines(problems)}")
    return graph.render(graph.topology(configuration), "svg") + "\n"


def guide(text: str) -> str:
    """A guide with its examples as they have to be."""
    def block(match: re.Match[str]) -> str:
        name = match[2]
        conf = (EXAMPLES / f"{name}.conf").read_text(encoding="utf-8")
        return (f"{match[1]}```sh\n{conf}```\n\n![The network of {name}.conf]"
                f"(examples/{name}.svg)\n{match[3]}")
    return _BLOCK.sub(block, text)


def wanted() -> dict[Path, str]:
    """Every generated file, with what has to be in it."""
    files = {example.with_suffix(".svg"): picture(example)
             for example in sorted(EXAMPLES.glob("*.conf"))}
    files |= {path: guide(path.read_text(encoding="utf-8"))
              for path in sorted(GUIDE.glob("*.md"))}
    return files


def main(arguments: list[str]) -> int:
    """Write the files, or say which are stale."""
    status = 0
    for path, text in wanted().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if arguments == ["--check"]:
            print(f"{path.name} is stale: python3 docs/guide/make_examples.py")
            status = 1
        else:
            path.write_text(text, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
