"""The fast logarithm and exponential, against float64, in units in the last place."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray

from stream.core.numeric import FAST_MATH, exp32, log32

Floats = NDArray[np.float32]

SMALLEST_NORMAL, LARGEST = float(np.finfo(np.float32).smallest_normal), float(np.finfo(np.float32).max)
MAX_ULP = 2.0


# With the flags of the kernels, which let the compiler reorder sums that were ordered for precision.
@njit(fastmath=FAST_MATH)
def log_all(x: Any, out: Any) -> None:
    for i in range(len(x)):
        out[i] = log32(x[i])


@njit(fastmath=FAST_MATH)
def exp_all(x: Any, out: Any) -> None:
    for i in range(len(x)):
        out[i] = exp32(x[i])


def apply(kernel: Callable[[Floats, Floats], None], *x: float) -> Floats:
    array = np.array(x, np.float32)
    out = np.empty_like(array)
    kernel(array, out)
    return out


def worst_ulp(kernel: Callable[[Floats, Floats], None], exact: Callable[[Any], Any], x: Floats) -> float:
    """Return the largest error over ``x``, in units in the last place of the exact result."""
    out = np.empty_like(x)
    kernel(x, out)
    expected = exact(x.astype(np.float64))
    return float(np.max(np.abs(out - expected) / np.spacing(np.abs(expected).astype(np.float32))))


def floats_between(low: float, high: float, step: int) -> Floats:
    """Return every ``step``-th float32 of a positive range."""
    begin, end = np.array([low, high], np.float32).view(np.int32).tolist()
    return np.arange(begin, end, step, dtype=np.int32).view(np.float32)


def test_the_logarithm_is_true_over_all_normal_numbers() -> None:
    assert worst_ulp(log_all, np.log, floats_between(SMALLEST_NORMAL, LARGEST, 4999)) < MAX_ULP


def test_the_logarithm_is_true_on_both_sides_of_one() -> None:
    assert worst_ulp(log_all, np.log, floats_between(0.5, 1.0, 61)) < MAX_ULP
    assert worst_ulp(log_all, np.log, floats_between(1.0, 2.0, 61)[1:]) < MAX_ULP
    assert apply(log_all, 1.0) == 0.0


def test_the_exponential_is_true_from_one_clamp_to_the_other() -> None:
    x = np.linspace(-87, 88, 400_001).astype(np.float32)
    assert worst_ulp(exp_all, np.exp, x) < MAX_ULP


def test_the_exponential_is_true_near_zero() -> None:
    tiny = floats_between(1e-30, 1.0, 9973)
    assert worst_ulp(exp_all, np.exp, np.concatenate([tiny, -tiny])) < MAX_ULP
    assert apply(exp_all, 0.0) == 1.0


@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.floats(SMALLEST_NORMAL, LARGEST, width=32).filter(lambda x: x != 1.0))
def test_any_logarithm_is_true(x: float) -> None:
    assert worst_ulp(log_all, np.log, np.array([x], np.float32)) < MAX_ULP


@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.floats(-87, 88, width=32))
def test_any_exponential_is_true(x: float) -> None:
    assert worst_ulp(exp_all, np.exp, np.array([x], np.float32)) < MAX_ULP


@pytest.mark.parametrize(("beyond", "clamp"), [(-87.5, -87.0), (-1e30, -87.0), (89.0, 88.0), (1e30, 88.0)])
def test_beyond_its_range_the_exponential_stays_at_the_clamp(beyond: float, clamp: float) -> None:
    assert apply(exp_all, beyond) == apply(exp_all, clamp)
