"""Configurations of other tools, each with what is expected of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vimage import importing
from vimage.configuration import render
from vimage.configuration.resolve import resolve

CASES = sorted((Path(__file__).parent / "cases").glob("*.txt"))


def sections(case: Path) -> dict[str, str]:
    parts = re.split(r"^== (.+)\n", case.read_text(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_case(case, tmp_path):
    texts = sections(case)
    expected, notes = texts.pop("expected"), texts.pop("notes")
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    imported = importing.read([str(tmp_path / name) for name in texts if "/" not in name])
    assert "".join(f"{line}\n" for line in render.lines(imported.settings)) == expected
    assert sorted(map(str, imported.problems)) == sorted(notes.splitlines())
    configuration, problems = resolve(imported.settings, hostuuid="4c4c4544", cpus=8)
    assert [str(p) for p in problems] == []
    assert set(configuration.list) <= set(configuration.vimages)


def test_there_are_enough():
    assert len(CASES) >= 25
