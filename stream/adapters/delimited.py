"""Text files with one row a line: CSV and its relatives.

Rows are split here rather than by a library because no row may stop the stream: a stray quote, a row without
an end or one column too many costs that row alone, and every row keeps its line number.
"""

import csv
from pathlib import Path
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.adapters.blocks import MAX_ROW_BYTES, ByteBlocks
from stream.adapters.columns import MISSING, NUM_FIELDS, TextColumns
from stream.adapters.layout import Layout, match_columns
from stream.adapters.verdicts import MALFORMED
from stream.errors import InputError

_DELIMITERS: Final = (",", "\t", ";", "|")
_NEWLINE: Final = ord("\n")
_RETURN: Final = ord("\r")
_QUOTE: Final = ord('"')


class DelimitedReader:
    """Reads a delimited text file as :class:`TextColumns`; quotes, also around line ends, as in RFC 4180.

    Blank lines are no rows. A quoted field that runs over several lines and leaves a row with the wrong
    number of columns is taken for a stray quote: the first line alone is malformed and the next is read
    afresh.

    Raises :class:`InputError` for an empty or damaged file and for missing columns.
    """

    unit = "line"
    num_rows: int | None = None

    def __init__(self, blocks: ByteBlocks, layout: Layout) -> None:
        path = blocks.path
        self._blocks = blocks
        self._line = 1
        first_line = self._skip_blank_lines()
        if blocks.num_left == 0:
            blocks.require_intact(0)
            raise InputError(f"{path} is empty: it has no row, not even a header")
        delimiter = layout.delimiter or max(_DELIMITERS, key=first_line.count)
        names = layout.header
        if names is None:
            names = _split_header(path, first_line, delimiter)
            blocks.skip_line()
            self._line += 1
        self._separator = np.frombuffer(delimiter.encode(), np.uint8)
        self._field_of_column = np.full(len(names), MISSING, np.int64)
        for field, name in enumerate(match_columns(path, layout.columns, names)):
            if name is not None:
                self._field_of_column[names.index(name)] = field

    @property
    def fraction_read(self) -> float:
        """Share of the file's bytes that were read."""
        return self._blocks.fraction_read

    def read(self, max_rows: int) -> TextColumns | None:
        """Return the next 1 to ``max_rows`` rows, None at the end of the file."""
        blocks = self._blocks
        while True:
            rows, blocks.begin, self._line = self._take_rows(max_rows)
            if rows.num_rows:
                return rows
            if blocks.final:
                blocks.require_intact(self._line - 1)
                return None
            if blocks.num_left > MAX_ROW_BYTES:
                return self._take_long_row()
            blocks.refill()

    def skip(self, num_rows: int) -> None:
        """Pass over the next ``num_rows`` rows."""
        while num_rows > 0 and (rows := self.read(min(num_rows, 1 << 16))) is not None:
            num_rows -= rows.num_rows

    def close(self) -> None:
        """Close the file."""
        self._blocks.close()

    def _skip_blank_lines(self) -> str:
        while not (line := self._blocks.first_line()).strip() and self._blocks.num_left:
            self._blocks.skip_line()
            self._line += 1
        return line.decode("utf-8", "replace")

    def _take_rows(self, max_rows: int) -> tuple[TextColumns, int, int]:
        blocks = self._blocks
        start = np.zeros((NUM_FIELDS, max_rows), np.int64)
        length = np.full((NUM_FIELDS, max_rows), MISSING, np.int32)
        number, fault = np.empty(max_rows, np.int64), np.zeros(max_rows, np.uint8)
        rows = TextColumns(blocks.data, start, length, number, fault)
        n, begin, line = _split_rows(
            blocks.data, blocks.begin, blocks.final, self._separator, self._field_of_column, self._line,
            start, length, number, fault,
        )  # fmt: skip
        return rows.cut(0, n), begin, line

    def _take_long_row(self) -> TextColumns:
        blocks = self._blocks
        start = np.full((NUM_FIELDS, 1), blocks.begin, np.int64)
        length = np.full((NUM_FIELDS, 1), MAX_ROW_BYTES, np.int32)
        row = TextColumns(blocks.data, start, length, np.array([self._line]), np.array([MALFORMED], np.uint8))
        blocks.skip_line()
        self._line += 1
        return row


