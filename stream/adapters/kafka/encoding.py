"""Rows of text as JSON records, the other way round from reading them."""

from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.adapters.columns import TextColumns
from stream.adapters.kafka.client import ProducedRecord

MAX_FIELD_BYTES: Final = 1 << 15
"""Where a field is cut: what is longer is no id, time or weight, and topics usually take records of up to 1 MiB."""
MAX_RAW_BYTES: Final = 1 << 18
"""Where a malformed row is cut."""

_NAMES: Final = np.frombuffer(b',"user":,"item":,"timestamp":,"weight":', np.uint8)
_NAME_BOUNDS: Final = np.array([0, 8, 16, 29, 39])
_MAX_ESCAPED: Final = 6
"""Bytes that one byte becomes at most."""
_MAX_EXACT_DIGITS: Final = 15
"""A decimal of so many digits comes back from float64 as it was."""
_MAX_WHOLE_DIGITS: Final = 19
_BACKSLASH, _QUOTE = ord("\\"), ord('"')
_CONTROL: Final = np.frombuffer(rb"\u00", np.uint8)
_HEX: Final = np.frombuffer(b"0123456789abcdef", np.uint8)

_Scalar = str | int | float | bool


class _Event(msgspec.Struct):
    user: _Scalar
    item: _Scalar
    timestamp: _Scalar


def encode(rows: TextColumns, timestamp_ms: int | None = None) -> list[ProducedRecord]:
    r"""Return a record for each row: the user's id as key, and a JSON object that reads as the row did.

    The object has the keys ``user``, ``item``, ``timestamp`` and ``weight`` of what the row has and is not empty. Ids
    are strings; timestamps and weights are numbers where they are plain decimals that float64 holds exactly, else
    strings. Bytes that are no UTF-8 stay as they are. The value of a malformed row is its text, and there is no key
    where there is no user. ``timestamp_ms`` replaces all timestamps, those of malformed rows excepted.

    >>> import pyarrow as pa
    >>> cells = [[b'seven "7"', None], [b"50", b"51"], [b"1506826800.5", b"2017-10-01"]]
    >>> rows = TextColumns.from_arrow([*(pa.array(c, pa.large_binary()) for c in cells), None], np.array([1, 2]))
    >>> for record in encode(rows):
    ...     print(record.key, record.value)
    b'seven "7"' b'{"user":"seven \\"7\\"","item":"50","timestamp":1506826800.5}'
    None b'{"item":"51","timestamp":"2017-10-01"}'
    """
    most = np.where(rows.fault != 0, MAX_RAW_BYTES, MAX_FIELD_BYTES)
    start, length = np.ascontiguousarray(rows.start), np.clip(rows.length, 0, most, dtype=np.int64)
    stamp = np.frombuffer(b"" if timestamp_ms is None else b"%d" % timestamp_ms, np.uint8)
    num_rows, names_bytes = rows.num_rows, len(_NAMES) + 2 * len(_NAME_BOUNDS)
    # The key is a copy of what is in the value, escaped.
    room = (_MAX_ESCAPED + 1) * int(length.sum()) + num_rows * (names_bytes + len(stamp))
    out, bounds = np.empty(room, np.uint8), np.zeros(2 * num_rows + 1, np.int64)
    _write_records(rows.data, start, length, np.ascontiguousarray(rows.fault), stamp, out, bounds)
    text = out[: bounds[-1]].tobytes()
    parts = [text[begin:end] for begin, end in pairwise(bounds.tolist())]
    for i in np.flatnonzero(rows.fault).tolist():
        parts[2 * i + 1] = _never_an_event(parts[2 * i + 1])
    return list(map(ProducedRecord, [key or None for key in parts[::2]], parts[1::2]))


def _never_an_event(raw: bytes) -> bytes:
    """Return a malformed row, quoted if it happens to spell an event: a line of a CSV file may."""
    try:
        msgspec.json.decode(raw, type=_Event)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw
    return msgspec.json.encode(raw.decode("utf-8", "backslashreplace"))


@njit(cache=True, nogil=True)
def _write_records(
    data: NDArray[np.uint8],
    start: NDArray[np.int64],
    length: NDArray[np.int64],
    fault: NDArray[np.uint8],
    stamp: NDArray[np.uint8],
    out: NDArray[np.uint8],
    bounds: NDArray[np.int64],
) -> None:
    """Write the rows' keys and values by turns, one behind the other; the n-th of these ends at ``bounds[n + 1]``."""
    p = 0
    for i in range(len(fault)):
        if fault[i]:
            bounds[2 * i + 1] = p
            p = _copy(data, start[0, i], length[0, i], out, p)
        else:
            p = _copy(data, start[0, i], length[0, i], out, p)
            bounds[2 * i + 1] = p
            p = _write_object(data, start[:, i], length[:, i], stamp, out, p)
        bounds[2 * i + 2] = p


@njit(cache=True, nogil=True)
def _write_object(data: Any, start: Any, length: Any, stamp: Any, out: Any, p: Any) -> Any:
    """Write the fields of a row at ``out[p]`` as an object; return where it ends."""
    begin = p
    for field in range(len(length)):
        is_stamped = field == 2 and len(stamp) > 0
        if length[field] == 0 and not is_stamped:
            continue
        p = _copy(_NAMES, _NAME_BOUNDS[field], _NAME_BOUNDS[field + 1] - _NAME_BOUNDS[field], out, p)
        if is_stamped:
            p = _copy(stamp, 0, len(stamp), out, p)
        elif field >= 2 and _is_exact_number(data, start[field], length[field]):
            p = _copy(data, start[field], length[field], out, p)
        else:
            p = _write_string(data, start[field], length[field], out, p)
    # Over the first comma, if there is one.
    out[begin] = ord("{")
    p = max(p, begin + 1)
    out[p] = ord("}")
    return p + 1


@njit(cache=True, nogil=True)
def _copy(data: Any, begin: Any, length: Any, out: Any, p: Any) -> Any:
    for i in range(length):
        out[p + i] = data[begin + i]
    return p + length


@njit(cache=True, nogil=True)
def _write_string(data: Any, begin: Any, length: Any, out: Any, p: Any) -> Any:
    out[p] = _QUOTE
    p += 1
    for q in range(begin, begin + length):
        byte = data[q]
        if byte < 32:
            p = _copy(_CONTROL, 0, len(_CONTROL), out, p)
            out[p], out[p + 1] = _HEX[byte >> 4], _HEX[byte & 15]
            p += 2
            continue
        if byte in (_QUOTE, _BACKSLASH):
            out[p] = _BACKSLASH
            p += 1
        out[p] = byte
        p += 1
    out[p] = _QUOTE
    return p + 1


@njit(cache=True, nogil=True)
def _is_exact_number(data: Any, p: Any, length: Any) -> Any:
    """Say whether text is a number as JSON writes them, without an exponent, that every reader takes for the same."""
    end = p + length
    p += data[p] == ord("-")
    begin, num_digits, point = p, 0, -1
    while p < end:
        if ord("0") <= data[p] <= ord("9"):
            num_digits += 1
        elif data[p] == ord(".") and point < 0 and num_digits > 0:
            point = p
        else:
            return False
        p += 1
    if num_digits == 0 or point == end - 1:
        return False
    if data[begin] == ord("0") and num_digits > 1 and point != begin + 1:
        return False
    return num_digits <= (_MAX_WHOLE_DIGITS if point < 0 else _MAX_EXACT_DIGITS)
