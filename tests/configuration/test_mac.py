"""MAC addresses: fixed for ever, unique, and clashes resolved alike every time."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vimage.configuration import mac

UUID = "4c4c4544-0042-4a10-8052-b3c04f4e3332"


def cut(seed, name, n, attempt=0):
    """The derivation cut to 8 bits, so that clashes occur."""
    return "02:00:00:00:00:" + mac.derive(seed, name, n, attempt)[-2:]


@pytest.mark.parametrize(("seed", "name", "n", "attempt", "address"), [
    (UUID, "vj1", 0, 0, "d6:f2:3b:e0:d5:0d"),
    (UUID, "vj1", 1, 0, "b2:8f:3e:5b:f7:41"),
    (UUID, "vj2", 0, 0, "72:1f:39:09:ed:fb"),
    (UUID, "vj1", 0, 1, "be:b3:d4:e3:62:f0"),
    ("ä", "bridge/lan", 0, 0, "f6:66:83:02:db:ae"),
])
def test_the_formula_never_changes(seed, name, n, attempt, address):
    assert mac.derive(seed, name, n, attempt) == address


@given(st.text(), st.text(), st.integers(0, 10**9), st.integers(0, 10**6))
def test_unicast_and_locally_administered(seed, name, n, attempt):
    address = mac.derive(seed, name, n, attempt)
    octets = [int(octet, 16) for octet in address.split(":")]
    assert len(octets) == 6 and len(address) == 17 and address == address.lower()
    assert octets[0] & 3 == 2


def test_unique_and_stable_for_100_000_pairs_of_name_and_host():
    pairs = [(f"host{host}", f"vj{name}") for host in range(100) for name in range(1000)]
    first = {pair: mac.derive(*pair, 0) for pair in pairs}
    assert len(set(first.values())) == 100_000
    assert all(mac.derive(*pair, 0) == first[pair] for pair in reversed(pairs))


def test_fields_do_not_run_into_one_another():
    fields = ["", "0", "1", "01", "1:1", ",", "0:,"]
    every = list(itertools.product(fields, fields, (0, 1, 11), (0, 1, 11)))
    assert len({mac.derive(*each) for each in every}) == len(every)


def test_without_a_clash_everybody_has_the_first():
    owners = [(f"vj{i}", n) for i in range(500) for n in range(2)]
    given_out = mac.assign(owners, (), {}, seed=UUID)
    assert given_out.resolved == {}
    assert given_out.macs == {owner: mac.derive(UUID, *owner, 0) for owner in owners}


OWNERS = st.lists(
    st.tuples(st.text("abc", min_size=1, max_size=3), st.integers(0, 3)), max_size=60, unique=True)


@given(OWNERS, st.sets(st.integers(0, 255), max_size=100), st.randoms(use_true_random=False))
def test_with_8_bits_all_differ_in_any_order(owners, taken, shuffle):
    others = {f"02:00:00:00:00:{octet:02x}" for octet in taken}
    given_out = mac.assign(owners, others, {}, seed=UUID, derive=cut)
    assert set(given_out.macs) == set(owners)
    assert len(set(given_out.macs.values())) == len(owners)
    assert not others & set(given_out.macs.values())
    shuffled = list(owners)
    shuffle.shuffle(shuffled)
    assert mac.assign(shuffled, others, {}, seed=UUID, derive=cut) == given_out


@given(OWNERS, OWNERS)
def test_what_was_resolved_and_recorded_stays_when_others_come(owners, more):
    before = mac.assign(owners, (), {}, seed=UUID, derive=cut)
    record = {mac.key(owner): address for owner, address in before.resolved.items()}
    after = mac.assign([*owners, *more], (), record, seed=UUID, derive=cut)
    assert all(after.macs[owner] == address for owner, address in before.resolved.items())
    assert len(set(after.macs.values())) == len(after.macs)


def test_resolved_names_exactly_those_without_their_first():
    owners = [(f"vj{i}", 0) for i in range(200)]
    given_out = mac.assign(owners, (), {}, seed=UUID, derive=cut)
    assert given_out.resolved
    assert given_out.resolved == {
        owner: address for owner, address in given_out.macs.items()
        if address != cut(UUID, *owner)}


def test_all_256_addresses_of_8_bits_can_be_given_out():
    owners = [(f"vj{i}", 0) for i in range(256)]
    random.Random(5).shuffle(owners)
    given_out = mac.assign(owners, (), {}, seed=UUID, derive=cut)
    assert len(set(given_out.macs.values())) == 256


def test_no_address_left():
    owners = [("a", 0), ("b", 0)]
    with pytest.raises(ValueError, match="no free MAC address for b/0"):
        mac.assign(owners, (), {}, seed=UUID, derive=lambda *_: "02:00:00:00:00:01")


def test_a_record_of_another_seed_is_not_heeded():
    record = {"a/0": mac.derive("another", "a", 0, 1)}
    given_out = mac.assign([("a", 0)], (), record, seed=UUID)
    assert given_out.macs == {("a", 0): mac.derive(UUID, "a", 0)}


def test_a_recorded_address_that_somebody_has_is_given_up():
    recorded = mac.derive(UUID, "a", 0, 1)
    given_out = mac.assign([("a", 0)], {recorded}, {"a/0": recorded}, seed=UUID)
    assert given_out.macs == {("a", 0): mac.derive(UUID, "a", 0)}


def test_taken_first_address_leads_to_the_second():
    first = mac.derive(UUID, "a", 0)
    given_out = mac.assign([("a", 0)], {first}, {}, seed=UUID)
    assert given_out.macs == given_out.resolved == {("a", 0): mac.derive(UUID, "a", 0, 1)}