def _split_header(path: Path, line: str, delimiter: str) -> tuple[str, ...]:
    if len(delimiter) > 1:
        cells = line.split(delimiter)
    else:
        try:
            cells = next(csv.reader([line], delimiter=delimiter))
        except csv.Error as error:
            raise InputError(f"{path}: its first line is no header ({error}); put the column names there") from error
    return tuple(cell.strip() for cell in cells)


@njit(cache=True, nogil=True)
def _split_rows(
    data: NDArray[np.uint8],
    begin: int,
    final: bool,
    separator: NDArray[np.uint8],
    field_of_column: NDArray[np.int64],
    line: int,
    start: NDArray[np.int64],
    length: NDArray[np.int32],
    number: NDArray[np.int64],
    fault: NDArray[np.uint8],
) -> tuple[int, int, int]:
    """Fill in the complete rows that there is room for; return (rows, where the rest begins, its line)."""
    n, end, num_columns = 0, len(data), len(field_of_column)
    bounds = np.empty((num_columns, 2), np.int64)
    while n < len(number) and begin < end:
        stop, columns, first_break, is_open = _scan_row(data, begin, separator, bounds)
        if stop == end and not final and (end - begin <= MAX_ROW_BYTES or first_break < 0):
            break
        is_bad = is_open or columns != num_columns or stop - begin > MAX_ROW_BYTES
        if is_bad and first_break >= 0:
            stop = first_break
        # Counted first, as taking the quotes off a field moves its bytes.
        num_lines = 1
        if first_break >= 0:
            for p in range(first_break, stop):
                num_lines += data[p] == _NEWLINE
        row_end = stop - (stop > begin and data[stop - 1] == _RETURN)
        if row_end > begin:
            number[n] = line
            if is_bad:
                fault[n], start[0, n], length[0, n] = MALFORMED, begin, min(row_end - begin, MAX_ROW_BYTES)
            else:
                bounds[num_columns - 1, 1] = max(row_end, bounds[num_columns - 1, 0])
                _take_fields(data, bounds, field_of_column, start, length, n)
            n += 1
        line += num_lines
        begin = min(stop + 1, end)
    return n, begin, line


@njit(cache=True, nogil=True)
def _scan_row(data: Any, p: Any, separator: Any, bounds: Any) -> Any:
    """Find the columns of the row at p: (its end, columns, first quoted line end or -1, is a quote open)."""
    end, columns, first_break, lead = len(data), 0, -1, separator[0]
    while True:
        begin = p
        if p < end and data[p] == _QUOTE:
            p, inside = p + 1, True
            while p < end and inside:
                if data[p] == _QUOTE:
                    if p + 1 < end and data[p + 1] == _QUOTE:
                        p += 1
                    else:
                        inside = False
                elif data[p] == _NEWLINE and first_break < 0:
                    first_break = p
                p += 1
            if inside:
                return end, columns, first_break, True
        while p < end and data[p] != _NEWLINE and (data[p] != lead or not _is_at(data, p, separator)):
            p += 1
        if columns < len(bounds):
            bounds[columns, 0], bounds[columns, 1] = begin, p
        columns += 1
        if p == end or data[p] == _NEWLINE:
            return p, columns, first_break, False
        p += len(separator)


@njit(cache=True, nogil=True)
def _is_at(data: Any, p: Any, separator: Any) -> Any:
    return len(separator) == 1 or np.array_equal(data[p : p + len(separator)], separator)


@njit(cache=True, nogil=True)
def _take_fields(data: Any, bounds: Any, field_of_column: Any, start: Any, length: Any, row: Any) -> None:
    for column in range(len(field_of_column)):
        field = field_of_column[column]
        if field >= 0:
            begin, end = bounds[column, 0], bounds[column, 1]
            if begin < end and data[begin] == _QUOTE:
                begin, end = _unquote(data, begin, end)
            start[field, row], length[field, row] = begin, end - begin


@njit(cache=True, nogil=True)
def _unquote(data: Any, begin: Any, end: Any) -> Any:
    """Take the quotes off a field in place; return where it is now. What follows the closing quote stays."""
    write, p, inside = begin + 1, begin + 1, True
    while p < end:
        if inside and data[p] == _QUOTE:
            if p + 1 < end and data[p + 1] == _QUOTE:
                p += 1
            else:
                inside = False
                p += 1
                continue
        data[write] = data[p]
        write += 1
        p += 1
    return begin + 1, write
