"""Lines of fstab(5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vimage.configuration.fstab import MountLine, below, parse


@pytest.mark.parametrize(("line", "read"), [
    ("/a /j/mnt nullfs ro 0 0", MountLine("/a", "/j/mnt", "nullfs", {"ro": None})),
    ("tmpfs\t/j/tmp  tmpfs rw,size=1m,late", MountLine("tmpfs", "/j/tmp", "tmpfs",
                                                       {"size": "1m"})),
    ("/a /j/./mnt/../opt/ nullfs rw,failok", MountLine("/a", "/j/opt", "nullfs", {},
                                                       failok=True)),
    ("/a /j nullfs rw,noauto", MountLine("/a", "/j", "nullfs", {"noauto": None}, skipped=True)),
    ("/dev/x none swap sw", MountLine("/dev/x", "none", "swap", {"sw": None}, skipped=True)),
    ("/a //j nullfs rw", MountLine("/a", "/j", "nullfs", {})),
    (r"/my\040data /j/a\sb nullfs rw", MountLine("/my data", "/j/a b", "nullfs", {})),
    (r"/a\\040 /j/\303\244\54 nullfs rw", MountLine(r"/a\040", "/j/\xe4,", "nullfs", {})),
    (r"/\374 /j/\q nullfs rw", MountLine("/\udcfc", r"/j/\q", "nullfs", {})),
    (r"/a /j/\0 nullfs rw", None),
    ("/a j nullfs rw", None),
    ("/a /j nullfs", None),
    ("", None),
])
def test_a_line(line, read):
    if read is None:
        with pytest.raises(ValueError, match=r"needs|absolute|NUL"):
            parse(line)
    else:
        assert parse(line) == read


@given(st.text())
def test_any_text_is_read_or_refused(line):
    try:
        read = parse(line)
    except ValueError as error:
        assert str(error)
    else:
        assert read.skipped or ".." not in read.directory.split("/") and read.directory[:2] != "//"


@pytest.mark.parametrize(("root", "directory", "path"), [
    ("/j", "/j", "/"), ("/j", "/j/a", "/a"), ("/", "/a", "/a"), ("/", "/", "/"),
    ("/j", "/ja", None), ("/j", "/", None), ("/j", "/a/j", None),
])
def test_below_a_root(root, directory, path):
    if path is None:
        with pytest.raises(ValueError, match=f"^{directory} is not below {root}$"):
            below(root, directory)
    else:
        assert below(root, directory) == path
