"""Logarithm and exponential in float32 that the compiler turns into vector code (after Cephes, logf and expf).

Both are within 2 units in the last place over the ranges used here; a call to the C library per value would cost more
than everything else in an event.
"""

from typing import Any, Final

import numpy as np
from numba import njit

FAST_MATH: Final = {"reassoc", "contract", "nsz", "arcp"}
"""Sums may be reordered, so that they vectorise; NaN and infinity keep their meaning."""

_f = np.float32


@njit(cache=True, nogil=True, inline="always")
def log32(x: Any) -> Any:
    """Return ln x for a normal float32 x > 0."""
    bits = _f(x).view(np.int32)
    exponent = (bits >> np.int32(23)) - np.int32(126)
    mantissa = np.int32((bits & np.int32(0x007FFFFF)) | np.int32(0x3F000000)).view(_f)
    small = mantissa < _f(0.70710678118654752440)
    exponent = np.int32(exponent - np.int32(1)) if small else np.int32(exponent)
    f = mantissa + mantissa - _f(1.0) if small else mantissa - _f(1.0)
    y = _f(7.0376836292e-2) * f - _f(1.1514610310e-1)
    y = y * f + _f(1.1676998740e-1)
    y = y * f - _f(1.2420140846e-1)
    y = y * f + _f(1.4249322787e-1)
    y = y * f - _f(1.6668057665e-1)
    y = y * f + _f(2.0000714765e-1)
    y = y * f - _f(2.4999993993e-1)
    y = y * f + _f(3.3333331174e-1)
    z = f * f
    e = _f(exponent)
    return f + (y * f * z - _f(2.12194440e-4) * e - _f(0.5) * z) + _f(0.693359375) * e


@njit(cache=True, nogil=True, inline="always")
def exp32(x: Any) -> Any:
    """Return e^x for float32 x, clamped to [-87, 88]."""
    x = min(max(_f(x), _f(-87.0)), _f(88.0))
    n = np.floor(x * _f(1.44269504088896341) + _f(0.5))
    r = x - n * _f(0.693359375) + n * _f(2.12194440e-4)
    y = _f(1.9875691500e-4)
    y = y * r + _f(1.3981999507e-3)
    y = y * r + _f(8.3334519073e-3)
    y = y * r + _f(4.1665795894e-2)
    y = y * r + _f(1.6666665459e-1)
    y = y * r + _f(5.0000001201e-1)
    y = y * r * r + r + _f(1.0)
    return y * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(_f)
