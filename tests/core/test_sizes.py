"""Size plans: exact, bounded, falling with rank, and true to their curve."""

import json
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.core.families import GROUPS, RANK_GROUPS
from stream.core.sizes import (
    FAMILIES,
    MAX_SIZE,
    Curve,
    FrequencyHistogram,
    SizeBounds,
    SizeDecision,
    parse_curve,
    plan_sizes,
    sizes_by_rank,
)
from tests.core.curves import SMOOTH, Floats, curves, levels, quantiles_by_rank

Request = tuple[Curve, int, int, SizeBounds, FrequencyHistogram | None]


def histogram(frequency: Floats) -> FrequencyHistogram:
    value, count = np.unique(frequency, return_counts=True)
    return FrequencyHistogram(value[::-1].copy(), count[::-1].astype(np.int64))


def largest_remainder(quota: Floats, total: int) -> NDArray[np.int64]:
    """Hamilton's method, entity by entity."""
    sizes = np.floor(quota).astype(np.int64)
    order = np.argsort(-(quota - sizes), kind="stable")
    sizes[order[: total - sizes.sum()]] += 1
    return sizes


@st.composite
def bounds_of_sizes(draw: st.DrawFn) -> SizeBounds:
    minimum = draw(st.integers(0, MAX_SIZE))
    return SizeBounds(minimum, draw(st.integers(minimum, MAX_SIZE)))


@st.composite
def histograms(draw: st.DrawFn, num_entities: int) -> FrequencyHistogram:
    """Any split of the entities into groups of equal frequency, frequency 0 and one single tie included."""
    num_cuts = draw(st.integers(0, 8))
    cuts = st.lists(st.integers(0, num_entities), min_size=num_cuts, max_size=num_cuts)
    count = np.diff([0, *sorted(draw(cuts)), num_entities])
    count = count[count > 0]
    values = st.lists(st.just(0.0) | st.floats(1e-9, 1e9), min_size=len(count), max_size=len(count), unique=True)
    return FrequencyHistogram(np.array(sorted(draw(values), reverse=True)), count.astype(np.int64))


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Arguments of a plan: budgets from nothing to more than everyone's maximum."""
    curve = draw(curves())
    n = draw(st.sampled_from((0, 1, 2, 3)) | st.integers(0, 300) | st.integers(10**6, 5 * 10**7))
    bounds = draw(bounds_of_sizes())
    budget = draw(st.integers(0, n * bounds.maximum + 2) | st.integers(0, 1000))
    return curve, n, budget, bounds, draw(histograms(n)) if curve.family == "frequency" else None


@given(request=requests())
@settings(derandomize=True, deadline=None, max_examples=400)
def test_a_plan_spends_its_budget_to_the_last_word_and_never_more(
    request: Request,
) -> None:
    _, n, budget, bounds, _ = request
    spent = int(plan_sizes(*request)[1:].sum())
    if budget < n * bounds.minimum:
        assert spent <= budget < spent + bounds.minimum
    else:
        assert spent == min(budget, n * bounds.maximum)


@given(request=requests())
@settings(derandomize=True, deadline=None, max_examples=400)
def test_sizes_fall_with_rank_and_keep_their_bounds(
    request: Request,
) -> None:
    _, n, budget, bounds, _ = request
    at_least = plan_sizes(*request)
    assert at_least.dtype == np.int64
    assert len(at_least) == bounds.maximum + 2
    assert (at_least[0], at_least[-1]) == (n, 0)
    assert (np.diff(at_least) <= 0).all()
    if budget >= n * bounds.minimum:
        assert (at_least[: bounds.minimum + 1] == n).all()


@given(
    curve=curves(("powerlaw",)),
    n=st.integers(200, 3000),
    tightness=st.floats(0.001, 1.0),
)
@settings(derandomize=True, deadline=None)
def test_the_power_law_matches_scalls_closed_form_within_one_word(curve: Curve, n: int, tightness: float) -> None:
    peak = 1 + 1 / curve.shape
    budget = int(tightness * n * MAX_SIZE / peak)
    sizes = sizes_by_rank(plan_sizes(curve, n, budget, SizeBounds(0, MAX_SIZE)))
    rank = np.arange(n) + 0.5
    closed_form = budget / n * peak * (1 - rank / n) ** (1 / curve.shape)
    assert np.abs(sizes - closed_form).max() <= 1 + 1e-6


