"""Ranks and recommendations against a naive ranking: scores by the formula in float64, sorted."""

from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.core import seen
from stream.core.event import ITEM, USER, EventBatch, hash_id
from stream.core.history import gap_at, item_at
from stream.core.index import find_all
from stream.core.memory import ITEM_TOP, Layout
from stream.core.model import SOFTMAX, Hyper
from stream.core.recommender import Recommender
from stream.core.sizes import Curve, SizeBounds, SizeDecision
from tests.core.twins import events_of

Floats = NDArray[np.float64]

LAYOUT = Layout(num_slots=1024, num_buckets=1536, arena_words=16384, num_recent=64, num_seen_sets=0)
HYPER = Hyper(
    loss=SOFTMAX,
    num_ids=6,
    hides_taken=0,
    use_prior=1,
    negatives_recent=3,
    negatives_uniform=2,
    rate_item=0.1,
    rate_user=0.1,
    rate_lag=0.02,
    rate_newcomer=0.02,
    rate_gate=0.02,
    rate_prior=0.02,
    rate_repeat=0.02,
    half_life_slow=400.0,
    half_life_mid=100.0,
    half_life_fast=20.0,
    initial_scale=0.1,
    initial_context=0.3,
)
NUM_USERS = 12


class Filter(NamedTuple):
    """The filter of pairs taken."""

    num_sets: int
    hides: int = 0
    """1: what it has is hidden, 0: it has a weight."""


NO_FILTER, WEIGHS, HIDES = Filter(0), Filter(512), Filter(512, hides=1)
STRANGER = "stranger"


class World(NamedTuple):
    """A recommender with a past, and the names it met, event by event."""

    recommender: Recommender
    events: EventBatch
    user_ids: list[str]
    item_ids: list[str]

    @property
    def alive(self) -> dict[str, int]:
        """Slots of the items not evicted, by id."""
        names = sorted(set(self.item_ids))
        slots = find_all(self.recommender.memory, np.array([hash_id(name, ITEM) for name in names], np.uint64))
        return {name: int(slot) for name, slot in zip(names, slots, strict=True) if slot >= 0}

    def slot_of_user(self, user_id: str) -> int:
        """Return the slot, -1 for none."""
        return int(find_all(self.recommender.memory, np.array([hash_id(user_id, USER)], np.uint64))[0])

    def is_seen(self, user_id: str, item_id: str) -> bool:
        return self.recommender.is_seen(user_key(user_id), item_key(item_id))

    def hides(self, user_id: str, item_id: str) -> bool:
        return self.recommender.hyper.hides_taken == 1 and self.is_seen(user_id, item_id)


def user_key(name: str) -> np.uint64:
    return np.uint64(hash_id(name, USER))


def item_key(name: str) -> np.uint64:
    return np.uint64(hash_id(name, ITEM))


def live_through(seed: int, use_prior: int, taken: Filter = NO_FILTER) -> World:
    """Return a world with more items than a block of scores has, after evictions and a resize."""
    rng = np.random.default_rng(seed)
    user_ids = [f"u{i}" for i in rng.integers(0, NUM_USERS, 700)]
    item_ids = [f"i{int(i)}" for i in rng.exponential(140, 700)]
    events = events_of(user_ids, item_ids)
    layout = LAYOUT._replace(num_seen_sets=taken.num_sets)
    hyper = HYPER._replace(use_prior=use_prior, hides_taken=taken.hides)
    recommender = Recommender(layout, hyper, SizeBounds(0, 10), SizeBounds(0, 6), seed)
    recommender.learn(events, 0, events.num_events, events.num_events)
    recommender.evict(ITEM, 15)
    recommender.evict(USER, 2)
    recommender.resize(SizeDecision(0.05, Curve("powerlaw", 1.0), Curve("powerlaw", 0.5)))
    assert recommender.memory.counters[ITEM_TOP] > 256
    return World(recommender, events, user_ids, item_ids)


def make_exact(world: World, rng: np.random.Generator) -> None:
    """Replace all parameters by few small fractions: every score is exact in float32, and many are equal."""
    m, p = world.recommender.memory, world.recommender.shared
    for slot in np.flatnonzero(m.slots["alive"]).tolist():
        begin, size = int(m.slots["offset"][slot]), int(m.slots["size"][slot])
        ids = HYPER.num_ids if slot >= m.counters[ITEM_TOP] else 0
        m.arena[begin + ids : begin + size] = rng.integers(-1, 2, max(size - ids, 0))
    p.lag[:] = rng.integers(0, 3, p.lag.shape) / 2
    p.newcomer[:] = rng.integers(-1, 2, p.newcomer.shape)
    p.gate[:] = rng.integers(1, 4, p.gate.shape) / 2
    p.repeat[:] = rng.integers(-4, 5, p.repeat.shape) / 4
    p.taken[:] = rng.integers(-2, 3, p.taken.shape) / 2
    for name in ("slow", "mid", "fast"):
        m.slots[name][: m.counters[ITEM_TOP]] = rng.integers(0, 6, m.counters[ITEM_TOP])


