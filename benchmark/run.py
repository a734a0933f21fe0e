#!/usr/bin/env python3
"""Measures starting and stopping vimages beside the floor and beside jng and jib.

    python3 benchmark/run.py --count 10,100 --runs 5 --modes network,address \
        --with vimage,floor,jng,jib --parent em0 --csv figures.csv --svg figures.svg

As root on FreeBSD, with vimage installed (make install; service devd restart), on a host
that runs no vimages.  The interface after --parent is brought up, bridged and put back.
plan and check need neither FreeBSD nor root.  docs/performance.md tells how it is measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark import host, modes, picture, report, service, trace
from benchmark.host import BenchmarkError


def numbers(text: str) -> list[int]:
    """"10,100"."""
    found = [int(word) for word in text.split(",")]
    if not found or min(found) < 1:
        raise ValueError(text)
    return found


def words_of(known: Sequence[str]) -> object:
    """A parser of "a,b" that allows what is known."""
    def parse(text: str) -> list[str]:
        found = text.split(",")
        for word in found:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
        return found
    return parse


def listed(words: dict[str, str]) -> str:
    return "\n".join(f"  {word:10} {text}" for word, text in words.items())


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"modes:\n{listed(modes.MODES)}\n\nwith:\n{listed(modes.WITH)}")
    made.add_argument("--count", type=numbers, default=[10, 100], metavar="N,N",
                      help="how many vimages (10,100)")
    made.add_argument("--runs", type=int, default=5, metavar="N", help="how often (5)")
    made.add_argument("--modes", type=words_of(list(modes.MODES)),  # type: ignore[arg-type]
                      default=["network"], metavar="M,M", help="see below (network)")
    made.add_argument("--with", dest="with_", metavar="W,W",
                      type=words_of(list(modes.WITH)),  # type: ignore[arg-type]
                      default=["vimage", "running", "floor", "boots"],
                      help="see below (vimage,running,floor,boots)")
    made.add_argument("--parent", default="", metavar="IF",
                      help="an Ethernet interface to bridge to, best one with no other use")
    made.add_argument("--tools-limit", type=int, default=100, metavar="N",
                      help="jng and jib up to this count: jng's time grows with its square (100)")
    made.add_argument("--idle", type=float, default=60, metavar="SECONDS",
                      help="mode idle: how long to look (60)")
    made.add_argument("--cold", action="store_true",
                      help="no round beforehand that warms up and is not counted")
    made.add_argument("--trace", type=numbers, metavar="N,N",
                      help="count the kernel calls instead, by ktrace(1), from the difference "
                           "of two counts; modes network and address")
    made.add_argument("--accept", action="store_true",
                      help="with --trace: take vimage's calls as those it may make from now on")
    made.add_argument("--profile", metavar="FILE",
                      help="run the service under cProfile, its figures to FILE "
                           "(python3 -m pstats FILE); times are then those of a slower program")
    made.add_argument("--csv", metavar="FILE", help="write the figures there")
    made.add_argument("--svg", metavar="FILE", help="draw the ratios there")
    made.add_argument("--read", metavar="FILE",
                      help="measure nothing; tables and picture of figures written earlier")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """0 measured; 1 not, or not all, or more kernel calls than there should be; 2 usage."""
    options = parser().parse_args(argv)
    rows: list[report.Row] = []
    facts: dict[str, str] = {}
    complaints: list[str] = []
    try:
        if options.read:
            rows, facts = report.from_csv(Path(options.read).read_text(encoding="utf-8"))
        else:
            facts = host.facts()
            complaints = measure(options, rows, facts)
    except (BenchmarkError, OSError, ValueError) as error:
        complaints = [str(error)]
    except KeyboardInterrupt:
        complaints = ["interrupted"]
    if rows:
        show(options, rows, facts)
    for complaint in complaints:
        print(f"benchmark: {complaint}", file=sys.stderr)
    return 1 if complaints else 0


def show(options: argparse.Namespace, rows: list[report.Row], facts: dict[str, str]) -> None:
    """The figures in every form that was asked for."""
    print("\n".join(f"{name}: {value}" for name, value in facts.items()))
    print(f"\n{report.tables(rows)}", end="", flush=True)
    if options.csv:
        Path(options.csv).write_text(report.to_csv(rows, facts), encoding="utf-8")
    if options.svg:
        Path(options.svg).write_text(picture.render(rows, facts), encoding="utf-8")


def measure(options: argparse.Namespace, rows: list[report.Row], facts: dict[str, str],
            ) -> list[str]:
    """Do what was asked for; ``rows`` has what was measured also when it fails halfway."""
    plan = modes.Plan(options.count, options.runs, options.modes, options.with_, options.parent,
                      tools_limit=options.tools_limit, idle=options.idle,
                      warm_up=not options.cold, rows=rows)
    with tempfile.TemporaryDirectory(prefix="vimage-benchmark-") as name:
        plan.directory = Path(name)
        if options.profile:
            plan.program = service.variant(plan.directory, profile=os.path.abspath(options.profile))
        if not options.trace and set(plan.modes) <= set(modes.COMMANDS):
            modes.commands(plan)
            return []
        with prepared(plan) as (parent, root):
            facts["parent"] = f"{parent.name}, made ready in {parent.seconds:.2f} s (not counted)"
            if options.trace:
                return trace.run(plan, options.trace, parent, root, options.accept)
            modes.cycles(plan, parent, root)
            modes.running(plan, parent, root)
            modes.commands(plan)
    return []


@contextmanager
def prepared(plan: modes.Plan) -> Iterator[tuple[host.Parent, host.Root]]:
    """A host on which it can be measured, put back afterwards.  Raises BenchmarkError."""
    if not host.freebsd():
        raise BenchmarkError(f"these modes need FreeBSD, this is {os.uname().sysname}; "
                             f"anywhere: {', '.join(modes.COMMANDS)}")
    if os.geteuid() != 0:
        raise BenchmarkError("only root may do this")
    if not plan.parent:
        raise BenchmarkError("name an Ethernet interface to bridge to (--parent)")
    if service.processes() or service.records():
        raise BenchmarkError("vimage runs on this host (service vimage stop)")
    parent = host.Parent(plan.parent)
    parent.prepare()
    root = host.Root(str(plan.directory / "root"))
    try:
        if there := host.left(plan.parent):
            raise BenchmarkError(f"in the way: {', '.join(there[:10])}")
        yield parent, root
    finally:
        root.close()
        parent.restore()


if __name__ == "__main__":
    sys.exit(main())
