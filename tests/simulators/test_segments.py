"""SCALL's protocol against twins of dictionaries and loops: filter, segments, split, reservoir, questions, figures."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.segments import (
    Asked,
    Judged,
    Segment,
    begins_of_segments,
    draw_reservoir,
    in_core,
    judge,
    num_to_learn,
    question_of,
    segments_of,
)

Pairs = list[tuple[int, int]]

exact = settings(derandomize=True, deadline=None)
some_pairs = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 9)), min_size=1, max_size=60)


def columns(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(pairs, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def core_of(pairs: Pairs, k: int) -> list[int]:
    left = list(range(len(pairs)))
    while True:
        users, items = (Counter(pairs[i][side] for i in left) for side in (0, 1))
        kept = [i for i in left if users[pairs[i][0]] >= k and items[pairs[i][1]] >= k]
        if kept == left:
            return kept
        left = kept


@exact
@given(some_pairs, st.integers(1, 5))
def test_the_core_is_what_is_left_when_nobody_can_be_removed_any_more(pairs: Pairs, k: int) -> None:
    assert np.flatnonzero(in_core(*columns(pairs), k)).tolist() == core_of(pairs, k)


def test_nothing_may_be_left_of_a_core() -> None:
    assert not in_core(*columns([(1, 1), (2, 2)]), 2).any()


def walked(pairs: Pairs, growth: int) -> list[int]:
    """Walk over the events with sets of who is known and who is new."""
    begins = [0]
    known: set[tuple[str, int]] = set()
    new: set[tuple[str, int]] = set()
    for index, (user, item) in enumerate(pairs):
        new |= {("user", user), ("item", item)} - known
        if len(new) > growth:
            begins.append(index)
            known |= new
            new = set()
    return sorted(set(begins))


@exact
@given(some_pairs, st.integers(1, 12))
def test_a_segment_begins_with_the_event_that_brings_one_too_many(pairs: Pairs, growth: int) -> None:
    assert begins_of_segments(*columns(pairs), growth) == walked(pairs, growth)


@pytest.mark.parametrize(
    ("num_replayed", "num_events", "num_learnt"), [(0, 100, 80), (20, 100, 76), (7, 100, 79), (0, 1, 1), (1, 5, 4)]
)
def test_the_split_is_four_fifths_of_reservoir_and_segment(num_replayed: int, num_events: int, num_learnt: int) -> None:
    assert num_to_learn(num_replayed, num_events) == num_learnt


@exact
@given(st.lists(st.integers(0, 99), max_size=40), st.integers(0, 20), st.integers(0, 3))
def test_a_reservoir_is_drawn_as_by_hand(events: list[int], capacity: int, seed: int) -> None:
    """The twin goes through what is drawn one by one, with the same dice."""
    events = sorted(events)
    rng = np.random.default_rng(seed)
    kept: list[int] = []
    drawn = events
    if len(events) > capacity:
        num = min(int(capacity * 1.1), len(events))
        drawn = sorted(rng.choice(np.array(events, np.int64), num, replace=False).tolist())
    for number, event in enumerate(drawn):
        if len(kept) < capacity:
            kept.append(event)
        elif (place := int(rng.integers(number + 2))) < capacity:
            kept[place] = event
    found = draw_reservoir(np.array(events, np.int64), capacity, np.random.default_rng(seed)).tolist()
    assert found == kept
    assert not Counter(found) - Counter(events), "nothing is drawn twice"


def test_every_event_has_about_the_same_chance_to_be_in_a_reservoir() -> None:
    rng = np.random.default_rng(1)
    count = np.zeros(50)
    for _ in range(2000):
        count[draw_reservoir(np.arange(50), 20, rng)] += 1
    assert count.min() > 0.8 * count.mean()
    assert count.max() < 1.2 * count.mean()


@exact
@given(some_pairs, st.integers(2, 8), st.integers(0, 3))
def test_segments_follow_each_other_and_their_reservoirs_are_earlier_events_of_their_users(
    pairs: Pairs, growth: int, seed: int
) -> None:
    user, item = columns(pairs)
    segments = segments_of(user, item, growth, seed)
    assert [segment.begin for segment in segments] == walked(pairs, growth)
    assert [segment.end for segment in segments] == [*walked(pairs, growth)[1:], len(pairs)]
    earlier: list[int] = []
    for begin, cut, end, reservoir in segments:
        assert cut == begin + num_to_learn(len(reservoir), end - begin) > begin
        users = {pairs[index][0] for index in range(begin, end)}
        of_users = [index for index in earlier if pairs[index][0] in users]
        assert len(reservoir) == min(len(of_users), (end - begin) // 5)
        assert not Counter(reservoir.tolist()) - Counter(of_users), "replayed no more often than it lies there"
        earlier += [*reservoir.tolist(), *range(begin, end)]


def asked_of(pairs: Pairs, cut: int, end: int) -> Asked:
    user, item = columns(pairs)
    return question_of(Segment(0, cut, end, np.zeros(0, np.int64)), user, item)


@exact
@given(some_pairs, st.data())
def test_users_and_items_of_the_rest_that_are_known_are_asked_for(pairs: Pairs, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(pairs)))
    end = data.draw(st.integers(cut, len(pairs)))
    asked, before, tested = asked_of(pairs, cut, end), pairs[:cut], pairs[cut:end]
    assert asked.users.tolist() == sorted({user for user, _ in before} & {user for user, _ in tested})
    assert asked.items.tolist() == sorted({item for _, item in before} & {item for _, item in tested})
    for row, user in enumerate(asked.users.tolist()):
        for column, item in enumerate(asked.items.tolist()):
            assert asked.relevant[row, column] == tested.count((user, item))
            assert asked.taken[row, column] == ((user, item) in before)


def judged_by_hand(asked: Asked, best: list[list[int]], top_k: int) -> tuple[float, float]:
    recalls, ndcgs = [], []
    for row, order in enumerate(best):
        wanted = {column: int(n) for column, n in enumerate(asked.relevant[row]) if n}
        shown = [column for column in order if not asked.taken[row, column]][:top_k]
        recalls.append(sum(wanted.get(column, 0) for column in shown) / max(sum(wanted.values()), 1))
        gain = sum(wanted.get(column, 0) / math.log2(place + 2) for place, column in enumerate(shown))
        ideal = sum(n / math.log2(place + 2) for place, n in enumerate(sorted(wanted.values(), reverse=True)[:top_k]))
        ndcgs.append(gain / max(ideal, 1))
    return (sum(recalls) / len(recalls), sum(ndcgs) / len(ndcgs)) if recalls else (0.0, 0.0)


@exact
@given(some_pairs, st.integers(1, 5), st.data())
def test_recall_and_ndcg_are_those_of_a_count_by_hand(pairs: Pairs, top_k: int, data: st.DataObject) -> None:
    asked = asked_of(pairs, data.draw(st.integers(0, len(pairs))), len(pairs))
    columns_ = list(range(len(asked.items)))
    # Not every item has to be in an answer.
    best = [data.draw(st.permutations(columns_))[data.draw(st.integers(0, 2)) :] for _ in asked.users]
    found = judge(asked, [np.array(order, np.int64) for order in best], top_k)
    assert tuple(found) == pytest.approx(judged_by_hand(asked, best, top_k))


def test_a_user_who_takes_nothing_that_is_ranked_counts_as_nothing() -> None:
    asked = asked_of([(1, 1), (2, 2), (1, 9), (2, 1)], 2, 4)
    assert asked.relevant.tolist() == [[0], [1]]
    assert judge(asked, [np.array([0]), np.array([0])], 20) == Judged(0.5, 0.5)
