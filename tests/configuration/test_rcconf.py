"""Reading rc.conf through a shell."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vimage.configuration import rcconf
from vimage.configuration.render import lines
from vimage.messages import VimageError


def shells(tmp):
    """Every shell there is; bash behaves as sh by its name."""
    found = {"sh": "/bin/sh"}
    dash, bash = shutil.which("dash"), shutil.which("bash")
    if dash:
        found["dash"] = dash
    if bash:
        (tmp / "sh").symlink_to(bash)
        found["bash"] = str(tmp / "sh")
    return found


@pytest.fixture(scope="session", params=["sh", "dash", "bash"])
def shell(request, tmp_path_factory):
    found = shells(tmp_path_factory.mktemp("shells"))
    if request.param not in found:
        pytest.skip(f"no {request.param} here")
    return found[request.param]


@pytest.fixture
def read(shell, tmp_path):
    def read(text, **more):
        file = tmp_path / "rc.conf"
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        return rcconf.read(str(file), shell=shell, **more)

    return read


def test_the_variables_of_vimage_and_no_others(read):
    assert read('vimage_enable="YES"\nhostname="h"\nrcshutdown_timeout=40\nvimage=1\n') == {
        "vimage_enable": "YES", "rcshutdown_timeout": "40"}


def test_an_empty_file(read):
    assert read("") == {}


def test_empty_values_and_equals_signs(read):
    assert read("vimage_a=\nvimage_b==\nvimage_c='=\n='\nvimage_d=.\n") == {
        "vimage_a": "", "vimage_b": "=", "vimage_c": "=\n=", "vimage_d": "."}


def test_lines_of_a_value_that_look_like_variables(read):
    assert read("vimage_a='x\nvimage_b=y\nvimage_c=z\n'\nvimage_c=real\n") == {
        "vimage_a": "x\nvimage_b=y\nvimage_c=z\n", "vimage_c": "real"}


def test_a_shell_computes_the_values(read):
    text = ('n=3\nfor i in 1 2 $n; do eval "vimage_v${i}_rootdir=/j/$i"; done\n'
            ": ${vimage_list:=a b}\n")
    assert read(text) == {"vimage_v1_rootdir": "/j/1", "vimage_v2_rootdir": "/j/2",
                          "vimage_v3_rootdir": "/j/3", "vimage_list": "a b"}


def test_what_rc_conf_prints_does_no_harm(read):
    text = ("echo chatty; echo vimage_x=1; printf 'vimage_y\\0z\\0'\n"
            "i=0; while [ $i -lt 3000 ]; do echo 'a long line of noise on both' "
            "'descriptors'; echo noise >&2; i=$((i+1)); done\nvimage_a=1\n")
    assert read(text) == {"vimage_a": "1"}


def test_functions_and_options_of_rc_conf_do_no_harm(read):
    text = ("printf() { echo wrong; }\nvimage_a='* ?'\nIFS=v\nset -e\nset -u\nfalse || :\n"
            "vimage_b=\"$(echo a)\"\n")
    assert read(text) == {"vimage_a": "* ?", "vimage_b": "a"}


def test_exported_and_readonly_variables(read):
    assert read("export vimage_a=1\nreadonly vimage_b=2\nvimage_c=3\nunset vimage_c\n") == {
        "vimage_a": "1", "vimage_b": "2"}


def test_rc_conf_reads_an_empty_stdin(read):
    assert read("read vimage_a || vimage_a=end\n") == {"vimage_a": "end"}


def test_nothing_of_the_callers_environment(read, monkeypatch):
    monkeypatch.setenv("vimage_leak", "1")
    monkeypatch.setenv("vimage_list", "x")
    monkeypatch.setenv("ENV", "/nonexistent")
    assert read('vimage_a="${vimage_leak:-none} ${USER:-none}"\n') == {"vimage_a": "none none"}


def test_octets_that_are_no_utf_8(read):
    assert read("vimage_a='\udcff\u00e4'\n") == {"vimage_a": "\udcff\u00e4"}


def test_a_relative_file(read, tmp_path, monkeypatch, shell):
    (tmp_path / "relative.conf").write_text("vimage_a=1\n")
    monkeypatch.chdir(tmp_path)
    assert rcconf.read("relative.conf", shell=shell) == {"vimage_a": "1"}


def test_10_000_variables_take_one_process(read):
    names = [f"vimage_v{i // 10}_p{i % 10}" for i in range(10_000)]
    text = "".join(f'{name}="value of {name}"\n' for name in names)
    assert read(text) == {name: f"value of {name}" for name in names}


@pytest.mark.parametrize("text", [
    'vimage_a="x\n', "if true; then\n", "vimage_a=$(\n", "fi\n", "vimage_a=1\n)\n"])
def test_an_error_of_syntax_is_told_in_the_words_of_the_shell(read, tmp_path, text):
    with pytest.raises(VimageError) as caught:
        read(f"echo before\n{text}")
    assert caught.value.problem.key == "rcconf_unreadable"
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/rc.conf: ")
    assert "syntax" in said.lower() or "unterminated" in said.lower() or "unexpected" in said
    assert "\n" not in said and "before" not in said


def test_exit_in_rc_conf_is_an_error(read):
    with pytest.raises(VimageError, match=r"the shell ended before its end \(exit status 7\)"):
        read("vimage_a=1\nexit 7\n")


def test_a_command_that_does_not_end(read):
    with pytest.raises(VimageError) as caught:
        read("while :; do :; done\n", timeout=0.3)
    assert str(caught.value).endswith("rc.conf: not read within 0.3 s")


def test_what_rc_conf_leaves_in_the_background_is_not_waited_for(read, tmp_path):
    mark = tmp_path / "pid"
    assert read(f"sleep 100 & echo $! > {mark}\nvimage_a=1\n", timeout=20) == {"vimage_a": "1"}
    os.kill(int(mark.read_text()), 15)


def test_a_missing_file(tmp_path):
    with pytest.raises(VimageError) as caught:
        rcconf.read(str(tmp_path / "none"))
    assert str(caught.value) == f"{tmp_path}/none: No such file or directory"


def test_a_directory(tmp_path):
    with pytest.raises(VimageError, match=": Is a directory"):
        rcconf.read(str(tmp_path))


def test_rc_subr_reads_what_it_reads(tmp_path, shell):
    subr = tmp_path / "rc.subr"
    subr.write_text("load_rc_config() { vimage_from=\"load_rc_config $1\"; vimage_user=www; }\n")
    assert rcconf.read(None, shell=shell, rc_subr=str(subr)) == {
        "vimage_from": "load_rc_config vimage", "vimage_user": "www"}


def test_a_file_stands_in_for_rc_conf_beside_rc_subr(tmp_path, shell):
    subr = tmp_path / "rc.subr"
    subr.write_text("helper() { echo helped; }\nload_rc_config() { vimage_wrong=1; }\n")
    file = tmp_path / "file"
    file.write_text("vimage_a=$(helper)\n")
    assert rcconf.read(str(file), shell=shell, rc_subr=str(subr)) == {"vimage_a": "helped"}


@settings(max_examples=40, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(
    st.from_regex(r"vimage_[a-z0-9_]{1,12}", fullmatch=True),
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=60)
    | st.text("'\"\\$`\n=!*{}()#; vimage_a", max_size=30),
    max_size=8))
def test_any_value_arrives_as_it_was_written(read, values):
    assert read("\n".join(lines(values)) + "\n") == values


def test_the_script_has_no_error_of_syntax(shell):
    script = rcconf._SCRIPT.format(load=rcconf._LOAD_HOST, foreign="x=*")
    subprocess.run([shell, "-n", "-c", script], check=True)
