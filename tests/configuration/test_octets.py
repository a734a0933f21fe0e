"""Octets that are not UTF-8: carried where they may be, refused by name where not."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from vimage.main import main
from vimage.configuration import rcconf, render
from vimage.configuration.resolve import lines, resolve
from vimage.configuration.values import SHELL
from vimage.model import Vimage

UUID = "4c4c4544-0042-4a10-8052-b3c04f4e3332"
RC = b'vimage_list="a"\nvimage_a_rootdir="/usr/jail/a"\n'


@pytest.fixture
def file(tmp_path):
    def write(more: bytes = b"") -> str:
        path = tmp_path / "rc.conf"
        path.write_bytes(RC + more)
        return str(path)
    return write


def read(file: str):
    return resolve(rcconf.read(file), hostuuid=UUID, cpus=4)


def test_a_command_carries_them(file):
    configuration, problems = read(file(
        b'vimage_a_exec_start="echo f\xfcr"\nvimage_a_exec_prestart="echo \xff"\n'
        b"vimage_a_command=\"/bin/x 'f\xfcr dich'\"\n"))
    assert lines(problems) == []
    vimage = configuration.vimages["a"]
    assert vimage.exec_start.encode(errors="surrogateescape") == b"echo f\xfcr"
    assert vimage.hooks["exec_prestart"][0].encode(errors="surrogateescape") == b"echo \xff"
    assert vimage.command[1].encode(errors="surrogateescape") == b"f\xfcr dich"
    assert Vimage.from_dict(json.loads(json.dumps(vimage.to_dict()))) == vimage


@pytest.mark.parametrize(("part", "value", "says"), [
    (b"fstab", b"/etc/f\xfcr", "contains characters that cannot be printed"),
    (b"hostname", b"f\xfcr", "not a host name"),
    (b"bridges", b"f\xfcr", "f\\udcfcr is not an interface name"),
    (b"depend", b"f\xfcr", "f\\udcfcr is not a vimage name"),
    (b"rctl", b"f\xfcr", "f\\udcfcr is not RESOURCE:ACTION=AMOUNT"),
    (b"parameters", b"f\xfcr", "f\\udcfcr is not a parameter"),
    (b"addr0", b"f\xfcr/24", "f\\udcfcr/24 is not an address with a prefix length"),
])
def test_other_values_are_errors_that_can_be_printed(file, part, value, says):
    configuration, problems = read(file(
        b'vimage_a_bridges="em0"\nvimage_a_%b="%b"\n' % (part, value)))
    line, = lines(problems)
    assert line.isprintable() and line.isascii()
    shown = value.replace(b"\xfc", b"\\udcfc").decode()
    assert line.startswith(f'vimage_a_{part.decode()}="{shown}": {says}; allowed: ')
    assert not configuration.vimages


def test_a_word_of_the_list(file):
    _, problems = read(file(b'vimage_list="a f\xfcr"\nvimage_bridge_list="f\xfcr"\n'))
    for line in lines(problems):
        assert "f\\udcfcr" in line and line.isprintable() and line.isascii()


@pytest.mark.skipif(not shutil.which("bash"), reason="needs a shell that knows $'...'")
def test_a_line_for_rc_conf_says_the_same_in_ascii(file, tmp_path):
    """sh(1) of FreeBSD reads $'\\374'; so does bash."""
    text = "echo f\udcfcr \\ ' \" $x `y`\n\udc80\udcff7"
    line, = render.lines({"x": text})
    assert line.isascii() and line.startswith("x=$'echo f\\374r ")
    shell = subprocess.run(["bash", "-c", f'{line}\nprintf %s "$x"'], capture_output=True,
                           check=True, env={"LC_ALL": "C"})
    assert shell.stdout.decode(errors="surrogateescape") == text


def test_as_yaml_it_is_read_as_the_same(tmp_path):
    yaml = pytest.importorskip("yaml")
    from vimage.configuration import yamlfiles

    vimage = Vimage("a", "/j", "a", exec_start="echo f\udcfcr")
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(render.for_yaml(vimage), allow_unicode=True))
    assert yamlfiles.add({}, [str(path)])["vimage_a_exec_start"] == vimage.exec_start


def test_text_without_them_is_quoted_as_ever():
    assert render.lines({"x": "für $y"}) == ['x="für \\$y"']


@pytest.mark.parametrize("words", [["check"], ["show", "a"], ["start"], ["status"]])
def test_verbs_of_a_vimage_with_such_a_command(file, tmp_path, capsys, words):
    path = file(b'vimage_a_exec_start="echo f\xfcr"\n')
    assert main(["--simulated-host", str(tmp_path / "host"), "-f", path, *words]) == 0
    out, err = capsys.readouterr()
    assert (out + err).isascii() and "Error" not in err


def test_a_shell_command_with_a_nul_is_refused():
    with pytest.raises(ValueError):
        SHELL.parse("a\0b")
