"""Who uses a shared thing, and which link of a bridge is free."""

from __future__ import annotations

from vimage.journal import Entry, Record
from vimage.references import FIRST_LINK, References

KEY = "bridge.em0"


def record(name: str, *links: int) -> Record:
    """A vimage with links on the bridge."""
    bridge = Entry("bridge", {"parent": "em0"}, {"holds": KEY})
    return Record(name, entries=[bridge, *(
        Entry("eiface", {}, {"bridge_key": KEY, "link": number}) for number in links)])


def test_links_are_handed_out_in_order() -> None:
    references = References()
    assert [references.next_link(KEY) for _ in range(3)] == [2, 3, 4]
    assert references.next_link("bridge.em1") == FIRST_LINK


def test_a_link_that_an_earlier_process_gave_is_not_given_again() -> None:
    assert References([record("a", 2, 3)]).next_link(KEY) == 4
    assert References([record("a", 9), record("b", 4)]).next_link(KEY) == 10


def test_a_new_bridge_begins_anew() -> None:
    references = References([record("a", 2, 3)])
    references.links_forgotten(KEY)
    assert references.next_link(KEY) == FIRST_LINK


def test_the_last_user_is_told() -> None:
    references = References([record("a"), record("b")])
    assert references.of(KEY) == {"a", "b"}
    assert not references.drop(KEY, "a")
    assert references.of(KEY) == {"b"}
    assert references.drop(KEY, "b")
    assert references.of(KEY) == frozenset()


def test_one_lock_for_each_thing() -> None:
    references = References()
    assert references.lock(KEY) is references.lock(KEY)
    assert references.lock(KEY) is not references.lock("bridge.em1")