@given(curve=curves((*SMOOTH, GROUPS)), bounds=bounds_of_sizes(), tightness=st.floats(0.1, 0.8))
@example(curve=Curve("powerlaw", 0.1), bounds=SizeBounds(127, 128), tightness=0.5)
@example(curve=Curve("pareto", 1.0), bounds=SizeBounds(0, 255), tightness=0.1)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_every_size_is_its_scaled_and_cut_quantile_within_one_word(
    curve: Curve, bounds: SizeBounds, tightness: float
) -> None:
    n = 512
    budget = round(n * (bounds.minimum + tightness * (bounds.maximum - bounds.minimum)))
    z = quantiles_by_rank(curve, n)
    low, high = -20.0, 120.0
    for _ in range(60):
        middle = (low + high) / 2
        if np.clip(2**middle * z, *bounds).sum() < budget:
            low = middle
        else:
            high = middle
    ideal = np.clip(2**high * z, *bounds)
    sizes = sizes_by_rank(plan_sizes(curve, n, budget, bounds))
    # Nearer to "all at a bound" few entities carry the curve, and the scale gives way to the budget.
    assert np.abs(sizes - ideal).max() <= 1


@given(n=st.integers(1, 300), tightness=st.floats(0.0, 1.0), bounds=bounds_of_sizes())
@settings(derandomize=True, deadline=None)
def test_groups_of_one_level_are_uniform(n: int, tightness: float, bounds: SizeBounds) -> None:
    budget = int(tightness * n * bounds.maximum)
    flat = Curve(GROUPS, (1.0,) * len(RANK_GROUPS))
    assert np.array_equal(plan_sizes(flat, n, budget, bounds), plan_sizes(Curve("uniform"), n, budget, bounds))


@given(shape=levels(16.0), group=st.sampled_from(range(len(RANK_GROUPS))), mean=st.integers(4, 24))
@settings(derandomize=True, deadline=None)
def test_a_group_that_is_raised_gets_more_and_all_others_give_for_it(
    shape: tuple[float, ...], group: int, mean: int
) -> None:
    n = 640
    higher = (2 * shape[0], *shape)[group]
    raised = (*shape[:group], higher, *shape[group + 1 :])
    before, after = (
        sizes_by_rank(plan_sizes(Curve(GROUPS, one), n, mean * n, SizeBounds(0, MAX_SIZE))) for one in (shape, raised)
    )
    begin, end = (round(n * share) for share in (0.0, *RANK_GROUPS)[group : group + 2])
    more = after - before
    # Rounding may take a word anywhere.
    assert more[begin:end].min() >= -1
    assert max(more[:begin].max(initial=0), more[end:].max(initial=0)) <= 1
    if higher >= 1.5 * shape[group]:
        assert more[begin:end].sum() > 0


@given(
    frequency=st.lists(st.integers(0, 50), min_size=1, max_size=60),
    shape=st.floats(0.0, 1.0),
    tightness=st.floats(0.0, 1.0),
)
@example(frequency=[600, *[1] * 1000], shape=1.0, tightness=0.5)
@settings(derandomize=True, deadline=None)
def test_frequency_sizes_are_the_proportional_ones_rounded_by_largest_remainders(
    frequency: list[int], shape: float, tightness: float
) -> None:
    descending = np.array(sorted(frequency, reverse=True), np.float64)
    weight = descending**shape if descending[0] > 0 else np.ones(len(descending))
    budget = int(tightness * MAX_SIZE * weight.sum() / weight[0])
    plan = plan_sizes(Curve("frequency", shape), len(frequency), budget, SizeBounds(0, MAX_SIZE), histogram(descending))
    sizes = sizes_by_rank(plan)
    quota = budget * weight / weight.sum()
    twin = largest_remainder(quota, budget)
    assert np.abs(sizes - quota).max() <= 1 + 1e-6
    assert np.abs(sizes - twin).max() <= 1
    # Largest remainders are the rounding of least total deviation, and only ties can be rounded otherwise.
    assert np.abs(sizes - quota).sum() == pytest.approx(np.abs(twin - quota).sum(), abs=1e-4)


