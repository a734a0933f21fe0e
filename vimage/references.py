"""Which vimages use a shared thing: the bridge of a parent, a mount.

A shared thing has a key (``bridge.em0``).  A vimage uses it while an entry of its record has
the key as ``holds``; nothing else is written about it.  This module is an index of the records,
so that no question has to search them all.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable

from vimage.journal import Newer, Record

#: The first link of a bridge that is handed out; jng(8) takes 0 and 1 for the parent.
FIRST_LINK = 2


class References:
    """The users of each shared thing, a lock for each, and the free links of each bridge."""

    def __init__(self, records: Iterable[Record] = (), newer: Iterable[Newer] = ()) -> None:
        self._names: defaultdict[str, set[str]] = defaultdict(set)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._next_link: dict[str, int] = {}
        for record in records:
            for key in record.holds:
                self.add(key, record.name)
            for entry in record.entries:
                if "link" in entry.results:
                    self.link_seen(entry.results["bridge_key"], entry.results["link"])
        for other in newer:
            for key in other.holds:
                self.add(key, other.name)

    def add(self, key: str, name: str) -> None:
        """``name`` uses ``key`` from now on."""
        self._names[key].add(name)

    def drop(self, key: str, name: str) -> bool:
        """``name`` uses it no longer.  True when no vimage does."""
        names = self._names[key]
        names.discard(name)
        if names:
            return False
        del self._names[key]
        return True

    def of(self, key: str) -> frozenset[str]:
        """The names of the vimages that use it."""
        return frozenset(self._names.get(key, ()))

    def lock(self, key: str) -> asyncio.Lock:
        """The lock under which a shared thing is made or undone."""
        return self._locks[key]

    # -- link numbers of a bridge: handed out in order, so that no search is needed -------

    def next_link(self, key: str) -> int:
        """A link number of a bridge not handed out before."""
        number = self._next_link.get(key, FIRST_LINK)
        self._next_link[key] = number + 1
        return number

    def link_seen(self, key: str, number: int) -> None:
        """Do not hand out a number that an earlier process has handed out, or a lower one."""
        self._next_link[key] = max(self._next_link.get(key, FIRST_LINK), number + 1)

    def links_forgotten(self, key: str) -> None:
        """Start again at FIRST_LINK: the bridge has gone."""
        self._next_link.pop(key, None)
