"""MAC addresses: derived from what does not change, so that they do not change either.

All functions are pure.  Addresses are lower case text, ``02:00:00:00:00:01``.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

#: Whose address: the name of a vimage (or ``host_bridge(BR)``) and the number of the link.
Owner = tuple[str, int]

Derive = Callable[[str, str, int, int], str]

#: No clash takes more attempts than this: the addresses are 46 bits long.
MAX_ATTEMPTS = 100_000


def derive(seed: str, name: str, n: int, attempt: int = 0) -> str:
    """The address of link ``n`` of ``name`` on the host that has ``seed``.

    The formula never changes, since addresses have to outlive every upgrade:

        digest = BLAKE2b, 6 octets, personalised "vimage mac", of
                 netstring(seed) netstring(name) netstring(n) netstring(attempt)
        first octet = digest[0] with bit 0 cleared and bit 1 set

    * seed: tells one host from another on the same network;
    * name and n: tell the links of one host apart, whatever their order in a list;
    * attempt: 0, or more where the address before it was taken;
    * netstring(x) is ``LENGTH:x,`` in UTF-8 octets (numbers in decimal), so that no two
      different sets of fields are one text;
    * the personalisation keeps the addresses apart from any other use of the seed;
    * bit 0 clear: unicast; bit 1 set: locally administered, no vendor's (IEEE 802).
    """
    text = b"".join(_netstring(part) for part in (seed, name, str(n), str(attempt)))
    octets = bytearray(blake2b(text, digest_size=6, person=b"vimage mac").digest())
    octets[0] = octets[0] & 0xFE | 0x02
    return octets.hex(":")


def _netstring(text: str) -> bytes:
    octets = text.encode("utf-8", "surrogateescape")
    return b"%d:%s," % (len(octets), octets)


def host_bridge(name: str) -> str:
    """The name under which a host-only bridge has its address: no vimage can have it."""
    return f"bridge/{name}"


def key(owner: Owner) -> str:
    """How an owner is written in a record: ``NAME/N``."""
    return f"{owner[0]}/{owner[1]}"


class Assignment(NamedTuple):
    """Addresses given out."""

    macs: dict[Owner, str]
    #: Those that are not the owner's first address: to be logged, recorded and kept.
    resolved: dict[Owner, str]


def assign(
    requests: Iterable[Owner],
    taken: Container[str],
    recorded: Mapping[str, str],
    *,
    seed: str,
    derive: Derive = derive,
) -> Assignment:
    """Give every owner an address that nobody else has.

    ``taken`` are addresses of others.  ``recorded`` (``key(owner)`` to address) are clashes
    resolved before: such an owner keeps its address as long as it is one that the seed
    gives and nobody has it.  The others get their first address; of several with the same,
    the least by name and number gets it, and the rest try again together.  So the order of
    ``requests`` makes no difference, and an address once resolved yields to no newcomer.

    Raises ValueError when there is no free address.
    """
    pending = sorted(set(requests))
    macs: dict[Owner, str] = {}
    used: set[str] = set()
    for owner in pending:
        kept = recorded.get(key(owner))
        if kept and kept not in used and kept not in taken and _is_of(kept, owner, seed, derive):
            macs[owner] = kept
            used.add(kept)
    pending = [owner for owner in pending if owner not in macs]
    attempt = 0
    while pending:
        if attempt == MAX_ATTEMPTS:
            raise ValueError(f"no free MAC address for {key(pending[0])}")
        again = []
        for owner in pending:
            mac = derive(seed, *owner, attempt)
            if mac in used or mac in taken:
                again.append(owner)
            else:
                macs[owner] = mac
                used.add(mac)
        pending = again
        attempt += 1
    ordered = dict(sorted(macs.items()))
    resolved = {owner: mac for owner, mac in ordered.items() if mac != derive(seed, *owner, 0)}
    return Assignment(ordered, resolved)


def _is_of(mac: str, owner: Owner, seed: str, derive: Derive) -> bool:
    """Whether ``mac`` is one of the first addresses of ``owner`` (a record of another seed
    is none)."""
    return any(derive(seed, *owner, attempt) == mac for attempt in range(1000))
