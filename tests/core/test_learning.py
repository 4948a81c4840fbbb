"""What a stream leaves behind: counts, histories, times; and that a pattern in it is learnt."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.core.event import ITEM, USER, EventBatch, hash_id
from stream.core.history import gap_bucket, word_of
from stream.core.index import find_all
from stream.core.memory import Layout
from stream.core.model import BPR, LOGISTIC, SOFTMAX, Hyper
from stream.core.recommender import Recommender
from stream.core.sizes import SizeBounds
from tests.core.twins import events_of

LAYOUT = Layout(num_slots=256, num_buckets=384, arena_words=16384, num_recent=64, num_seen_sets=0)
HYPER = Hyper(
    loss=SOFTMAX,
    num_ids=6,
    hides_taken=0,
    use_prior=1,
    negatives_recent=12,
    negatives_uniform=4,
    rate_item=0.2,
    rate_user=0.15,
    rate_lag=0.02,
    rate_newcomer=0.02,
    rate_gate=0.02,
    rate_prior=0.01,
    rate_repeat=0.02,
    half_life_slow=2000.0,
    half_life_mid=200.0,
    half_life_fast=20.0,
    initial_scale=0.1,
    initial_context=0.3,
)
ITEM_BOUNDS = SizeBounds(0, 8)


def new_recommender(hyper: Hyper = HYPER, user_size: int = 14, seed: int = 1) -> Recommender:
    return Recommender(LAYOUT, hyper, SizeBounds(0, user_size), ITEM_BOUNDS, seed)


def learn_all(recommender: Recommender, events: EventBatch) -> Recommender:
    learnt = recommender.learn(events, 0, events.num_events, 2 * events.num_events)
    assert learnt.reached == events.num_events
    return recommender


def slots_of(recommender: Recommender, names: Sequence[str], side: int) -> NDArray[np.int32]:
    return find_all(recommender.memory, np.array([hash_id(name, side) for name in names], np.uint64))


def at_seconds(events: EventBatch, *seconds: int) -> EventBatch:
    return events._replace(timestamp_ms=1000 * np.array(seconds, np.int64))


def gap_at(recommender: Recommender, user_id: str, second: int) -> int:
    """Return the gate through which a user's next event at this time goes."""
    return recommender.test(np.uint64(hash_id(user_id, USER)), np.uint64(0), 1000 * second).gap


def ranks(recommender: Recommender, events: EventBatch, begin: int) -> dict[int, NDArray[np.float64]]:
    """Learn all events, those from ``begin`` on tested first; return their ranks, first sights left out."""
    recommender.learn(events, 0, begin, 2 * begin)
    found = {}
    for i in range(begin, events.num_events):
        tested = recommender.test(events.user[i], events.item[i], int(events.timestamp_ms[i]))
        if not tested.first_sight:
            found[i] = tested.rank
        recommender.learn(events, i, i + 1, 2)
    return found


# Counts


@pytest.mark.parametrize("half_lives", [(40.0, 7.0, 1.5), (1.0, 90.0, 2.5)])
def test_a_count_is_the_naive_sum_of_decayed_events_through_many_rescales(
    half_lives: tuple[float, float, float],
) -> None:
    slow, mid, fast = half_lives
    hyper = HYPER._replace(half_life_slow=slow, half_life_mid=mid, half_life_fast=fast)
    rng = np.random.default_rng(3)
    # Some come early and never again, some are met all along.
    items = np.where(np.arange(4000) < 300, rng.integers(0, 30, 4000), rng.integers(20, 50, 4000))
    users = rng.integers(0, 5, 4000)
    events = events_of([f"u{u}" for u in users], [f"i{i}" for i in items])
    recommender = learn_all(new_recommender(hyper), events)
    m, p = recommender.memory, recommender.shared
    # Forward decay unscaled would have reached 2 ** (4000 / half-life).
    assert (p.decay < 2.0**30).all()
    age = 4000 - np.arange(4000)
    for q, (name, half_life) in enumerate(zip(("slow", "mid", "fast"), half_lives, strict=True)):
        count = m.slots[name][slots_of(recommender, [f"i{i}" for i in range(50)], ITEM)] / p.decay[q]
        expected = [np.sum(0.5 ** (age[items == i] / half_life)) for i in range(50)]
        np.testing.assert_allclose(count, expected, rtol=1e-4, atol=1e-20)
    count_of_users = m.slots["slow"][slots_of(recommender, [f"u{u}" for u in range(5)], USER)] / p.decay[0]
    expected_of_users = [np.sum(0.5 ** (age[users == u] / slow)) for u in range(5)]
    np.testing.assert_allclose(count_of_users, expected_of_users, rtol=1e-4, atol=1e-20)


def test_an_event_is_learnt_before_it_is_counted_and_remembered() -> None:
    hyper = HYPER._replace(loss=LOGISTIC, negatives_recent=0, negatives_uniform=0)
    p = learn_all(new_recommender(hyper), events_of(["ann"], ["x"])).shared
    # A count of nothing three times over, a third each, makes a score of ln(1/2), and that a probability of 1/3.
    np.testing.assert_allclose(p.prior_adagrad[0], (2 / 3 * np.log(0.5)) ** 2, rtol=1e-5)
    assert not p.prior_adagrad[1:].any()
    assert not p.repeat_adagrad.any()


# Histories


