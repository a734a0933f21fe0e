"""A default stands in one place: the field of the model, or the row of the table."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest

from vimage.configuration import variables
from vimage.configuration.resolve import lines, resolve
from vimage.configuration.variables import Scope
from vimage.model import Boot, Configuration, HostBridge, Link, Vimage

ROOT = Path(__file__).parents[2]
UUID = "4c4c4544-0042-4a10-8052-b3c04f4e3332"
ROWS = (*variables.TABLE, *variables.OF_THE_HOST)
MODELS = {Scope.GLOBAL: Configuration, Scope.HOST: Configuration, Scope.BRIDGE: HostBridge,
          Scope.VIMAGE: Vimage, Scope.SERIES: Vimage, Scope.LINK: Link}

#: Fields that no variable holds: they follow from the rest.
WORKED_OUT = {Vimage: {"name"}, HostBridge: {"name"},
              Link: {"index", "parent", "host_only", "name", "mac_from"},
              Configuration: {"vimages", "resolved_macs"}}

#: What a field of the model is before anything is known of it.
NOTHING: tuple[object, ...] = (None, "", (), False, {})


def fields(model):
    return {field.name: field for field in dataclasses.fields(model)}


@pytest.mark.parametrize("model", WORKED_OUT, ids=lambda model: model.__name__)
def test_every_field_is_held_by_a_variable_or_worked_out(model):
    held = {row.field for row in ROWS if MODELS[row.scope] is model}
    assert held | WORKED_OUT[model] == set(fields(model))
    assert not held & WORKED_OUT[model]


@pytest.mark.parametrize("row", [row for row in ROWS if row.default is not None and not row.key],
                         ids=lambda row: row.form)
def test_where_the_row_has_a_default_the_model_has_none(row):
    field = fields(MODELS[row.scope])[row.field]
    least = 1 if row.field == "parallel" else None  # a number of which 0 is none
    assert field.default is dataclasses.MISSING or field.default in (*NOTHING, least)


@pytest.mark.parametrize("row", [row for row in ROWS if row.default is None],
                         ids=lambda row: row.form)
def test_what_the_manual_says_of_a_default_is_what_the_model_has(row):
    field = fields(MODELS[row.scope])[row.field]
    if not row.default_text:
        assert field.default in NOTHING or field.default_factory() == {}
    else:
        assert row.type.parse(row.default_text) == field.default


def test_the_defaults_are_those_of_a_vimage_without_variables():
    settings = {"vimage_list": "a", "vimage_a_rootdir": "/j"}
    configuration, _ = resolve(settings, hostuuid=UUID, cpus=3)
    vimage = configuration.vimages["a"]
    assert configuration.parallel == 3 * variables.PARALLEL_PER_CPU
    assert configuration.shutdown_timeout == Configuration().shutdown_timeout == 90
    for row in variables.VIMAGE.values():
        if row.default is None and row.scope is Scope.VIMAGE and row.field not in (
                "parameters", "links"):
            assert getattr(vimage, row.field) == fields(Vimage)[row.field].default


def test_the_manual_states_defaults_in_its_generated_parts_only():
    for page in (ROOT / "man").glob("*.[0-9]"):
        text = re.sub(r'^\.\\" BEGIN .*?^\.\\" END', "", page.read_text(), flags=re.M | re.S)
        assert "Default:" not in text


def test_the_sample_is_right_and_repeats_no_default():
    sample = (ROOT / "rc.conf.d/vimage").read_text()
    settings = dict(re.findall(r'^#(vimage_\w+)="(.*)"$', sample, re.M))
    assert len(settings) == sample.count("\n#vimage_") > 20
    configuration, problems = resolve(settings, hostuuid=UUID, cpus=4)
    assert lines(problems) == [] and len(configuration.vimages) == 3
    for variable in set(settings) - {"vimage_list"}:
        without = {name: text for name, text in settings.items() if name != variable}
        assert resolve(without, hostuuid=UUID, cpus=4)[0] != configuration, variable


def test_newsyslog_turns_the_console_log_over():
    default, = (row.default_text for row in ROWS if row.field == "consolelog")
    assert default.replace("NAME", "*") in (
        ROOT / "newsyslog.conf.d/vimage.conf").read_text().split()


def named_defaults(path: Path) -> list[str]:
    """The parameters and fields of a module that have a number or a text as their default."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        pairs: list[tuple[str, ast.expr | None]] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            positional = [*arguments.posonlyargs, *arguments.args]
            last = positional[len(positional) - len(arguments.defaults):]
            pairs += [(a.arg, d) for a, d in zip(last, arguments.defaults, strict=True)]
            pairs += [(a.arg, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults,
                                                 strict=True)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            pairs.append((node.target.id, node.value))
        found += [name for name, value in pairs
                  if isinstance(value, ast.Constant) and value.value not in NOTHING]
    return found


def test_no_module_has_a_default_of_its_own_for_what_a_variable_says():
    known = {"name": "a", "rootdir": "/a", "boot": Boot.FULL, "cpus": 1}
    rows = [row for row in ROWS
            if row.default_value(known) not in (*NOTHING, variables.UNSET)]
    held = {row.field for row in rows} | {row.part for row in rows}
    assert {"parallel", "start_timeout", "consolelog"} < held
    for path in (ROOT / "vimage").rglob("*.py"):
        if path.name != "model.py":
            assert not held & set(named_defaults(path)), path
