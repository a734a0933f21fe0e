"""The contract of ``vimage.kernel`` carried out on FreeBSD 13.2 to 15, amd64 and arm64.

``FreeBSD`` is the kernel; its ``processes()`` starts commands.  Importing this package,
and the modules that only encode and decode, needs no FreeBSD.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vimage.kernel.freebsd.host import FreeBSD

__all__ = ["FreeBSD"]


def __getattr__(name: str) -> object:
    """``FreeBSD`` is imported on first use: the helper process needs none of it."""
    if name == "FreeBSD":
        from vimage.kernel.freebsd.host import FreeBSD
        return FreeBSD
    raise AttributeError(name)
