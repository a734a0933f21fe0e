"""Vimages described in YAML: the same variables, the same errors, and back again."""

from __future__ import annotations

import errno
import json
import os
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.configuration.test_render import UUID, VIMAGES, resolved
from vimage.main import main
from vimage.configuration import render, yamlfiles
from vimage.configuration.resolve import lines, resolve
from vimage.messages import VimageError

yaml = pytest.importorskip("yaml")

EVERYTHING = """\
enable: yes
parallel: 3
mac_seed: a seed
defaults:
  boot: none
  afterstart_services: [sshd, ntpd]
bridges:
  lan0:
    addr: 10.9.0.1/24
  d-mz: {mac: 52:54:00:12:34:56}
vimages:
  a-1:
    rootdir: /j/a
    bridges: [em0, =em0, lan0]
    mac0: 02:00:00:00:00:01
    addr2:
      - 10.9.0.2/24
      - 2001:db8::2/64
    command: [/bin/sh, -c, "echo a b"]
    exec_prestart:
      - echo one
      - echo two; echo three
    restart: no
    devfs_enable: no
    start_timeout: 1.5
  b:
    rootdir: /
    depend: a-1
"""

VARIABLES = {
    "vimage_enable": "yes",
    "vimage_parallel": "3",
    "vimage_mac_seed": "a seed",
    "vimage_boot": "none",
    "vimage_afterstart_services": "sshd ntpd",
    "vimage_bridge_list": "lan0 d-mz",
    "vimage_bridge_lan0_addr": "10.9.0.1/24",
    "vimage_bridge_d_mz_mac": "52:54:00:12:34:56",
    "vimage_list": "a-1 b",
    "vimage_a_1_rootdir": "/j/a",
    "vimage_a_1_bridges": "em0 =em0 lan0",
    "vimage_a_1_mac0": "02:00:00:00:00:01",
    "vimage_a_1_addr2": "10.9.0.2/24 2001:db8::2/64",
    "vimage_a_1_command": "/bin/sh -c 'echo a b'",
    "vimage_a_1_exec_prestart0": "echo one",
    "vimage_a_1_exec_prestart1": "echo two; echo three",
    "vimage_a_1_restart": "no",
    "vimage_a_1_devfs_enable": "no",
    "vimage_a_1_start_timeout": "1.5",
    "vimage_b_rootdir": "/",
    "vimage_b_depend": "a-1",
}


@pytest.fixture
def read(tmp_path):
    def read(text, variables=(), name="x.yaml"):
        (tmp_path / name).write_text(text)
        return yamlfiles.add(dict(variables), [str(tmp_path / name)])
    return read


def test_everything(read):
    assert read(EVERYTHING) == VARIABLES
    assert lines(resolve(VARIABLES, hostuuid=UUID, cpus=4)[1]) == []


def test_names_are_added_to_those_of_rc_conf(read):
    found = read("vimages: {b: {rootdir: /b}, c: {rootdir: /c}}\nbridges: {lan: }\n",
                 {"vimage_list": "a b", "vimage_bridge_list": "dmz", "vimage_b_rootdir": "/b"})
    assert found["vimage_list"] == "a b c"
    assert found["vimage_bridge_list"] == "dmz lan"


def test_a_list_says_which_are_started(read):
    found = read("list: c\nvimages: {b: {rootdir: /b}, c: {rootdir: /c}}\n")
    assert found["vimage_list"] == "c"
    assert found["vimage_b_rootdir"] == "/b"


@pytest.mark.parametrize("text", ["", "---\n", "vimages:\n", "# nothing\n", "vimages: {a: }"])
def test_what_says_nothing(read, text):
    assert set(read(text)) <= {"vimage_list"}


def test_errors_of_values_are_those_of_rc_conf(read):
    found = read("vimages:\n  a:\n    rootdir: j\n    rotdir: /j\n    boot: 7\n")
    assert lines(resolve(found, hostuuid=UUID, cpus=4)[1]) == [
        'vimage_a_rootdir="j": does not begin with /; allowed: an absolute path without ..',
        'vimage_a_boot="7": no such choice; allowed: network, full or none',
        "vimage_a_rotdir: unknown variable (did you mean vimage_a_rootdir?)"]


