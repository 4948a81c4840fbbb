"""What each peer makes of a stream, against the same worked out naively."""

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simulators.peers import refitted
from simulators.peers.als import FACTORS, Factors
from simulators.peers.bpr import FACTORS as BPR_FACTORS
from simulators.peers.bpr import Pairs
from simulators.peers.catalogue import PEERS, check_installed, open_peer
from simulators.peers.cooccurrence import FLOOR, HISTORY, LAG_POWER, Blend, Cooccurrence
from simulators.peers.itemknn import NearestItems
from simulators.peers.popularity import DecayedCounts, Popularity
from simulators.peers.refitted import Refitted
from simulators.peers.river_mf import RiverMF
from simulators.peers.vw_mf import VowpalWabbitMF
from stream.errors import UsageError
from tests.simulators.peers.worlds import columns, some_rows, stream_of

Floats = NDArray[np.float64]


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 4), max_size=60), st.integers(1, 20))
def test_decayed_counts_are_sums_of_what_each_event_is_still_worth(items: list[int], at_once: int) -> None:
    half_lives = (1.5, 10.0, 1e6)
    counts = DecayedCounts(5, half_lives)
    for begin in range(0, len(items), at_once):
        counts.learn(np.array(items[begin : begin + at_once], np.int64))
    for q, half_life in enumerate(half_lives):
        naive = np.zeros(5)
        for age, item in enumerate(reversed(items)):
            naive[item] += 0.5 ** (age / half_life)
        np.testing.assert_allclose(counts.counts[q] / counts.unit[q], naive, rtol=1e-9)


def test_decayed_counts_stay_finite_and_in_order_over_a_long_stream() -> None:
    counts = DecayedCounts(3, (2.0,))
    for _ in range(40):
        counts.learn(np.arange(100) % 3)
    assert np.isfinite(counts.counts).all()
    expected = np.array([0.5**0.0, 0.5**1.0, 0.5**0.5]) / (1 - 0.5**1.5)
    np.testing.assert_allclose(counts.counts[0] / counts.unit[0], expected, rtol=1e-9)


def test_popularity_knows_no_user() -> None:
    peer = Popularity(4)
    peer.learn(columns([(0, 0), (1, 1), (1, 1), (2, 2)]))
    np.testing.assert_array_equal(peer.scores(0, 3), peer.scores(99, 3))
    assert peer.num_bytes == 4 * 3


BLEND = Blend(lag_power=0.6, mass_power=0.5, half_life=50.0, popularity=0.4)


def naive_cooccurrence(rows: list[tuple[int, int]], user: int, num_items: int) -> Floats:
    """The score of every item by the formula, with all pairs counted one by one."""
    count, past = np.zeros((num_items, num_items)), dict[int, list[int]]()
    for who, item in rows:
        for k, before in enumerate(reversed(past.setdefault(who, [])[-HISTORY:])):
            count[before, item] += (k + 1) ** -LAG_POWER
        past[who].append(item)
    out = np.zeros(num_items)
    for item in range(num_items):
        personal = FLOOR
        for k, before in enumerate(reversed(past.get(user, [])[-HISTORY:])):
            mass = count[before].sum() + 3
            personal += (k + 1) ** -BLEND.lag_power * count[before, item] / mass**BLEND.mass_power
        worth = sum(0.5 ** (age / BLEND.half_life) for age, (_, other) in enumerate(reversed(rows)) if other == item)
        out[item] = math.log(personal) + BLEND.popularity * math.log(worth + 0.5)
    return out


@pytest.mark.parametrize(("num", "num_users"), [(0, 3), (1, 1), (60, 3), (200, 4)])
def test_cooccurrence_scores_as_counted_one_by_one(num: int, num_users: int) -> None:
    rows = some_rows(num, num_users=num_users, num_items=12) if num else []
    peer = Cooccurrence(20, (BLEND,))
    for begin in range(0, num, 17):
        peer.learn(columns(rows[begin : begin + 17]))
    for user in range(num_users + 1):
        expected = naive_cooccurrence(rows, user, 20)
        np.testing.assert_allclose(peer.scores(user, 20)[0], expected, rtol=0, atol=2e-5)


def test_cooccurrence_counts_pairs_once_in_its_bytes() -> None:
    peer = Cooccurrence(3)
    peer.learn(columns([(0, 0), (0, 1), (1, 0), (1, 1)]))
    # One pair, two items with a mass and a popularity each, four places in histories.
    assert peer.num_bytes == 8 + 2 * 8 + 4 * 4


