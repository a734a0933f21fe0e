"""Limits of a host that many vimages would meet, told beforehand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vimage import check
from vimage.model import Configuration, Link, MacFrom, Vimage

AMPLE: dict[str, int] = {"hw.physmem": 4 << 30, "kern.ipc.maxsockbuf": 2 << 20,
                         "kern.maxproc": 10000}


class Host:
    """A kernel of which only these variables are known."""

    def __init__(self, values: dict[str, int]) -> None:
        self.values = values

    def sysctl(self, name: str) -> int:
        if name not in self.values:
            raise FileNotFoundError(name)
        return self.values[name]


def many(count: int) -> Configuration:
    link = Link(0, "em0", False, "ng0_x", MacFrom.DERIVED, None)
    return Configuration(vimages={
        f"v{n}": Vimage(f"v{n}", "/usr/jail/r", f"v{n}", links=(link,), command=("/sleep",))
        for n in range(count)})


def told(values: dict[str, int], configuration: Configuration) -> list[str]:
    problems = list(check.limits(Host(values), configuration))  # type: ignore[arg-type]
    assert all(problem.warning for problem in problems)
    return [problem.key for problem in problems]


def test_an_ample_host() -> None:
    assert told(AMPLE, many(1000)) == []


def test_a_host_that_does_not_say() -> None:
    assert told({}, many(1000)) == []


@pytest.mark.parametrize(("name", "value", "key"), [
    ("hw.physmem", 2 << 30, "limit_memory"),
    ("kern.ipc.maxsockbuf", 64 << 10, "limit_nodes"),
    ("kern.maxproc", 1500, "limit_processes"),
])
def test_a_limit_that_is_too_low(name: str, value: int, key: str) -> None:
    assert told(AMPLE | {name: value}, many(1000)) == [key]


def test_a_stop_that_takes_longer_than_the_shutdown() -> None:
    configuration = many(1)
    slow = replace(configuration.vimages["v0"], stop_timeout=120)
    configuration = replace(configuration, vimages={"v0": slow}, shutdown_timeout=90)
    problem, = check.limits(Host(AMPLE), configuration)  # type: ignore[arg-type]
    assert str(problem) == ('vimage_v0_stop_timeout="120" is longer than '
                            'rcshutdown_timeout="90"')
