"""Draws are even, candidates are what they should be, and log q is the frequency with which they are drawn."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray

from stream.core import arena
from stream.core.event import ITEM, USER, mix64
from stream.core.memory import ITEM_TOP, USER_NEWBORN, Layout, Memory, allocate
from stream.core.model import SOFTMAX, Hyper, Shared, new_shared, new_workspace
from stream.core.sampling import draw_below, draw_candidates, fill_log_q
from tests.core.twins import top_bits_of

LAYOUT = Layout(num_slots=64, num_buckets=96, arena_words=1024, num_recent=40, num_seen_sets=0)
NO_ID = np.zeros(0, np.uint8)
NUM_ITEMS, NUM_DEAD = 12, 3
ALIVE = list(range(NUM_DEAD, NUM_ITEMS))
HYPER = Hyper(
    loss=SOFTMAX,
    num_ids=6,
    hides_taken=0,
    use_prior=1,
    negatives_recent=6,
    negatives_uniform=4,
    rate_item=0.1,
    rate_user=0.1,
    rate_lag=0.1,
    rate_newcomer=0.1,
    rate_gate=0.1,
    rate_prior=0.1,
    rate_repeat=0.1,
    half_life_slow=200.0,
    half_life_mid=20.0,
    half_life_fast=5.0,
    initial_scale=0.1,
    initial_context=0.3,
)
DRAWS = HYPER.negatives_recent + HYPER.negatives_uniform


@njit
def draw_all(random: Any, n: Any, out: Any) -> None:
    for i in range(len(out)):
        out[i] = draw_below(random, n)


@njit
def draw_many(m: Any, p: Any, h: Any, w: Any, user: Any, target: Any, out: Any) -> None:
    for i in range(len(out)):
        n = draw_candidates(m, p, h, w, user, target)
        out[i, :n] = w.candidates[:n]
        out[i, n:] = -1


@njit
def turn_into_log_q(h: Any, w: Any, n: Any, top: Any) -> None:
    fill_log_q(h, w, n, top)


def draws(seed: int, n: int, num: int) -> NDArray[np.int64]:
    out = np.empty(num, np.int64)
    draw_all(np.array([seed], np.uint64), n, out)
    return out


def admit(m: Memory, number: int, side: int, size: int) -> int:
    m.counters[USER_NEWBORN + side] = size
    slot: int = arena.admit(m, np.uint64(mix64(number)), side, NO_ID, 0, 0, 0.1, HYPER.num_ids)
    return slot


def build_memory(history: list[int], recent: list[int]) -> tuple[Memory, int]:
    """Return a memory whose first items are gone, and a user's slot; ``recent`` fills the ring's beginning."""
    m = allocate(LAYOUT)
    for number in range(NUM_ITEMS):
        m.slots["slow"][admit(m, number, ITEM, 4)] = number >= NUM_DEAD
    arena.evict(m, ITEM, NUM_DEAD, top_bits_of(2.0**17), HYPER.num_ids)
    user = admit(m, 100, USER, HYPER.num_ids + 2)
    begin = int(m.slots["offset"][user])
    m.words[begin : begin + len(history)] = history
    m.recent[: len(recent)] = recent
    return m, user


def candidates(m: Memory, user: int, target: int, hyper: Hyper, seed: int, num: int) -> NDArray[np.int32]:
    """Draw candidates ``num`` times: int32[num, 1 + DRAWS], -1 where a draw found nothing."""
    shared: Shared = new_shared(hyper, seed)
    out = np.empty((num, 1 + DRAWS), np.int32)
    draw_many(m, shared, hyper, new_workspace(HYPER), user, target, out)
    return out


def test_draws_are_the_upper_halves_of_splitmix64() -> None:
    # The numbers that Steele, Lea and Flood's generator is published to give for this seed.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert draws(1234567, 1000, 4).tolist() == [(number >> 32) * 1000 >> 32 for number in published]


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(1, 2**32 - 1))
def test_a_draw_is_never_out_of_range(seed: int, n: int) -> None:
    drawn = draws(seed, n, 50)
    assert drawn.min() >= 0
    assert drawn.max() < n


@pytest.mark.parametrize("n", [2, 3, 10, 97, 3 * 2**30, 2**32 - 1])
def test_draws_are_even(n: int) -> None:
    num, num_bins = 100_000, min(n, 64)
    count = np.bincount(draws(11, n, num) * num_bins // n, minlength=num_bins)
    # With 97 numbers in 64 bins some bins hold two numbers and others one.
    expected = np.bincount(np.arange(n) * num_bins // n) / n if n < 1000 else np.full(num_bins, 1 / num_bins)
    chi_square = float(np.sum((count - num * expected) ** 2 / (num * expected)))
    degrees = num_bins - 1
    assert abs(chi_square - degrees) < 5 * math.sqrt(2 * degrees)


@pytest.mark.parametrize("way", ["recent", "uniform"])
def test_each_way_draws_from_its_own_items(way: str) -> None:
    m, user = build_memory([3, 4, 5, 6], [7, 8, 5, -1])
    others = {f"negatives_{other}": 0 for other in ("recent", "uniform") if other != way}
    drawn = candidates(m, user, 5, HYPER._replace(**others), seed=3, num=300)
    # The target, 5, stands in the ring, and is no negative of its own.
    expected = {"recent": {7, 8}, "uniform": set(ALIVE) - {5}}
    assert set(drawn[:, 1:].ravel().tolist()) - {-1} == expected[way]


@settings(derandomize=True, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from(ALIVE),
    st.lists(st.sampled_from(ALIVE), max_size=HYPER.num_ids),
    st.lists(st.sampled_from([-1, *ALIVE]), max_size=LAYOUT.num_recent),
)
def test_negatives_are_alive_and_never_the_target(
    seed: int, target: int, history: list[int], recent: list[int]
) -> None:
    m, user = build_memory(history, recent)
    drawn = candidates(m, user, target, HYPER, seed, 20)
    assert (drawn[:, 0] == target).all()
    assert set(drawn[:, 1:].ravel().tolist()) <= {-1, *ALIVE} - {target}


def test_nothing_is_drawn_from_an_empty_stream() -> None:
    m, user = build_memory([], [])
    drawn = candidates(m, user, 5, HYPER._replace(negatives_uniform=0), seed=3, num=10)
    assert (drawn[:, 1:] == -1).all()


def test_log_q_is_the_frequency_with_which_an_item_is_drawn() -> None:
    recent = [3] * 12 + [4] * 8 + [5] * 5 + [6] * 3 + [7] * 2
    m, user = build_memory([9, 5, 10], recent)
    target, num = 11, 20_000
    count = np.bincount(candidates(m, user, target, HYPER, seed=5, num=num)[:, 1:].ravel() + 1)[1:]
    others = [item for item in ALIVE if item != target]
    w = new_workspace(HYPER)
    for i, item in enumerate(others):
        # In a long stream of constant shares, a decayed count settles at share * half-life / ln 2.
        w.log_q[i] = recent.count(item) / LAYOUT.num_recent * HYPER.half_life_mid / math.log(2)
    turn_into_log_q(HYPER, w, len(others), int(m.counters[ITEM_TOP]))
    expected = num * DRAWS * np.exp(w.log_q[: len(others)].astype(np.float64))
    assert np.all(np.abs(count[others] - expected) < 5 * np.sqrt(expected)), (count[others], expected)


def test_an_item_that_no_way_draws_has_a_small_but_finite_log_q() -> None:
    w = new_workspace(HYPER)
    turn_into_log_q(HYPER._replace(negatives_uniform=0), w, 2, NUM_ITEMS)
    assert np.isfinite(w.log_q[:2]).all()
    assert (w.log_q[:2] < math.log(1e-9)).all()
