"""Who holds what several vimages share.

A shared thing has a key (``bridge.em0``).  A vimage holds it while an entry of its record
says so (fact ``holds``); that is the only place where it is written.  This index of the
records answers in constant time what would else be a search.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable

from vimage.journal import Record


class Holders:
    """Key to the names of the vimages that hold it."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._names: defaultdict[str, set[str]] = defaultdict(set)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._next_link: dict[str, int] = {}
        for record in records:
            for entry in record.entries:
                if "holds" in entry.facts:
                    self.hold(entry.facts["holds"], record.name)
                if "link" in entry.facts:
                    self.link_seen(entry.facts["bridge_key"], entry.facts["link"])

    def hold(self, key: str, name: str) -> None:
        """``name`` holds ``key`` from now on."""
        self._names[key].add(name)

    def let_go(self, key: str, name: str) -> bool:
        """``name`` holds it no longer; True when nobody does."""
        names = self._names[key]
        names.discard(name)
        if names:
            return False
        del self._names[key]
        return True

    def of(self, key: str) -> frozenset[str]:
        """Who holds it now."""
        return frozenset(self._names.get(key, ()))

    def lock(self, key: str) -> asyncio.Lock:
        """One vimage at a time makes or undoes a shared thing."""
        return self._locks[key]

    # -- link numbers of a bridge: handed out in order, so that no search is needed -------

    def next_link(self, key: str) -> int:
        """A link number of a bridge not handed out before (2 and up; jng takes 0 and 1)."""
        number = self._next_link.get(key, 2)
        self._next_link[key] = number + 1
        return number

    def link_seen(self, key: str, number: int) -> None:
        """An earlier process has handed this one out."""
        self._next_link[key] = max(self._next_link.get(key, 2), number + 1)

    def links_forgotten(self, key: str) -> None:
        """The bridge is gone; the next one starts afresh."""
        self._next_link.pop(key, None)
