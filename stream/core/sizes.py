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
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final, NamedTuple

import numpy as np
from numba import vectorize
from numpy.typing import NDArray

from stream.errors import UsageError

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

MAX_SIZE: Final = 255
"""The largest size a row can have, in words: a row's size is stored in one byte."""

_SCALE_STEPS: Final = 44
"""Halvings of the scale's exponent, from -64 to 64: they leave a relative error of 5e-12."""
_ROUNDING_STEPS: Final = 60
_ROUNDING_TIE: Final = 5e-8
"""Fractional parts closer than this count as tied."""


class Curve(NamedTuple):
    """A family of size curves and its one shape parameter (see :data:`FAMILIES`); budgets set the scale."""

    family: str
    shape: float = 1.0


class SizeDecision(NamedTuple):
    """What a policy decides for a window: how the words are split between the sides, and how within each."""

    users_share: float
    """Share of the arena's payload words that users get, in [0, 1]."""
    users: Curve
    items: Curve


class SizeBounds(NamedTuple):
    """The sizes an entity may have, in words: 0 <= minimum <= maximum <= :data:`MAX_SIZE`."""

    minimum: int
    maximum: int


class FrequencyHistogram(NamedTuple):
    """How many entities have which frequency; what the ``frequency`` family needs, and only that one."""

    value: Floats
    """The distinct frequencies, >= 0, strictly decreasing."""
    count: Counts  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    """How many entities have each, >= 1."""


class Family(ABC):
    """A distribution Z >= 0 of unscaled sizes, with one shape parameter; the budget sets the scale."""

    shape_range: ClassVar[tuple[float, float]]
    """The smallest and the largest legal shape."""
    default_shape: ClassVar[float]
    description: ClassVar[str]
    """One line for a person."""

    def __init__(self, shape: float, frequencies: FrequencyHistogram | None = None) -> None:
        self.shape = shape
        self.frequencies = frequencies

    @abstractmethod
    def survival(self, z: Floats) -> Floats:
        """Return P(Z >= z) for each z >= 0."""

    @abstractmethod
    def limited_mean(self, z: float) -> float:
        """Return the limited expected value E[min(Z, z)] of one z >= 0."""


class _Uniform(Family):
    """The same size for every entity: Z = 1. The shape says nothing."""

    shape_range = (1.0, 1.0)
    default_shape = 1.0
    description = "the same size for all; has no shape"

    def survival(self, z: Floats) -> Floats:
        return (z <= 1.0).astype(np.float64)

    def limited_mean(self, z: float) -> float:
        return min(z, 1.0)


class _Frequency(Family):
    """Sizes proportional to frequency ** shape: Z is the entities' own histogram.

    The popularity heuristic of mixed-dimension embeddings, whose "temperature" is the shape (Ginart et al.,
    ISIT 2021). The default is the square root, because proportional sizes leave a long tail with nothing.
    """

    shape_range = (0.0, 1.0)
    default_shape = 0.5
    description = "proportional to frequency**shape: 0 all equal, 1 proportional"

    def __init__(self, shape: float, frequencies: FrequencyHistogram | None = None) -> None:
        super().__init__(shape, frequencies)
        assert frequencies is not None, "the frequency family needs the histogram of frequencies"
        value, count = frequencies
        assert value[-1] >= 0, value[-1]
        assert (np.diff(value) < 0).all(), "frequencies must be strictly decreasing"
        # Relative to the top one, so that the scale is of the order of a size; all zeros are one tie.
        z = (value / value[0] if value[0] > 0 else np.ones_like(value)) ** shape
        self._descent = -z
        self._entities = np.concatenate(([0.0], np.cumsum(count)))
        self._mass = np.concatenate(([0.0], np.cumsum(z * count)))

    def survival(self, z: Floats) -> Floats:
        share: Floats = self._entities[self._descent.searchsorted(-z, side="right")] / self._entities[-1]
        return share

    def limited_mean(self, z: float) -> float:
        reaching = self._descent.searchsorted(-z, side="right")
        limited = z * self._entities[reaching] + self._mass[-1] - self._mass[reaching]
        return float(limited / self._entities[-1])


