"""Every legal curve, and what its family says in a textbook."""

import math
from statistics import NormalDist

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.core.families import FAMILIES, GROUPS, LARGEST_LEVEL, RANK_GROUPS, Curve

Floats = NDArray[np.float64]

SMOOTH = ("powerlaw", "pareto", "truncnormal", "truncexp", "lognormal")
NORMAL = NormalDist()


def quantile(curve: Curve, u: float) -> float:
    """The textbook inverse of the distribution function, for the smooth families and for groups of ranks."""
    a = curve.shape
    if isinstance(a, tuple):
        return next((level for end, level in zip(RANK_GROUPS, a, strict=True) if 1 - u <= end), 1.0)
    if curve.family == "powerlaw":
        return float(u ** (1 / a))
    if curve.family == "pareto":
        return float((1 - u) ** (-1 / a))
    if curve.family == "truncnormal":
        return NORMAL.inv_cdf(0.5 + u * (NORMAL.cdf(a) - 0.5))
    if curve.family == "truncexp":
        return -math.log(1 - u * (1 - math.exp(-a)))
    assert curve.family == "lognormal"
    return math.exp(a * NORMAL.inv_cdf(u))


def quantiles_by_rank(curve: Curve, n: int) -> Floats:
    return np.array([quantile(curve, 1 - (rank + 0.5) / n) for rank in range(n)])


@st.composite
def curves(draw: st.DrawFn, families: tuple[str, ...] = (*FAMILIES, GROUPS)) -> Curve:
    name = draw(st.sampled_from(families))
    if name == GROUPS:
        return Curve(name, draw(levels(LARGEST_LEVEL)))
    low, high = FAMILIES[name].shape_range
    return Curve(name, draw(st.sampled_from((low, high)) | st.floats(low, high)))


def levels(largest: float) -> st.SearchStrategy[tuple[float, ...]]:
    """Levels of groups, ties and both ends included."""
    level = st.sampled_from((1.0, 2.0, largest)) | st.floats(1.0, largest)
    num = len(RANK_GROUPS)
    return st.lists(level, min_size=num, max_size=num).map(lambda drawn: tuple(sorted(drawn, reverse=True)))
