"""What all tests share: those marked ``freebsd`` are skipped where they cannot run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ON_FREEBSD = sys.platform.startswith("freebsd")
FREEBSD_TESTS = Path(__file__).parent / "freebsd"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FREEBSD_TESTS in item.path.parents:
            item.add_marker(pytest.mark.freebsd)
        if item.get_closest_marker("freebsd") is None:
            continue
        if not ON_FREEBSD:
            item.add_marker(pytest.mark.skip(reason="needs FreeBSD"))
        elif os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))
