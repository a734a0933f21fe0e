"""Adds up what the checks and the test runs of ``tests/run`` gave.

``python3 -m tests.summary DIRECTORY`` reads ``checks`` (lines "passed NAME") and every
``*.xml`` (JUnit) in it, names what failed and prints the closing line.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from pathlib import Path


def junit_results(path: Path) -> Iterator[tuple[str, str]]:
    """(outcome, test) for every test of a JUnit file."""
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            yield "failed", name
        elif "skipped" in kinds:
            yield "skipped", name
        else:
            yield "passed", name


def results(directory: Path) -> Iterator[tuple[str, str]]:
    """(outcome, name) of everything that was checked and tested."""
    checks = directory / "checks"
    if checks.exists():
        for line in checks.read_text().splitlines():
            outcome, _, name = line.partition(" ")
            yield outcome, name
    for path in sorted(directory.glob("*.xml")):
        try:
            yield from junit_results(path)
        except ElementTree.ParseError as error:
            yield "failed", f"{path.name}: {error}"


def main(directory: str) -> int:
    counts: Counter[str] = Counter()
    for outcome, name in results(Path(directory)):
        counts[outcome] += 1
        if outcome == "failed":
            print(f"failed: {name}")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
