"""How size policies differ in quality: paired by seed and window, with intervals. Pure: figures in, figures out.

Policies that replay one stream under one seed meet the same events in the same windows, and are tested on the same of
them. So a policy is held against the reference window by window, and what makes a window hard cancels out. A run's
figure is the mean over its windows, weighted by tested events and without the warm-up; a policy's is the mean over its
seeds.

**Intervals** are Student's t, 95 %. From :data:`FEWEST_SEEDS` seeds on they are over the seeds' means, one figure each:
windows of one run depend on each other, seeds do not. They say what other seeds would find on the same data; of a
world, where the seed makes the data too, what other streams of its kind would.

With fewer seeds they are over windows, by the moving-block bootstrap (Künsch 1989): blocks of n^(1/3) neighbouring
windows are drawn, so that what neighbours share is kept. Its standard error has a closed form, the spread of all
blocks' means, and with the factor that makes it unbiased where windows do not depend on each other it is that of
overlapping batch means (Meketon and Schmeiser 1984). There are n / length - 1 degrees of freedom. Two seeds count as if
their windows went up and down together, which is the cautious case.
"""

import math
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from stream.core.stats import Quality, Report, WindowReport

CONFIDENCE: Final = 0.95
FEWEST_SEEDS: Final = 3
"""From here on intervals are over seeds."""
FEWEST_WINDOWS: Final = 4
"""With fewer there is no interval over windows."""

Floats = NDArray[np.float64]
Metric = Literal["ndcg", "recall"]


class Paired(NamedTuple):
    """What two runs of one seed have in common: the windows that count and in which events were tested."""

    window: NDArray[np.int64]
    """Numbers of the windows."""
    figure: Floats
    """The policy's by window."""
    reference: Floats
    """The reference's."""
    weight: Floats
    """Tested events, > 0."""

    def until(self, end: int) -> Self:
        """Return the first ``end`` windows."""
        return type(self)(self.window[:end], self.figure[:end], self.reference[:end], self.weight[:end])

    @property
    def difference(self) -> Floats:
        """The policy's figure less the reference's."""
        return self.figure - self.reference

    def mean(self) -> float:
        """Return the mean difference of an event tested."""
        return float(np.average(self.difference, weights=self.weight))


class Difference(msgspec.Struct, frozen=True):
    """How far a policy is from the reference, and how sure that is; None where it cannot be said."""

    mean: float
    relative: float | None
    """The mean over the reference's figure."""
    margin: float | None
    """Half the interval: it goes from ``mean - margin`` to ``mean + margin``."""
    p_value: float | None
    """Probability of a difference at least as large, either way, if there were none."""
    over: Literal["seeds", "windows", "users"]
    """What the interval is over."""
    num: int
    """How many of them."""

    @property
    def low(self) -> float | None:
        """The lower end of the interval."""
        return None if self.margin is None else self.mean - self.margin

    @property
    def high(self) -> float | None:
        """The upper end of the interval."""
        return None if self.margin is None else self.mean + self.margin

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.margin is not None and abs(self.mean) > self.margin


def estimate(pairs: Sequence[Paired]) -> Difference:
    """Return the difference over the seeds, one pair of runs for each; none of them is without windows.

    >>> half, ones = np.full(4, 0.5), np.ones(4)
    >>> found = estimate([Paired(np.arange(4), half + better, half, ones) for better in (0.1, 0.2, 0.3)])
    >>> round(found.mean, 3), round(found.relative, 3), round(found.margin, 3), found.over, found.num, found.is_clear
    (0.2, 0.4, 0.248, 'seeds', 3, False)
    """
    means = np.array([pair.mean() for pair in pairs])
    base = float(np.mean([np.average(pair.reference, weights=pair.weight) for pair in pairs]))
    mean, num = float(means.mean()), len(pairs)
    relative = mean / base if base > 0 else None
    if num >= FEWEST_SEEDS:
        margin, p_value = _student(mean, float(means.std(ddof=1)) / math.sqrt(num), num - 1)
        return Difference(mean, relative, margin, p_value, "seeds", num)
    num_windows = min(len(pair.weight) for pair in pairs)
    if num_windows < FEWEST_WINDOWS:
        return Difference(mean, relative, None, None, "windows", num_windows)
    error = float(np.mean([standard_error_over_windows(pair) for pair in pairs]))
    margin, p_value = _student(mean, error, num_windows / block_length(num_windows) - 1)
    return Difference(mean, relative, margin, p_value, "windows", num_windows)


