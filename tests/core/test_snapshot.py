"""Answers from a snapshot against naive ones: every score by the formula in float64, sorted."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.core.event import ITEM, USER, hash_id
from stream.core.history import item_at
from stream.core.index import find_all
from stream.core.memory import ITEM_TOP, USER_TOP
from stream.core.recommender import Recommender
from stream.core.sizes import SizeBounds
from stream.core.snapshot import Snapshot
from tests.core import test_ranking as ranking
from tests.core.test_ranking import HYPER, LAYOUT, NUM_USERS, STRANGER, World
from tests.core.twins import events_of

naive = settings(derandomize=True, deadline=None, max_examples=40)
seeds = st.integers(0, 2**32)
users = st.sampled_from([*(f"u{i}" for i in range(NUM_USERS)), STRANGER])
numbers = st.sampled_from([0, 1, 2, 20, 256, 5000])


def snapshot_of(recommender: Recommender, watermark_ms: int | None = None) -> Snapshot:
    """Return a snapshot of a copy, which nobody can write."""
    arrays = {name: array.copy() for name, array in recommender.state().items()}
    for array in arrays.values():
        array.flags.writeable = False
    return Snapshot(arrays, recommender.hyper, watermark_ms=watermark_ms)


def now_of(world: World) -> int:
    return int(world.events.timestamp_ms[-1])


def history_of(world: World, user_id: str) -> set[str]:
    """Return the items that stand in a user's history."""
    m, slot = world.recommender.memory, world.slot_of_user(user_id)
    if slot < 0:
        return set()
    begin = int(m.slots["offset"][slot])
    places = range(begin, begin + min(int(m.slots["size"][slot]), HYPER.num_ids))
    slots = {int(item_at(m, place)) for place in places}
    return {name for name, item in world.alive.items() if item in slots}


def embeddings(world: World) -> dict[str, NDArray[np.float64]]:
    """Return each item's embedding, what it lacks as zeros."""
    m, found = world.recommender.memory, {}
    for name, slot in world.alive.items():
        begin, size = int(m.slots["offset"][slot]), int(m.slots["size"][slot])
        found[name] = np.zeros(255)
        found[name][:size] = m.arena[begin : begin + size]
    return found


# Recommendations


@naive
@given(seeds, users, ranking.gaps_ms, ranking.filters, numbers, st.booleans())
def test_recommendations_are_the_naive_scores_sorted(
    seed: int, user_id: str, gap_ms: int, filter_: ranking.Filter, n: int, excludes: bool
) -> None:
    world = ranking.live_through(seed, 0, filter_)
    ranking.make_exact(world, np.random.default_rng(seed))
    now = now_of(world) + gap_ms
    scores, slots, history = ranking.naive_scores(world, user_id, now), world.alive, history_of(world, user_id)
    taken = {name for name in scores if name in history or world.is_seen(user_id, name)} if excludes else set()
    expected = sorted(scores.keys() - taken, key=lambda name: (-scores[name], slots[name]))[:n]
    answer = snapshot_of(world.recommender).recommend(user_id, n, exclude_seen=excludes, timestamp_ms=now)
    assert answer.items == [(name, scores[name]) for name in expected]


@naive
@given(seeds, users, ranking.gaps_ms, numbers)
def test_no_item_left_behind_scores_higher_than_one_recommended(seed: int, user_id: str, gap_ms: int, n: int) -> None:
    world = ranking.live_through(seed, 1)
    rng = np.random.default_rng(seed)
    # Weights of either sign: what is popular need not be what scores high.
    world.recommender.shared.prior[:] = rng.normal(0, 1, world.recommender.shared.prior.shape)
    world.recommender.shared.repeat[:] = rng.normal(0, 1, world.recommender.shared.repeat.shape)
    now = now_of(world) + gap_ms
    scores = ranking.naive_scores(world, user_id, now)
    best = snapshot_of(world.recommender, now).recommend(user_id, n, exclude_seen=False).items
    assert len({name for name, _ in best}) == len(best) == min(n, len(scores))
    np.testing.assert_allclose([score for _, score in best], [scores[name] for name, _ in best], rtol=0, atol=2e-5)
    assert [score for _, score in best] == sorted((score for _, score in best), reverse=True)
    left = scores.keys() - {name for name, _ in best}
    assert max((scores[name] for name in left), default=-np.inf) <= min([s for _, s in best], default=np.inf) + 2e-5


