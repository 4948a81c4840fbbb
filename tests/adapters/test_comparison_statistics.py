"""Differences paired by seed and window: against naive twins, and against what is known beforehand."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from stream.adapters.comparison_statistics import (
    FEWEST_WINDOWS,
    Paired,
    block_length,
    course,
    estimate,
    standard_error_over_windows,
)

Floats = NDArray[np.float64]
FIGURES = st.floats(0, 1, allow_subnormal=False)
WINDOWS = st.lists(st.tuples(FIGURES, FIGURES, st.integers(1, 1000)), min_size=3, max_size=40)


def pair_of(windows: Sequence[tuple[float, float, int]]) -> Paired:
    figure, reference, weight = np.array(windows, np.float64).T
    return Paired(np.arange(len(windows)), figure, reference, weight)


def pair_with(difference: Floats) -> Paired:
    return Paired(np.arange(len(difference)), 0.5 + difference, np.full(len(difference), 0.5), np.ones(len(difference)))


def waves(rng: np.random.Generator, num: int, memory: float) -> Floats:
    """Return noise in which a window keeps so much of the one before."""
    noise = rng.normal(0, 0.01, num + 50)
    for at in range(1, len(noise)):
        noise[at] += memory * noise[at - 1]
    return noise[50:]


@given(WINDOWS)
def test_the_mean_is_that_of_all_tested_events(windows: list[tuple[float, float, int]]) -> None:
    events = [mine - theirs for mine, theirs, tested in windows for _ in range(tested)]
    assert math.isclose(pair_of(windows).mean(), math.fsum(events) / len(events), abs_tol=1e-12)


@given(WINDOWS)
def test_the_standard_error_is_that_of_a_naive_twin(windows: list[tuple[float, float, int]]) -> None:
    pair, num = pair_of(windows), len(windows)
    total, mean = sum(tested for *_, tested in windows), pair.mean()
    residuals = [tested * num / total * (mine - theirs - mean) for mine, theirs, tested in windows]
    length = block_length(num)
    squares = 0.0
    for begin in range(num - length + 1):
        block = residuals[begin : begin + length]
        squares += (sum(block) / length) ** 2
    variance = length * squares / (num - length + 1) / (num - length)
    assert math.isclose(standard_error_over_windows(pair), math.sqrt(variance), rel_tol=1e-6, abs_tol=1e-12)


def test_the_standard_error_is_what_drawing_blocks_tends_to() -> None:
    rng = np.random.default_rng(3)
    difference = waves(rng, 64, 0.5)
    length = block_length(64)
    assert length == 4
    begins = rng.integers(0, 64 - length + 1, (20_000, 64 // length))
    drawn = difference[begins[:, :, None] + np.arange(length)].mean((1, 2))
    unbiased = math.sqrt(64 / (64 - length))
    assert standard_error_over_windows(pair_with(difference)) == pytest.approx(drawn.std() * unbiased, rel=0.03)


def test_blocks_of_one_window_make_the_usual_standard_error() -> None:
    difference = np.array([0.1, 0.4, 0.2])
    assert block_length(3) == 1
    usual = difference.std(ddof=1) / math.sqrt(3)
    assert standard_error_over_windows(pair_with(difference)) == pytest.approx(usual)


@given(st.lists(WINDOWS, min_size=3, max_size=6))
def test_over_seeds_it_is_the_paired_t_test_of_their_means(seeds: list[list[tuple[float, float, int]]]) -> None:
    pairs = [pair_of(windows) for windows in seeds]
    means = np.array([pair.mean() for pair in pairs])
    found = estimate(pairs)
    assert (found.over, found.num) == ("seeds", len(seeds))
    if means.std() > 1e-9:
        test = ttest_1samp(means, 0.0)
        interval = test.confidence_interval(0.95)
        assert found.p_value == pytest.approx(test.pvalue, abs=1e-9)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@given(st.lists(WINDOWS, min_size=1, max_size=4))
def test_what_one_gains_the_other_loses(seeds: list[list[tuple[float, float, int]]]) -> None:
    pairs = [pair_of(windows) for windows in seeds]
    swapped = [pair._replace(figure=pair.reference, reference=pair.figure) for pair in pairs]
    there, back = estimate(pairs), estimate(swapped)
    assert there.mean == pytest.approx(-back.mean)
    assert (there.margin, there.p_value) == (pytest.approx(back.margin), pytest.approx(back.p_value))


@given(st.lists(WINDOWS, min_size=1, max_size=4), st.integers(2, 9))
def test_only_shares_of_the_tested_events_matter(seeds: list[list[tuple[float, float, int]]], times: int) -> None:
    few = estimate([pair_of(windows) for windows in seeds])
    many = estimate([pair_of([(mine, theirs, times * n) for mine, theirs, n in windows]) for windows in seeds])
    assert many.mean == pytest.approx(few.mean)
    assert many.margin == pytest.approx(few.margin, abs=1e-9)


def test_too_few_windows_have_no_interval() -> None:
    found = estimate([pair_with(np.full(FEWEST_WINDOWS - 1, 0.1))])
    assert found.mean == pytest.approx(0.1)
    assert (found.margin, found.low, found.high, found.p_value, found.is_clear) == (None, None, None, None, False)


def test_two_seeds_are_no_surer_than_one() -> None:
    pair = pair_with(waves(np.random.default_rng(1), 30, 0.2))
    one, two = estimate([pair]), estimate([pair, pair])
    assert (two.over, two.num, two.margin) == ("windows", 30, pytest.approx(one.margin))


def test_runs_that_do_not_differ_are_not_told_apart() -> None:
    for num_seeds in (1, 5):
        found = estimate([pair_with(np.zeros(20))] * num_seeds)
        assert (found.mean, found.margin, found.p_value, found.is_clear) == (0.0, 0.0, 1.0, False)


def test_a_difference_is_told_relative_to_the_reference() -> None:
    ones = np.ones(4)
    assert estimate([Paired(np.arange(4), 0.3 * ones, 0.2 * ones, ones)]).relative == pytest.approx(0.5)
    assert estimate([Paired(np.arange(4), 0.3 * ones, 0.0 * ones, ones)]).relative is None


@pytest.mark.parametrize("num_seeds", [1, 3, 6])
def test_a_planted_difference_is_found_and_its_size_is_within_the_interval(num_seeds: int) -> None:
    rng = np.random.default_rng(7)
    trials = [estimate([pair_with(0.01 + waves(rng, 60, 0.2)) for _ in range(num_seeds)]) for _ in range(60)]
    assert sum(found.is_clear and found.mean > 0 for found in trials) >= 54
    assert sum(abs(found.mean - 0.01) <= (found.margin or 0.0) for found in trials) >= 52


@pytest.mark.parametrize(("num_seeds", "num_windows"), [(1, 16), (1, 60), (3, 16), (5, 30)])
def test_where_nothing_differs_the_interval_holds_zero_about_as_often_as_it_says(
    num_seeds: int, num_windows: int
) -> None:
    rng = np.random.default_rng(11)
    trials = [estimate([pair_with(waves(rng, num_windows, 0.2)) for _ in range(num_seeds)]) for _ in range(400)]
    assert 0.91 <= 1 - sum(found.is_clear for found in trials) / len(trials) <= 0.985


def test_the_course_ends_with_the_estimate_and_averages_to_it() -> None:
    rng = np.random.default_rng(5)
    pairs = [pair_with(waves(rng, 30, 0.0)) for _ in range(4)]
    went, found = course(pairs, 150), estimate(pairs)
    assert went.window.tolist() == list(range(30))
    assert (went.so_far[-1], went.margin[-1]) == (pytest.approx(found.mean), pytest.approx(found.margin))
    assert went.difference.mean() == pytest.approx(found.mean)
    assert went.so_far[:5].tolist() == pytest.approx([went.difference[: end + 1].mean() for end in range(5)])


def test_a_long_course_is_drawn_in_few_points() -> None:
    pair = pair_with(np.arange(1000) / 1000)
    went = course([pair], 150)
    assert (len(went.window), went.window[-1]) == (150, 999)
    assert went.difference[0] == pytest.approx(pair.difference[: went.window[0] + 1].mean())
    assert np.isnan(course([pair.until(6)], 150).margin).tolist() == [True] * 3 + [False] * 3
