"""From rc.conf and the host to a configuration, with every problem found on the way."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import NamedTuple

from vimage.atomic import replace
from vimage.configuration import rcconf, yamlfiles
from vimage.configuration.resolve import resolve
from vimage.kernel import Kernel
from vimage.messages import Problem, VimageError
from vimage.model import Configuration

#: How clashes of MAC addresses were resolved; kept over reboots.
RECORD = "/var/db/vimage/macs.json"


class Sources(NamedTuple):
    """All that a configuration follows from: the arguments of ``resolve``."""

    variables: Mapping[str, str]
    hostuuid: str
    cpus: int
    recorded_macs: Mapping[str, str]
    host_macs: Mapping[str, str]

    @classmethod
    def of(cls, kernel: Kernel, variables: Mapping[str, str]) -> Sources:
        """On this host, now."""
        return cls(dict(variables), str(_sysctl(kernel, "kern.hostuuid", "")),
                   int(_sysctl(kernel, "hw.ncpu", 1)), _recorded(kernel), _host_macs(kernel))


class Loaded(NamedTuple):
    """A configuration as read, and what is wrong with it."""

    configuration: Configuration
    problems: tuple[Problem, ...] = ()
    names: tuple[str, ...] = ()  # every vimage that is named or described, right or wrong
    sources: Sources | None = None

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if not problem.warning]

    def problems_of(self, name: str) -> list[Problem]:
        """The errors that keep one vimage from starting."""
        return [problem for problem in self.errors if problem.vimage in (name, "")]


def load(kernel: Kernel, file: str | None) -> Loaded:
    """Read rc.conf, or ``file`` in its place.

    Raises VimageError when it cannot be read at all.
    """
    return loaded_from(kernel, variables(file))


def variables(file: str | None) -> dict[str, str]:
    """The variables of rc.conf and of the YAML files beside it, or of ``file``.

    Raises VimageError when they cannot be read at all.
    """
    by_shell = {} if yamlfiles.alone(file) else rcconf.read(file)
    return yamlfiles.add(by_shell, yamlfiles.files(file))


def loaded_from(kernel: Kernel, variables: Mapping[str, str],
                last: Loaded | None = None) -> Loaded:
    """The configuration that variables give on this host: ``last`` itself, if it follows from
    the same."""
    sources = Sources.of(kernel, variables)
    if last is not None and last.sources == sources:
        return last
    configuration, problems = resolve(
        sources.variables, hostuuid=sources.hostuuid, cpus=sources.cpus,
        recorded_macs=sources.recorded_macs, host_macs=sources.host_macs)
    names = dict.fromkeys([*configuration.list, *configuration.vimages,
                           *(problem.vimage for problem in problems if problem.vimage)])
    return Loaded(configuration, tuple(problems), tuple(names), sources)


def record_macs(kernel: Kernel, configuration: Configuration) -> None:
    """Keep how clashes of addresses were resolved, over reboots.

    Raises VimageError("state_unwritable").
    """
    if configuration.resolved_macs == _recorded(kernel):
        return
    path = kernel.path(RECORD)
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        replace(path, json.dumps(configuration.resolved_macs, indent=1).encode(), sync=True)
    except OSError as error:
        raise VimageError("state_unwritable", path=path, why=error.strerror) from error


def _recorded(kernel: Kernel) -> dict[str, str]:
    try:
        with open(kernel.path(RECORD), encoding="utf-8") as file:
            recorded = json.load(file)
        return {str(key): str(mac) for key, mac in recorded.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _host_macs(kernel: Kernel) -> dict[str, str]:
    """The interfaces of the host, less netgraph's: an eiface that a jail has let go may be
    ours under another name."""
    return {interface.name: interface.mac for interface in kernel.if_list()
            if interface.mac and not interface.driver.startswith("ngeth")}


def _sysctl(kernel: Kernel, name: str, default: str | int) -> str | int:
    try:
        return kernel.sysctl(name)
    except OSError:
        return default