@pytest.mark.parametrize(("num_ids", "size", "reason"), [(6, 10, "personal"), (0, 4, "personal"), (6, 0, "popular")])
def test_an_answer_says_what_speaks_for_it(num_ids: int, size: int, reason: str) -> None:
    hyper = HYPER._replace(num_ids=num_ids)
    recommender = Recommender(LAYOUT, hyper, SizeBounds(0, size), SizeBounds(0, 6), 1)
    events = events_of(["known"] * 7, [f"i{i}" for i in range(7)])
    recommender.learn(events, 0, events.num_events, 100)
    snapshot = snapshot_of(recommender)
    assert snapshot.recommend("known", 3, exclude_seen=False).reason == reason
    assert snapshot.recommend("unknown", 3, exclude_seen=False).reason == "cold"


def test_an_evicted_item_is_never_in_an_answer() -> None:
    world = ranking.live_through(seed=8, use_prior=1)
    gone, snapshot = set(world.item_ids) - world.alive.keys(), snapshot_of(world.recommender)
    assert len(gone) == 15
    for user_id in [*(f"u{i}" for i in range(NUM_USERS)), STRANGER]:
        assert not gone & {name for name, _ in snapshot.recommend(user_id, 5000, exclude_seen=False).items}
    for item_id in world.alive:
        assert not gone & {name for name, _ in snapshot.similar(item_id, 5000) or []}
    for item_id in gone:
        assert snapshot.similar(item_id, 10) is None


def test_the_time_of_a_request_is_that_of_the_newest_event_unless_given() -> None:
    world = ranking.live_through(seed=3, use_prior=1)
    gate = world.recommender.shared.gate
    gate[:] = np.arange(len(gate))
    now, later = now_of(world), now_of(world) + 30 * 86_400_000
    user_id = world.user_ids[-1]
    snapshot = snapshot_of(world.recommender, now)
    by_default = snapshot.recommend(user_id, 10, exclude_seen=False)
    assert by_default == snapshot.recommend(user_id, 10, exclude_seen=False, timestamp_ms=now)
    assert by_default != snapshot.recommend(user_id, 10, exclude_seen=False, timestamp_ms=later)


@pytest.mark.parametrize("user_id", ["", "u1"])
def test_a_model_that_has_learnt_nothing_has_nothing_to_recommend(user_id: str) -> None:
    snapshot = snapshot_of(Recommender(LAYOUT, HYPER, SizeBounds(0, 10), SizeBounds(0, 6), 1))
    assert snapshot.recommend(user_id, 20, exclude_seen=True) == ([], "cold")
    assert snapshot.similar("i1", 20) is None
    assert snapshot.side(ITEM).sizes.num == snapshot.side(USER).sizes.num == 0


# Similar items


@naive
@given(seeds, numbers)
def test_similar_items_are_the_naive_cosines_sorted(seed: int, n: int) -> None:
    world = ranking.live_through(seed, 1)
    vectors, snapshot = embeddings(world), snapshot_of(world.recommender)
    norms = {name: float(np.linalg.norm(vector)) for name, vector in vectors.items()}
    for item_id in np.random.default_rng(seed).choice(sorted(vectors), 5):
        answer = snapshot.similar(item_id, n)
        assert answer is not None
        others = [name for name in vectors if name != item_id and norms[name] * norms[item_id] > 0]
        cosines = {name: vectors[name] @ vectors[item_id] / (norms[name] * norms[item_id]) for name in others}
        assert len({name for name, _ in answer}) == len(answer) == min(n, len(others))
        np.testing.assert_allclose([s for _, s in answer], sorted(cosines.values())[::-1][:n], rtol=0, atol=1e-5)
        np.testing.assert_allclose([s for _, s in answer], [cosines[name] for name, _ in answer], rtol=0, atol=1e-5)


