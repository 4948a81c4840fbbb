"""The id index against a dict, in tables so small that every run of probes wraps round."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.core import index
from stream.core.memory import Layout, Memory, allocate

Place = tuple[int, int]
"""A home bucket (modulo the table's size) and a number that tells keys of the same home apart."""

quick = settings(derandomize=True, deadline=None, max_examples=150)
places = st.tuples(st.integers(0, 8), st.integers(0, 5))
# A few homes only, the last bucket among them: runs that collide, meet and wrap round.
crowds = st.tuples(st.sampled_from([-2, -1, 0]), st.integers(0, 7))
turns = st.lists(places, max_size=60) | st.lists(crowds, max_size=60)


def table(num_slots: int) -> Memory:
    return allocate(Layout(num_slots, num_slots + num_slots // 2, arena_words=1, num_recent=1, num_seen_sets=0))


def key_at(place: Place, num_buckets: int) -> int:
    """A key that is at home in a given bucket: the first upper half that the table's size maps there."""
    home, low = place
    return -(-(home % num_buckets << 32) // num_buckets) << 32 | low + 1


def assert_holds(m: Memory, slots: dict[int, int], strangers: list[int]) -> None:
    """The index finds what is in ``slots``, and nothing else."""
    absent = [key for key in strangers if key not in slots]
    keys = np.array([*slots, *absent], np.uint64)
    assert index.find_all(m, keys).tolist() == [*slots.values()] + [-1] * len(absent)
    assert sorted(m.buckets[m.buckets >= 0]) == sorted(slots.values())


@quick
@given(num_slots=st.integers(2, 6), turns=turns)
def test_the_index_finds_what_a_dict_finds_however_keys_collide(num_slots: int, turns: list[Place]) -> None:
    """Each turn puts its key in, or takes it out where it is in, or passes where all slots are taken."""
    m = table(num_slots)
    twin: dict[int, int] = {}
    free = list(range(num_slots))
    met: list[int] = []
    for place in turns:
        key = key_at(place, len(m.buckets))
        met.append(key)
        if key in twin:
            index.remove(m, np.uint64(key))
            free.append(twin.pop(key))
            m.slots["key"][free[-1]] = 0
        elif free:
            twin[key] = free.pop()
            m.slots["key"][twin[key]] = key
            index.insert(m, np.uint64(key), twin[key])
        assert_holds(m, twin, met)


@quick
@given(st.permutations(range(6)), st.lists(crowds, min_size=6, max_size=6, unique=True))
def test_a_full_table_empties_in_any_order(order: list[int], crowd: list[Place]) -> None:
    m = table(6)
    keys = [key_at(place, len(m.buckets)) for place in crowd]
    m.slots["key"] = keys
    for slot, key in enumerate(keys):
        index.insert(m, np.uint64(key), slot)
    left = {key: slot for slot, key in enumerate(keys)}
    assert_holds(m, left, keys)
    for slot in order:
        index.remove(m, np.uint64(keys[slot]))
        del left[keys[slot]]
        assert_holds(m, left, keys)


def test_the_smallest_table_of_three_buckets_still_ends_every_search() -> None:
    m = table(2)
    assert len(m.buckets) == 3
    keys = [key_at((2, low), 3) for low in range(3)]
    m.slots["key"] = keys[:2]
    for slot in (0, 1):
        index.insert(m, np.uint64(keys[slot]), slot)
    assert m.buckets.tolist() == [1, -1, 0]
    index.remove(m, np.uint64(keys[0]))
    assert m.buckets.tolist() == [-1, -1, 1]
    assert index.find_all(m, np.array(keys, np.uint64)).tolist() == [-1, 1, -1]


def test_deletion_moves_no_entry_before_its_home() -> None:
    m = table(6)
    homes = [3, 3, 4, 5]
    keys = [key_at((home, low), 9) for low, home in enumerate(homes)]
    m.slots["key"][:4] = keys
    for slot, key in enumerate(keys):
        index.insert(m, np.uint64(key), slot)
    assert m.buckets[3:7].tolist() == [0, 1, 2, 3]
    index.remove(m, np.uint64(keys[0]))
    assert m.buckets[3:7].tolist() == [1, 2, 3, -1]
    index.remove(m, np.uint64(keys[1]))
    assert m.buckets[3:7].tolist() == [-1, 2, 3, -1]


def test_homes_are_spread_over_all_of_the_table() -> None:
    m = table(600)
    for i in range(600):
        # The middle of the i-th of 600 parts of all keys: two thirds of the buckets are home to one.
        key = (2 * i + 1) * 2**63 // 600
        m.slots["key"][0] = key
        index.insert(m, np.uint64(key), 0)
    assert (m.buckets.reshape(-1, 3) >= 0).sum(axis=1).tolist() == [2] * 300
