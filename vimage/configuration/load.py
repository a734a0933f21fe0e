"""From rc.conf and the host to a configuration, with every problem found on the way."""

from __future__ import annotations

from dataclasses import dataclass

from vimage.kernel import Kernel
from vimage.messages import Problem
from vimage.model import Configuration


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration as read, and what is wrong with it."""

    configuration: Configuration
    problems: tuple[Problem, ...] = ()
    names: tuple[str, ...] = ()  # every vimage the file speaks of, with errors or without

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if not problem.warning]

    def problems_of(self, name: str) -> list[Problem]:
        """The errors that keep one vimage from starting."""
        return [problem for problem in self.errors if problem.vimage == name]


def load(kernel: Kernel, file: str | None) -> Loaded:
    """Read rc.conf, or ``file`` in its place.

    Raises VimageError when it cannot be read at all.
    """
    raise NotImplementedError