def test_an_item_without_words_is_like_none_and_none_like_it() -> None:
    world = ranking.live_through(seed=5, use_prior=1)
    slots = world.alive
    world.recommender.memory.slots["size"][list(slots.values())[::3]] = 0
    empty = set(list(slots)[::3])
    full = slots.keys() - empty
    snapshot = snapshot_of(world.recommender)
    assert all(snapshot.similar(name, 10) == [] for name in empty)
    assert not empty & {name for item in full for name, _ in snapshot.similar(item, 5000) or []}


# The snapshot itself


def test_answers_change_nothing_in_the_model() -> None:
    world = ranking.live_through(seed=6, use_prior=1, taken=ranking.WEIGHS)
    before = {name: array.tobytes() for name, array in world.recommender.state().items()}
    snapshot = Snapshot(world.recommender.state(), world.recommender.hyper)
    for user_id in ("u1", STRANGER):
        snapshot.recommend(user_id, 50, exclude_seen=True)
    snapshot.similar(next(iter(world.alive)), 50)
    snapshot.side(ITEM)
    assert {name: array.tobytes() for name, array in world.recommender.state().items()} == before
    assert not any(array.flags.writeable for array in (*snapshot.memory, *snapshot.shared))


def test_threads_that_ask_at_once_get_what_one_gets() -> None:
    world = ranking.live_through(seed=6, use_prior=1, taken=ranking.WEIGHS)

    def ask(snapshot: Snapshot, number: int) -> Any:
        answer = snapshot.recommend(f"u{number % NUM_USERS}", 20, exclude_seen=number % 2 == 0)
        return answer, snapshot.similar(sorted(world.alive)[number], 20)

    alone, shared = snapshot_of(world.recommender), snapshot_of(world.recommender)
    expected = [ask(alone, number) for number in range(100)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda number: ask(shared, number), range(100))) == expected


@settings(derandomize=True, deadline=None, max_examples=10)
@given(seeds)
def test_a_sides_figures_are_those_of_its_entities_by_rank(seed: int) -> None:
    world = ranking.live_through(seed, 1)
    m, snapshot = world.recommender.memory, snapshot_of(world.recommender)
    num_slots = len(m.slots)
    slots_of = {
        USER: range(num_slots - int(m.counters[USER_TOP]), num_slots),
        ITEM: range(int(m.counters[ITEM_TOP])),
    }
    for side, slots in slots_of.items():
        alive = [m.slots[slot] for slot in slots if m.slots[slot]["alive"]]
        ranked = sorted(((float(s["slow"]), int(s["size"])) for s in alive), reverse=True)
        status = snapshot.side(side)
        assert status.sizes.num == len(alive)
        assert sum(size * num for size, num in enumerate(status.sizes.histogram)) == sum(size for _, size in ranked)
        num_groups = min(64, len(ranked))
        assert len(status.size_by_rank) == len(status.frequency_by_rank) == num_groups
        total = sum(count for count, _ in ranked) / float(world.recommender.shared.decay[0])
        lengths = np.diff(np.arange(num_groups + 1) * len(ranked) // num_groups)
        assert np.dot(lengths, status.frequency_by_rank) == pytest.approx(total, rel=1e-5)
        assert np.dot(lengths, status.size_by_rank) == pytest.approx(sum(size for _, size in ranked))
        assert status.frequency_by_rank == sorted(status.frequency_by_rank, reverse=True)


def test_an_id_may_be_of_any_length_and_any_characters() -> None:
    names = ["i", "é" * 126, "a/b%2F\n", "x" * 252, "日本"]
    recommender = Recommender(LAYOUT, HYPER, SizeBounds(0, 10), SizeBounds(1, 6), 1)
    events = events_of(["u"] * len(names), names)
    recommender.learn(events, 0, len(names), 100)
    assert {name for name, _ in snapshot_of(recommender).recommend("v", 9, exclude_seen=False).items} == set(names)
    assert find_all(recommender.memory, np.array([hash_id(name, ITEM) for name in names], np.uint64)).min() >= 0
