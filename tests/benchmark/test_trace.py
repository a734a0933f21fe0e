"""Counting kernel calls: what kdump prints, and what is said of the counts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from benchmark import trace

KDUMP = Path(__file__).with_name("kdump.txt").read_text().splitlines()


def test_calls_are_counted_by_request_and_message() -> None:
    assert trace.calls(KDUMP) == {
        ("python3.11", "sendto NGM_MKPEER"): 1, ("python3.11", "sendto NGM_NODEINFO"): 1,
        ("python3.11", "sendto"): 2,  # one that failed, and one that is no message
        ("python3.11", "_umtx_op"): 1, ("python3.11", "recvfrom"): 1,
        ("python3.11", "ioctl SIOCSIFNAME"): 1, ("python3.11", "getpid"): 1,
        ("python3.11", "write"): 1, ("sh", "read"): 1}


def test_programs_that_were_started_are_counted_together() -> None:
    assert trace.merged({("python3.11", "read"): 2, ("sh", "read"): 3, ("sh", "write"): 4}) == {
        "read": 2, "in sh": 7}


def test_what_is_made_once_falls_out() -> None:
    few = Counter({"socket": 5, "jail_set": 2})
    many = Counter({"socket": 5, "jail_set": 6, "kevent": 1})
    assert trace.per_vimage(few, many, 4) == {"jail_set": 1, "kevent": 0.25}


def test_the_floor_makes_the_calls_of_its_table() -> None:
    for (address, verb), made in trace.FLOOR.items():
        assert trace.check_floor(dict(made), address, verb) == []
        assert trace.check_floor({**made, "thr_self": 1}, address, verb) == []


def test_one_call_more_of_the_floor_is_seen() -> None:
    made = {**trace.FLOOR[False, "start"], "getppid": 1.0}
    assert trace.check_floor(made, False, "start") == [
        "floor, start: getppid 1 times for one vimage, not 0"]


def test_one_call_less_of_the_floor_is_seen() -> None:
    made = dict(trace.FLOOR[False, "stop"])
    del made["jail_remove"]
    assert trace.check_floor(made, False, "stop") == [
        "floor, stop: jail_remove 0 times for one vimage, not 1"]


def test_one_call_more_of_vimage_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "calls.csv"
    made = {"jail_set": 1.0, "jail_get": 2.0, "kevent": 9.0, "in sh": 10.0}
    trace.write_accepted(file, {("network", "start"): made})
    accepted = trace.read_accepted(file)
    assert accepted == {("network", "start"): {"jail_set": 1.0, "jail_get": 2.0}}
    known = accepted["network", "start"]
    assert trace.check_vimage(made, known, "start") == []
    assert trace.check_vimage(
        {**made, "jail_get": 3.0, "getppid": 1.0, "kevent": 20.0}, known, "start") == [
        "vimage, start: jail_get 3.00 times for one vimage, accepted 2.00",
        "vimage, start: getppid 1.00 times for one vimage, accepted 0.00"]


def test_the_table_has_the_floor_first() -> None:
    assert trace.table({"jail_set": 1.0}, {"close": 2.0, "jail_set": 1.0}) == (
        "  call      floor  vimage\n"
        "  jail_set  1.00   1.00\n"
        "  close     -      2.00\n"
        "  all       1.00   3.00")
