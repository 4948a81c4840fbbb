"""JSON lines: one object a line."""

from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from stream.adapters.blocks import MAX_ROW_BYTES, ByteBlocks
from stream.adapters.columns import NUM_FIELDS, TextColumns
from stream.adapters.layout import Columns, Layout, match_columns
from stream.adapters.verdicts import INVALID_UTF8, MALFORMED
from stream.errors import InputError

_MAX_LINES_SNIFFED: Final = 100


class JsonLinesReader:
    """Reads a JSON lines file as :class:`TextColumns`; keys it does not need are passed over unread.

    Ids may be strings, numbers or booleans, and become text: 7 and 7.0 are both ``"7"``. Blank lines are no
    rows. The keys are looked for in the first lines together, as a single object may lack one.

    Raises :class:`InputError` for an empty or damaged file, a file that is one JSON array, and missing keys.
    """

    unit = "line"
    num_rows: int | None = None

    def __init__(self, blocks: ByteBlocks, layout: Layout) -> None:
        self._blocks = blocks
        self._line = 1
        names = match_columns(blocks.path, layout.columns, _sniff_keys(blocks))
        keys = {field: name for field, name in zip(Columns._fields, names, strict=True) if name is not None}
        scalar = str | int | float | bool | None
        self._row_type = msgspec.defstruct("Row", [(field, scalar, None) for field in keys], rename=keys, gc=False)
        self._decoder = msgspec.json.Decoder(self._row_type)
        self._fields = tuple(keys)

    @property
    def fraction_read(self) -> float:
        """Share of the file's bytes that were read."""
        return self._blocks.fraction_read

    def read(self, max_rows: int) -> TextColumns | None:
        """Return the next 1 to ``max_rows`` rows, None at the end of the file."""
        lines = self._take_lines(max_rows)
        if not lines:
            return None
        decoded = [self._decode(line) for _, line in lines]
        arrays: list[Any] = [None] * NUM_FIELDS
        for f, field in enumerate(self._fields):
            values = [getattr(row, field) for row, _ in decoded]
            texts = [value if value.__class__ is str else _text(value) for value in values]
            arrays[f] = pa.array(texts, pa.large_binary())
        number = np.array([number for number, _ in lines], np.int64)
        return TextColumns.from_arrow(arrays, number, np.array([fault for _, fault in decoded], np.uint8))

    def skip(self, num_rows: int) -> None:
        """Pass over the next ``num_rows`` rows without decoding them."""
        while num_rows > 0 and (lines := self._take_lines(min(num_rows, 1 << 16))):
            num_rows -= len(lines)

    def close(self) -> None:
        """Close the file."""
        self._blocks.close()

    def _take_lines(self, max_rows: int) -> list[tuple[int, bytes]]:
        """Return the next lines that are not blank, with their numbers; none at the end of the file."""
        blocks = self._blocks
        while True:
            lines = blocks.data[blocks.begin :].tobytes().split(b"\n", max_rows)
            rest = lines.pop()
            if blocks.final and rest and len(lines) < max_rows:
                lines, rest = [*lines, rest], b""
            numbered = [(number, line) for number, line in enumerate(lines, self._line) if line.strip()]
            self._line += len(lines)
            blocks.begin = len(blocks.data) - len(rest)
            if numbered:
                return numbered
            if blocks.final and not rest:
                blocks.require_intact(self._line - 1)
                return []
            if not lines and len(rest) > MAX_ROW_BYTES:
                blocks.skip_line()
                self._line += 1
                return [(self._line - 1, rest)]
            if not lines:
                blocks.refill()

    def _decode(self, line: bytes) -> tuple[Any, int]:
        """Return a row and its fault; a faulty row has the whole line as its user."""
        fault = MALFORMED
        try:
            if len(line) <= MAX_ROW_BYTES:
                return self._decoder.decode(line), 0
        except UnicodeDecodeError:
            fault = INVALID_UTF8
        except (msgspec.DecodeError, RecursionError):
            pass
        return self._row_type(line[:MAX_ROW_BYTES]), fault


def _sniff_keys(blocks: ByteBlocks) -> list[str]:
    path, first_line = blocks.path, blocks.first_line()
    lines = blocks.data[blocks.begin :].tobytes().split(b"\n", _MAX_LINES_SNIFFED)[:_MAX_LINES_SNIFFED]
    keys: dict[str, None] = {}
    for line in lines:
        try:
            keys.update(dict.fromkeys(msgspec.json.decode(line, type=dict[str, msgspec.Raw])))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    if not any(line.strip() for line in lines):
        blocks.require_intact(0)
        raise InputError(f"{path} is empty: it has no row")
    if not keys:
        array = first_line.lstrip().startswith(b"[")
        remedy = "it is a JSON array, write one object a line instead" if array else "write one object a line"
        raise InputError(f"{path} holds no JSON object in its first {len(lines)} lines; {remedy}")
    return list(keys)


def _text(value: Any) -> str | bytes | None:
    """Return a JSON value as the text that a CSV file would hold; the bytes of a faulty row stay bytes."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and abs(value) < 2**63 and value.is_integer():
        return str(int(value))
    return str(value)
