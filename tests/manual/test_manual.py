"""The manual has a place for every variable, verb, option and error text, and is up to date."""

from __future__ import annotations

import importlib.util
import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vimage.commands import verbs
from vimage.configuration import render, variables
from vimage.configuration.resolve import resolve
from vimage.messages import MESSAGES

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / "man" / name).read_text() for name in ("vimage.8", "vimage.conf.5")}

_spec = importlib.util.spec_from_file_location("generate", ROOT / "man/generate.py")
assert _spec is not None and _spec.loader is not None
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)


def part(page: str, begin: str, end: str) -> list[str]:
    text = PAGES[page]
    return text[text.index(begin):text.index(end)].splitlines()


@pytest.mark.parametrize("page", PAGES)
def test_the_generated_parts_are_up_to_date(page):
    assert generate.generated(PAGES[page]) == PAGES[page], "python3 man/generate.py"


def test_every_part_has_a_page():
    for name in generate.PARTS:
        assert sum(f'.\\" BEGIN {name}\n' in text for text in PAGES.values()) == 1


@pytest.mark.parametrize("row", variables.TABLE, ids=lambda row: row.form)
def test_every_variable_has_its_place(row):
    lines = PAGES["vimage.conf.5"].splitlines()
    assert lines.count(f".It Va {row.form}") == 1


@pytest.mark.parametrize("name", sorted(variables.RESERVED))
def test_every_reserved_name_is_there(name):
    assert re.search(rf"^\.Va vimage_{name} [,.]$", PAGES["vimage.conf.5"], re.M)


@pytest.mark.parametrize("key", MESSAGES)
def test_every_error_text_has_its_place(key):
    lines = part("vimage.8", ".Sh DIAGNOSTICS", ".Sh SEE ALSO")
    message = MESSAGES[key]
    item = f".It {generate.diagnostic(message.text)}"
    meanings = [after for line, after in itertools.pairwise(lines) if line == item]
    assert generate.prose(message.meaning)[0] in meanings


@pytest.mark.parametrize("verb", verbs.BY_NAME)
def test_every_verb_has_its_place(verb):
    lines = part("vimage.8", ".Ss Verbs", ".Ss Options")
    assert [line for line in lines if re.match(rf"\.It Cm {verb}( |$)", line)]


def test_no_other_verb_is_described():
    lines = part("vimage.8", ".Ss Verbs", ".Ss Options")
    described = [line.split()[2] for line in lines if line.startswith(".It Cm ")]
    assert sorted(described) == sorted(verbs.BY_NAME)


@pytest.mark.parametrize("option", [o for o in (*verbs.COMMON, verbs.HELP, verbs.VERSION)
                                    if not o.hidden], ids=lambda option: option.flag)
def test_every_option_has_its_place(option):
    lines = part("vimage.8", ".Ss Options", ".Ss How a vimage")
    assert [line for line in lines if line.startswith(".It ")
            and re.search(rf"Fl {option.flag[1:]}( |$)", line)]


def test_the_examples_of_the_configuration_are_right():
    text = PAGES["vimage.conf.5"]
    shown = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", text, re.M | re.S)
    blocks = [block for block in shown if block.startswith("vimage_")]
    assert len(blocks) == 2
    for block in blocks:
        found = dict(re.findall(r'^(\w+)="(.*)"$', block, re.M))
        configuration, problems = resolve(found, hostuuid="4c4c4544-0042", cpus=2)
        assert [str(p) for p in problems] == []
        assert set(configuration.vimages) == set(configuration.list) != set()
        for vimage in configuration.vimages.values():
            assert render.rc_lines(vimage)


@pytest.mark.skipif(not shutil.which("mandoc"), reason="needs mandoc")
@pytest.mark.parametrize("page", PAGES)
def test_mandoc_has_nothing_to_say(page):
    said = subprocess.run(["mandoc", "-T", "lint", ROOT / "man" / page], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)
    # Which manual pages are installed is not a matter of the page.
    lines = [line for line in (said.stdout + said.stderr).splitlines()
             if "referenced manual not found" not in line and "mandoc.db" not in line]
    assert lines == []
