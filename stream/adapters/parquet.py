"""Parquet files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stream.adapters.columns import NUM_FIELDS, TextColumns
from stream.adapters.layout import Columns, Layout, match_columns
from stream.errors import InputError

_BATCH_ROWS: Final = 1 << 16


class ParquetReader:
    """Reads a Parquet file as :class:`TextColumns`, a batch of rows at a time.

    Numbers become the text that a CSV file would hold (7 and 7.0 are ``"7"``) and timestamps ISO 8601, so
    that one decoder serves all formats. A NaN as an id is a missing id.

    Raises :class:`InputError` for a file that is no Parquet or damaged, and for missing or nested columns.
    """

    unit = "row"

    def __init__(self, path: Path, layout: Layout) -> None:
        self._path = path
        try:
            self._file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path} cannot be read as Parquet ({reason}); write the file again") from error
        schema = self._file.schema_arrow
        self._names = match_columns(path, layout.columns, schema.names)
        for field, name in zip(Columns._fields, self._names, strict=True):
            if name is not None and not _is_readable(schema.field(name).type):
                raise InputError(
                    f"{path}: column {name!r} holds {schema.field(name).type}, no single value a row; "
                    f"name another with --{field}-column"
                )
        self._row = 0
        self._batches = self._open(0)
        self._batch: Any = None
        self._taken = 0

    @property
    def num_rows(self) -> int | None:
        """Number of rows in the file."""
        return int(self._file.metadata.num_rows)

    @property
    def fraction_read(self) -> float:
        """Share of the file's rows that were read."""
        return self._row / self._file.metadata.num_rows if self._file.metadata.num_rows else 1.0

    def read(self, max_rows: int) -> TextColumns | None:
        """Return the next 1 to ``max_rows`` rows, None at the end of the file."""
        batch = self._take(max_rows)
        if batch is None:
            return None
        number = np.arange(self._row - len(batch), self._row) + 1
        arrays = [None] * NUM_FIELDS
        for field, name in enumerate(self._names):
            if name is not None:
                arrays[field] = _as_text(batch.column(name), is_id=field < 2)
        return TextColumns.from_arrow(arrays, number)

    def skip(self, num_rows: int) -> None:
        """Pass over the next ``num_rows`` rows; row groups that lie wholly among them are not read."""
        target, begin, group = self._row + num_rows, 0, 0
        metadata = self._file.metadata
        while group < metadata.num_row_groups and begin + metadata.row_group(group).num_rows <= target:
            begin += metadata.row_group(group).num_rows
            group += 1
        if begin > self._row:
            self._batches, self._batch, self._row = self._open(group), None, begin
        while self._row < target and self._take(target - self._row) is not None:
            pass

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self, group: int) -> Iterator[Any]:
        groups = range(group, self._file.metadata.num_row_groups)
        columns = [name for name in self._names if name is not None]
        batches: Iterator[Any] = self._file.iter_batches(_BATCH_ROWS, row_groups=list(groups), columns=columns)
        return batches

    def _take(self, max_rows: int) -> Any:
        while self._batch is None or self._taken == len(self._batch):
            try:
                self._batch, self._taken = next(self._batches, None), 0
            except (pa.ArrowException, OSError) as error:
                reason = str(error).splitlines()[0]
                raise InputError(
                    f"{self._path} is damaged after row {self._row} ({reason}); "
                    f"the rows before it were read, fetch the file again for the rest"
                ) from error
            if self._batch is None:
                return None
        part = self._batch.slice(self._taken, max_rows)
        self._taken += len(part)
        self._row += len(part)
        return part


def _is_readable(kind: Any) -> bool:
    try:
        pa.array([], kind).cast(pa.string())
    except pa.ArrowNotImplementedError:
        return False
    return True


def _as_text(array: Any, is_id: bool) -> Any:
    """Return an Arrow array as ``large_binary`` text."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _as_text(array.cast(kind.value_type), is_id)
    if pa.types.is_floating(kind):
        array = _float_text(array.cast(pa.float64()) if kind == pa.float16() else array, is_id)
    elif pa.types.is_timestamp(kind):
        # Without its zone a timestamp is the instant in UTC; with it, text would need the zone's rules.
        array = array.cast(pa.timestamp(kind.unit)).cast(pa.string())
    elif pa.types.is_integer(kind) or not _is_bytes(kind):
        array = array.cast(pa.string())
    return array.cast(pa.large_binary())


def _is_bytes(kind: Any) -> bool:
    types = pa.types
    tests = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_binary,
        types.is_large_binary,
    )
    return any(test(kind) for test in tests) or types.is_binary_view(kind) or types.is_fixed_size_binary(kind)


def _float_text(array: Any, is_id: bool) -> Any:
    if is_id:
        array = pc.if_else(pc.is_nan(array), None, array)
    whole = pc.and_(pc.equal(pc.floor(array), array), pc.less(pc.abs(array), 2.0**63))
    integers = pc.if_else(whole, array, None).cast(pa.int64()).cast(pa.string())
    if integers.null_count == array.null_count:
        return integers
    return pc.coalesce(integers, array.cast(pa.string()))
