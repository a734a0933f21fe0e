"""What all tests share: those marked ``freebsd`` are skipped where they cannot run."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import pytest

with contextlib.suppress(ImportError):  # the tests on a FreeBSD host do without it
    from hypothesis import settings

    # How long a test takes says nothing of the program on a machine that is busy.
    settings.register_profile("any-speed", deadline=None)
    settings.load_profile("any-speed")

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
