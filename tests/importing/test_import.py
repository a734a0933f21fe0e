"""The verb import, what it refuses, and jail.conf(5) as it may be written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vimage import importing
from vimage.commands import import_
from vimage.main import main
from vimage.importing import jailconf
from vimage.messages import VimageError

JAIL = 'a { path = "/j/a"; vnet; mount.devfs; exec.start = "/bin/sh /etc/rc"; }\n'


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "jail.conf"
    path.write_text(JAIL)
    return path


def test_the_lines_are_printed(file, capsys):
    assert main(["import", str(file)]) == 0
    out, err = capsys.readouterr()
    assert out == 'vimage_list="a"\nvimage_a_rootdir="/j/a"\nvimage_a_boot="full"\n'
    assert err == ""


def test_what_is_left_goes_to_stderr(file, capsys):
    file.write_text(JAIL.replace("vnet;", "vnet; jid = 3;"))
    assert main(["import", str(file)]) == 1
    assert capsys.readouterr().err == "vimage: warning: a: jid=3: has no counterpart\n"


def test_json(file, capsys):
    assert main(["import", "--json", str(file)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "settings": {"vimage_list": "a", "vimage_a_rootdir": "/j/a", "vimage_a_boot": "full"},
        "left": []}


def test_sysrc_sets_all_at_once(file, tmp_path, monkeypatch):
    program = tmp_path / "sysrc"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/said\n')
    program.chmod(0o755)
    monkeypatch.setattr(import_, "SYSRC", str(program))
    assert main(["import", "--sysrc", "-f", "/x/rc.conf", str(file)]) == 0
    assert (tmp_path / "said").read_text().splitlines() == [
        "-f", "/x/rc.conf", "vimage_list=a", "vimage_a_rootdir=/j/a", "vimage_a_boot=full"]


@pytest.mark.parametrize("script, says", [
    (None, "vimage: import: {sysrc}: No such file or directory"),
    ("#!/bin/sh\nexit 3\n", "vimage: {sysrc}: exit status 3")])
def test_sysrc_fails(file, tmp_path, monkeypatch, capsys, script, says):
    program = tmp_path / "sysrc"
    if script is not None:
        program.write_text(script)
        program.chmod(0o755)
    monkeypatch.setattr(import_, "SYSRC", str(program))
    assert main(["import", "--sysrc", str(file)]) == 2
    assert capsys.readouterr().err.strip() == says.format(sysrc=program)


@pytest.mark.parametrize("text, says", [
    ("hello world\n", "{file}: neither rc.conf(5) with variables of jails or vimages, nor "
     "jail.conf(5)"),
    ("a {\n path = x;\n", "{file}:2: no } after a"),
    ("a { b { } }\n", "{file}:1: a { without the name of a jail before it"),
    ("a { = 3; }\n", "{file}:1: a parameter has no name"),
    ("a {\n path x;\n}\n", "{file}:2: no = after path"),
    ('a { path = "x; }\n', "{file}:1: a quote or a comment does not end"),
    ("a { }\npath = x\n", "{file}:2: no ; before the end of the file"),
    ("a { path = x }\n", "{file}:1: no ; before the }"),
    ("path = x;\n}\n", "{file}:2: a } that ends nothing"),
])
def test_what_is_refused(file, capsys, text, says):
    file.write_text(text)
    assert main(["import", str(file)]) == 2
    said = capsys.readouterr().err.strip()
    assert said == "vimage: " + says.replace("{file}", str(file))


def test_a_missing_file(tmp_path, capsys):
    assert main(["import", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"vimage: {tmp_path}/none: No such file or directory\n"


def test_an_error_of_the_shell(file, capsys):
    file.write_text('jail_list="a\n')
    assert main(["import", str(file)]) == 2
    assert str(file) in capsys.readouterr().err


def test_files_that_include_one_another(file):
    file.write_text(f'.include "{file}";\n{JAIL}')
    with pytest.raises(VimageError) as error:
        importing.read([str(file)])
    assert str(error.value) == f"{file}: included too deeply"


def test_variables_that_need_themselves(file):
    file.write_text('$a = "$b"; $b = "x$a"; c { path = "$a"; exec.prestart = "$name"; }\n')
    jails, problems = jailconf.read(str(file))
    assert jails[0].parameters == {"exec.prestart": ["c"]}
    assert list(map(str, problems)) == ["c: path: $a is not set"]


TEXT = st.text("ab$ {}\"'\\;,=+#/*\n.", max_size=40)


@settings(max_examples=300, deadline=None)
@given(TEXT)
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.conf"
    path.write_text(text)
    try:
        importing.read([str(path)])
    except VimageError:
        pass
