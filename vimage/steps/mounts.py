"""Steps that mount: the lines of fstab, devfs, fdescfs, procfs.

A mount is known by its file system id.  A directory is opened component by component
without following links and mounted through the open descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from vimage.configuration import fstab
from vimage.journal import JsonObject
from vimage.kernel import Kernel, MountInfo
from vimage.messages import VimageError
from vimage.steps.context import StepContext
from vimage.steps.step import Rank, Step

#: What the kernel mounts from options alone; any other type has a program, as mount(8) has.
DIRECT = frozenset({"devfs", "fdescfs", "procfs", "linprocfs", "linsysfs", "nullfs", "unionfs",
                    "tmpfs", "ufs", "zfs"})

Options = dict[str, str | None]

#: What says that there is no such directory to be mounted on (open(2), O_NOFOLLOW).
_NO_DIRECTORY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EMLINK})


@dataclass(frozen=True)
class MountStep(Step):
    """A file system mounted below the root of a vimage; vimages with the same root share it."""

    kind: ClassVar[str] = "mount"
    order: ClassVar[Rank] = Rank.MOUNT
    fstype: str
    source: str
    root: str
    path: str  # of the directory, below root
    options: Options = field(default_factory=dict)
    timeout: float = 60
    failok: bool = False

    @property
    def identity(self) -> tuple[str, ...]:
        return self.kind, self.directory

    @property
    def directory(self) -> str:
        """The directory as the host sees it."""
        return self.root.rstrip("/") + self.path.rstrip("/") or "/"

    @property
    def key(self) -> str:
        """The key under which vimages share the mount."""
        return "mount." + hashlib.sha256(self.directory.encode()).hexdigest()[:24]

    @property
    def mandatory(self) -> bool:
        return not self.failok

    def describe(self) -> str:
        options = ",".join(k if v is None else f"{k}={v}" for k, v in self.options.items())
        return f"mount {self.fstype} on {self.directory}" + (f" ({options})" if options else "")

    def describe_undo(self) -> str:
        return f"unmount {self.fstype} from {self.directory}"

    async def do(self, context: StepContext) -> None:
        async with context.host.references.lock(self.key):
            with self._opened(context) as directory:
                below = context.kernel.filesystem_of(directory)
                shared = context.shared(self.key)
                context.record_intent(holds=self.key)
                if shared is not None and shared.get("fsid") == below.fsid:
                    self._same(shared)
                    return
                if self._mounted_here(context, directory, below) \
                        or shared is not None and self._covered(context, shared):
                    raise VimageError("mount_taken", directory=self.directory, fstype=self.fstype)
                record: JsonObject = {"below": below.fsid, "what": self._what()}
                context.write_shared(self.key, record)
                record["fsid"] = await self._mount(context, directory)
                context.write_shared(self.key, record)

    async def undo(self, context: StepContext) -> None:
        async with context.end_use(self.key) as unused:
            if not unused:
                return
            record = context.shared(self.key)
            if record is not None:
                fsid = record.get("fsid") or self._find(context, record["below"])
                if fsid:
                    unmount(context, fsid, self.directory)
            context.host.journal.remove_shared(self.key)

    def _what(self) -> str:
        return f"{self.fstype} {self.source} {sorted(self.options.items())}"

    def _same(self, shared: JsonObject) -> None:
        """Raise VimageError("mount_differs") if another vimage has mounted something else."""
        if shared["what"] != self._what():
            raise VimageError("mount_differs", directory=self.directory)

    @staticmethod
    def _covered(context: StepContext, shared: JsonObject) -> bool:
        """Whether the mount that others use is there, below something else."""
        return any(mounted.fsid == shared.get("fsid") for mounted in context.kernel.mounts())

    def _mounted_here(self, context: StepContext, directory: int, below: MountInfo) -> bool:
        """Whether somebody else has mounted the same type on this very directory."""
        above = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        try:
            return (below.fstype == self.fstype
                    and context.kernel.filesystem_of(above).fsid != below.fsid)
        finally:
            os.close(above)

    def _find(self, context: StepContext, below: str) -> str | None:
        """The file system id of a mount of which only the intent was recorded: what is mounted on
        top of ``below``; None when nothing is."""
        try:
            directory = context.kernel.open_directory(self.root, self.path)
        except OSError as error:
            if error.errno not in _NO_DIRECTORY:
                raise
            return None
        try:
            found = context.kernel.filesystem_of(directory)
        finally:
            os.close(directory)
        return found.fsid if found.fsid != below and found.fstype == self.fstype else None

    @contextlib.contextmanager
    def _opened(self, context: StepContext) -> Iterator[int]:
        try:
            directory = context.kernel.open_directory(self.root, self.path)
        except OSError as error:
            raise VimageError("mount_point", directory=self.directory,
                              why=no_directory(error)) from error
        try:
            yield directory
        finally:
            os.close(directory)

    async def _mount(self, context: StepContext, directory: int) -> str:
        if self.source.startswith("/") and not os.path.exists(context.kernel.path(self.source)):
            # nmount(2) itself would say that the type is invalid.
            raise VimageError("mount_failed", fstype=self.fstype, directory=self.directory,
                              why=f"{self.source}: {os.strerror(errno.ENOENT)}")
        try:
            if self.fstype in DIRECT:
                options = {"from": self.source, **self.options}
                return context.kernel.mount(self.fstype, directory, options)
            return await self._mount_by_program(context, directory)
        except OSError as error:
            raise VimageError("mount_failed", fstype=self.fstype, directory=self.directory,
                              why=error.strerror) from error

    async def _mount_by_program(self, context: StepContext, directory: int) -> str:
        """Mount a type that needs mount_TYPE(8), and check that it arrived on ``directory``."""
        options = ",".join(k if v is None else f"{k}={v}" for k, v in self.options.items())
        await context.run_on_host(
            ("/sbin/mount", "-t", self.fstype, *(("-o", options) if options else ()),
             self.source, self.directory), f"mount {self.directory}", self.timeout)
        below = context.kernel.filesystem_of(directory).fsid
        with self._opened(context) as mounted:
            found = context.kernel.filesystem_of(mounted)
        if found.fsid == below:
            raise VimageError("mount_astray", fstype=self.fstype, directory=self.directory)
        return found.fsid


def unmount(context: StepContext, fsid: str, directory: str) -> None:
    """Unmount a file system, by force if it is busy.  One that has gone is not an error.

    Raises VimageError("unmount_failed").
    """
    try:
        context.kernel.unmount(fsid)
    except FileNotFoundError:
        return
    except OSError as error:
        context.host.log.warning("%s: %s: %s, unmounted by force",
                                 context.name, directory, error.strerror)
        try:
            context.kernel.unmount(fsid, force=True)
        except OSError as again:
            raise VimageError("unmount_failed", directory=directory,
                              why=again.strerror) from again


def no_directory(error: OSError) -> str:
    """Why a directory was not opened.  O_NOFOLLOW says EMLINK on FreeBSD, ELOOP elsewhere."""
    if error.errno in (errno.ELOOP, errno.EMLINK):
        return "a symbolic link, which is not followed"
    return error.strerror or str(error)


@dataclass(frozen=True)
class FstabStep(Step):
    """The lines of ``fstab``, read when their turn comes (exec_prepare may write them)."""

    kind: ClassVar[str] = "fstab"
    order: ClassVar[Rank] = Rank.NOTHING
    file: str
    root: str
    timeout: float

    def describe(self) -> str:
        return f"mount what {self.file} lists, if it is readable"

    def expanded(self, kernel: Kernel) -> list[Step]:
        return list(read_fstab(kernel, self.file, self.root, self.timeout))

    async def do(self, context: StepContext) -> list[Step]:
        return self.expanded(context.kernel)


@dataclass(frozen=True)
class MountLinesStep(Step):
    """The lines of ``vimage_NAME_mount``, each of them a mount."""

    kind: ClassVar[str] = "mountlines"
    order: ClassVar[Rank] = Rank.NOTHING
    lines: tuple[str, ...]
    root: str
    timeout: float

    def describe(self) -> str:
        return f"mount {len(self.lines)} lines of fstab(5)"

    def expanded(self, kernel: Kernel) -> list[Step]:
        return [step for line in self.lines
                for step in mount_steps(line, self.root, self.timeout)]

    async def do(self, context: StepContext) -> list[Step]:
        return self.expanded(context.kernel)


def read_fstab(kernel: Kernel, file: str, root: str, timeout: float) -> list[MountStep]:
    """fstab(5) to steps; none where there is no such file.  Raises VimageError: fstab_line,
    fstab_unreadable."""
    try:
        with open(kernel.path(file), encoding="utf-8", errors="surrogateescape") as lines:
            text = lines.read()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise VimageError("fstab_unreadable", file=file, why=error.strerror) from error
    steps = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#", 1)[0]
        if line.strip():
            try:
                steps += mount_steps(line, root, timeout)
            except ValueError as error:
                raise VimageError("fstab_line", where=f"{file}:{number}",
                                  why=str(error)) from error
    return steps


def mount_steps(line: str, root: str, timeout: float) -> list[MountStep]:
    """A line of fstab(5) as a step; none where it says that it is not mounted with the others.

    Raises ValueError with what is wrong with it.
    """
    found = fstab.parse(line)
    if found.skipped:
        return []
    return [MountStep(found.fstype, found.source, root, fstab.below(root, found.directory),
                      found.options, timeout, found.failok)]
