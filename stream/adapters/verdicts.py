"""The verdict on a row of text: an event's numbers, or the fault that makes it a rejection.

Compiled code that reads numbers, times and UTF-8 straight from the bytes and never raises. All of it lives
in this one module, as a compiled function is only compiled anew when its own file changes.
"""

from typing import Any, Final

import numpy as np
from numba import njit

from stream.core.event import MAX_ID_BYTES

TIMESTAMP: Final = 2
WEIGHT: Final = 3

REASONS: Final = (
    "",
    "malformed row",
    "invalid UTF-8",
    "missing user id",
    "missing item id",
    "missing timestamp",
    "id too long",
    "unparseable timestamp",
    "unparseable weight",
    "weight not positive",
    "tombstone",
    "record too large",
    "wrong schema",
)
"""Why a row is refused, by fault code; code 0 is a good row."""
MALFORMED, INVALID_UTF8, MISSING_USER = 1, 2, 3
_TOO_LONG, _BAD_TIMESTAMP, BAD_WEIGHT, NOT_POSITIVE = 6, 7, 8, 9
TOMBSTONE, TOO_LARGE, WRONG_SCHEMA = 10, 11, 12

_POWERS: Final = 10 ** np.arange(19, dtype=np.int64)
_POWERS_REAL: Final = 10.0 ** np.arange(23)  # the powers of ten that float64 holds exactly


@njit(cache=True, nogil=True)
def judge(data: Any, start: Any, length: Any, fault: Any, timestamp_ms: Any, weight: Any) -> None:
    """Fill in the fault of each row without one, and the time and weight of the good rows (others: anything).

    ``data``, ``start`` and ``length`` are as in :class:`~stream.adapters.columns.TextColumns`; ``weight``
    comes in as ones.
    """
    for i in range(len(fault)):
        if fault[i] == 0:
            fault[i] = _judge_row(data, start, length, i, timestamp_ms, weight)


@njit(cache=True, nogil=True)
def _judge_row(data: Any, start: Any, length: Any, i: Any, timestamp_ms: Any, weight: Any) -> Any:
    for field in range(3):
        if length[field, i] <= 0:
            return MISSING_USER + field
    for field in range(2):
        if length[field, i] > MAX_ID_BYTES:
            return _TOO_LONG
        if not _is_utf8(data, start[field, i], start[field, i] + length[field, i]):
            return INVALID_UTF8
    begin, end = _strip(data, start[TIMESTAMP, i], start[TIMESTAMP, i] + length[TIMESTAMP, i])
    is_number, mantissa, exponent = _decimal(data, begin, end)
    if is_number:
        is_time, ms = _epoch_ms(mantissa, exponent)
    else:
        is_time, ms = _iso_ms(data, begin, end)
    if not is_time:
        return _BAD_TIMESTAMP
    timestamp_ms[i] = ms
    if length[WEIGHT, i] > 0:
        begin, end = _strip(data, start[WEIGHT, i], start[WEIGHT, i] + length[WEIGHT, i])
        is_number, mantissa, exponent = _decimal(data, begin, end)
        if not is_number:
            return BAD_WEIGHT
        value = np.float32(_real(mantissa, exponent))
        if not 0 < value < np.inf:
            return NOT_POSITIVE
        weight[i] = value
    return 0


@njit(cache=True, nogil=True)
def _strip(data: Any, begin: Any, end: Any) -> Any:
    """Return (begin, end) without the white space at both ends."""
    while begin < end and data[begin] <= 32:
        begin += 1
    while begin < end and data[end - 1] <= 32:
        end -= 1
    return begin, end


@njit(cache=True, nogil=True)
def _is_utf8(data: Any, p: Any, end: Any) -> Any:
    """Say whether the bytes are well formed (Unicode, table 3-7): no overlong forms, no surrogates."""
    while p < end:
        lead = data[p]
        p += 1
        if lead < 0x80:
            continue
        if lead < 0xC2 or lead > 0xF4:
            return False
        low, high = 0x80, 0xBF
        if lead == 0xE0:
            low = 0xA0
        elif lead == 0xED:
            high = 0x9F
        elif lead == 0xF0:
            low = 0x90
        elif lead == 0xF4:
            high = 0x8F
        tail = 1 + (lead >= 0xE0) + (lead >= 0xF0)
        if p + tail > end or not low <= data[p] <= high:
            return False
        for q in range(p + 1, p + tail):
            if not 0x80 <= data[q] <= 0xBF:
                return False
        p += tail
    return True


@njit(cache=True, nogil=True)
def _decimal(data: Any, p: Any, end: Any) -> Any:
    """Read ``[+-]digits[.digits][e[+-]digits]`` as (is one, mantissa, exponent of ten), keeping 18 digits."""
    mantissa, exponent, num_digits, is_fraction = np.int64(0), np.int64(0), 0, False
    negative = p < end and data[p] == ord("-")
    if negative or (p < end and data[p] == ord("+")):
        p += 1
    while p < end:
        digit = np.int64(data[p]) - ord("0")
        if 0 <= digit <= 9:
            num_digits += 1
            if mantissa < _POWERS[17]:
                mantissa = mantissa * 10 + digit
                exponent -= is_fraction
            else:
                exponent += not is_fraction
        elif data[p] == ord(".") and not is_fraction:
            is_fraction = True
        else:
            break
        p += 1
    if num_digits and p < end and data[p] | 32 == ord("e"):
        is_power, power, p = _power(data, p + 1, end)
        exponent += power
    else:
        is_power = num_digits > 0
    return is_power and p == end, -mantissa if negative else mantissa, exponent


