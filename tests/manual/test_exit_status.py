"""The exit status is what the manual says."""

from __future__ import annotations

from vimage.main import main
from vimage.commands.context import Context


def test_status_is_1_without_the_service(tmp_path, monkeypatch, capsys):
    rc = tmp_path / "rc.conf"
    rc.write_text('vimage_list="a"\nvimage_a_rootdir="/usr/jail/a"\n')
    words = ["--simulated-host", str(tmp_path / "host"), "-f", str(rc), "status"]
    assert main(words) == 0
    monkeypatch.setattr(Context, "alone", False)
    assert main(words) == 1
    assert capsys.readouterr().out.count("a     stopped") == 2
