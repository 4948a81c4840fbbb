"""Families of size curves: closed forms that say what the textbook says, and curves that people write."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.core.families import (
    FAMILIES,
    GROUPS,
    LARGEST_LEVEL,
    RANK_GROUPS,
    Curve,
    FrequencyHistogram,
    distribution_of,
    is_legal,
    parse_curve,
)
from stream.errors import UsageError
from tests.core.curves import SMOOTH, curves, levels, quantile

FALLING = (8.0, 4.0, 4.0, 2.0, 1.0)


@given(curve=curves(SMOOTH), u=st.floats(0.001, 0.999))
@settings(derandomize=True, deadline=None)
def test_survival_undoes_the_textbook_quantile(curve: Curve, u: float) -> None:
    assert distribution_of(curve).survival(np.array([quantile(curve, u)]))[0] == pytest.approx(1 - u, abs=1e-9)


@given(curve=curves(), z=st.floats(0.0, 20.0))
@settings(derandomize=True, deadline=None)
def test_the_limited_mean_is_the_integral_of_survival(curve: Curve, z: float) -> None:
    frequencies = FrequencyHistogram(np.array([9.0, 4.0, 1.0, 0.0]), np.array([1, 2, 3, 4]))
    distribution = distribution_of(curve, frequencies)
    num_steps = 20_000
    midpoints = np.linspace(0.5, num_steps - 0.5, num_steps) * (z / num_steps)
    integral = distribution.survival(midpoints).mean() * z
    assert distribution.limited_mean(z) == pytest.approx(integral, abs=2 * z / num_steps + 1e-9)


@given(shape=levels(LARGEST_LEVEL))
@settings(derandomize=True, deadline=None)
def test_as_many_ranks_reach_a_groups_level_as_stand_there_or_higher(shape: tuple[float, ...]) -> None:
    n = 64
    by_rank = np.array([quantile(Curve(GROUPS, shape), 1 - (rank + 0.5) / n) for rank in range(n)])
    z = np.array([0.0, *shape, *(np.nextafter(level, np.inf) for level in shape)])
    naive = [(by_rank >= level).mean() for level in z]
    assert distribution_of(Curve(GROUPS, shape)).survival(z).tolist() == naive


@given(curve=curves())
@settings(derandomize=True, deadline=None)
def test_every_curve_in_range_is_legal(curve: Curve) -> None:
    assert is_legal(curve)


@pytest.mark.parametrize(
    "curve",
    [
        Curve("powerlaw", 0.0),
        Curve("pareto", 31.0),
        Curve("uniform", math.nan),
        Curve("zipf", 1.0),
        Curve("powerlaw", FALLING),
        Curve(GROUPS),
        Curve(GROUPS, ()),
        Curve(GROUPS, FALLING[1:]),
        Curve(GROUPS, (*FALLING, 1.0)),
        Curve(GROUPS, FALLING[::-1]),
        Curve(GROUPS, (*FALLING[:-1], 0.5)),
        Curve(GROUPS, (2 * LARGEST_LEVEL, *FALLING[1:])),
        Curve(GROUPS, (math.inf, *FALLING[1:])),
        Curve(GROUPS, (*FALLING[:2], math.nan, *FALLING[3:])),
    ],
)
def test_a_curve_out_of_range_is_not(curve: Curve) -> None:
    assert is_legal(Curve(GROUPS, FALLING))
    assert not is_legal(curve)


def test_each_group_ends_at_twice_the_share_of_the_ranks_and_the_tail_begins_half_way() -> None:
    ends = np.array([*RANK_GROUPS, 1.0])
    assert (ends[1:] == 2 * ends[:-1]).all()


def test_a_curve_is_read_with_and_without_its_shape() -> None:
    assert parse_curve("powerlaw:0.5") == Curve("powerlaw", 0.5)
    assert parse_curve("frequency:0.75") == Curve("frequency", 0.75)
    assert parse_curve("uniform") == Curve("uniform")
    for name, family in FAMILIES.items():
        assert parse_curve(name) == Curve(name, family.default_shape)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("zipf:2", "write one of uniform, frequency, powerlaw"),
        ("", "write one of uniform"),
        ("powerlaw:31", "write a number from 0.1 to 30"),
        ("powerlaw:", "write a number from 0.1 to 30"),
        ("pareto:steep", "write a number from 1 to 30"),
        ("lognormal:nan", "write a number from 0.1 to 2"),
        ("uniform:2", "write 'uniform' alone"),
        ("groups", "write one of uniform"),
    ],
)
def test_a_curve_that_cannot_be_read_is_refused_in_one_line_with_its_remedy(text: str, remedy: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_curve(text)
    assert remedy in str(refusal.value)
    assert repr(text) in str(refusal.value)
    assert "\n" not in str(refusal.value)
