"""Prequential figures against sums on paper, whatever is buffered, saved and restored on the way."""

import json
import math
from collections.abc import Iterable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.core.evaluation import GROUPS, Prequential, metrics_of
from stream.core.history import gap_bucket
from stream.core.ranking import NUM_RANKINGS
from stream.core.recommender import Ranked as Trial  # by another name, for pytest collects what is called Test
from stream.core.stats import Quality

quick = settings(derandomize=True, deadline=None, max_examples=50)
TOP_K = 20
BUFFERED = 1024
GROUP_OF_GAP = dict.fromkeys((1, 2, 3, 4), "under_1h") | dict.fromkeys((5, 6, 7), "over_1h") | {0: "first"}

ranks = st.lists(st.integers(0, 60).map(lambda half: half / 2) | st.just(math.inf), min_size=4, max_size=4)
trials = st.builds(Trial, ranks.map(np.array), st.integers(0, 7), st.booleans())
streams = st.lists(trials, max_size=30)


def drawn(num: int, seed: int, hit_share: float = 0.4) -> list[Trial]:
    """Tests as a stream has them: halves by ties, items that cannot be recommended, all gaps."""
    random = np.random.default_rng(seed)
    rank = np.floor(2 * random.exponential(-TOP_K / math.log(1 - hit_share), (num, NUM_RANKINGS))) / 2
    rank[random.random((num, NUM_RANKINGS)) < 0.05] = np.inf
    gaps, firsts = random.integers(0, 8, num).tolist(), (random.random(num) < 0.1).tolist()
    return [Trial(*test) for test in zip(rank, gaps, firsts, strict=True)]


def hits(hit: Iterable[bool]) -> list[Trial]:
    return [Trial(np.full(NUM_RANKINGS, 0.0 if each else np.inf), 3, False) for each in hit]


def evaluated(tests: Iterable[Trial], into: Prequential | None = None) -> Prequential:
    evaluation = Prequential(TOP_K) if into is None else into
    for test in tests:
        evaluation.add(test)
    return evaluation


def through_json(evaluation: Prequential) -> Prequential:
    """A fresh one that goes on from the state, as a checkpoint carries it."""
    restored = Prequential(TOP_K)
    restored.restore(json.loads(json.dumps(evaluation.state(), allow_nan=False)))
    return restored


def naive_quality(tests: list[Trial], best: int) -> dict[str, float]:
    columns: dict[str, list[float]] = {name: [] for name in Quality.__struct_fields__[1:]}
    for test in tests:
        for prefix, rank in (("", test.rank[0]), ("popularity_", test.rank[best])):
            hit = rank < TOP_K
            columns[f"{prefix}recall"].append(1.0 if hit else 0.0)
            columns[f"{prefix}ndcg"].append(1.0 / math.log2(rank + 2.0) if hit else 0.0)
            columns[f"{prefix}mrr"].append(1.0 / (rank + 1.0))
        columns["first_sight_share"].append(1.0 if test.first_sight else 0.0)
    means = {name: sum(values) / len(values) for name, values in columns.items() if values}
    return {"evaluated": len(tests)} | means


def naive_best(tests: list[Trial]) -> int:
    """The popularity ranking with the most hits, the slowest among equals."""
    num_hits = [sum(test.rank[which] < TOP_K for test in tests) for which in range(1, NUM_RANKINGS)]
    return 1 + num_hits.index(max(num_hits))


def naive_groups(tests: list[Trial], best: int) -> dict[str, dict[str, float]]:
    groups = {name: [test for test in tests if GROUP_OF_GAP[test.gap] == name] for name in GROUPS[1:]}
    return {name: naive_quality(group, best) for name, group in ({"all": tests} | groups).items()}


def assert_figures(figures: dict[str, Quality], tests: list[Trial], best: int) -> None:
    expected = naive_groups(tests, best)
    assert figures.keys() == expected.keys()
    for group, quality in figures.items():
        found = {name: value for name, value in msgspec.structs.asdict(quality).items() if value is not None}
        assert found == pytest.approx(expected[group], rel=1e-12, abs=1e-15)


# Figures


@quick
@given(tests=streams)
def test_every_figure_is_the_mean_over_its_events(tests: list[Trial]) -> None:
    assert_figures(evaluated(tests).total(), tests, naive_best(tests))


@pytest.mark.parametrize("num", [BUFFERED - 1, BUFFERED, BUFFERED + 1, 3 * BUFFERED + 500])
def test_no_test_is_lost_or_counted_twice_where_the_buffer_fills(num: int) -> None:
    tests = drawn(num, seed=num)
    evaluation = evaluated(tests)
    assert_figures(evaluation.window(), tests, naive_best(tests))
    assert evaluation.total() == evaluation.window()


def test_an_event_belongs_to_the_group_of_its_gap() -> None:
    seconds = {-1: "first", 0: "under_1h", 3599: "under_1h", 3600: "over_1h", 10**7: "over_1h"}
    for gap_s, group in seconds.items():
        quality = evaluated([Trial(np.zeros(NUM_RANKINGS), gap_bucket(gap_s), False)]).total()
        assert {name for name, figures in quality.items() if figures.evaluated} == {"all", group}


def test_nothing_tested_has_no_figures() -> None:
    evaluation = Prequential(TOP_K)
    assert evaluation.total() == dict.fromkeys(GROUPS, Quality(0))
    assert evaluation.hit_rate() is None


