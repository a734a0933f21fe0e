"""What the public continuous integration is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
RELEASES = ["13.5", "14.3", "15.0"]


def read(name):
    return yaml.safe_load((ROOT / name).read_text())


def test_cirrus():
    task = read(".cirrus.yml")["task"]
    assert [entry["env"]["FREEBSD"] for entry in task["matrix"]] == RELEASES
    for entry in task["matrix"]:
        release, image = entry["env"]["FREEBSD"], entry["env"]["IMAGE"]
        assert image.startswith(f"freebsd-{release.replace('.', '-')}")
    assert any("sh tests/run" in line for line in task["test_script"])
    assert all(isinstance(line, str) for line in task["prepare_script"] + task["test_script"])


def test_github():
    workflow = read(".github/workflows/freebsd.yml")
    assert set(workflow[True]) == {"push", "pull_request"}  # "on" is a boolean to YAML 1.1
    assert workflow["permissions"] == {"contents": "read"}
    jobs = workflow["jobs"]
    assert jobs["freebsd"]["strategy"]["matrix"]["release"] == RELEASES
    for job in jobs.values():
        assert job["runs-on"] and job["timeout-minutes"] <= 60
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@v[0-9]+", step["uses"])
    runs = [str(step.get("run") or step.get("with", {}).get("run")) for job in jobs.values()
            for step in job["steps"]]
    assert sum("sh tests/run" in run for run in runs) == 2


def test_every_file_that_is_run_is_there():
    for name in (".cirrus.yml", ".github/workflows/freebsd.yml"):
        for path in re.findall(r"\bsh (tests/\S+)", (ROOT / name).read_text()):
            assert (ROOT / path).is_file()
