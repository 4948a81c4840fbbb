"""Figures as people read them: three digits that matter, and a unit."""

import math
from collections.abc import Mapping
from typing import Final

NOTHING: Final = "\N{EN DASH}"
"""Stands for a figure that there is not."""

_BINARY: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_DECIMAL: Final = ("", "k", "M", "B", "T")


def _three_digits(value: float) -> str:
    """Return ``value`` (below some thousands) with three digits, without zeros that say nothing."""
    decimals = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def number_text(value: float) -> str:
    """Return a plain number, as the ticks of an axis show it.

    >>> number_text(0.05), number_text(8.0), number_text(0.125)
    ('0.05', '8', '0.125')
    """
    return f"{value:.6g}"


def bytes_scale(most: float) -> tuple[float, str]:
    """Return the divisor and the name of the unit that suits amounts up to ``most`` bytes.

    >>> bytes_scale(8 * 2**20)
    (1048576.0, 'MiB')
    """
    power = 0
    while power + 1 < len(_BINARY) and most >= 1024.0 ** (power + 1):
        power += 1
    return 1024.0**power, _BINARY[power]


def bytes_text(num_bytes: float) -> str:
    """Return an amount of memory.

    >>> bytes_text(8 * 2**20), bytes_text(8_321_499), bytes_text(512)
    ('8 MiB', '7.94 MiB', '512 B')
    """
    divisor, unit = bytes_scale(abs(num_bytes))
    return f"{_three_digits(num_bytes / divisor)} {unit}"


def count_text(count: float | None) -> str:
    """Return a count, or a rate without its "per second".

    >>> count_text(999), count_text(61_234), count_text(1_000_209), count_text(None)
    ('999', '61.2k', '1M', '–')
    """
    if count is None or not math.isfinite(count):
        return NOTHING
    power = 0
    # 999.5 would be shown as 1000 of its unit.
    while power + 1 < len(_DECIMAL) and abs(count) >= 999.5:
        count /= 1000
        power += 1
    return _three_digits(count) + _DECIMAL[power]


def seconds_text(seconds: float) -> str:
    """Return a length of time.

    >>> seconds_text(0.0412), seconds_text(3.21), seconds_text(250), seconds_text(7_500)
    ('41.2 ms', '3.21 s', '4 min 10 s', '2 h 5 min')
    """
    if seconds < 0.9995:
        return f"{_three_digits(seconds * 1000)} ms"
    if seconds < 59.95:
        return f"{_three_digits(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def share_text(share: float | None) -> str:
    """Return a share of a whole, as a percentage.

    >>> share_text(0.9934), share_text(0.05), share_text(1), share_text(None)
    ('99.3%', '5%', '100%', '–')
    """
    return NOTHING if share is None or not math.isfinite(share) else f"{_three_digits(100 * share)}%"


def quality_text(quality: float | None) -> str:
    """Return a quality figure in [0, 1].

    >>> quality_text(0.08314), quality_text(None)
    ('0.0831', '–')
    """
    return NOTHING if quality is None or not math.isfinite(quality) else f"{quality:.4f}"


def ratio_text(value: float | None, reference: float | None) -> str | None:
    """Return how many times ``reference`` the value is; None where that says nothing.

    >>> ratio_text(0.0831, 0.0347), ratio_text(0.1, 0.0), ratio_text(None, 0.1)
    ('2.39×', None, None)
    """
    ratio = value / reference if value is not None and reference else math.nan
    return f"{_three_digits(ratio)}\N{MULTIPLICATION SIGN}" if math.isfinite(ratio) else None


def or_zero(value: float | None) -> float:
    """Return ``value``, 0 where it is not known: a bar of no length.

    >>> or_zero(0.5), or_zero(None), or_zero(math.nan)
    (0.5, 0.0, 0.0)
    """
    return value if value is not None and math.isfinite(value) else 0.0


def plural(count: int, noun: str) -> str:
    """Return a count and its noun.

    >>> plural(1, "window"), plural(20_000, "window")
    ('1 window', '20k windows')
    """
    return f"{count_text(count)} {noun}" if count == 1 else f"{count_text(count)} {noun}s"


def guard_text(trips: Mapping[str, int]) -> str:
    """Return in a sentence how often a policy's guard stepped in, the most frequent reason first; empty if never.

    >>> guard_text({"not finite": 1, "predicted drop": 3}), guard_text({})
    ("the policy's guard stepped in 4 times: predicted drop 3, not finite 1", '')
    """
    if not trips:
        return ""
    by_reason = sorted(trips.items(), key=lambda entry: (-entry[1], entry[0]))
    listed = ", ".join(f"{reason} {count_text(count)}" for reason, count in by_reason)
    return f"the policy's guard stepped in {plural(sum(trips.values()), 'time')}: {listed}"
