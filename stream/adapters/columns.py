"""Rows of text into events: the one decoder behind every file format.

Readers say where the text of each field lies; a single compiled pass judges every row and reads its numbers.
Python looks at a row only when it is refused.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Self

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream.adapters.verdicts import BAD_WEIGHT, NOT_POSITIVE, REASONS, WEIGHT, judge
from stream.core.event import ITEM, USER, EventBatch, Origin, Poll, Rejection, hash_spans

NUM_FIELDS: Final = 4
MISSING: Final = -1
"""Length of a field that is not there."""
MAX_DETAIL_CHARS: Final = 200


class TextColumns(NamedTuple):
    """n rows as text: field f of row i is ``data[start[f, i]:][:length[f, i]]``.

    The fields are user, item, timestamp and weight, in this order.
    """

    data: NDArray[np.uint8]
    start: NDArray[np.int64]
    """Shape [4, n]."""
    length: NDArray[np.int32]
    """Shape [4, n]; :data:`MISSING` where there is no such field."""
    number: NDArray[np.int64]
    """Line or row of the file, from 1."""
    fault: NDArray[np.uint8]
    """Fault code the reader found, else 0; the first span of a row with one is the whole row."""

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.number)

    def cut(self, begin: int, end: int) -> Self:
        """Return the rows ``begin`` to ``end`` as views."""
        return self._replace(
            start=self.start[:, begin:end],
            length=self.length[:, begin:end],
            number=self.number[begin:end],
            fault=self.fault[begin:end],
        )

    def text(self, field: int, row: int) -> str:
        """Return a field as readable text: bytes that are no UTF-8 are escaped, and long text is cut."""
        begin, length = int(self.start[field, row]), max(0, int(self.length[field, row]))
        # Four bytes a character at most.
        found = self.data[begin : begin + min(length, 4 * MAX_DETAIL_CHARS)].tobytes()
        return found.decode("utf-8", "backslashreplace")[:MAX_DETAIL_CHARS]

    @classmethod
    def from_arrow(
        cls, arrays: Sequence[Any], number: NDArray[np.int64], fault: NDArray[np.uint8] | None = None
    ) -> Self:
        """Lay four ``large_binary`` arrays (None where the file has no such column) side by side."""
        n, base, pieces = len(number), 0, []
        start = np.zeros((NUM_FIELDS, n), np.int64)
        length = np.full((NUM_FIELDS, n), MISSING, np.int32)
        for field, array in enumerate(arrays):
            if array is None or n == 0:
                continue
            _, offsets, data = array.buffers()
            bounds = np.frombuffer(offsets, np.int64)[array.offset : array.offset + n + 1]
            if data is not None:
                pieces.append(np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]])
            start[field] = bounds[:-1] + (base - bounds[0])
            length[field] = np.diff(bounds)
            base += int(bounds[-1] - bounds[0])
            if array.null_count:
                length[field, pc.is_null(array).to_numpy(zero_copy_only=False)] = MISSING
        data = np.concatenate(pieces) if pieces else np.empty(0, np.uint8)
        return cls(data, start, length, number, np.zeros(n, np.uint8) if fault is None else fault)


def decode(
    rows: TextColumns, partition: NDArray[np.int32], offset: NDArray[np.int64], origin: Callable[[int], Origin]
) -> Poll:
    """Turn rows into events and rejections; ``origin`` says where the row with this :attr:`TextColumns.number` is from.

    ``partition`` and ``offset`` belong to the rows. Timestamps are seconds, or from 1e11 on milliseconds, from 1e14
    microseconds, from 1e17 nanoseconds (their absolute value), as integers or decimals, or ISO 8601 text (UTC where it
    names no zone); what lies below a millisecond is dropped. An empty or missing weight is 1. Each bad row gives one
    rejection.
    """
    n = rows.num_rows
    timestamp_ms, weight, fault = np.empty(n, np.int64), np.ones(n, np.float32), rows.fault.copy()
    judge(rows.data, rows.start, rows.length, fault, timestamp_ms, weight)
    good = np.flatnonzero(fault == 0)
    user_start, user_length = rows.start[USER, good], rows.length[USER, good]
    item_start, item_length = rows.start[ITEM, good], rows.length[ITEM, good]
    events = EventBatch(
        user=hash_spans(rows.data, user_start, user_length, USER),
        item=hash_spans(rows.data, item_start, item_length, ITEM),
        timestamp_ms=timestamp_ms[good],
        weight=weight[good],
        partition=partition[good],
        offset=offset[good],
        number=rows.number[good],
        item_start=item_start,
        item_length=item_length,
        item_data=rows.data,
    )
    rejections = []
    for row in np.flatnonzero(fault).tolist():
        reason, detail = _reason(rows, row, int(fault[row]))
        whence = origin(int(rows.number[row]))
        rejections.append(Rejection(int(partition[row]), int(offset[row]), whence, reason, detail))
    return Poll(events, rejections)


def _reason(rows: TextColumns, row: int, fault: int) -> tuple[str, str]:
    if rows.fault[row]:
        detail = rows.text(USER, row)
    else:
        names = ("user", "item", "timestamp", "weight")
        fields = (f for f in range(NUM_FIELDS) if f != WEIGHT or rows.length[f, row] != MISSING)
        detail = ", ".join(f"{names[f]} {rows.text(f, row)!r}" for f in fields)
    if fault == BAD_WEIGHT and rows.text(WEIGHT, row).strip().lower().lstrip("+-") in (
        "nan",
        "inf",
        "infinity",
    ):
        fault = NOT_POSITIVE
    return REASONS[fault], detail[:MAX_DETAIL_CHARS]
