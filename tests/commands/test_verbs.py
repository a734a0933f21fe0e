"""The table of verbs is in keeping with itself, with the modules and with the service."""

from __future__ import annotations

import importlib
import re

import pytest

from vimage.commands import verbs
from vimage.commands.verbs import COMMON, VERBS


@pytest.fixture(params=VERBS, ids=lambda verb: verb.name)
def verb(request):
    return request.param


def test_a_verb_has_a_module(verb):
    assert callable(importlib.import_module(f"vimage.commands.{verb.module}").run)


def test_the_synopsis_has_the_options_of_the_verb(verb):
    flags = [option.flag for option in verb.options]
    assert re.findall(r"--?[a-z][\w-]*", verb.synopsis) == flags
    for option in verb.options:
        if option.choices:
            assert f"{option.flag} {' | '.join(option.choices)}]" in verb.synopsis
        elif option.value:
            assert f"{option.flag} {option.value}" in verb.synopsis


def test_the_synopsis_has_as_many_arguments_as_the_verb_takes(verb):
    bare = re.sub(r"-[\w-]+ [A-Z]+", "", verb.synopsis)
    assert (re.search(r"[A-Z]", bare) is not None) == (verb.most != 0)
    assert ("..." in bare) == (verb.most is None)
    assert (re.search(r"\[[^]]*[A-Z]+ \.\.\.", bare) is None) == (verb.least > 0 or not verb.most
                                                               and verb.most is not None)


def test_what_options_refer_to_exists(verb):
    known = {option.name for option in (*COMMON, *verb.options)}
    assert verb.takes <= {option.name for option in COMMON}
    for option in (*COMMON, *verb.options):
        if option in COMMON and option.name not in verb.takes:
            continue
        assert set(option.excludes) <= known
        assert option.needs in {*known, ""}


def test_what_is_sent_to_the_service_has_no_value(verb):
    """A request carries flags only."""
    assert not verb.asked or not [option for option in verb.options if option.value]


def test_the_meaning_is_a_phrase(verb):
    assert re.fullmatch(r"[a-z].*[a-z0-9]", verb.meaning)
    for option in verb.options:
        assert re.fullmatch(r"[a-z].*[a-zA-Z0-9]", option.meaning)


def test_names_are_unique():
    assert len(verbs.BY_NAME) == len(VERBS)


def test_usage(verb):
    text = verbs.help_of(verb)
    assert text.startswith(f"usage: vimage {verb.name}")
    for option in verb.every_option():
        assert f"\n  {option.flag}" in text
        assert option.meaning in text
    assert "--rc" not in text
    assert max(map(len, text.splitlines())) < 100


def test_the_usage_of_all():
    text = verbs.help_of_all()
    for verb in VERBS:
        assert re.search(rf"^  {verb.name}\b", text, re.M)
    assert "--rc" not in text
