"""Exact size plans: how a number of words is shared out among the entities of one side, by rank of frequency.

A plan is a curve from a family of distributions, scaled so that it spends the budget, cut to the bounds and
rounded by largest remainders. It is kept as ``at_least``, an int64 array of length ``maximum + 2``:

    at_least[s] = number of entities whose size is s words or more

so ``at_least[0]`` is the number of entities n, ``at_least[-1]`` is 0, the array never increases, and the
words spent are ``at_least[1:].sum()``. Rank 0 is the most frequent entity and rank r owns the largest s with
``at_least[s] > r``, which makes sizes fall with rank by construction. A plan costs O(maximum), however many
entities there are: counts come from closed-form survival functions, never from a loop over entities.

**Ideal.** Let Z be the family's distribution. The entity of rank r of n stands for the quantile at the
midpoint of its share, u = 1 - (r + 1/2) / n, and its ideal size is clip(c Q_Z(u), minimum, maximum). The
scale c is the one with which the mean E[clip(c Z, minimum, maximum)] is the budget per entity. That mean
needs no integration: it is minimum + c (E[min(Z, maximum / c)] - E[min(Z, minimum / c)]), and the *limited
expected value* E[min(Z, z)] has a closed form in every family (Klugman et al., "Loss Models", appendix A).

**Rounding.** Largest remainders (Hamilton's method): every ideal size is rounded down, and the words left
over go one each to the largest fractional parts, that is, to those from a threshold on, which is found by
bisection on closed-form counts. So each size is within one word of its ideal (only few entities, or a budget
within a hair of all bounds, need another scale). A rounding that rescales, a divisor method, would let a long
tail that rounds to nothing hand its words to the head. The price: when the budget grows by one word, a rank
may lose one ("Alabama paradox").
"""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from stream.core.families import (
    FAMILIES,
    Counts,
    Curve,
    Distribution,
    FrequencyHistogram,
    distribution_of,
    is_legal,
    parse_curve,
)
from stream.core.stats import SizeSummary

__all__ = [
    "FAMILIES",
    "MAX_SIZE",
    "Curve",
    "FrequencyHistogram",
    "SizeBounds",
    "SizeDecision",
    "is_legal",
    "parse_curve",
    "plan_sizes",
    "sizes_by_rank",
    "summarise_sizes",
]

MAX_SIZE: Final = 255
"""The largest size a row can have, in words: a row's size is stored in one byte."""
_QUANTILES: Final = {"p10": 0.1, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99}

_SCALE_STEPS: Final = 44
"""Halvings of the scale's exponent, from -64 to 64: they leave a relative error of 5e-12."""
_ROUNDING_STEPS: Final = 60
_ROUNDING_TIE: Final = 5e-8
"""Fractional parts closer than this count as tied."""


class SizeDecision(NamedTuple):
    """What a policy decides for a window: how the words are split between the sides, and how within each."""

    users_share: float
    """Share of the arena's payload words that users get, in [0, 1]."""
    users: Curve
    items: Curve

    def state(self) -> list[Any]:
        """Return the decision fit for JSON.

        >>> SizeDecision(0.5, Curve("uniform"), Curve("groups", (4.0, 2.0, 2.0, 1.0, 1.0))).state()
        [0.5, ['uniform', 1.0], ['groups', [4.0, 2.0, 2.0, 1.0, 1.0]]]
        """
        curves = (self.users, self.items)
        return [self.users_share, *([name, list(s) if isinstance(s, tuple) else s] for name, s in curves)]

    @classmethod
    def from_state(cls, state: Sequence[Any]) -> Self:
        """Return the decision that :meth:`state` gave, even where it has been through JSON."""
        share, *curves = state
        return cls(share, *(Curve(name, tuple(s) if isinstance(s, list) else s) for name, s in curves))


class SizeBounds(NamedTuple):
    """The sizes an entity may have, in words: 0 <= minimum <= maximum <= :data:`MAX_SIZE`."""

    minimum: int
    maximum: int


def plan_sizes(
    curve: Curve,
    num_entities: int,
    budget_words: int,
    bounds: SizeBounds,
    frequencies: FrequencyHistogram | None = None,
) -> Counts:
    """Return the size plan ``at_least`` (see the module's text): int64, of length ``bounds.maximum + 2``.

    The words spent are never above ``budget_words``. They are all of it, or ``bounds.maximum`` for everyone;
    where the budget cannot give everyone ``bounds.minimum``, the most frequent get the minimum and the others
    0, and less than ``bounds.minimum`` words stay unspent. ``frequencies`` is for the ``frequency`` family
    and must count ``num_entities`` entities. A pure function of its arguments.

    >>> at_least = plan_sizes(Curve("powerlaw", 1.0), 4, 10, SizeBounds(0, 8))
    >>> at_least.tolist()
    [4, 4, 3, 2, 1, 0, 0, 0, 0, 0]
    >>> sizes_by_rank(at_least).tolist()
    [4, 3, 2, 1]
    """
    assert is_legal(curve), f"{curve} is outside its family's range"
    assert 0 <= bounds.minimum <= bounds.maximum <= MAX_SIZE, bounds
    assert num_entities >= 0
    assert budget_words >= 0
    assert frequencies is None or int(frequencies.count.sum()) == num_entities

    at_least = np.zeros(bounds.maximum + 2, np.int64)
    at_least[0] = num_entities
    spare_words = budget_words - num_entities * bounds.minimum
    if spare_words < 0:
        at_least[1 : bounds.minimum + 1] = budget_words // bounds.minimum
    elif num_entities > 0:
        at_least[1 : bounds.minimum + 1] = num_entities
        distribution = distribution_of(curve, frequencies)
        at_least[bounds.minimum + 1 : -1] = _share_out(distribution, num_entities, spare_words, bounds)
    return at_least