@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=120),
    st.sampled_from([0, 1, 4, 6, 14]),
)
def test_a_history_holds_the_last_items_newest_first(pairs: list[tuple[int, int]], user_size: int) -> None:
    events = events_of([f"u{u}" for u, _ in pairs], [f"i{i}" for _, i in pairs])
    m = learn_all(recommender := new_recommender(user_size=user_size), events).memory
    places = min(user_size, HYPER.num_ids)
    slots = slots_of(recommender, [f"i{i}" for _, i in pairs], ITEM).tolist()
    for user in {u for u, _ in pairs}:
        # There is an event a second.
        seconds = [second for second, (u, _) in enumerate(pairs) if u == user]
        gaps = [0, *(gap_bucket(int(s)) for s in np.diff(seconds))]
        taken = [word_of(slots[second], gap) for second, gap in zip(seconds, gaps, strict=True)]
        begin = int(m.slots["offset"][slots_of(recommender, [f"u{user}"], USER)[0]])
        expected = (taken[::-1] + [-1] * places)[:places]
        assert m.words[begin : begin + places].tolist() == expected
    recent = m.recent.tolist()
    assert sorted(recent) == sorted((slots[::-1] + [-1] * LAYOUT.num_recent)[: LAYOUT.num_recent])


# Time


@pytest.mark.parametrize(
    ("gap_s", "bucket"),
    [
        *((-1, 0), (0, 1), (1, 2), (59, 2), (60, 3), (599, 3), (600, 4), (3599, 4), (3600, 5)),
        *((86_399, 5), (86_400, 6), (604_799, 6), (604_800, 7), (10**12, 7)),
    ],
)
def test_each_gap_goes_through_the_gate_between_its_borders(gap_s: int, bucket: int) -> None:
    assert gap_bucket(gap_s) == bucket


def test_a_gap_runs_from_the_users_own_last_event() -> None:
    events = at_seconds(events_of(["ann", "bob", "ann"], ["x", "y", "x"]), 1000, 5000, 1030)
    recommender = new_recommender()
    assert gap_at(recommender, "ann", 1000) == 0
    learn_all(recommender, events)
    assert gap_at(recommender, "ann", 1030) == gap_bucket(0)
    assert gap_at(recommender, "ann", 1089) == gap_bucket(59)
    assert gap_at(recommender, "ann", 1090) == gap_bucket(60)
    assert gap_at(recommender, "bob", 5000 + 86_400) == gap_bucket(86_400)
    assert gap_at(recommender, "eve", 5000) == 0


def test_a_late_event_has_no_gap() -> None:
    recommender = learn_all(new_recommender(), at_seconds(events_of(["ann"], ["x"]), 1000))
    assert gap_at(recommender, "ann", 400) == gap_bucket(0)


def test_an_event_from_before_the_streams_first_is_still_an_event() -> None:
    recommender = learn_all(new_recommender(), at_seconds(events_of(["ann", "bob"], ["x", "y"]), 1000, 400))
    assert gap_at(recommender, "bob", 1000) == gap_bucket(0)
    assert gap_at(recommender, "bob", 1000 + 3600) == gap_bucket(3600)


def test_times_before_1970_count_like_any_other() -> None:
    events = at_seconds(events_of(["ann", "bob", "bob"], ["x", "y", "x"]), -9000, -8000, -5000)
    recommender = learn_all(new_recommender(), events)
    assert gap_at(recommender, "ann", -9000 + 59) == gap_bucket(59)
    assert gap_at(recommender, "bob", -5000 + 3600) == gap_bucket(3600)


def test_an_event_a_century_after_the_first_is_still_an_event() -> None:
    century_s = 100 * 365 * 86_400
    recommender = learn_all(new_recommender(), at_seconds(events_of(["ann", "bob"], ["x", "y"]), 0, century_s))
    assert gap_at(recommender, "bob", century_s) != 0


# Determinism


def test_the_same_seed_leaves_the_same_bytes_and_another_does_not() -> None:
    rng = np.random.default_rng(4)
    events = events_of([f"u{u}" for u in rng.integers(0, 9, 300)], [f"i{i}" for i in rng.integers(0, 40, 300)])
    first, second, other = (learn_all(new_recommender(seed=seed), events).state() for seed in (5, 5, 6))
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)
    assert first["memory.arena"].tobytes() != other["memory.arena"].tobytes()


# What is learnt


def test_what_always_follows_is_ranked_near_the_top() -> None:
    rng = np.random.default_rng(1)
    user_ids = [f"u{u}" for u in rng.integers(0, 20, 1000)]
    item_ids: list[str] = []
    last: dict[str, str] = {}
    for user in user_ids:
        noise = f"c{min(int(rng.exponential(8)), 30)}"
        last[user] = "b" if last.get(user) == "a" else "a" if rng.random() < 0.05 else noise
        item_ids.append(last[user])
    found = ranks(new_recommender(), events_of(user_ids, item_ids), begin=600)
    of_b = np.array([rank for i, rank in found.items() if item_ids[i] == "b"])
    by_model, by_popularity = of_b[:, 0], of_b[:, 1:]
    assert len(of_b) > 10
    assert by_model.mean() < 1.5
    assert by_popularity.mean() > 5


@pytest.mark.parametrize("loss", [LOGISTIC, BPR])
def test_plain_matrix_factorisation_learns_which_group_takes_which_items(loss: int) -> None:
    hyper = HYPER._replace(
        loss=loss, num_ids=0, use_prior=0, negatives_recent=2, negatives_uniform=1
    )  # fmt: skip
    rng = np.random.default_rng(2)
    users = rng.integers(0, 40, 2500)
    items = users % 4 + 4 * rng.integers(0, 10, 2500)
    events = events_of([f"u{u}" for u in users], [f"i{i}" for i in items])
    found = np.array(list(ranks(new_recommender(hyper, user_size=8), events, begin=2000).values()))
    # Nothing tells the ten items of a group apart, so that 4.5 is perfect; chance is 19.5 of forty items.
    assert found[:, 0].mean() < 7
    assert found[:, 1].mean() > 17