@pytest.mark.parametrize("text, says", [
    ("vimages: [", "x.yaml: line 1: expected the node content, but found '<stream end>'"),
    ("a: 1\n---\nb: 2\n", "x.yaml: line 2: but found another document"),
    ("- a\n", "x.yaml:1: not a mapping; allowed: vimages, bridges, defaults, enable, list, "
     "parallel, logfile, mac_seed"),
    ("vimage: {}\n", "x.yaml:1: unknown key vimage; allowed: vimages, bridges, defaults, "
     "enable, list, parallel, logfile, mac_seed"),
    ("vimages:\n  a: {rootdir: /a}\n  a: {rootdir: /b}\n",
     "x.yaml:3: a is set twice; allowed: each key once"),
    ('vimages:\n  "a b": {}\n', 'x.yaml:2: "a b" is not a name; allowed: names of letters, digits, '
     "- and _, not digits alone"),
    ("vimages: {a: {root-dir: /a}}\n",
     "x.yaml:1: root-dir is not a variable; allowed: variables, without vimage_NAME_"),
    ("vimages: {a: [rootdir]}\n",
     "x.yaml:1: not a mapping; allowed: variables, without vimage_NAME_"),
    ("vimages: {a: {rootdir: {b: c}}}\n",
     "x.yaml:1: neither text nor a list of texts; allowed: text, or a list of texts"),
    ("vimages: {a: {bridges: [em0, [em1]]}}\n",
     "x.yaml:1: neither text nor a list of texts; allowed: text, or a list of texts"),
    ("vimages: {a: {bridges: [em0 em1]}}\n",
     'x.yaml:1: "em0 em1" is not one word; allowed: a list of words'),
    ("? [a]\n: b\n", "x.yaml:1: a key that is not a word; allowed: vimages, bridges, defaults, "
     "enable, list, parallel, logfile, mac_seed"),
    ("a: &x [*x]\n", "x.yaml:1: unknown key a; allowed: vimages, bridges, defaults, "
     "enable, list, parallel, logfile, mac_seed"),
])
def test_what_is_refused(read, tmp_path, text, says):
    with pytest.raises(VimageError) as error:
        read(text)
    assert str(error.value).replace(f"{tmp_path}/", "") == says


@pytest.mark.parametrize(("octets", "says"), [
    (b'a: "\\UFFFFFFFF"\n', "Python int too large to convert to C int"),
    (b"a: \xfc\n", "character #x00fc: invalid start byte"),
    (b"a: *b\n", "line 1: found undefined alias 'b'"),
    (b"vimages: {a: {health: \x01}}\n", "special characters are not allowed"),
    (b"[" * 5000, "maximum recursion depth exceeded"),
    (b'vimages: {"a\\nb": {}}\n', 'x.yaml:1: "a\\nb" is not a name; allowed: '),
    (b'"\\ud800": 1\n', "x.yaml:1: unknown key \\ud800; allowed: "),
])
def test_odd_octets(tmp_path, octets, says):
    (tmp_path / "x.yaml").write_bytes(octets)
    with pytest.raises(VimageError) as error:
        yamlfiles.add({}, [f"{tmp_path}/x.yaml"])
    assert says in str(error.value) and str(error.value).isprintable()


PIECES = st.lists(st.sampled_from((
    "a", "vimages", "rootdir", "bridges", "list", ":", ": ", "\n", "\n  ", "- ", "[", "]", "{",
    "}", ", ", "&x ", "*x", "!t ", "|\n", "? ", "<<: ", '"', "'", "\\", "#", "%YAML 1.1\n",
    "---\n", "\0", "\t", "\x85", "\ud800", "\U0001f600", "@", "`")), max_size=30).map("".join)


@settings(deadline=None)
@given(PIECES.map(lambda text: text.encode(errors="surrogatepass")) | st.binary(max_size=40))
def test_whatever_a_file_says_there_is_an_answer(tmp_path_factory, octets):
    path = tmp_path_factory.getbasetemp() / "odd.yaml"
    path.write_bytes(octets)
    try:
        resolve(yamlfiles.add({}, [str(path)]), hostuuid=UUID, cpus=4)
    except VimageError as error:
        assert str(error).isprintable()


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.yaml")
    (tmp_path / "y.yaml").mkdir()
    (tmp_path / "z.yaml").symlink_to("z.yaml")
    for name, says in (("x", "not a regular file"), ("y", "Is a directory"), ("z", "symbolic")):
        with pytest.raises(VimageError, match=says):
            yamlfiles.add({}, [f"{tmp_path}/{name}.yaml"])


