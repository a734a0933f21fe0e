"""Mounts (vfs_mount.c): book-keeping only, nothing is mounted on the machine."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import replace

from vimage.kernel import MountInfo
from vimage.kernel.simulated.errors import fail, fail_in_words
from vimage.kernel.simulated.paths import Paths
from vimage.kernel.simulated.records import Mounted
from vimage.kernel.simulated.state import State

_GLOBAL = {"errmsg", "fstype", "fspath", "ro", "rw", "nosuid", "exec", "suid", "async", "sync",
           "atime", "noatime", "clusterr", "clusterw", "force", "reload", "snapshot", "symfollow",
           "union", "userquota", "groupquota", "acls", "nfsv4acls", "mac", "suiddir", "multilabel",
           "untrusted", "autoro", "failok", "late", "bg", "automounted", "update"}
_OWN = {
    "devfs": {"from", "export", "ruleset"},
    "fdescfs": {"from", "linrdlnk", "rdlnk", "nodup", "target"},
    "procfs": {"from", "export"},
    "linprocfs": {"from", "export"},
    "linsysfs": {"from", "export"},
    "tmpfs": {"from", "size", "maxfilesize", "inodes", "uid", "gid", "mode", "export", "nonc",
              "union"},
    "nullfs": None,  # takes any
    "ufs": None,
}
#: Types whose source is a directory or a device that must be there.
_FROM_PATH = ("nullfs", "ufs")


#: vfs_donmount() says this of whatever is missing.
MISSING = "Invalid fstype"


def mount(state: State, paths: Paths, fstype: str, directory: str,
          options: Mapping[str, str | None]) -> Mounted:
    """nmount(2) onto a directory of the host."""
    if fstype not in _OWN:
        fail_in_words(errno.EINVAL, MISSING)
    _check_options(fstype, options)
    number = state.next("mount")
    source = _source(paths, fstype, options)
    below = on(state, directory)
    mounted = Mounted(number, fstype, source, directory, below.number if below else 0,
                      dict(options))
    state.put(mounted)
    return mounted


def _check_options(fstype: str, options: Mapping[str, str | None]) -> None:
    own = _OWN[fstype]
    if own is None:
        return
    for name in options:
        if not {name, name[2:] if name.startswith("no") else name} & (_GLOBAL | own):
            fail_in_words(errno.EINVAL, f"mount option <{name}> is unknown")
    ruleset = options.get("ruleset")
    if ruleset is not None and not (ruleset.isdecimal() and int(ruleset) <= 65535):
        fail_in_words(errno.EINVAL, "invalid ruleset specification")


def _source(paths: Paths, fstype: str, options: Mapping[str, str | None]) -> str:
    if fstype not in _FROM_PATH:
        return fstype
    source = options.get("from") or options.get("target")
    if not source:
        fail_in_words(errno.EINVAL)
    try:
        resolved = paths.resolve(source)
    except FileNotFoundError:
        fail_in_words(errno.EINVAL, MISSING)
    except OSError as error:
        fail_in_words(error.errno or errno.EINVAL)
    if fstype == "nullfs" and not os.path.isdir(paths.real(resolved)):
        fail_in_words(errno.EINVAL)
    return source


def unmount(state: State, fsid: str, force: bool) -> None:
    mounted = find(state, fsid)
    if mounted.below == 0:
        fail(errno.EINVAL, "the root file system")
    covered = state.mounts_over.get(mounted.number, 0) > 0
    if covered or (not force and _in_use(state, mounted)):
        fail(errno.EBUSY, mounted.directory)
    state.drop(mounted)


def _in_use(state: State, mounted: Mounted) -> bool:
    """A jail has its root there, or something holds a file open."""
    jails = map(state.jail, state.jails_below.get(mounted.directory, ()))
    return mounted.busy or any(jail and on(state, jail.path) == mounted for jail in jails)


def find(state: State, fsid: str) -> Mounted:
    number = fsid.partition(":")[0]
    mounted = state.mounted(int(number)) if number.isdecimal() else None
    if mounted is None or describe(mounted).fsid != fsid:
        fail(errno.ENOENT, fsid)
    return mounted


def on(state: State, directory: str) -> Mounted | None:
    """The file system that a path is on: what was mounted last on the nearest ancestor."""
    while True:
        found = state.mounts_at.get(directory)
        if found:
            return state.mounted(max(found))
        if directory == "/":
            return None
        directory = os.path.dirname(directory)


def describe(mounted: Mounted) -> MountInfo:
    return MountInfo(f"{mounted.number}:{_TYPE_NUMBERS.get(mounted.fstype, 99)}", mounted.fstype,
                 mounted.source, mounted.directory)


_TYPE_NUMBERS = {"ufs": 53, "devfs": 113, "fdescfs": 89, "procfs": 2, "linprocfs": 40,
                 "tmpfs": 135, "nullfs": 41}


def hold(state: State, fsid: str, busy: bool) -> None:
    state.put(replace(find(state, fsid), busy=busy))