def test_a_hit_is_a_rank_below_top_k_and_an_infinite_rank_counts_for_nothing() -> None:
    metrics = metrics_of(np.array([TOP_K - 1, TOP_K - 0.5, TOP_K, np.inf]), TOP_K)
    assert metrics["recall"].tolist() == [1, 1, 0, 0]
    assert metrics["ndcg"].tolist() == pytest.approx([1 / math.log2(21), 1 / math.log2(21.5), 0, 0])
    assert metrics["reciprocal_rank"].tolist() == pytest.approx([1 / 20, 1 / 20.5, 1 / 21, 0])


@pytest.mark.parametrize("best", [1, 2, 3])
def test_the_rival_is_the_half_life_with_the_most_recall_in_hindsight(best: int) -> None:
    rank = np.full(NUM_RANKINGS, np.inf)
    rank[best] = 7.0
    # Another one ranks higher where it hits, so that NDCG alone would choose it; it hits less often.
    other = np.full(NUM_RANKINGS, np.inf)
    other[1 + best % 3] = 0.0
    quality = evaluated([Trial(other, 2, False)] * 2 + [Trial(rank, 2, False)] * 3).total()["all"]
    assert quality.popularity_recall == pytest.approx(3 / 5)
    assert quality.popularity_ndcg == pytest.approx(3 / 5 / math.log2(9))
    assert quality.recall == 0.0


def test_a_window_is_held_against_the_half_life_that_is_best_since_the_start() -> None:
    slow, fast = np.array([np.inf, 0.0, np.inf, np.inf]), np.array([np.inf, np.inf, np.inf, 0.0])
    evaluation = evaluated([Trial(slow, 2, False)] * 10)
    evaluation.close_window()
    evaluated([Trial(fast, 2, False)] * 9, into=evaluation)
    assert evaluation.window()["all"].popularity_recall == 0.0
    evaluated([Trial(fast, 2, False)] * 2, into=evaluation)
    assert evaluation.window()["all"].popularity_recall == 1.0
    assert evaluation.total()["all"].popularity_recall == pytest.approx(11 / 21)


@quick
@given(windows=st.lists(streams, min_size=1, max_size=4))
def test_a_window_counts_from_its_own_start_and_the_total_from_the_first(windows: list[list[Trial]]) -> None:
    evaluation = Prequential(TOP_K)
    so_far: list[Trial] = []
    for tests in windows:
        evaluated(tests, into=evaluation)
        so_far += tests
        assert_figures(evaluation.window(), tests, naive_best(so_far))
        assert_figures(evaluation.total(), so_far, naive_best(so_far))
        evaluation.close_window()
    assert evaluation.window()["all"] == Quality(0)


def test_the_hit_rate_lags_by_less_than_the_buffer() -> None:
    evaluation = evaluated(hits([True] * (BUFFERED - 1)))
    assert evaluation.hit_rate() is None
    evaluated(hits([True, *[False] * (BUFFERED - 1)]), into=evaluation)
    assert evaluation.hit_rate() == 1.0
    evaluated(hits([False]), into=evaluation)
    assert evaluation.hit_rate() == 0.5


def test_the_buffer_is_told_to_the_last_byte() -> None:
    assert Prequential(TOP_K).num_bytes == BUFFERED * (8 * NUM_RANKINGS + 8 + 1)


# State


@pytest.mark.parametrize("cut", [0, 1, 700, BUFFERED - 1, BUFFERED, BUFFERED + 1, 2500])
def test_saving_and_restoring_changes_no_bit_of_any_figure_to_come(cut: int) -> None:
    # Means depend in their last bits on how the tests were grouped, so the groups must be those of an unbroken run.
    tests = drawn(3000, seed=1)
    unbroken = evaluated(tests)
    saved = evaluated(tests[:cut])
    restored = through_json(saved)
    for evaluation in (saved, restored):
        evaluated(tests[cut:], into=evaluation)
        assert evaluation.total() == unbroken.total()
        assert evaluation.state() == unbroken.state()


@pytest.mark.parametrize("cut", [500, 2900, 3100, 4200])
def test_drift_is_told_at_the_same_event_before_and_after_a_restore(cut: int) -> None:
    random = np.random.default_rng(5)
    rates = np.repeat([0.1, 0.5, 0.2], 2000)
    tests = hits(random.random(len(rates)) < rates)
    unbroken, restored = evaluated(tests[:cut]), through_json(evaluated(tests[:cut]))
    for test in tests[cut:]:
        unbroken.add(test)
        restored.add(test)
        assert restored.num_alarms == unbroken.num_alarms
    assert restored.state() == unbroken.state()
    assert unbroken.num_alarms >= 2


@quick
@given(before=streams, after=streams)
def test_a_state_holds_the_open_window_and_the_total(before: list[Trial], after: list[Trial]) -> None:
    evaluation = evaluated(before)
    evaluation.close_window()
    restored = through_json(evaluated(after, into=evaluation))
    assert restored.window() == evaluation.window()
    assert restored.total() == evaluation.total()


# Drift


@pytest.mark.parametrize(("earlier", "later"), [(0.1, 0.3), (0.5, 0.2), (0.02, 0.1)])
def test_a_change_of_the_hit_rate_raises_an_alarm(earlier: float, later: float) -> None:
    random = np.random.default_rng(2)
    evaluation = evaluated(hits(random.random(5 * BUFFERED) < earlier))
    quiet = evaluation.num_alarms
    evaluated(hits(random.random(2 * BUFFERED) < later), into=evaluation)
    assert evaluation.num_alarms > quiet == 0


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
def test_a_steady_hit_rate_raises_hardly_any(rate: float) -> None:
    steady = hits(np.random.default_rng(3).random(20 * BUFFERED) < rate)
    assert evaluated(steady).num_alarms <= 1