def gap_of(world: World, user_id: str, timestamp_ms: int) -> int:
    """Return the bucket of the time since the user's last event, 0 if there was none."""
    if world.slot_of_user(user_id) < 0:
        return 0
    last = max(i for i, name in enumerate(world.user_ids) if name == user_id)
    gap_s = (timestamp_ms - int(world.events.timestamp_ms[last])) // 1000
    borders_s = [1, 60, 600, 3600, 86400, 604800]
    return 1 + sum(gap_s >= border for border in borders_s)


def naive_scores(world: World, user_id: str, timestamp_ms: int) -> dict[str, float]:
    """Return the score of every item alive, by the formula, in float64."""
    m, p, h = world.recommender.memory, world.recommender.shared, world.recommender.hyper
    width, gap = p.lag.shape[1], gap_of(world, user_id, timestamp_ms)

    def payload(slot: int) -> tuple[list[tuple[int, int]], Floats]:
        begin, size = int(m.slots["offset"][slot]), int(m.slots["size"][slot])
        ids = min(size, h.num_ids) if slot >= m.counters[ITEM_TOP] else 0
        vector = np.zeros(width)
        vector[: size - ids] = m.arena[begin + ids : begin + size]
        places = [place for place in range(begin, begin + ids) if m.words[place] >= 0]
        return [(int(item_at(m, place)), int(gap_at(m, place))) for place in places], vector

    user = world.slot_of_user(user_id)
    history, x = payload(user) if user >= 0 else ([], np.zeros(width))
    if h.num_ids > 0 and not history:
        x = x + p.newcomer
    pauses = [max([gap, *(before for _, before in history[:k])]) for k in range(len(history))]
    for k, (item, _) in enumerate(history):
        x = x + float(p.gate[pauses[k]]) * p.lag[k].astype(np.float64) * payload(item)[1]
    places = [item for item, _ in history]
    scores = {}
    for name, slot in world.alive.items():
        scores[name] = float(x @ payload(slot)[1])
        if h.use_prior:
            counts = np.array([m.slots[count][slot] for count in ("slow", "mid", "fast")], np.float64) / p.decay
            scores[name] += float(p.prior[gap].astype(np.float64) @ np.log(counts + 0.5))
        if slot in places:
            place = places.index(slot)
            scores[name] += float(p.repeat[place, pauses[place]])
        stamp = int(seen.find(m, user_key(user_id), item_key(name)))
        # A history with room holds all that was taken: nothing else is looked up.
        is_full = user >= 0 and len(history) == min(int(m.slots["size"][user]), h.num_ids)
        if not h.hides_taken and stamp >= 0 and (is_full or slot in places):
            session = int(m.slots["session"][user]) + (gap >= 5)
            scores[name] += float(p.taken[min((session - stamp) % 8, 2), gap])
    return scores


def naive_rank(scores: dict[str, float], target: str) -> float:
    """Return how many are better, and half of the equals."""
    others = np.array([score for name, score in scores.items() if name != target])
    return float(np.sum(others > scores[target]) + np.sum(others == scores[target]) / 2)


seeds = st.integers(0, 2**32)
users = st.sampled_from([*(f"u{i}" for i in range(NUM_USERS)), STRANGER])
gaps_ms = st.sampled_from([0, 1000, 59_000, 60_000, 3_599_000, 3_600_000, 86_400_000, 7 * 86_400_000])
filters = st.sampled_from([NO_FILTER, WEIGHS, HIDES])


@settings(derandomize=True, deadline=None, max_examples=25)
@given(seeds, users, gaps_ms, filters)
def test_an_items_ranks_are_its_places_in_the_naive_rankings(
    seed: int, user_id: str, gap_ms: int, taken: Filter
) -> None:
    world = live_through(seed, 0, taken)
    rng = np.random.default_rng(seed)
    make_exact(world, rng)
    m, now = world.recommender.memory, int(world.events.timestamp_ms[-1]) + gap_ms
    scores, slots = naive_scores(world, user_id, now), world.alive
    known = [name for name in slots if not world.hides(user_id, name)]
    rankings = [scores] + [{n: float(m.slots[count][slots[n]]) for n in known} for count in ("slow", "mid", "fast")]
    for target in rng.choice(known, 20):
        tested = world.recommender.test(user_key(user_id), item_key(target), now)
        assert tested.gap == gap_of(world, user_id, now)
        expected = [naive_rank({name: ranking[name] for name in known}, target) for ranking in rankings]
        assert tested.rank.tolist() == expected