class Recorder:
    """A model to be refitted that writes down what it is given."""

    variants = ("",)
    num_bytes = 100

    def __init__(self) -> None:
        self.fits: list[Floats] = []
        self.users: list[Floats] = []

    def fit(self, user_items: csr_matrix) -> None:
        self.fits.append(user_items.toarray())

    def scores(self, user: int, items: csr_matrix) -> NDArray[Any]:
        del user
        self.users.append(items.toarray()[0])
        return np.zeros((1, items.shape[1]))


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_a_peer_is_refitted_to_all_events_so_far_after_every_so_many(at_once: int) -> None:
    rows, model = some_rows(35), Recorder()
    peer = Refitted(model, 10, recent=False)
    for begin in range(0, 35, at_once):
        peer.learn(columns(rows[begin : begin + at_once]))
    assert [fit.sum() for fit in model.fits] == [10, 20, 30]
    for user, item in set(rows[:30]):
        assert model.fits[-1][user, item] == rows[:30].count((user, item))


def test_recent_events_and_items_are_worth_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refitted, "HALF_LIFE_EVENTS", 1.0)
    monkeypatch.setattr(refitted, "HALF_LIFE_ITEMS", 2.0)
    model = Recorder()
    peer = Refitted(model, 3, recent=True)
    peer.learn(columns([(0, 0), (0, 1), (1, 0), (0, 0), (0, 2)]))
    assert model.fits[0].tolist() == [[0.25, 0.5], [1.0, 0.0]]
    peer.scores(0, 3)
    # The item that the model does not know yet makes the others older all the same.
    np.testing.assert_allclose(model.users[0], [0.5**1.5 + 0.5**0.5, 0.5**1.0])


def test_between_fits_a_user_is_scored_by_the_items_of_now_and_new_items_get_nothing() -> None:
    peer = Refitted(NearestItems(), 4, recent=False)
    peer.learn(columns([(0, 0), (0, 1), (1, 0), (1, 1)]))
    stranger = peer.scores(9, 3)
    peer.learn(columns([(9, 0), (9, 2)]))
    known = peer.scores(9, 3)
    assert (known[:, 1] > stranger[:, 1]).all()
    assert (known[:, 2] == 0).all()


def test_where_a_model_says_nothing_the_more_popular_goes_first() -> None:
    peer = Refitted(Recorder(), 6, recent=False)
    assert peer.scores(0, 3).tolist() == [[0.0, 0.0, 0.0]]
    peer.learn(columns([(0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, 2)]))
    scores = peer.scores(99, 4)[0]
    assert scores[2] > scores[1] > scores[0] > scores[3] == 0


def test_item_knn_adds_up_the_similarities_to_the_users_items() -> None:
    rng = np.random.default_rng(1)
    matrix = (rng.random((15, 8)) < 0.4).astype(np.float32)
    model = NearestItems()
    model.fit(csr_matrix(matrix))
    unit = matrix / np.linalg.norm(matrix, axis=0)
    user = (rng.random((1, 8)) < 0.5).astype(np.float32)
    by_cosine = model.scores(0, csr_matrix(user))[[name.startswith("cosine") for name in model.variants]]
    # There are fewer items than neighbours.
    for scores in by_cosine:
        np.testing.assert_allclose(scores, user[0] @ (unit.T @ unit), rtol=1e-5)


def test_als_folds_a_user_in_by_the_normal_equations() -> None:
    rng = np.random.default_rng(2)
    matrix = (rng.random((30, 12)) < 0.3).astype(np.float32)
    model = Factors(seed=3)
    model.fit(csr_matrix(matrix))
    user = np.zeros((1, 12), np.float32)
    user[0, [2, 5]] = [1.0, 0.5]
    for scores, fitted in zip(model.scores(0, csr_matrix(user)), model._models, strict=True):
        items = fitted.item_factors.astype(np.float64)
        confidence = fitted.alpha * user[0]
        left = items.T @ items + fitted.regularization * np.eye(FACTORS)
        # What was not taken has a confidence of 1 in not being wanted.
        left += (items * np.where(confidence > 0, confidence - 1, 0)[:, None]).T @ items
        factors = np.linalg.solve(left, items.T @ confidence)
        np.testing.assert_allclose(scores, items @ factors, atol=1e-3)


