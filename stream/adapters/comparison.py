"""Runs of several policies, budgets and seeds over one stream, as one row for each policy under each budget."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from stream.adapters.comparison_statistics import Difference, Metric, Paired, counted, estimate, figure, paired
from stream.core.stats import Report, WindowReport

_VARIED: Final = ("seed", "policy")
"""Settings in which the runs differ, besides the budget."""


class Row(msgspec.Struct, frozen=True):
    """A policy under a budget. Figures are means over its seeds if nothing else is said."""

    policy: str
    budget_bytes: int
    is_reference: bool
    seeds: list[int]
    num_windows: int
    """Windows that count, of all seeds."""
    evaluated: int
    """Events tested in them."""
    ndcg: float | None
    recall: float | None
    ndcg_difference: Difference | None
    """From the reference under the same budget; None of the reference itself, and where nothing is paired."""
    recall_difference: Difference | None
    peak_bytes: int
    """The most of all seeds."""
    user_size: float
    """Mean size of a user in words, over the windows that count."""
    item_size: float
    evictions: float
    resize_seconds: float
    """Of a whole run; so is the rate."""
    events_per_second: float | None
    violations: int
    """Of all seeds together: 0 unless there is a bug."""
    guard_trips: dict[str, int]
    """How often the policy's guard stepped in, by reason; of all seeds together."""


class Comparison(NamedTuple):
    """Runs side by side."""

    data: str
    reference: str
    warm_share: float
    """Share of the windows, the first ones, that do not count."""
    num_planned: int
    """Runs that there should have been."""
    reports: list[Report]
    """The runs that came to their end, in the order of the plan."""
    rows: list[Row]
    """By budget, and within it the best in NDCG first."""
    mean_sizes: dict[int, int]
    """Budget -> words that every user and item could own under it, where it was asked for so."""

    @property
    def is_finished(self) -> bool:
        """Whether all runs have come to their end."""
        return len(self.reports) == self.num_planned

    @property
    def top_k(self) -> int:
        """Length of the lists that the figures are about."""
        return self.reports[0].top_k

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs."""
        return _distinct(report.seed for report in self.reports)

    @property
    def budgets(self) -> list[int]:
        """The budgets in bytes."""
        return _distinct(row.budget_bytes for row in self.rows)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that all runs have in common."""
        settings = {name: value for name, value in self.reports[0].settings.items() if name not in _VARIED}
        memories = [report.settings["memory"] for report in self.reports]
        memory = {
            name: value
            for name, value in settings["memory"].items()
            if name != "budget_bytes" and all(other[name] == value for other in memories)
        }
        return settings | {"memory": memory}

    def under(self, budget_bytes: int) -> list[Row]:
        """Return the rows of a budget, best first."""
        return [row for row in self.rows if row.budget_bytes == budget_bytes]

    def pairs(self, row: Row, metric: Metric) -> list[Paired]:
        """Return a row's runs beside the reference's, seed by seed, as far as both are there."""
        return _pairs(self.reports, row.policy, row.budget_bytes, self.reference, metric, self.warm_share)


def compare(
    reports: Sequence[Report],
    reference: str,
    warm_share: float,
    num_planned: int,
    mean_sizes: Mapping[int, int] | None = None,
) -> Comparison:
    """Return the runs side by side; ``reports`` are those that came to their end, at least one.

    A run is known by the policy, budget and seed in its settings; windows have to close by events or by time.
    ``mean_sizes`` says for a budget how many words every user and item could own, where it was asked for so.
    """
    runs: dict[tuple[int, str], list[Report]] = {}
    for report in reports:
        runs.setdefault((_budget_of(report), report.settings["policy"]), []).append(report)
    rows = [
        _row(budget_bytes, policy, mine, reports, reference, warm_share)
        for (budget_bytes, policy), mine in runs.items()
    ]
    rows.sort(key=lambda row: (row.budget_bytes, -(row.ndcg or 0.0)))
    sized = dict(mean_sizes or {})
    return Comparison(reports[0].data, reference, warm_share, num_planned, list(reports), rows, sized)


def _row(
    budget_bytes: int, policy: str, mine: list[Report], reports: Sequence[Report], reference: str, warm_share: float
) -> Row:
    windows = [window for report in mine for window in counted(report, warm_share)]
    ndcg, recall = _means(mine, "ndcg", warm_share), _means(mine, "recall", warm_share)

    def difference(metric: Metric) -> Difference | None:
        pairs = _pairs(reports, policy, budget_bytes, reference, metric, warm_share)
        return estimate(pairs) if pairs and policy != reference else None

    train_seconds = sum(report.train_seconds for report in mine)
    return Row(
        policy=policy,
        budget_bytes=budget_bytes,
        is_reference=policy == reference,
        seeds=[report.seed for report in mine],
        num_windows=len(windows),
        evaluated=sum(window.quality.evaluated for window in windows),
        ndcg=ndcg,
        recall=recall,
        ndcg_difference=difference("ndcg"),
        recall_difference=difference("recall"),
        peak_bytes=max(report.peak_bytes for report in mine),
        user_size=_mean(windows, lambda window: window.user_sizes.mean),
        item_size=_mean(windows, lambda window: window.item_sizes.mean),
        evictions=sum(report.counts.evictions for report in mine) / len(mine),
        resize_seconds=sum(report.resize_seconds for report in mine) / len(mine),
        events_per_second=sum(report.counts.learnt for report in mine) / train_seconds if train_seconds > 0 else None,
        violations=sum(report.counts.violations for report in mine),
        guard_trips=dict(sum((Counter(report.guard_trips) for report in mine), Counter())),
    )


def _pairs(
    reports: Sequence[Report], policy: str, budget_bytes: int, reference: str, metric: Metric, warm_share: float
) -> list[Paired]:
    def by_seed(policy: str) -> dict[int, Report]:
        asked = (policy, budget_bytes)
        return {r.seed: r for r in reports if (r.settings["policy"], _budget_of(r)) == asked}

    mine, theirs = by_seed(policy), by_seed(reference)
    pairs = [paired(mine[seed], theirs[seed], metric, warm_share) for seed in mine if seed in theirs]
    return [pair for pair in pairs if len(pair.weight)]


def _budget_of(report: Report) -> int:
    return int(report.settings["memory"]["budget_bytes"])


def _means(reports: Iterable[Report], metric: Metric, warm_share: float) -> float | None:
    figures = [value for report in reports if (value := figure(report, metric, warm_share)) is not None]
    return float(np.mean(figures)) if figures else None


def _mean(windows: Sequence[WindowReport], pick: Callable[[WindowReport], float]) -> float:
    return float(np.mean([pick(window) for window in windows])) if windows else 0.0


def _distinct(values: Iterable[int]) -> list[int]:
    return sorted(set(values))