@settings(derandomize=True, deadline=None, max_examples=15)
@given(seeds, users, gaps_ms)
def test_popularity_adds_to_the_score_as_its_weights_say(seed: int, user_id: str, gap_ms: int) -> None:
    world = live_through(seed, 1)
    rng = np.random.default_rng(seed)
    world.recommender.shared.prior[:] = rng.normal(0.3, 0.3, world.recommender.shared.prior.shape)
    now = int(world.events.timestamp_ms[-1]) + gap_ms
    scores = naive_scores(world, user_id, now)
    best = world.recommender.recommend(user_id, len(scores), now)
    assert {name for name, _ in best} == scores.keys()
    np.testing.assert_allclose([score for _, score in best], [scores[name] for name, _ in best], rtol=0, atol=1e-5)
    for target in rng.choice(list(scores), 20):
        others = np.array([score for name, score in scores.items() if name != target])
        rank = world.recommender.test(user_key(user_id), item_key(target), now).rank[0]
        assert np.sum(others > scores[target] + 1e-5) <= rank <= np.sum(others > scores[target] - 1e-5)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seeds, users, gaps_ms, filters, st.sampled_from([0, 1, 2, 20, 256, 5000]))
def test_recommendations_are_the_naive_scores_sorted(
    seed: int, user_id: str, gap_ms: int, taken: Filter, n: int
) -> None:
    world = live_through(seed, 0, taken)
    make_exact(world, np.random.default_rng(seed))
    now = int(world.events.timestamp_ms[-1]) + gap_ms
    scores, slots = naive_scores(world, user_id, now), world.alive
    known = [name for name in scores if not world.hides(user_id, name)]
    expected = sorted(known, key=lambda name: (-scores[name], slots[name]))[:n]
    assert world.recommender.recommend(user_id, n, now) == [(name, scores[name]) for name in expected]


def test_what_a_user_took_is_neither_recommended_nor_ranked() -> None:
    world = live_through(seed=7, use_prior=1, taken=HIDES)
    now = int(world.events.timestamp_ms[-1])
    taken = {item for user, item in zip(world.user_ids, world.item_ids, strict=True) if user == "u3"}
    still_there = taken & world.alive.keys()
    assert still_there
    assert not taken & {name for name, _ in world.recommender.recommend("u3", 1000, now)}
    for name in still_there:
        assert np.isinf(world.recommender.test(user_key("u3"), item_key(name), now).rank).all()


def test_an_item_evicted_or_never_seen_is_a_miss_at_first_sight() -> None:
    world = live_through(seed=8, use_prior=1)
    now = int(world.events.timestamp_ms[-1])
    gone = set(world.item_ids) - world.alive.keys()
    assert len(gone) == 15
    for name in (*gone, "never seen"):
        tested = world.recommender.test(user_key("u1"), item_key(name), now)
        assert tested.first_sight
        assert np.isinf(tested.rank).all()
    assert not gone & {name for name, _ in world.recommender.recommend("u1", 1000, now)}


def test_a_user_nobody_knows_gets_what_is_popular_where_newcomers_are_like_others() -> None:
    item_ids = [f"i{k}" for k in range(30) for _ in range(k + 1)]
    np.random.default_rng(9).shuffle(item_ids)
    events = events_of([f"u{i % NUM_USERS}" for i in range(len(item_ids))], item_ids)
    hyper = HYPER._replace(half_life_slow=1e6, half_life_mid=1e6, half_life_fast=1e6, rate_newcomer=0.0)
    recommender = Recommender(LAYOUT, hyper, SizeBounds(0, 10), SizeBounds(0, 6), 1)
    recommender.learn(events, 0, events.num_events, events.num_events)
    best = recommender.recommend(STRANGER, 30, int(events.timestamp_ms[-1]))
    assert [name for name, _ in best] == [f"i{k}" for k in reversed(range(30))]


def test_newcomers_get_what_newcomers_take_where_others_take_as_much_of_something_else() -> None:
    rng = np.random.default_rng(3)
    user_ids = [name for k in range(400) for name in (f"new{k}", f"u{k % NUM_USERS}")]
    item_ids = [name for k in range(400) for name in (f"first{rng.integers(10)}", f"later{rng.integers(10)}")]
    events = events_of(user_ids, item_ids)
    layout = Layout(num_slots=600, num_buckets=900, arena_words=16_384, num_recent=64, num_seen_sets=0)
    recommender = Recommender(layout, HYPER, SizeBounds(0, 10), SizeBounds(0, 6), 1)
    assert recommender.learn(events, 0, events.num_events, events.num_events).reached == events.num_events
    now = int(events.timestamp_ms[-1])
    for user_id, taken in ((STRANGER, "first"), ("u1", "later")):
        best = recommender.recommend(user_id, 10, now)
        assert {name.rstrip("0123456789") for name, _ in best} == {taken}


def test_equals_share_the_middle_of_their_places() -> None:
    item_ids = [f"i{k}" for k in range(300)]
    events = events_of(["u0"] * 300, item_ids)
    recommender = Recommender(LAYOUT, HYPER, SizeBounds(0, 10), SizeBounds(0, 6), 1)
    recommender.learn(events, 0, 300, 600)
    for name in ("slow", "mid", "fast"):
        recommender.memory.slots[name][:300] = 3.7
    for target in ("i0", "i100", "i299"):
        tested = recommender.test(user_key(STRANGER), item_key(target), int(events.timestamp_ms[-1]))
        assert tested.rank.tolist() == [149.5] * 4
