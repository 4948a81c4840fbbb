"""Models side by side on the same tested events. Pure: places in, figures out.

**Intervals** are of the bootstrap by user (Efron 1979; by cluster, since events of one user depend on each other):
users are drawn with replacement, each with all of its tested events of all seeds, and the figures are those of the
middle 95 % of the draws. All models share the draws, so differences are paired event by event.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.adapters.comparison_statistics import CONFIDENCE, Difference
from stream.core.evaluation import metrics_of

NUM_DRAWS: Final = 2_000
NUM_PARTS: Final = 20
"""Parts of the stream by which the course of quality is told."""
_DRAWS_AT_ONCE: Final = 50

Floats = NDArray[np.float64]


class Cases(NamedTuple):
    """The events that all models were tested on under one seed. Columns of one length."""

    seed: int
    user: NDArray[np.uint64]
    """Key of the user."""
    position: Floats
    """Where in the stream the event stands: 0 is its beginning, 1 its end."""
    gap: NDArray[np.int64]
    """Group by the time since the user's last event, as :attr:`ModelComparison.gaps` names them."""
    no_place: NDArray[np.bool_]
    """Nobody could have recommended it: its item is new, or was taken before and is taken once."""


class Run(NamedTuple):
    """What a model gave under one seed."""

    model: str
    seed: int
    variants: tuple[str, ...]
    """What each variant differs in; the best with hindsight is told."""
    rank: Floats
    """float64[variants, tests]: the place of each tested event's item, 0 first, infinite without one."""
    num_bytes: int
    budget_bytes: int | None
    learn_seconds: float
    test_seconds: float


class Estimate(msgspec.Struct, frozen=True):
    """A mean, and the ends of its interval."""

    mean: float
    low: float
    high: float


class ModelRow(msgspec.Struct, frozen=True):
    """A model. Bytes and seconds are means over the seeds."""

    model: str
    variant: str
    is_reference: bool
    recall: Estimate
    ndcg: Estimate
    recall_difference: Difference | None
    """From the reference; None of the reference itself."""
    ndcg_difference: Difference | None
    recall_by_gap: dict[str, float | None]
    """By the time since the user's last event."""
    recall_by_part: list[float | None]
    """By part of the stream, the first events included."""
    num_bytes: float
    budget_bytes: int | None
    learn_seconds: float
    test_seconds: float


@dataclass(frozen=True)
class Described:
    """What a comparison tells besides its figures."""

    data: str
    reference: str
    top_k: int
    warm_share: float
    """Share of the events, the first ones, that do not count."""
    num_planned: int
    """Seeds that there should have been."""
    gaps: tuple[str, ...]
    """Groups of tests by the time since the user's last event."""
    settings: dict[str, Any]
    """What all runs have in common."""
    versions: dict[str, str]


@dataclass(frozen=True)
class ModelComparison(Described):
    """Models side by side: the figures too."""

    seeds: list[int]
    gap_shares: dict[str, float]
    """Of the tests that count, by the time since the user's last event."""
    num_tests: int
    """That count, of all seeds."""
    num_users: int
    no_place_share: float
    """Of the tests that count: nobody could have recommended them."""
    rows: list[ModelRow]
    """The best in recall first."""


def compare_runs(described: Described, tests: Sequence[Cases], runs: Sequence[Run]) -> ModelComparison:
    """Return the models side by side; each has a run under the seed of each of ``tests``.

    Of every seed at least one test has to count.
    """
    pool = _pooled(tests, described.warm_share)
    by_model: dict[str, list[Run]] = {run.model: [] for run in runs}
    for columns in tests:
        for run in runs:
            if run.seed == columns.seed:
                by_model[run.model].append(run)
    judged = [_judged(mine, pool, described.top_k) for mine in by_model.values()]
    figures = np.stack([column for model in judged for column in (model.recall, model.ndcg)], axis=1)
    mean, draws = bootstrap(figures[pool.counts], pool.weight, pool.user, NUM_DRAWS)
    reference = list(by_model).index(described.reference)
    num_users = len(np.unique(pool.user))
    rows = []
    for number, (model, mine) in enumerate(zip(judged, by_model.values(), strict=True)):
        estimates, differences = [], []
        for at in range(2):
            column, base = 2 * number + at, 2 * reference + at
            estimates.append(_estimate(mean[column], draws[:, column]))
            apart = _difference(mean[column], mean[base], draws[:, column] - draws[:, base], num_users)
            differences.append(None if number == reference else apart)
        rows.append(_row(model, mine, pool, described.gaps, (estimates, differences)))
    rows.sort(key=lambda row: -row.recall.mean)
    by_gap = np.bincount(pool.gap[pool.counts], minlength=len(described.gaps)) / np.count_nonzero(pool.counts)
    return ModelComparison(
        **vars(described),
        seeds=[columns.seed for columns in tests],
        gap_shares=dict(zip(described.gaps, by_gap.tolist(), strict=True)),
        num_tests=int(np.count_nonzero(pool.counts)),
        num_users=num_users,
        no_place_share=float(pool.no_place[pool.counts].mean()),
        rows=rows,
    )


