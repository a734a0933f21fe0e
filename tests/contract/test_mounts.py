"""Directories opened without links, and what is mounted on them."""

from __future__ import annotations

import errno
import os
import shutil

import pytest

from tests.contract.expect import fails, fails_in_words
from tests.contract.registry import contract


@pytest.fixture
def root(host):
    """A root with an empty /dev."""
    root = host.root()
    os.makedirs(host.file(f"{root}/dev"), exist_ok=True)
    return root


def mounted(host, root, fstype="devfs", options=None, path="/dev"):
    directory = host.kernel.open_directory(root, path)
    try:
        fsid = host.kernel.mount(fstype, directory, options or {})
    finally:
        os.close(directory)
    host.on_close(host.kernel.unmount, fsid)
    return fsid


@contract("open_directory")
def test_a_directory_is_opened(host, root):
    os.makedirs(host.file(f"{root}/usr/local"), exist_ok=True)
    for path in ("/", "/usr/local", "/usr//local/", "/dev"):
        directory = host.kernel.open_directory(root, path)
        expected = os.stat(host.file(root + path))
        found = os.fstat(directory)
        os.close(directory)
        assert (found.st_dev, found.st_ino) == (expected.st_dev, expected.st_ino)


@contract("open_directory", errno.ENOENT)
def test_a_directory_that_is_missing(host, root):
    with fails(errno.ENOENT):
        host.kernel.open_directory(root, "/no/such")


@contract("open_directory", errno.ENOTDIR)
@pytest.mark.parametrize("path", ["/plain", "/plain/dev"])
def test_a_file_on_the_way(host, root, path):
    with open(host.file(f"{root}/plain"), "w"):
        pass
    with fails(errno.ENOTDIR):
        host.kernel.open_directory(root, path)


@contract("open_directory", errno.ELOOP, errno.EMLINK)
@pytest.mark.parametrize("target", ["/", "dev2", "/no/such"])
@pytest.mark.parametrize("path", ["/link", "/link/dev"])
def test_a_link_on_the_way(host, root, target, path):
    os.makedirs(host.file(f"{root}/dev2/dev"))
    os.symlink(target, host.file(f"{root}/link"))
    with fails(errno.ELOOP, errno.EMLINK):
        host.kernel.open_directory(root, path)


@contract("open_directory", errno.EINVAL)
def test_no_way_up(host, root):
    with fails(errno.EINVAL):
        host.kernel.open_directory(root, "/dev/../..")


# -- mounts ---------------------------------------------------------------------------


@contract("mount")
@contract("mounts")
@contract("unmount")
def test_devfs_with_a_ruleset(host, root):
    fsid = mounted(host, root, options={"ruleset": "4"})
    found = next(mount for mount in host.kernel.mounts() if mount.fsid == fsid)
    assert (found.fstype, found.source, found.directory) == ("devfs", "devfs", f"{root}/dev")
    assert host.kernel.mounts()[-1] == found
    host.kernel.unmount(fsid)
    assert fsid not in [mount.fsid for mount in host.kernel.mounts()]


@contract("mount")
def test_a_ruleset_that_is_not_loaded_is_no_error(host, root):
    assert host.kernel.devfs_ruleset_rules(77) == 0
    mounted(host, root, options={"ruleset": "77"})


@contract("mount")
def test_mounts_stack_and_come_off_one_by_one(host, root):
    first = mounted(host, root)
    second = mounted(host, root)
    assert first != second
    host.kernel.unmount(second)
    assert [m.fsid for m in host.kernel.mounts() if m.directory == f"{root}/dev"] == [first]


@contract("unmount", errno.EBUSY)
def test_what_lies_below_another_mount_is_in_use(host, root):
    first = mounted(host, root)
    second = mounted(host, root)
    with fails(errno.EBUSY):
        host.kernel.unmount(first)
    host.kernel.unmount(second)
    host.kernel.unmount(first)


@contract("unmount")
def test_unmount_by_force(host, root):
    fsid = mounted(host, root)
    host.kernel.unmount(fsid, force=True)


@contract("unmount", errno.EBUSY)
def test_the_root_of_a_jail_is_in_use(host, root):
    os.mkdir(host.file(f"{root}/inner"))
    fsid = mounted(host, root, "tmpfs", path="/inner")
    jid = host.jail(path=f"{root}/inner")
    with fails(errno.EBUSY):
        host.kernel.unmount(fsid)
    host.remove(jid)
    host.kernel.unmount(fsid)


@contract("mount")
def test_nullfs_shows_its_source(host, root):
    source = host.root()
    fsid = mounted(host, root, "nullfs", {"from": source, "ro": None})
    found = next(mount for mount in host.kernel.mounts() if mount.fsid == fsid)
    assert (found.fstype, found.source) == ("nullfs", source)


@contract("mount")
def test_a_mount_goes_on_the_directory_that_was_opened(host, root):
    directory = host.kernel.open_directory(root, "/dev")
    os.rename(host.file(f"{root}/dev"), host.file(f"{root}/moved"))
    os.symlink("/etc", host.file(f"{root}/dev"))
    fsid = host.kernel.mount("devfs", directory, {})
    os.close(directory)
    host.on_close(host.kernel.unmount, fsid)
    found = next(mount for mount in host.kernel.mounts() if mount.fsid == fsid)
    assert found.directory == f"{root}/moved"


@contract("mount", errno.EINVAL)
def test_a_source_that_is_missing(host, root):
    with fails(errno.EINVAL, errno.ENOENT):  # 13, 15
        mounted(host, root, "nullfs", {"from": "/no/such/directory"})


@contract("mount", errno.EINVAL)
def test_a_type_that_is_unknown(host, root):
    with fails_in_words(errno.EINVAL, "Invalid fstype"):
        mounted(host, root, "nosuchfs")


@contract("mount", errno.EINVAL)
@pytest.mark.parametrize(("options", "words"), [
    ({"bogus": None}, "mount option <bogus> is unknown"),
    ({"ruleset": "many"}, "invalid ruleset specification"),
])
def test_options_that_are_wrong(host, root, options, words):
    with fails_in_words(errno.EINVAL, words):
        mounted(host, root, options=options)


@contract("unmount", errno.ENOENT)
def test_what_is_not_mounted(host, root):
    fsid = mounted(host, root)
    host.kernel.unmount(fsid)
    with fails(errno.ENOENT):
        host.kernel.unmount(fsid)


@contract("filesystem_of")
def test_a_directory_is_on_what_was_there_when_it_was_opened(host, root):
    before = host.kernel.open_directory(root, "/dev")
    below = host.kernel.filesystem_of(before)
    fsid = mounted(host, root)
    after = host.kernel.open_directory(root, "/dev")
    try:
        assert host.kernel.filesystem_of(after).fsid == fsid
        assert host.kernel.filesystem_of(after).directory == f"{root}/dev"
        assert host.kernel.filesystem_of(before) == below
    finally:
        os.close(before)
        os.close(after)


@contract("devfs_ruleset_rules")
def test_rules_of_a_ruleset(host):
    assert host.kernel.devfs_ruleset_rules(5) > 0
    assert host.kernel.devfs_ruleset_rules(7777) == 0


@contract("mount", errno.EINVAL)
def test_a_file_system_goes_nowhere_when_its_directory_is_gone(host, root):
    directory = host.kernel.open_directory(root, "/dev")
    shutil.rmtree(host.file(f"{root}/dev"))
    try:
        with fails(errno.EINVAL, errno.ENOENT):  # 13, 15
            host.kernel.mount("devfs", directory, {})
    finally:
        os.close(directory)