def test_als_goes_on_from_its_last_factors_as_users_and_items_come() -> None:
    model = Factors(seed=1)
    model.fit(csr_matrix(np.eye(4, 5, dtype=np.float32)))
    before = model.num_bytes
    model.fit(csr_matrix(np.eye(6, 7, dtype=np.float32)))
    assert (before, model.num_bytes) == (4 * FACTORS * 9, 4 * FACTORS * 13)
    assert model.scores(0, csr_matrix((1, 7), dtype=np.float32)).tolist() == [[0.0] * 7] * len(model.variants)


def test_bpr_goes_on_from_its_last_factors_and_gives_a_new_user_the_items_biases() -> None:
    model = Pairs(seed=1)
    assert model.num_bytes == 0
    model.fit(csr_matrix(np.eye(4, 5, dtype=np.float32)))
    before = [fitted.item_factors.copy() for fitted in model._models]
    model.fit(csr_matrix((6, 7), dtype=np.float32))
    assert model.num_bytes == 4 * (BPR_FACTORS + 1) * 13
    for fitted, old, known, stranger in zip(
        model._models, before, model.scores(3, csr_matrix((1, 7))), model.scores(99, csr_matrix((1, 7))), strict=True
    ):
        # Nothing was taken in the second fit, so nothing was learnt in it.
        np.testing.assert_array_equal(fitted.item_factors[:5], old)
        np.testing.assert_allclose(known, fitted.item_factors @ fitted.user_factors[3])
        np.testing.assert_array_equal(stranger, fitted.item_factors[:, -1])


def test_river_scores_as_it_predicts_but_for_what_all_items_share() -> None:
    rows = some_rows(300, num_items=10)
    peer = RiverMF(20, seed=4)
    for begin in range(0, 300, 50):
        peer.learn(columns(rows[begin : begin + 50]))
    for model, scores in zip(peer._models, peer.scores(3, 10), strict=True):
        predicted = np.array([model.predict_one(3, item) for item in range(10)])
        shared = model.global_mean.get() + model.u_biases[3]
        np.testing.assert_allclose(scores, predicted - shared, atol=1e-9)


def test_vowpal_wabbit_scores_as_it_predicts_but_for_what_all_items_share() -> None:
    rows = some_rows(300, num_items=10)
    peer = VowpalWabbitMF(20, seed=4)
    for begin in range(0, 300, 50):
        peer.learn(columns(rows[begin : begin + 50]))
    for user in (3, 999):
        for model, scores in zip(peer._models, peer.scores(user, 10), strict=True):
            predicted = np.array([model.predict(f"|u u{user} |i i{item}") for item in range(10)])
            np.testing.assert_allclose(scores - scores[0], predicted - predicted[0], atol=1e-5)
            assert np.ptp(scores) > 0


def test_a_user_whom_river_has_not_met_leaves_no_trace_in_it() -> None:
    peer = RiverMF(40, seed=4)
    peer.learn(columns(some_rows(50)))
    before = peer.num_bytes
    assert np.array_equal(peer.scores(999, 5), peer.scores(998, 5))
    assert peer.num_bytes == before


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_learns_who_likes_what(name: str) -> None:
    """Two kinds of users, each with items of its own."""
    rng = np.random.default_rng(5)
    user = rng.integers(0, 20, 1500)
    item = 2 * rng.integers(0, 8, 1500) + user % 2
    stream = stream_of(list(zip(user.tolist(), item.tolist(), strict=True)))
    peer = open_peer(name, stream, 1)
    peer.learn(stream.events)
    kinds = np.zeros(stream.num_items, np.int64)
    kinds[stream.events.item] = item % 2
    ahead = []
    for number in range(20):
        kind = user[np.flatnonzero(stream.events.user == number)[0]] % 2
        scores = peer.scores(number, stream.num_items)
        ahead.append(scores[:, kinds == kind].mean(axis=1) > scores[:, kinds != kind].mean(axis=1))
    by_variant = np.mean(ahead, axis=0)
    assert by_variant.max() == 1.0 if name != "popularity" else 0.2 < by_variant.min() <= by_variant.max() < 0.8
    assert peer.num_bytes > 0


def test_a_missing_library_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "implicit", None)
    check_installed(["popularity", "river-mf"])
    with pytest.raises(UsageError, match=r"itemknn, als: .*scall-stream\[peers\]"):
        check_installed(["popularity", "itemknn", "als"])
