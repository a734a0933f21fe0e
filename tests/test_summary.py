"""The closing line of the test run."""

from __future__ import annotations

import pytest

from tests import summary

JUNIT = """<testsuites><testsuite>
<testcase classname="a" name="good"/>
<testcase classname="a" name="bad"><failure message="x"/></testcase>
<testcase classname="a" name="broken"><error message="x"/></testcase>
<testcase classname="a" name="elsewhere"><skipped message="x"/></testcase>
</testsuite></testsuites>"""


def test_everything_is_added_up(tmp_path, capsys):
    (tmp_path / "checks").write_text("passed ruff\nfailed mypy\nskipped mandoc\n")
    (tmp_path / "all.xml").write_text(JUNIT)
    assert summary.main(str(tmp_path)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "2 passed, 3 failed, 2 skipped"
    assert lines[:-1] == ["failed: mypy", "failed: a::bad", "failed: a::broken"]


@pytest.mark.parametrize("checks, status", [("passed x\n", 0), ("skipped x\n", 1), ("", 1)])
def test_a_run_in_which_nothing_passed_is_no_success(tmp_path, checks, status):
    (tmp_path / "checks").write_text(checks)
    assert summary.main(str(tmp_path)) == status


def test_a_damaged_file_is_a_failure(tmp_path):
    (tmp_path / "all.xml").write_text("<testsuites>")
    assert summary.main(str(tmp_path)) == 1
