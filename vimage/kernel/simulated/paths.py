"""Files of the simulated host: where they are, and links that stay below its root."""

from __future__ import annotations

import errno
import os

from vimage.kernel.simulated.errors import fail

MOST_LINKS = 32  # MAXSYMLINKS


class Paths:
    """The tree of files of one simulated host."""

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)

    def real(self, path: str) -> str:
        """Where open(2) finds a path of the host (links are not looked at)."""
        path = self.inside(path)
        return self.root if path == "/" else self.root + path

    def inside(self, path: str) -> str:
        """The path of the host, also for one that is already below ``root``."""
        if path == self.root or path.startswith(self.root + "/"):
            path = path[len(self.root):] or "/"
        return os.path.normpath("/" + path.lstrip("/"))

    def resolve(self, path: str, root: str = "/") -> str:
        """The path of the host without links; links lead no further up than ``root``."""
        done = self.inside(root)
        todo = [part for part in self.inside(path).split("/") if part]
        links = 0
        while todo:
            part = todo.pop(0)
            if part == "..":
                done = os.path.dirname(done) if done != self.inside(root) else done
                continue
            step = os.path.join(done, part)
            real = self.real(step)
            if os.path.islink(real):
                links += 1
                if links > MOST_LINKS:
                    fail(errno.ELOOP, path)
                target = os.readlink(real)
                if target.startswith("/"):
                    done = self.inside(root)
                todo[:0] = [p for p in target.split("/") if p and p != "."]
                continue
            if not os.path.exists(real):
                fail(errno.ENOENT, path)
            if todo and not os.path.isdir(real):
                fail(errno.ENOTDIR, path)
            done = step
        return done
