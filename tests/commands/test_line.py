"""The command line: what is read, and what is refused."""

from __future__ import annotations

import shlex

import pytest

from vimage.commands.line import UsageError, read
from vimage.commands.verbs import BY_NAME, Option, Verb


@pytest.mark.parametrize("text, verb, options, arguments", [
    ("start", "start", {}, []),
    ("start b a b", "start", {}, ["b", "a", "b"]),
    ("--rc stop --shutdown", "stop", {"rc": "", "shutdown": ""}, []),
    ("stop --service-only", "stop", {"service_only": ""}, []),
    ("-f rc.conf --json status a", "status", {"file": "rc.conf", "json": ""}, ["a"]),
    ("status -frc.conf a --json", "status", {"file": "rc.conf", "json": ""}, ["a"]),
    ("-f - check", "check", {"file": "-"}, []),
    ("check -- -f --json", "check", {}, ["-f", "--json"]),
    ("graph --format=svg a", "graph", {"format": "svg"}, ["a"]),
    ("graph --format svg a", "graph", {"format": "svg"}, ["a"]),
    ("--simulate -f x exec a -- ls --json -f", "exec", {"simulate": "", "file": "x"},
     ["a", "ls", "--json", "-f"]),
    ("exec a ls -- -f", "exec", {}, ["a", "ls", "--", "-f"]),
    ("plan start a", "plan", {}, ["start", "a"]),
    ("import --sysrc -f x y", "import", {"sysrc": "", "file": "x"}, ["y"]),
    ("start ''", "start", {}, [""]),
])
def test_what_is_read(text, verb, options, arguments):
    line = read(shlex.split(text))
    assert line.verb is not None
    assert (line.verb.name, line.options, line.arguments) == (verb, options, arguments)


@pytest.mark.parametrize("text, verb, what", [
    ("-h", None, "help"), ("--help", None, "help"), ("--version", None, "version"),
    ("stop -h", "stop", "help"), ("exec --help", "exec", "help"), ("--json --version", None,
                                                                 "version"),
])
def test_help(text, verb, what):
    line = read(text.split())
    assert (line.verb and line.verb.name, line.asks_for) == (verb, what)


REFUSED = {
    "": "a verb is missing",
    "--json": "a verb is missing",
    "strat": "unknown verb 'strat' (did you mean start?)",
    "xyzzy": "unknown verb 'xyzzy'",
    "-": "unknown verb '-'",
    # no abbreviations
    "stop --service": "unknown option '--service'",
    "stop --shut": "unknown option '--shut'",
    "status --js": "unknown option '--js'",
    "--sim start": "unknown option '--sim'",
    "--without start": "unknown option '--without'",
    # what a flag cannot honour
    "stop --shutdown a": "--shutdown takes no names",
    "stop --service-only a": "--service-only takes no names",
    "stop --shutdown --service-only": "--service-only and --shutdown cannot be used together",
    "stop --service-only -f x": "--service-only and -f cannot be used together",
    "stop --service-only --simulate": "--service-only and --simulate cannot be used together",
    "stop --service-only --simulated-host d":
        "--service-only and --simulated-host cannot be used together",
    "stop --service-only --without-service":
        "--service-only and --without-service cannot be used together",
    "start --shutdown": "unknown option '--shutdown'",
    "restart --service-only": "unknown option '--service-only'",
    "--service-only stop": "unknown option '--service-only'",
    "status --supervised": "unknown option '--supervised'",
    "reload a": "reload takes no arguments",
    "reexec -f x": "reexec does not take -f",
    "reload --without-service": "reload does not take --without-service",
    "reload --simulate": "reload does not take --simulate",
    "graph --json": "graph does not take --json",
    "exec --json a ls": "exec does not take --json",
    "exec -f x a ls": "exec does not take -f",
    "console a b": "console takes one NAME",
    "demo --simulate": "demo does not take --simulate",
    "demo -f x": "demo does not take -f",
    "demo --simulated-host d -f x": "demo does not take -f",
    "show --json --format rc a": "--format and --json cannot be used together",
    "import --sysrc --json x": "--sysrc and --json cannot be used together",
    "import -f x y": "-f needs --sysrc",
    "import --simulate x": "import does not take --simulate",
    # values
    "status -f": "-f needs FILE",
    "status -f --json": "-f needs FILE",
    "status -f ''": "-f needs FILE",
    "graph --format": "--format needs FORMAT",
    "graph --format png": "--format is one of dot, svg, mermaid, not 'png'",
    "stop --shutdown=yes": "--shutdown takes no value",
    "status --json=": "--json takes no value",
    "status -x": "unknown option '-x'",
    "status -jf": "unknown option '-jf'",
    "status --help=x": "unknown option '--help'",
    # arguments
    "show": "show needs NAME",
    "show a b": "show takes one NAME",
    "exec": "exec needs NAME",
    "exec a": "exec needs COMMAND",
    "import": "import needs FILE",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text):
    with pytest.raises(UsageError) as caught:
        read(shlex.split(text))
    assert str(caught.value) == REFUSED[text]


def test_after_a_verb_its_own_option_is_meant(monkeypatch):
    """-f FILE is an option of many verbs; one may have another -f."""
    verb = Verb("tail", "[-f] NAME", "", options=(Option("-f", "go on", name="follow"),),
                least=1, most=1, takes="simulate simulated_host")
    monkeypatch.setitem(BY_NAME, "tail", verb)
    line = read("--simulate -f rc.conf tail -f a".split())
    assert line.options == {"simulate": "", "file": "rc.conf", "follow": ""}
    assert line.arguments == ["a"]
    with pytest.raises(UsageError, match="unknown option '-fa'"):
        read("tail -fa".split())


def test_names_are_taken_once():
    assert read(["start", "b", "a", "b"]).names == ["b", "a"]


def test_a_long_word_is_shown_in_part():
    with pytest.raises(UsageError, match=r"unknown verb 'x{40}\.\.\.'$"):
        read(["x" * 1000])
