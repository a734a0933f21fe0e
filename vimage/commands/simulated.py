"""A simulated host for the command line, furnished with what the configuration names."""

from __future__ import annotations

import os

from vimage.configuration.load import variables
from vimage.configuration.resolve import resolve
from vimage.kernel.simulated import SimulatedKernel
from vimage.messages import VimageError

_UUID = "5f0d6a38-2e1b-4f7c-9a45-7f3b1c2d4e60"


def host(directory: str, file: str | None) -> SimulatedKernel:
    """The host of that directory; a new one when there is none.

    A new host has em0, em1, igb0, igb1 and vtnet0, the interfaces that the configuration
    names, and the root directories it names, each with a shell to boot with.
    """
    kernel = SimulatedKernel.open(directory)
    try:
        configuration, _ = resolve(variables(file), hostuuid=_UUID, cpus=2)
    except VimageError:
        return kernel  # whoever needs the configuration will say what is wrong with it
    for vimage in configuration.vimages.values():
        if vimage.rootdir != "/":
            _root(kernel.path(vimage.rootdir))
    return kernel


def _root(path: str) -> None:
    """A root directory that can be booted, on a host that does not have it yet."""
    if os.path.lexists(path):
        return
    for directory in ("bin", "dev", "etc", "proc", "usr/sbin"):
        os.makedirs(os.path.join(path, directory), exist_ok=True)
    for program in ("bin/sh", "usr/sbin/service"):
        os.close(os.open(os.path.join(path, program), os.O_CREAT | os.O_WRONLY, 0o755))
