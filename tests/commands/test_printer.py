"""What each event looks like, on a terminal, in a pipe, for rc(8) and in JSON."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from vimage.commands.output import Printer, table


def ready(name: str) -> dict[str, Any]:
    return {"event": "result", "name": name, "outcome": "ready", "problems": []}


def problem(text: str, *, vimage: str | None = None, warning: bool = False) -> dict[str, Any]:
    return {"key": "step_failed", "vimage": vimage, "text": text, "warning": warning}


FAILED = {"event": "result", "name": "b", "outcome": "failed",
          "problems": [problem("b: exec_start: exit status 1", vimage="b")]}
END = {"event": "end", "status": 0}

#: b fails, and a warning is about the host.
START = [{"event": "begin", "verb": "start", "count": 12}, ready("a"), FAILED,
         {"event": "problem", "problem": problem("kern.hz is low", warning=True)},
         {"event": "result", "name": "c", "outcome": "already ready", "problems": []},
         {"event": "end", "status": 1}]


def shown(verb: str, *events: dict[str, Any], **how: Any) -> tuple[str, str]:
    """What stdout and stderr get."""
    out, err = io.StringIO(), io.StringIO()
    printer = Printer(verb, out=out, err=err, **how)
    for event in events:
        printer.send(event)
    assert printer.status == (events[-1].get("status") if events else None)
    return out.getvalue(), err.getvalue()


SAID = "vimage: b: exec_start: exit status 1\nvimage: warning: kern.hz is low\n"


def test_a_line_for_each_vimage():
    assert shown("start", *START) == ("a ready\nb failed\nc already ready\n", SAID)


def test_progress_on_a_terminal():
    assert shown("start", *START, terminal=True) == (
        "[ 1/12] a ready\n[ 2/12] b failed\n[ 3/12] c already ready\n", SAID)


def test_no_progress_for_one():
    assert shown("start", {"event": "begin", "verb": "start", "count": 1}, ready("a"), END,
                 terminal=True) == ("a ready\n", "")


@pytest.mark.parametrize("verb, title", [
    ("start", "Starting"), ("stop", "Stopping"), ("restart", "Restarting")])
def test_one_line_for_rc(verb, title):
    assert shown(verb, *START, rc=True, terminal=True) == (f"{title} vimages: a.\n", SAID)


def test_a_restart_names_each_once_for_rc():
    stopped = {**ready("a"), "outcome": "stopped"}
    assert shown("restart", START[0], stopped, ready("a"), END, rc=True) == (
        "Restarting vimages: a.\n", "")


def test_other_verbs_are_the_same_for_rc():
    say = {"event": "say", "text": "the installed version takes over"}
    assert shown("reexec", say, END, rc=True) == ("the installed version takes over\n", "")


def test_nothing_has_begun_for_rc():
    refused = {"event": "problem", "problem": problem("x: no such vimage")}
    assert shown("start", refused, {"event": "end", "status": 2}, rc=True) == (
        "", "vimage: x: no such vimage\n")


def test_the_rc_line_ends_when_the_service_does():
    out = io.StringIO()
    printer = Printer("start", rc=True, out=out)
    printer.send(START[0])
    printer.send(ready("a"))
    printer.break_off()
    printer.break_off()
    assert (out.getvalue(), printer.status) == ("Starting vimages: a\n", None)


def test_what_several_share_is_said_once():
    assert shown("start", FAILED, FAILED, END)[1] == "vimage: b: exec_start: exit status 1\n"


def test_a_document_in_json():
    out, err = shown("start", *START, json=True, rc=True, terminal=True)
    assert err == ""
    assert json.loads(out) == {
        "status": 1, "problems": ["kern.hz is low"], "vimages": [
            {"name": "a", "outcome": "ready", "problems": []},
            {"name": "b", "outcome": "failed", "problems": ["b: exec_start: exit status 1"]},
            {"name": "c", "outcome": "already ready", "problems": []}]}


ROWS: list[dict[str, Any]] = [
        {"name": "a", "state": "ready", "jid": 3, "root": "/usr/jail/a",
         "interfaces": ["ng0_a", "ng1_a"], "note": "its command has ended", "changed": True},
        {"name": "long", "state": "stopped", "jid": None, "root": None, "interfaces": []}]
STATUS = {"event": "status", "rows": ROWS}


def test_the_table():
    assert shown("status", STATUS, END) == (
        "NAME  STATE                         JID  ROOT         INTERFACES\n"
        "a     ready, its command has ended  3    /usr/jail/a  ng0_a ng1_a\n"
        "long  stopped                       -    -            -\n"
        "rc.conf has changed: a (service vimage reload)\n", "")


def test_an_empty_table():
    assert shown("status", {"event": "status", "rows": []}, END) == ("", "")


def test_the_table_in_json():
    out, err = shown("status", STATUS, END, json=True)
    assert (json.loads(out), err) == (ROWS, "")


def test_an_unknown_name_in_json():
    refused = {"event": "problem", "problem": problem("x: no such vimage")}
    assert shown("status", refused, {"event": "end", "status": 2}, json=True) == (
        "", "vimage: x: no such vimage\n")


APPLIED = {"event": "applied", "name": "a", "applied": ["links", "rctl"], "restart": ["hostname"]}


def test_what_a_reload_has_applied():
    assert shown("reload", APPLIED, ready("c"), END) == (
        "a: applied: links rctl\na: needs restart a: hostname\nc ready\n", "")
    assert shown("reload", {**APPLIED, "applied": []}, END) == (
        "a: needs restart a: hostname\n", "")
    assert shown("reload", {**APPLIED, "restart": []}, END)[0] == "a: applied: links rctl\n"


def test_a_reload_in_json():
    out, _ = shown("reload", APPLIED, END, json=True)
    assert json.loads(out) == {
        "status": 0, "vimages": [], "problems": [],
        "changes": [{"name": "a", "applied": ["links", "rctl"], "restart": ["hostname"]}]}


def test_what_is_said_in_json():
    out, _ = shown("reexec", {"event": "say", "text": "later"}, END, json=True)
    assert json.loads(out) == {"status": 0, "vimages": [], "problems": [], "messages": ["later"]}


def test_a_kind_of_event_that_is_not_known():
    assert shown("start", {"event": "weather"}, ready("a"), END) == ("a ready\n", "")


class Gone(io.StringIO):
    """A stream that nobody reads any more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_reader_that_has_gone_disturbs_nothing():
    err = io.StringIO()
    printer = Printer("start", out=Gone(), err=err)
    for event in START:
        printer.send(event)
    assert printer.status == 1
    assert isinstance(printer.error, BrokenPipeError)
    assert err.getvalue() == SAID
    printer = Printer("start", out=io.StringIO(), err=Gone())
    printer.send(FAILED)
    assert printer.error is None


def test_json_that_the_stream_can_write():
    octets = io.BytesIO()
    stream = io.TextIOWrapper(octets, encoding="latin-1")
    printer = Printer("status", json=True, out=stream)
    printer.send({"event": "status", "rows": [
        {**ROWS[1], "name": "\udcfc\N{GRINNING FACE}\N{RIGHTWARDS ARROW}"}]})
    printer.send(END)
    assert json.loads(octets.getvalue())[0]["name"] == (
        "\udcfc\N{GRINNING FACE}\N{RIGHTWARDS ARROW}")


def test_columns():
    assert table([("A", "B"), ("long", "x")]) == "A     B\nlong  x"
    assert table([]) == ""