class _PowerLaw(Family):
    """SCALL's power law (CIKM 2024): Z = U**(1/a), size(r of n) = mean (1 + 1/a)(1 - r/n)**(1/a); shape a."""

    shape_range = (0.1, 30.0)
    default_shape = 1.0
    description = "power law (1 - r/n)**(1/shape): 0.1 steep, 1 a straight line, 30 nearly flat"

    def survival(self, z: Floats) -> Floats:
        return 1.0 - np.minimum(z, 1.0) ** self.shape

    def limited_mean(self, z: float) -> float:
        z = min(z, 1.0)
        return z - math.pow(z, self.shape + 1.0) / (self.shape + 1.0)


class _Pareto(Family):
    """SCALL's Pareto: Z = (1 - U)**(-1/b), Z >= 1; the shape is the tail index b."""

    shape_range = (1.0, 30.0)
    default_shape = 2.0
    description = "Pareto of tail index shape: 1 a towering head over a flat tail, 30 nearly flat"

    def survival(self, z: Floats) -> Floats:
        return np.maximum(z, 1.0) ** -self.shape

    def limited_mean(self, z: float) -> float:
        if z <= 1.0:
            return z
        if self.shape == 1.0:
            return 1.0 + math.log(z)
        return 1.0 - math.expm1((1.0 - self.shape) * math.log(z)) / (self.shape - 1.0)