def sizes_by_rank(at_least: Counts) -> Counts:
    """Return the size in words of each rank, int64, most frequent first: O(n).

    >>> sizes_by_rank(np.array([3, 3, 1, 0])).tolist()
    [2, 1, 1]
    """
    num_of_size = at_least[:-1] - at_least[1:]
    return np.repeat(np.arange(len(num_of_size), dtype=np.int64)[::-1], num_of_size[::-1])


def _share_out(distribution: Distribution, num_entities: int, spare_words: int, bounds: SizeBounds) -> Counts:
    """Return ``at_least`` of the sizes minimum + 1 to maximum, spending ``spare_words`` over the minimum.

    One number, the generosity, leads from nothing for anybody to the maximum for all and never takes back.
    Up to 0 the scale rises to its ideal and sizes are rounded down; from 0 to 1 rounding goes from down to
    up, by largest remainders; from 1 on the scale rises above its ideal. The middle stretch is the rule, the
    others serve where so few entities stand for Z that their midpoints miss its mean by more than rounding.
    """
    size = np.arange(bounds.minimum + 1, bounds.maximum + 1, dtype=np.float64)
    ideal_scale = _scale(distribution, bounds.minimum + spare_words / num_entities, bounds)

    def counts(generosity: float) -> Counts:
        scale = ideal_scale * min(1.0 + generosity, 1.0) / min(2.0 - generosity, 1.0)
        threshold = min(max(1.0 - generosity, 0.0), 1.0)
        # Rank r reaches z where its midpoint (r + 1/2) / n is within the share that survives to z.
        reaching = num_entities * distribution.survival((size + (threshold - 1.0)) / scale) + 0.5
        return np.minimum(reaching.astype(np.int64), num_entities)

    fewer, more = np.zeros(len(size), np.int64), np.full(len(size), num_entities, np.int64)
    low, high = -1.0, 2.0
    for step in range(_ROUNDING_STEPS):
        # Where one size alone is undecided, what is left over decides it.
        if high - low < _ROUNDING_TIE or np.count_nonzero(more != fewer) <= 1:
            break
        # Most answers lie between 0 and 1, where the words spent rise almost in a straight line.
        middle = float(step) if step < 2 else 0.5 * (low + high)
        if step % 2 and step > 2:
            lacking = (spare_words - fewer.sum()) / (more.sum() - fewer.sum())
            middle = low + (high - low) * min(max(lacking, 0.02), 0.98)
        trial = counts(middle)
        spent = trial.sum()
        if spent == spare_words:
            return trial
        if spent < spare_words:
            low, fewer = middle, trial
        else:
            high, more = middle, trial
    # What ties keep from being bisected goes to the smaller sizes first (so that at_least does not increase),
    # and to the more frequent. The maximum guards against a survival function's last bit.
    step = np.maximum(more - fewer, 0)
    left_over = spare_words - fewer.sum()
    fill: Counts = np.clip(left_over - (np.cumsum(step) - step), 0, step)
    return fewer + fill


def _scale(distribution: Distribution, mean: float, bounds: SizeBounds) -> float:
    """Return the scale c with which E[clip(c Z, minimum, maximum)] is ``mean``."""
    low, high = -64.0, 64.0
    for _ in range(_SCALE_STEPS):
        middle = 0.5 * (low + high)
        c = math.exp2(middle)
        spread = distribution.limited_mean(bounds.maximum / c) - distribution.limited_mean(bounds.minimum / c)
        if bounds.minimum + c * spread < mean:
            low = middle
        else:
            high = middle
    return math.exp2(high)


def summarise_sizes(histogram: NDArray[np.int64]) -> SizeSummary:
    """Return mean and quantiles (lower ones, so they are sizes that exist) of ``histogram[s]`` entities of size s.

    >>> summarise_sizes(np.array([0, 3, 0, 1])).quantiles["p50"]
    1
    """
    num = int(histogram.sum())
    if num == 0:
        return SizeSummary(0, 0.0, dict.fromkeys(("min", *_QUANTILES, "max"), 0), histogram.tolist())
    below = np.cumsum(histogram)
    ranks = np.maximum(1, np.ceil(np.array([0.0, *_QUANTILES.values(), 1.0]) * num))
    sizes = np.searchsorted(below, ranks)
    quantiles = dict(zip(("min", *_QUANTILES, "max"), sizes.tolist(), strict=True))
    return SizeSummary(num, float(np.arange(len(histogram)) @ histogram / num), quantiles, histogram.tolist())