class _Pool(NamedTuple):
    """The tests of all seeds, one seed after the other."""

    gap: NDArray[np.int64]
    part: NDArray[np.int64]
    """Which part of the stream an event is in."""
    no_place: NDArray[np.bool_]
    counts: NDArray[np.bool_]
    """Whether a test does, being after the warm-up."""
    user: NDArray[np.uint64]
    """Of those that count."""
    weight: Floats
    """Of those that count: every seed weighs the same."""


def _pooled(tests: Sequence[Cases], warm_share: float) -> _Pool:
    position, user, gap, no_place = (
        np.concatenate([getattr(columns, name) for columns in tests])
        for name in ("position", "user", "gap", "no_place")
    )
    counts = [columns.position >= warm_share for columns in tests]
    assert all(seed.any() for seed in counts)
    weight = np.concatenate([seed / np.count_nonzero(seed) for seed in counts])
    keep = np.concatenate(counts)
    part = np.minimum((position * NUM_PARTS).astype(np.int64), NUM_PARTS - 1)
    return _Pool(gap, part, no_place, keep, user[keep], weight[keep])


class _Judged(NamedTuple):
    """How a model did on each test of the pool, in the variant that is best with hindsight."""

    variant: str
    recall: Floats
    ndcg: Floats


def _judged(mine: Sequence[Run], pool: _Pool, top_k: int) -> _Judged:
    metrics = metrics_of(np.concatenate([run.rank for run in mine], axis=1), top_k)
    best = int(np.argmax(metrics["recall"][:, pool.counts] @ pool.weight))
    return _Judged(mine[0].variants[best], metrics["recall"][best], metrics["ndcg"][best])


def _row(
    model: _Judged,
    mine: Sequence[Run],
    pool: _Pool,
    gaps: Sequence[str],
    told: tuple[list[Estimate], list[Difference | None]],
) -> ModelRow:
    (recall, ndcg), (recall_difference, ndcg_difference) = told
    by_gap = _means_by(pool.gap[pool.counts], model.recall[pool.counts], len(gaps))
    return ModelRow(
        model=mine[0].model,
        variant=model.variant,
        is_reference=recall_difference is None,
        recall=recall,
        ndcg=ndcg,
        recall_difference=recall_difference,
        ndcg_difference=ndcg_difference,
        recall_by_gap=dict(zip(gaps, by_gap, strict=True)),
        recall_by_part=_means_by(pool.part, model.recall, NUM_PARTS),
        num_bytes=float(np.mean([run.num_bytes for run in mine])),
        budget_bytes=mine[0].budget_bytes,
        learn_seconds=float(np.mean([run.learn_seconds for run in mine])),
        test_seconds=float(np.mean([run.test_seconds for run in mine])),
    )


def _means_by(group: NDArray[np.int64], values: Floats, num_groups: int) -> list[float | None]:
    """Return the mean of each group, None of one without values."""
    num = np.bincount(group, minlength=num_groups)
    total = np.bincount(group, values, num_groups)
    return [float(sum_ / n) if n else None for sum_, n in zip(total.tolist(), num.tolist(), strict=True)]


def bootstrap(
    values: Floats, weight: Floats, user: NDArray[np.uint64], num_draws: int, seed: int = 0
) -> tuple[Floats, Floats]:
    """Return the weighted means of columns, float64[columns], and of draws of users, float64[num_draws, columns].

    ``values`` is float64[n, columns]; a draw has as many users as there are, each with all of its values.

    >>> mean, draws = bootstrap(np.array([[0.0], [1.0]]), np.ones(2), np.array([7, 7], np.uint64), 3)
    >>> mean.tolist(), draws.tolist()
    ([0.5], [[0.5], [0.5], [0.5]])
    """
    users, which = np.unique(user, return_inverse=True)
    columns = [*(values * weight[:, None]).T, weight]
    sums = np.stack([np.bincount(which, column, len(users)) for column in columns], axis=1)
    rng = np.random.default_rng(seed)
    share = np.full(len(users), 1 / len(users))
    parts = []
    for begin in range(0, num_draws, _DRAWS_AT_ONCE):
        times = rng.multinomial(len(users), share, min(_DRAWS_AT_ONCE, num_draws - begin))
        drawn = times.astype(np.float64) @ sums
        parts.append(drawn[:, :-1] / drawn[:, -1:])
    total = sums.sum(axis=0)
    return total[:-1] / total[-1], np.concatenate(parts)


def _estimate(mean: float, draws: Floats) -> Estimate:
    low, high = np.quantile(draws, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return Estimate(float(mean), float(low), float(high))


def _difference(mean: float, base: float, draws: Floats, num_users: int) -> Difference:
    """Return the difference; its margin is half of the interval, its p-value the share of draws beyond 0, twice."""
    low, high = np.quantile(draws, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    beyond = int(min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0)))
    p_value = min(1.0, 2.0 * (1 + beyond) / (1 + len(draws)))
    apart = float(mean) - float(base)
    relative = apart / float(base) if base > 0 else None
    return Difference(apart, relative, float(high - low) / 2, p_value, "users", num_users)