def block_length(num_windows: int) -> int:
    """Return how many neighbouring windows a block has: the cube root, for a standard error the best order."""
    return max(1, round(math.cbrt(num_windows)))


def standard_error_over_windows(pair: Paired) -> float:
    """Return the standard error of the mean over windows that may depend on their neighbours.

    With blocks of a single window it is the usual one.
    """
    num, length = len(pair.weight), block_length(len(pair.weight))
    # The mean is a ratio of sums; to first order it varies as the mean of these does, which is 0.
    residual = pair.weight * (pair.difference - pair.mean()) / pair.weight.mean()
    sums = np.concatenate(([0.0], np.cumsum(residual)))
    block_means = (sums[length:] - sums[:-length]) / length
    return math.sqrt(length * float(block_means @ block_means) / ((num - length + 1) * (num - length)))


def _student(mean: float, error: float, freedom: float) -> tuple[float, float]:
    """Return the margin and the two-sided p-value of a mean with this standard error."""
    margin = error * float(stdtrit(freedom, 0.5 + CONFIDENCE / 2))
    if error == 0.0:
        return margin, float(mean == 0.0)
    return margin, 2.0 * float(stdtr(freedom, -abs(mean) / error))


def counted(report: Report, warm_share: float) -> list[WindowReport]:
    """Return the windows after the warm-up; the last one always counts."""
    num_warm = min(math.ceil(warm_share * len(report.windows)), len(report.windows) - 1)
    return report.windows[max(0, num_warm) :]


def figure(report: Report, metric: Metric, warm_share: float) -> float | None:
    """Return a run's figure: the mean over the events tested after the warm-up, None where none was."""
    windows = [window for window in counted(report, warm_share) if window.quality.evaluated]
    if not windows:
        return None
    weights = [window.quality.evaluated for window in windows]
    return float(np.average([_pick(window.quality, metric) for window in windows], weights=weights))


def paired(report: Report, reference: Report, metric: Metric, warm_share: float) -> Paired:
    """Return what two runs of one stream and seed have in common.

    They have to have had the same windows, as is the case where windows close by events or by time.
    """
    both = [
        (mine, theirs)
        for mine, theirs in zip(counted(report, warm_share), counted(reference, warm_share), strict=True)
        if mine.quality.evaluated
    ]
    assert all(mine.quality.evaluated == theirs.quality.evaluated for mine, theirs in both)
    return Paired(
        np.array([mine.index for mine, _ in both], np.int64),
        np.array([_pick(mine.quality, metric) for mine, _ in both], np.float64),
        np.array([_pick(theirs.quality, metric) for _, theirs in both], np.float64),
        np.array([mine.quality.evaluated for mine, _ in both], np.float64),
    )


def _pick(quality: Quality, metric: Metric) -> float:
    value: float | None = getattr(quality, metric)
    return value if value is not None else 0.0


class Course(NamedTuple):
    """How a difference went on: by window, and as it was known so far. Columns of one length."""

    window: NDArray[np.int64]
    difference: Floats
    """Mean over the seeds."""
    so_far: Floats
    """What :func:`estimate` says of the windows up to here."""
    margin: Floats
    """NaN where it says none."""


def course(pairs: Sequence[Paired], max_points: int) -> Course:
    """Return how the difference went on over the windows that all seeds have, at most ``max_points`` of them.

    Where there are more, a point stands for the windows since the one before.
    """
    num = min(len(pair.weight) for pair in pairs)
    ends = np.unique(np.arange(1, min(num, max_points) + 1) * num // max(1, min(num, max_points)))
    known = [estimate([pair.until(end) for pair in pairs]) for end in ends.tolist()]
    begins = np.concatenate(([0], ends[:-1]))
    by_seed = [
        np.add.reduceat((pair.difference * pair.weight)[:num], begins) / np.add.reduceat(pair.weight[:num], begins)
        for pair in pairs
    ]
    return Course(
        pairs[0].window[ends - 1],
        np.mean(by_seed, axis=0),
        np.array([found.mean for found in known]),
        np.array([math.nan if found.margin is None else found.margin for found in known]),
    )