def test_a_long_tail_of_fractions_does_not_hand_its_words_to_the_head() -> None:
    frequencies = FrequencyHistogram(np.array([600.0, 4.0]), np.array([1, 100]))
    plan = plan_sizes(Curve("frequency", 1.0), 101, 100, SizeBounds(0, MAX_SIZE), frequencies)
    assert sizes_by_rank(plan).tolist() == [60] + [1] * 40 + [0] * 60


def test_the_tail_keeps_to_its_closed_form_among_millions() -> None:
    n = 10_000_000
    at_least = plan_sizes(Curve("powerlaw", 0.5), n, 8 * n, SizeBounds(0, 128))
    # size(r) >= s where 24 (1 - r/n)**2 >= s, up to a word of rounding.
    for size in (1, 5, 12, 20, 24):
        reaching = n * (1 - math.sqrt(size / 24))
        reaching_one_less = n * (1 - math.sqrt((size - 1) / 24))
        assert reaching - 1 <= at_least[size] <= reaching_one_less + 1


@pytest.mark.parametrize("family", FAMILIES)
def test_where_the_budget_is_below_the_minimum_for_all_the_most_frequent_get_the_minimum(
    family: str,
) -> None:
    curve = parse_curve(family)
    plan = plan_sizes(curve, 10, 23, SizeBounds(4, 9), histogram(np.arange(10.0)))
    assert sizes_by_rank(plan).tolist() == [4] * 5 + [0] * 5


@pytest.mark.parametrize("frequency", [0.0, 7.0])
def test_entities_of_one_frequency_share_evenly(frequency: float) -> None:
    ties = histogram(np.full(10, frequency))
    plan = plan_sizes(Curve("frequency", 1.0), 10, 34, SizeBounds(0, 9), ties)
    assert sizes_by_rank(plan).tolist() == [4] * 4 + [3] * 6


def test_uniform_sizes_differ_by_one_word_at_most() -> None:
    plan = plan_sizes(Curve("uniform"), 7, 40, SizeBounds(0, 64))
    assert sizes_by_rank(plan).tolist() == [6] * 5 + [5] * 2


def test_a_single_entity_gets_the_whole_budget() -> None:
    for family in FAMILIES:
        plan = plan_sizes(parse_curve(family), 1, 37, SizeBounds(1, 64), histogram(np.ones(1)))
        assert sizes_by_rank(plan).tolist() == [37]


def test_a_curve_of_frequencies_asks_for_their_histogram() -> None:
    with pytest.raises(AssertionError, match="needs the histogram"):
        plan_sizes(Curve("frequency", 0.5), 3, 10, SizeBounds(0, 8))


@pytest.mark.parametrize("curve", [Curve("powerlaw", 0.0), Curve("pareto", 31.0), Curve(GROUPS, (1.0,))])
def test_a_shape_outside_its_range_is_a_programmers_error(curve: Curve) -> None:
    with pytest.raises(AssertionError, match="outside"):
        plan_sizes(curve, 3, 10, SizeBounds(0, 8))


@given(share=st.floats(0, 1), users=curves(), items=curves())
@settings(derandomize=True, deadline=None)
def test_a_decision_is_the_same_after_its_state_has_been_through_json(share: float, users: Curve, items: Curve) -> None:
    decision = SizeDecision(share, users, items)
    state = decision.state()
    assert json.loads(json.dumps(state, allow_nan=False)) == state
    assert SizeDecision.from_state(state) == decision


@given(sizes=st.lists(st.integers(0, 20), max_size=50))
@settings(derandomize=True, deadline=None)
def test_sizes_by_rank_undoes_the_counting(sizes: list[int]) -> None:
    at_least = np.array([sum(size >= s for size in sizes) for s in range(22)], np.int64)
    assert sizes_by_rank(at_least).tolist() == sorted(sizes, reverse=True)
