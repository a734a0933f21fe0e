"""What vimage is told to start."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmark import host, service, tools
from vimage.configuration.resolve import resolve

UUID = "00000000-0000-0000-0000-000000000001"


def variables(text: str) -> dict[str, str]:
    return dict(re.findall(r'^(\w+)="(.*)"$', text, re.MULTILINE))


@pytest.mark.parametrize("more", [{}, {"address": True}, {"boot": True}, {"on_bridge": 10}])
def test_configuration(tmp_path: Path, more: dict[str, int]) -> None:
    setup = tools.Setup(25, "em0", "/var/empty", tmp_path, **more)  # type: ignore[arg-type]
    found, problems = resolve(variables(service.configuration(setup)), hostuuid=UUID, cpus=2)
    assert [problem for problem in problems if not problem.warning] == []
    assert list(found.vimages) == setup.names
    assert len(found.bridges) == (3 if setup.on_bridge else 0)


def test_names_are_known_as_ours(tmp_path: Path) -> None:
    setup = tools.Setup(25, "em0", "/var/empty", tmp_path, on_bridge=10)
    for name in (*setup.names, *setup.bridges):
        assert host.OURS.fullmatch(name)


def test_cpu_between_the_marks() -> None:
    usages = {10: host.Usage(1.0, 0.5, 0.7, 0), 100: host.Usage(2.8, 1.4, 1.6, 0),
              500: host.Usage(10.0, 5.0, 6.0, 0)}
    assert tools.between(usages) == pytest.approx({
        "own CPU per vimage 10..100": 0.02, "own user CPU per vimage 10..100": 0.01,
        "CPU of its first thread per vimage 10..100": 0.01})
