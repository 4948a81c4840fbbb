"""The filter of pairs already taken against lists of fingerprints, set by set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.core import seen
from stream.core.memory import SEEN_WAYS, Layout, Memory, allocate

Pair = tuple[int, int]

quick = settings(derandomize=True, deadline=None, max_examples=100)
_GOLDEN = 0x9E3779B97F4A7C15


def empty_filter(num_sets: int) -> Memory:
    return allocate(Layout(2, 3, arena_words=1, num_recent=1, num_seen_sets=num_sets))


def locate(pair: Pair, num_sets: int) -> Pair:
    """The set of a pair by the upper half of its hash, its fingerprint by the 13 bits below."""
    turned = pair[1] % 2**32 << 32 | pair[1] >> 32
    h = (pair[0] ^ turned) * _GOLDEN % 2**64
    return (h >> 32) * num_sets >> 32, (h >> 19) % 2**13 or 1


def add(m: Memory, pair: Pair, session: int = 0) -> None:
    seen.add(m, np.uint64(pair[0]), np.uint64(pair[1]), session)


def contains(m: Memory, pair: Pair) -> bool:
    return bool(seen.contains(m, np.uint64(pair[0]), np.uint64(pair[1])))


def pairs(num: int, seed: int) -> list[Pair]:
    keys = np.random.default_rng(seed).integers(1, 2**64, (num, 2), np.uint64)
    return [(user, item) for user, item in keys.tolist()]


def pairs_of_one_set(num: int, which: int, num_sets: int) -> list[Pair]:
    found: dict[int, Pair] = {}
    for pair in pairs(64 * num * num_sets, seed=which):
        at, fingerprint = locate(pair, num_sets)
        if at == which and len(found) < num:
            found.setdefault(fingerprint, pair)
    return list(found.values())


@quick
@given(num_sets=st.integers(1, 4), turns=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 40)), max_size=80))
def test_each_set_holds_its_last_eight_pairs_newest_first(num_sets: int, turns: list[tuple[int, int]]) -> None:
    m = empty_filter(num_sets)
    some = pairs(40, seed=num_sets)
    newest_first: list[dict[int, int]] = [{} for _ in range(num_sets)]
    for turn, session in turns:
        add(m, some[turn], session)
        which, fingerprint = locate(some[turn], num_sets)
        held = newest_first[which]
        others = {other: stamp for other, stamp in held.items() if other != fingerprint}
        newest_first[which] = dict([(fingerprint, session % 8), *others.items()][:SEEN_WAYS])
    entries = [[print_ + 2**13 * stamp for print_, stamp in held.items()] for held in newest_first]
    assert m.seen.tolist() == [of_set + [0] * (SEEN_WAYS - len(of_set)) for of_set in entries]
    located = [locate(pair, num_sets) for pair in some]
    assert [contains(m, pair) for pair in some] == [print_ in newest_first[which] for which, print_ in located]
    stamps = [int(seen.find(m, np.uint64(user), np.uint64(item))) for user, item in some]
    assert stamps == [newest_first[which].get(print_, -1) for which, print_ in located]


def test_the_last_pairs_are_never_missed() -> None:
    m = empty_filter(5)
    stream = pairs(2_000, seed=1)
    for i, pair in enumerate(stream):
        add(m, pair)
        if i % 50 == 0:
            assert all(contains(m, recent) for recent in stream[max(0, i - SEEN_WAYS + 1) : i + 1])


def test_the_oldest_of_a_set_goes_first() -> None:
    m = empty_filter(3)
    stream = pairs_of_one_set(SEEN_WAYS + 2, which=2, num_sets=3)
    for pair in stream:
        add(m, pair)
    assert [contains(m, pair) for pair in stream] == [False] * 2 + [True] * SEEN_WAYS


def test_taking_a_pair_again_makes_it_the_newest_and_drops_none() -> None:
    m = empty_filter(2)
    first, *others, last = pairs_of_one_set(SEEN_WAYS + 1, which=0, num_sets=2)
    for pair in (first, *others, first):
        add(m, pair)
    assert all(contains(m, pair) for pair in (first, *others))
    add(m, last)
    assert contains(m, first)
    assert not contains(m, others[0])


@pytest.mark.parametrize(
    ("taken_in", "now", "age"), [(5, 5, 0), (5, 6, 1), (5, 7, 2), (5, 12, 2), (7, 8, 1), (5, 13, 0)]
)
def test_a_pairs_age_is_in_sessions_of_which_eight_make_a_round(taken_in: int, now: int, age: int) -> None:
    assert seen.age_of(taken_in % seen.NUM_STAMPS, now) == age


def test_a_pair_is_not_its_mirror_image() -> None:
    m = empty_filter(4)
    for user, item in pairs(8, seed=2):
        add(m, (user, item))
        assert not contains(m, (item, user))


def test_a_filter_of_no_sets_remembers_nothing() -> None:
    m = empty_filter(0)
    add(m, (1, 2))
    assert not contains(m, (1, 2))


def false_alarms(m: Memory, user: NDArray[np.uint64], item: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which pairs a full filter takes for known, all at once."""
    h = (user ^ (item << np.uint64(32) | item >> np.uint64(32))) * np.uint64(_GOLDEN)
    which = (h >> np.uint64(32)) * np.uint64(len(m.seen)) >> np.uint64(32)
    fingerprint = np.maximum(h >> np.uint64(19) & np.uint64(0x1FFF), np.uint64(1)).astype(np.uint16)
    held = m.seen[which.astype(np.intp)] & np.uint16(0x1FFF)
    alarms: NDArray[np.bool_] = (held == fingerprint[:, None]).any(axis=1)
    return alarms


def test_a_full_filter_takes_about_eight_in_8191_strangers_for_known() -> None:
    m = empty_filter(40)
    for pair in pairs(40 * SEEN_WAYS * 4, seed=3):
        add(m, pair)
    assert (m.seen > 0).all()
    user, item = np.random.default_rng(4).integers(1, 2**64, (2, 1_000_000), np.uint64)
    alarms = false_alarms(m, user, item)
    # About 980 are expected; a fifth more or less is over five standard deviations away.
    assert 0.8 < alarms.mean() / (8 / 8_191) < 1.2
    looked_at = np.concatenate((np.flatnonzero(alarms)[:200], np.arange(200)))
    answers = [contains(m, (int(user[i]), int(item[i]))) for i in looked_at]
    assert answers == alarms[looked_at].tolist()