@njit(cache=True, nogil=True)
def _power(data: Any, p: Any, end: Any) -> Any:
    """Read ``[+-]digits`` at p as (is one, value, where it ends); huge values are cut."""
    negative = p < end and data[p] == ord("-")
    if negative or (p < end and data[p] == ord("+")):
        p += 1
    value, begin = np.int64(0), p
    while p < end and ord("0") <= data[p] <= ord("9"):
        value = min(value * 10 + np.int64(data[p]) - ord("0"), np.int64(9999))
        p += 1
    return p > begin, -value if negative else value, p


@njit(cache=True, nogil=True)
def _real(mantissa: Any, exponent: Any) -> Any:
    """Return mantissa * 10^exponent as float64."""
    if mantissa == 0:
        return 0.0
    if -len(_POWERS_REAL) < exponent < 0:
        return mantissa / _POWERS_REAL[-exponent]
    if 0 <= exponent < len(_POWERS_REAL):
        return mantissa * _POWERS_REAL[exponent]
    return mantissa * 10.0**exponent


@njit(cache=True, nogil=True)
def _epoch_ms(mantissa: Any, exponent: Any) -> Any:
    """Return (is a time, milliseconds) of a number since the epoch, its unit told by its size."""
    size = abs(_real(mantissa, exponent))
    if size < 1e11:
        exponent += 3
    elif 1e14 <= size < 1e17:
        exponent -= 3
    elif 1e17 <= size < 1e19:
        exponent -= 6
    elif not size < 1e14:
        return False, np.int64(0)
    if mantissa == 0 or exponent < -18:
        return True, np.int64(-1 if mantissa < 0 else 0)
    if exponent < 0:
        return True, mantissa // _POWERS[-exponent]
    return True, mantissa * _POWERS[exponent]


@njit(cache=True, nogil=True)
def _digits(data: Any, p: Any, n: Any, end: Any) -> Any:
    """Return the number that the n bytes at p spell, -1 where they are not all digits."""
    if p + n > end:
        return -1
    value = np.int64(0)
    for q in range(p, p + n):
        if not ord("0") <= data[q] <= ord("9"):
            return -1
        value = value * 10 + (np.int64(data[q]) - ord("0"))
    return value


@njit(cache=True, nogil=True)
def _iso_ms(data: Any, p: Any, end: Any) -> Any:
    """Return (is a time, milliseconds) of ``YYYY-MM-DD[(T| )HH:MM[:SS[.f]]][ ][Z|UTC|+HH[[:]MM]]``."""
    year, month, day = _digits(data, p, 4, end), _digits(data, p + 5, 2, end), _digits(data, p + 8, 2, end)
    if year < 0 or month < 0 or day < 0 or data[p + 4] != ord("-") or data[p + 7] != ord("-"):
        return False, np.int64(0)
    if not 1 <= month <= 12 or not 1 <= day <= _days_in_month(year, month):
        return False, np.int64(0)
    ms = _days_since_epoch(year, month, day) * 86_400_000
    p += 10
    if p == end:
        return True, ms
    if data[p] != ord("T") and data[p] != ord("t") and data[p] != ord(" "):
        return False, np.int64(0)
    is_clock, of_day, p = _clock_ms(data, p + 1, end)
    is_zone, zone = _zone_ms(data, p, end)
    return is_clock and is_zone, ms + of_day - zone


@njit(cache=True, nogil=True)
def _clock_ms(data: Any, p: Any, end: Any) -> Any:
    """Read ``HH:MM[:SS[.f]]`` at p as (is one, milliseconds of the day, where it ends)."""
    hour, minute, second, ms = _digits(data, p, 2, end), _digits(data, p + 3, 2, end), 0, np.int64(0)
    if not 0 <= hour <= 23 or not 0 <= minute <= 59 or data[p + 2] != ord(":"):
        return False, 0, p
    p += 5
    if p < end and data[p] == ord(":"):
        second = _digits(data, p + 1, 2, end)
        if not 0 <= second <= 60:  # 60 is a leap second
            return False, 0, p
        p += 3
        if p < end and (data[p] == ord(".") or data[p] == ord(",")):
            p, unit = p + 1, 100
            if _digits(data, p, 1, end) < 0:
                return False, 0, p
            while p < end and ord("0") <= data[p] <= ord("9"):
                ms += unit * (np.int64(data[p]) - ord("0"))
                p, unit = p + 1, unit // 10
    return True, ((hour * 60 + minute) * 60 + second) * 1000 + ms, p


@njit(cache=True, nogil=True)
def _zone_ms(data: Any, p: Any, end: Any) -> Any:
    """Return (is one, milliseconds east of UTC) of the zone that fills the bytes from p on; none is UTC."""
    if p < end and data[p] == ord(" "):
        p += 1
    if p == end or (p + 1 == end and data[p] | 32 == ord("z")):
        return True, 0
    if p + 3 == end and data[p] == ord("U") and data[p + 1] == ord("T") and data[p + 2] == ord("C"):
        return True, 0
    if data[p] != ord("+") and data[p] != ord("-"):
        return False, 0
    hour, minute, after = _digits(data, p + 1, 2, end), 0, p + 3
    if after != end:
        after += data[after] == ord(":") if after < end else 0
        minute = _digits(data, after, 2, end)
        after += 2
    if not 0 <= hour <= 23 or not 0 <= minute <= 59 or after != end:
        return False, 0
    east = (hour * 60 + minute) * 60_000
    return True, east if data[p] == ord("+") else -east


@njit(cache=True, nogil=True)
def _days_in_month(year: Any, month: Any) -> Any:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


@njit(cache=True, nogil=True)
def _days_since_epoch(year: Any, month: Any, day: Any) -> Any:
    """Count the days from 1970-01-01 (Gregorian), in years that begin in March: leap days come last."""
    if month <= 2:
        year -= 1
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return year * 365 + year // 4 - year // 100 + year // 400 + day_of_year - 719_468
