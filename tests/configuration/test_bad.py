"""Bad configurations: each is read by the shell, and the exact lines compared."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from vimage.configuration import rcconf
from vimage.configuration.resolve import lines, resolve

UUID = "11111111-2222-3333-4444-555555555555"
CASES = tomllib.loads(Path(__file__).with_name("bad.toml").read_text())["case"]


@pytest.mark.parametrize("case", CASES, ids=[case["what"] for case in CASES])
def test_bad_configuration(case, tmp_path):
    file = tmp_path / "rc.conf"
    file.write_text(case["rc"])
    configuration, problems = resolve(
        rcconf.read(str(file)), hostuuid=case.get("hostuuid", UUID), cpus=4)
    assert lines(p for p in problems if not p.warning) == case["errors"]
    assert lines(p for p in problems if p.warning) == case.get("warnings", [])
    assert list(configuration.vimages) == case["left"]


def test_the_corpus_is_large_and_its_cases_differ():
    assert len(CASES) >= 70
    assert len({case["what"] for case in CASES}) == len(CASES)
    assert all(case["errors"] or case["warnings"] for case in CASES)
