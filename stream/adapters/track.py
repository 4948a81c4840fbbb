"""The windows of a run as columns, few enough to draw."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream.core.stats import WindowReport

MAX_POINTS: Final = 150
"""Windows drawn apart; neighbours are drawn as one where there are more."""

Column = NDArray[np.float64]
Pick = Callable[[WindowReport], float | None]


class Track:
    """Windows in their order, neighbours grouped where there are more than :data:`MAX_POINTS`.

    Every column has one float64 for each group, NaN where nothing is known. ``x`` (int64) holds the
    number of the last window of each group.
    """

    def __init__(self, windows: Sequence[WindowReport]):
        num = len(windows)
        points = min(num, MAX_POINTS)
        self.windows = windows
        self._starts = np.arange(points, dtype=np.int64) * num // max(points, 1)
        self._ends = np.append(self._starts, num)[1:] - 1
        self.x = np.array([windows[i].index for i in self._ends], np.int64)

    @property
    def note(self) -> str:
        """Say how much one point stands for, where that is more than a window."""
        most = -(-len(self.windows) // MAX_POINTS)
        return f" Each point stands for up to {most} windows." if most > 1 else ""

    def _column(self, pick: Pick) -> Column:
        values = (pick(window) for window in self.windows)
        return np.array([np.nan if value is None else value for value in values], np.float64)

    def mean(self, pick: Pick, weight: Pick) -> Column:
        """Return the mean of ``pick`` over each group, its windows weighted by ``weight``."""
        values = self._column(pick)
        weights = np.where(np.isfinite(values), self._column(weight), 0.0)
        total = self._add(weights)
        means: Column = np.divide(
            self._add(np.nan_to_num(values) * weights), total, np.full_like(total, np.nan), where=total > 0
        )
        return means

    def total(self, pick: Pick) -> Column:
        """Return the sum of ``pick`` over each group."""
        return self._add(np.nan_to_num(self._column(pick)))

    def last(self, pick: Pick) -> Column:
        """Return ``pick`` as it stood at the end of each group."""
        values: Column = self._column(pick)[self._ends]
        return values

    def _add(self, values: Column) -> Column:
        sums: Column = np.add.reduceat(values, self._starts) if len(values) else values
        return sums


def final(values: Column) -> float:
    """Return the last value that is known, NaN where none is.

    >>> final(np.array([0.1, 0.2, np.nan]))
    0.2
    """
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else float("nan")


def peak(*columns: Column) -> float:
    """Return the largest value that is known, 0 where none is.

    >>> peak(np.array([0.1, 0.3]), np.array([np.nan]))
    0.3
    """
    values = np.concatenate(columns)
    return float(np.max(values[np.isfinite(values)], initial=0.0))
