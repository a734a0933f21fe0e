"""A child may return, fail, die or hang; its parent knows which."""

from __future__ import annotations

import logging
import time

import pytest

from tests.lib.forked import Failed, Hung, die, forked, note


def test_it_returns() -> None:
    life = forked(lambda: {"a": 1})
    assert (life.value, life.killed, life.complaints) == ({"a": 1}, False, [])


def test_it_fails() -> None:
    with pytest.raises(Failed, match="ZeroDivisionError"):
        forked(lambda: 1 // 0)


def test_it_dies() -> None:
    def act() -> None:
        note("so far")
        try:
            die()
        finally:
            note("never")

    life = forked(act)
    assert life.killed and life.notes == ["so far"]


def test_it_hangs() -> None:
    with pytest.raises(Hung):
        forked(lambda: time.sleep(100), patience=1)


def test_it_complains() -> None:
    def act() -> None:
        try:
            raise ValueError("why")
        except ValueError:
            logging.getLogger("test").exception("an internal matter")

    complaint, = forked(act).complaints
    assert "an internal matter" in complaint and "ValueError: why" in complaint
