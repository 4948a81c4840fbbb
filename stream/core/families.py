"""Families of size curves: how sizes fall with rank, before a budget sets their scale.

Each is a distribution Z >= 0 of unscaled sizes, and the entity of rank r of n stands for its quantile at
u = 1 - (r + 1/2) / n. A size plan (:mod:`stream.core.sizes`) asks for two functions of it, which have closed forms in
every family: the survival function, and the *limited expected value* E[min(Z, z)] (Klugman et al., "Loss Models",
appendix A).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar, Final, NamedTuple

import numpy as np
from numba import vectorize
from numpy.typing import NDArray

from stream.errors import UsageError

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

GROUPS: Final = "groups"
"""The family whose shape is a vector: a level for each group of ranks."""
RANK_GROUPS: Final = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Shares of the ranks at which the groups end, from the head on; behind the last one is the tail.

Each is twice the one before: such steps follow a curve that is steep in the head about as well as one that is steep in
the tail.
"""
LARGEST_LEVEL: Final = 4.0 ** len(RANK_GROUPS)
"""The largest size of a group, relative to the tail's: as much as four times the next one's, from group to group."""


class Curve(NamedTuple):
    """A family of size curves and its shape; budgets set the scale.

    The shape is one number in the families that a person asks for (:data:`FAMILIES`). In the family :data:`GROUPS` it
    is a level for each group of :data:`RANK_GROUPS`: the size of the group's entities, relative to the tail's.

    >>> steps = Curve("groups", (8.0, 4.0, 4.0, 2.0, 1.0))
    """

    family: str
    shape: float | tuple[float, ...] = 1.0


class FrequencyHistogram(NamedTuple):
    """How many entities have which frequency; what the ``frequency`` family needs, and only that one."""

    value: Floats
    """The distinct frequencies, >= 0, strictly decreasing."""
    count: Counts  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    """How many entities have each, >= 1."""


class Distribution(ABC):
    """A distribution Z >= 0 of unscaled sizes; the budget sets the scale."""

    @abstractmethod
    def survival(self, z: Floats) -> Floats:
        """Return P(Z >= z) for each z >= 0."""

    @abstractmethod
    def limited_mean(self, z: float) -> float:
        """Return the limited expected value E[min(Z, z)] of one z >= 0."""


class Family(Distribution):
    """Distributions that differ in one number, the shape."""

    shape_range: ClassVar[tuple[float, float]]
    """The smallest and the largest legal shape."""
    default_shape: ClassVar[float]
    description: ClassVar[str]
    """One line for a person."""

    def __init__(self, shape: float, frequencies: FrequencyHistogram | None = None) -> None:
        self.shape = shape
        self.frequencies = frequencies


class _Steps(Distribution):
    """Finitely many sizes: ``reaching[i]`` of ``reaching[-1]`` entities have ``z[i]`` or more; z does not increase."""

    def __init__(self, z: Floats, reaching: Floats) -> None:
        self._descent = -z
        self._reaching = np.concatenate(([0.0], reaching))
        self._mass = np.concatenate(([0.0], np.cumsum(z * np.diff(self._reaching))))

    def survival(self, z: Floats) -> Floats:
        share: Floats = self._reaching[self._descent.searchsorted(-z, side="right")] / self._reaching[-1]
        return share

    def limited_mean(self, z: float) -> float:
        step = self._descent.searchsorted(-z, side="right")
        limited = z * self._reaching[step] + self._mass[-1] - self._mass[step]
        return float(limited / self._reaching[-1])


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
        self._steps = _Steps(z, np.cumsum(count).astype(np.float64))

    def survival(self, z: Floats) -> Floats:
        return self._steps.survival(z)

    def limited_mean(self, z: float) -> float:
        return self._steps.limited_mean(z)


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
"""The families of size curves that a person asks for, by name."""


def is_legal(curve: Curve) -> bool:
    """Return whether a curve can be planned: its shape is a number in its family's range, or a level for each group.

    Levels are from 1, the tail's, to :data:`LARGEST_LEVEL`, and never increase.

    >>> is_legal(Curve("groups", (8.0, 4.0, 4.0, 2.0, 1.0))), is_legal(Curve("groups", (2.0, 4.0, 4.0, 2.0, 1.0)))
    (True, False)
    >>> is_legal(Curve("powerlaw", 30.0)), is_legal(Curve("powerlaw", 31.0))
    (True, False)
    """
    family, shape = curve
    if isinstance(shape, tuple):
        is_falling = all(above >= below for above, below in pairwise((LARGEST_LEVEL, *shape, 1.0)))
        return family == GROUPS and len(shape) == len(RANK_GROUPS) and is_falling
    if family not in FAMILIES:
        return False
    low, high = FAMILIES[family].shape_range
    return low <= shape <= high


def distribution_of(curve: Curve, frequencies: FrequencyHistogram | None = None) -> Distribution:
    """Return the distribution of a curve that :func:`is_legal`; ``frequencies`` is for the ``frequency`` family."""
    family, shape = curve
    if isinstance(shape, tuple):
        return _Steps(np.array([*shape, 1.0]), np.array([*RANK_GROUPS, 1.0]))
    return FAMILIES[family](shape, frequencies)


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


def _normal_tail(z: float) -> float:
    """Return P(N >= z) of a standard normal variable."""
    return 0.5 * math.erfc(z * math.sqrt(0.5))


_normal_tails: Final = vectorize(cache=True)(_normal_tail)