def test_a_directory_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    def listdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", listdir)
    assert yamlfiles.files(str(tmp_path)) == [str(tmp_path)]
    with pytest.raises(VimageError, match=str(tmp_path)):
        yamlfiles.add({}, yamlfiles.files(str(tmp_path)))


def test_one_variable_in_two_places(read, tmp_path):
    with pytest.raises(VimageError) as error:
        read("vimages: {a: {rootdir: /b}}\n", {"vimage_a_rootdir": "/a"})
    assert str(error.value) == (f"vimage_a_rootdir is set in rc.conf and in {tmp_path}/x.yaml, "
                                "to different values")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(VimageError) as error:
        yamlfiles.add({}, [f"{tmp_path}/none.yaml"])
    assert str(error.value) == f"{tmp_path}/none.yaml: No such file or directory"


def test_without_pyyaml(read, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(VimageError) as error:
        read("vimages: {}")
    assert str(error.value) == (
        f"{tmp_path}/x.yaml: PyYAML is needed to read it "
        f"(pkg install py{sys.version_info[0]}{sys.version_info[1]}-yaml)")


def test_which_files(tmp_path, monkeypatch):
    monkeypatch.setattr(yamlfiles, "DIRECTORY", str(tmp_path))
    for name in ("b.yaml", "a.yaml", "c.yml", "d.yaml.sample"):
        (tmp_path / name).touch()
    both = [f"{tmp_path}/a.yaml", f"{tmp_path}/b.yaml"]
    assert yamlfiles.files() == yamlfiles.files(str(tmp_path)) == both
    assert yamlfiles.files("/x/rc.conf") == []
    assert yamlfiles.files("/x/y.yaml") == ["/x/y.yaml"]
    assert [yamlfiles.alone(f) for f in (None, "/x/rc.conf", "/x/y.yaml", str(tmp_path))] == [
        False, False, True, True]


@settings(deadline=None)
@given(VIMAGES)
def test_shown_and_read_again_it_is_the_same(tmp_path_factory, parts):
    parts = {"rootdir": "/j/a", **parts[0], **parts[1]}
    if parts.get("exec_prestart1") and not parts.get("exec_prestart0"):
        parts["exec_prestart0"] = "true"
    vimage = resolved({f"vimage_a_1_{part}": text for part, text in parts.items()})
    path = tmp_path_factory.getbasetemp() / "shown.yaml"
    path.write_text(yaml.safe_dump(render.for_yaml(vimage), sort_keys=False, allow_unicode=True))
    assert resolved(yamlfiles.add({}, [str(path)])) == vimage


@pytest.fixture
def vimage(tmp_path, capsys):
    def vimage(*words):
        status = main(["--simulated-host", str(tmp_path / "host"), *words])
        out, err = capsys.readouterr()
        assert err == ""
        return status, out
    return vimage


def test_the_verb_show(tmp_path, vimage):
    file, again = tmp_path / "x.yaml", tmp_path / "again.yaml"
    file.write_text(EVERYTHING)
    status, text = vimage("-f", str(file), "show", "a-1", "--format", "yaml")
    assert status == 0
    again.write_text(f"mac_seed: a seed\n{text}")
    for form, parse in (("rc", str), ("yaml", str), ("json", json.loads)):
        first, second = (vimage("-f", str(each), "show", "a-1", "--format", form)
                         for each in (file, again))
        assert (first[0], parse(first[1])) == (second[0], parse(second[1]))
        assert first[0] == 0
    rc = tmp_path / "rc.conf"
    rc.write_text(vimage("-f", str(file), "show", "b")[1] + 'vimage_list="b a-1"\n'
                  "vimage_a_1_rootdir=/j/a\n")
    assert vimage("-f", str(rc), "show", "b") == vimage("-f", str(file), "show", "b")


def test_a_directory_of_yaml(tmp_path, vimage):
    directory = tmp_path / "vimage.d"
    directory.mkdir()
    (directory / "x.yaml").write_text(EVERYTHING)
    (directory / "y.yaml").write_text("vimages: {c: {rootdir: /c}}\n")
    status, text = vimage("-f", str(directory), "show", "c")
    assert (status, text.splitlines()[0]) == (0, 'vimage_c_rootdir="/c"')
    assert vimage("-f", str(directory), "start")[0] == 0
    assert vimage("-f", str(directory), "stop")[0] == 0
