"""What counts as a success of a start, a stop or a change."""

from __future__ import annotations

import pytest

from vimage.engine import Outcome, Result
from vimage.messages import Problem

PROBLEM = Problem.of("service_stopping")


@pytest.mark.parametrize("outcome", Outcome)
def test_success(outcome: Outcome) -> None:
    assert Result("a", outcome).ok is (outcome not in (Outcome.FAILED, Outcome.SKIPPED))
    assert not Result("a", outcome, (PROBLEM,)).ok
