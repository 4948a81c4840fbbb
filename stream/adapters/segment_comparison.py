"""Models side by side under SCALL's protocol: figures by seed and segment in, means and intervals out. Pure.

A run's figure is the mean over its segments but for the first, each of one weight; a model's is the mean over its
seeds. Intervals are those of :mod:`stream.adapters.comparison_statistics`, with segments for windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.adapters.comparison_statistics import Difference, Paired, estimate

METRICS: Final = ("recall", "ndcg", "fitness")
"""Fitness is the mean of the other two, by which SCALL's search is rewarded."""

Floats = NDArray[np.float64]


class Widths(msgspec.Struct, frozen=True):
    """How long rows are at a segment's test, in words of four bytes. Means over the seeds, where of several."""

    num_users: float
    num_items: float
    user_size: float
    """Mean over users."""
    item_size: float

    @property
    def mean_size(self) -> float:
        """Mean over users and items."""
        words = self.num_users * self.user_size + self.num_items * self.item_size
        return words / max(self.num_users + self.num_items, 1)


class SegmentRun(NamedTuple):
    """What a model gave under one seed."""

    model: str
    seed: int
    variants: tuple[str, ...]
    """What each variant differs in; the best with hindsight is told."""
    quality: Floats
    """float64[variants, segments, 2]: recall and NDCG, the first segment included."""
    widths: list[Widths]
    """By segment; none of a model without rows."""
    num_bytes: int
    budget_bytes: int | None
    violations: int
    """How often the bytes were over the budget."""
    learn_seconds: float
    test_seconds: float


class SegmentRow(msgspec.Struct, frozen=True):
    """A model. Bytes and seconds are means over the seeds."""

    model: str
    variant: str
    is_reference: bool
    recall: Difference
    """From nothing: a mean and its interval; the others likewise."""
    ndcg: Difference
    fitness: Difference
    fitness_difference: Difference | None
    """From the reference; None of the reference itself."""
    recall_by_segment: list[float]
    """Mean over the seeds; the first segment, which does not count, included."""
    ndcg_by_segment: list[float]
    widths_by_segment: list[Widths]
    num_bytes: float
    budget_bytes: int | None
    violations: int
    learn_seconds: float
    test_seconds: float

    @property
    def seconds(self) -> float:
        """All that a run takes."""
        return self.learn_seconds + self.test_seconds


@dataclass(frozen=True)
class SegmentComparison:
    """Models side by side under the protocol."""

    data: str
    reference: str
    top_k: int
    num_planned: int
    """Seeds that there should have been."""
    protocol: dict[str, Any]
    """Filter, segments, passes: what was asked for."""
    mean_sizes: dict[int, int]
    """Budget -> words that every user and item could own at the end of the stream, where budgets were asked for so."""
    segments: list[dict[str, Any]]
    """By segment, under the first seed: events, users and items that are asked for."""
    settings: dict[str, Any]
    """What all runs have in common."""
    versions: dict[str, str]
    seeds: list[int]
    rows: list[SegmentRow]
    """The best in fitness first."""


def rows_of(runs: Sequence[SegmentRun], reference: str) -> list[SegmentRow]:
    """Return a row for each model, the best in fitness first; every model has a run under each seed, in one order."""
    by_model: dict[str, list[SegmentRun]] = {}
    for run in runs:
        by_model.setdefault(run.model, []).append(run)
    best = {model: _best_variant(mine) for model, mine in by_model.items()}
    base = _figures(by_model[reference], best[reference])
    rows = [
        _row(mine, best[model], base if model != reference else None, is_reference=model == reference)
        for model, mine in by_model.items()
    ]
    return sorted(rows, key=lambda row: -row.fitness.mean)


def _best_variant(mine: Sequence[SegmentRun]) -> int:
    return int(np.argmax(np.mean([run.quality[:, 1:].mean(axis=(1, 2)) for run in mine], axis=0)))


def _figures(mine: Sequence[SegmentRun], variant: int) -> dict[str, Floats]:
    """Return by metric float64[seeds, segments], the first segment left out."""
    quality = np.stack([run.quality[variant, 1:] for run in mine])
    return {"recall": quality[:, :, 0], "ndcg": quality[:, :, 1], "fitness": quality.mean(axis=2)}


def _from(figures: Floats, base: Floats) -> Difference:
    number = np.arange(1, 1 + figures.shape[1])
    return estimate([Paired(number, *pair, np.ones(len(number))) for pair in zip(figures, base, strict=True)])


def _row(mine: Sequence[SegmentRun], variant: int, base: dict[str, Floats] | None, *, is_reference: bool) -> SegmentRow:
    figures = _figures(mine, variant)
    by_segment = np.mean([run.quality[variant] for run in mine], axis=0)
    return SegmentRow(
        model=mine[0].model,
        variant=mine[0].variants[variant],
        is_reference=is_reference,
        **{metric: _from(figures[metric], np.zeros_like(figures[metric])) for metric in METRICS},
        fitness_difference=None if base is None else _from(figures["fitness"], base["fitness"]),
        recall_by_segment=by_segment[:, 0].tolist(),
        ndcg_by_segment=by_segment[:, 1].tolist(),
        widths_by_segment=[_mean_widths(of_seeds) for of_seeds in zip(*(run.widths for run in mine), strict=True)],
        num_bytes=float(np.mean([run.num_bytes for run in mine])),
        budget_bytes=mine[0].budget_bytes,
        violations=sum(run.violations for run in mine),
        learn_seconds=float(np.mean([run.learn_seconds for run in mine])),
        test_seconds=float(np.mean([run.test_seconds for run in mine])),
    )


def _mean_widths(of_seeds: Sequence[Widths]) -> Widths:
    return Widths(*np.mean([msgspec.structs.astuple(one) for one in of_seeds], axis=0).tolist())