class _TruncatedNormal(Family):
    """SCALL's truncated normal: Z is standard normal, cut to [0, b] as in BET's released code; shape b."""

    shape_range = (0.1, 10.0)
    default_shape = 2.0
    description = "standard normal cut to [0, shape]: 0.1 a straight line, 10 a half-normal curve"

    def survival(self, z: Floats) -> Floats:
        tails: Floats = _normal_tails(np.minimum(z, self.shape))
        cut = _normal_tail(self.shape)
        return (tails - cut) / (0.5 - cut)

    def limited_mean(self, z: float) -> float:
        z, cut = min(z, self.shape), _normal_tail(self.shape)
        density_drop = -math.expm1(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
        return (z * (_normal_tail(z) - cut) + density_drop) / (0.5 - cut)


class _TruncatedExponential(Family):
    """BET's truncated exponential (WSDM 2024): Z is exponential of rate 1, cut to [0, b]; shape b."""

    shape_range = (0.1, 10.0)
    default_shape = 2.0
    description = "exponential cut to [0, shape]: 0.1 a straight line, 10 exponential"

    def survival(self, z: Floats) -> Floats:
        cut = math.exp(-self.shape)
        return (np.exp(-np.minimum(z, self.shape)) - cut) / (1.0 - cut)

    def limited_mean(self, z: float) -> float:
        z, cut = min(z, self.shape), math.exp(-self.shape)
        return (-math.expm1(-z) - z * cut) / (1.0 - cut)


class _LogNormal(Family):
    """BET's log-normal (WSDM 2024): ln Z is normal of mean 0; the shape is its standard deviation."""

    shape_range = (0.1, 2.0)
    default_shape = 0.5
    description = "log-normal of standard deviation shape: 0.1 nearly flat, 2 steep"

    def survival(self, z: Floats) -> Floats:
        # The smallest normal number stands in for 0 under the logarithm.
        tails: Floats = _normal_tails(np.log(np.maximum(z, np.finfo(np.float64).tiny)) / self.shape)
        return tails

    def limited_mean(self, z: float) -> float:
        if z <= 0.0:
            return 0.0
        d = math.log(z) / self.shape
        below = math.exp(0.5 * self.shape * self.shape) * _normal_tail(self.shape - d)
        return below + z * _normal_tail(d)


FAMILIES: Final[Mapping[str, type[Family]]] = {
    "uniform": _Uniform,
    "frequency": _Frequency,
    "powerlaw": _PowerLaw,
    "pareto": _Pareto,
    "truncnormal": _TruncatedNormal,
    "truncexp": _TruncatedExponential,
    "lognormal": _LogNormal,
}
"""The families of size curves, by the name they are asked for by."""


def parse_curve(text: str) -> Curve:
    """Return the curve that a person wrote as ``family`` or ``family:shape``.

    Raises :class:`UsageError` for an unknown family, and for a shape that is out of its range or no number.

    >>> parse_curve("powerlaw:0.5")
    Curve(family='powerlaw', shape=0.5)
    >>> parse_curve("uniform")
    Curve(family='uniform', shape=1.0)
    """
    name, colon, written = text.partition(":")
    family = FAMILIES.get(name)
    if family is None:
        raise UsageError(f"policy {text!r}: no such size curve; write one of {', '.join(FAMILIES)}")
    if not colon:
        return Curve(name, family.default_shape)
    low, high = family.shape_range
    try:
        shape = float(written)
    except ValueError:
        shape = math.nan
    if not low <= shape <= high:
        remedy = f"a number from {low:g} to {high:g} after the colon" if low < high else f"{name!r} alone"
        raise UsageError(f"policy {text!r}: {written!r} is no shape of {name}; write {remedy}")
    return Curve(name, shape)


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
    low, high = FAMILIES[curve.family].shape_range
    assert low <= curve.shape <= high, f"{curve} is outside {low:g} to {high:g}"
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
        family = FAMILIES[curve.family](curve.shape, frequencies)
        at_least[bounds.minimum + 1 : -1] = _share_out(family, num_entities, spare_words, bounds)
    return at_least


def sizes_by_rank(at_least: Counts) -> Counts:
    """Return the size in words of each rank, int64, most frequent first: O(n).

    >>> sizes_by_rank(np.array([3, 3, 1, 0])).tolist()
    [2, 1, 1]
    """
    num_of_size = at_least[:-1] - at_least[1:]
    return np.repeat(np.arange(len(num_of_size), dtype=np.int64)[::-1], num_of_size[::-1])


def _share_out(family: Family, num_entities: int, spare_words: int, bounds: SizeBounds) -> Counts:
    """Return ``at_least`` of the sizes minimum + 1 to maximum, spending ``spare_words`` over the minimum.

    One number, the generosity, leads from nothing for anybody to the maximum for all and never takes back.
    Up to 0 the scale rises to its ideal and sizes are rounded down; from 0 to 1 rounding goes from down to
    up, by largest remainders; from 1 on the scale rises above its ideal. The middle stretch is the rule, the
    others serve where so few entities stand for Z that their midpoints miss its mean by more than rounding.
    """
    size = np.arange(bounds.minimum + 1, bounds.maximum + 1, dtype=np.float64)
    ideal_scale = _scale(family, bounds.minimum + spare_words / num_entities, bounds)

    def counts(generosity: float) -> Counts:
        scale = ideal_scale * min(1.0 + generosity, 1.0) / min(2.0 - generosity, 1.0)
        threshold = min(max(1.0 - generosity, 0.0), 1.0)
        # Rank r reaches z where its midpoint (r + 1/2) / n is within the share that survives to z.
        reaching = np.floor(num_entities * family.survival((size - 1.0 + threshold) / scale) + 0.5)
        return np.clip(reaching, 0, num_entities).astype(np.int64)

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


def _scale(family: Family, mean: float, bounds: SizeBounds) -> float:
    """Return the scale c with which E[clip(c Z, minimum, maximum)] is ``mean``."""
    low, high = -64.0, 64.0
    for _ in range(_SCALE_STEPS):
        middle = 0.5 * (low + high)
        c = math.exp2(middle)
        spread = family.limited_mean(bounds.maximum / c) - family.limited_mean(bounds.minimum / c)
        if bounds.minimum + c * spread < mean:
            low = middle
        else:
            high = middle
    return math.exp2(high)


def _normal_tail(z: float) -> float:
    """Return P(N >= z) of a standard normal variable."""
    return 0.5 * math.erfc(z * math.sqrt(0.5))


_normal_tails: Final = vectorize(cache=True)(_normal_tail)
