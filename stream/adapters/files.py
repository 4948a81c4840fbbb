"""Events from a file: CSV, Parquet or JSON lines, read a chunk at a time however large the file is."""

from contextlib import closing
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from stream.adapters.blocks import COMPRESSIONS, ByteBlocks
from stream.adapters.columns import TextColumns, decode
from stream.adapters.delimited import DelimitedReader
from stream.adapters.jsonlines import JsonLinesReader
from stream.adapters.layout import Columns, Layout
from stream.adapters.parquet import ParquetReader
from stream.core.event import Origin, Poll
from stream.errors import InputError
from stream.ports import Position

__all__ = ["CHUNK_ROWS", "Columns", "FileSource", "Layout", "first_line"]

CHUNK_ROWS: Final = 1 << 16
"""Most rows that one poll reads."""

_DELIMITED: Final = (".csv", ".tsv")
_JSON_LINES: Final = (".jsonl", ".ndjson", ".json")
_PARQUET: Final = (".parquet", ".pq")


class _Reader(Protocol):
    unit: str

    @property
    def num_rows(self) -> int | None: ...
    @property
    def fraction_read(self) -> float: ...
    def read(self, max_rows: int) -> TextColumns | None: ...
    def skip(self, num_rows: int) -> None: ...
    def close(self) -> None: ...


class FileSource:
    r"""A file as a :class:`~stream.ports.Source`: partition 0, offset = ordinal of the row, good or bad.

    The suffix tells the format: ``.csv`` and ``.tsv``; ``.jsonl``, ``.ndjson`` and ``.json`` (one object a
    line); all of these also with ``.gz``, ``.bz2`` or ``.zst`` behind; ``.parquet`` and ``.pq``. A layout
    with a header makes any file a delimited one. Ids are text whatever the file holds, timestamps and weights
    are read as :func:`~stream.adapters.columns.decode` says, and a row that cannot be used becomes a
    rejection.

    Raises :class:`InputError` when opened: no such file, a directory, an empty file, an unknown suffix, a
    missing column. Polling raises it where the file is damaged, after all rows before the damage were given.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "clicks.csv"
    >>> _ = path.write_text("userId,movieId,rating,timestamp\n7,50,4,1506826800\n7,,5,1506826801\n")
    >>> source = FileSource(path)
    >>> poll = source.poll()
    >>> poll.events.timestamp_ms, poll.rejections[0].origin.place, poll.rejections[0].reason
    (array([1506826800000]), 'line 3', 'missing item id')
    >>> source.close()
    >>> folder.cleanup()
    """

    def __init__(
        self,
        path: Path | str,
        layout: Layout | None = None,
        limit: int | None = None,
        chunk_rows: int = CHUNK_ROWS,
    ) -> None:
        """Open ``path``; stop after ``limit`` rows, reading at most ``chunk_rows`` a poll."""
        self._path = Path(path)
        self._layout = Layout() if layout is None else layout
        self._limit = limit
        self._chunk_rows = chunk_rows
        self._reader = _open(self._path, self._layout)
        self._next = 0

    @property
    def name(self) -> str:
        """The path; bytes of it that are no UTF-8 are escaped."""
        return str(self._path).encode("utf-8", "backslashreplace").decode()

    @property
    def num_records(self) -> int | None:
        """Number of rows that will be given, good or bad; None where only reading to the end would tell."""
        num_rows = self._reader.num_rows
        return num_rows if num_rows is None or self._limit is None else min(num_rows, self._limit)

    @property
    def fraction_read(self) -> float:
        """Share of the file (or of ``limit``) that was read so far, roughly, in [0, 1]."""
        fraction = self._reader.fraction_read
        return fraction if not self._limit else max(fraction, min(1.0, self._next / self._limit))

    def poll(self) -> Poll | None:
        """Return the events and rejections of the next rows, None at the end or after ``limit`` rows."""
        begin = self._next
        rows = self.read_rows(self._chunk_rows)
        if rows is None:
            return None
        offset = np.arange(begin, self._next)
        return decode(rows, np.zeros(rows.num_rows, np.int32), offset, lambda number: self.origin(0, number))

    def read_rows(self, max_rows: int) -> TextColumns | None:
        """Return 1 to ``max_rows`` of the rows that :meth:`poll` would give, as text and good or bad."""
        room = max_rows if self._limit is None else min(max_rows, self._limit - self._next)
        rows = self._reader.read(room) if room > 0 else None
        self._next += 0 if rows is None else rows.num_rows
        return rows

    def seek(self, position: Position) -> None:
        """Start over at row ``position[0]`` (0 where the position names none)."""
        self._reader.close()
        self._reader = _open(self._path, self._layout)
        self._next = position.get(0, 0)
        self._reader.skip(self._next)

    def origin(self, partition: int, number: int) -> Origin:  # noqa: ARG002
        """Return where a person finds an event: its line or row in the file."""
        return Origin(f"{self._reader.unit} {number}")

    def partitions(self, position: Position) -> None:
        """Return None: a file does not go on."""

    def commit(self, position: Position) -> None:
        """Do nothing: a file keeps no account of who has read it."""

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


def first_line(path: Path) -> bytes:
    """Return the first line of a text file, decompressed, without its end; ``b""`` for a Parquet file.

    Raises :class:`InputError` where there is no such file, or nothing in it.
    """
    _require_file(path)
    if path.suffix.lower() in _PARQUET:
        return b""
    with closing(ByteBlocks(path)) as blocks:
        return blocks.first_line()


def _open(path: Path, layout: Layout) -> _Reader:
    _require_file(path)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = bool(suffixes) and suffixes[-1] in COMPRESSIONS
    suffix = "".join(suffixes[-2:-1] if compressed else suffixes[-1:])
    if layout.header is not None or suffix in _DELIMITED:
        if suffix == ".tsv" and layout.delimiter is None:
            layout = layout._replace(delimiter="\t")
        return _open_text(DelimitedReader, path, layout)
    if suffix in _JSON_LINES:
        return _open_text(JsonLinesReader, path, layout)
    if suffix in _PARQUET and not compressed:
        return ParquetReader(path, layout)
    known = " ".join((*_DELIMITED, *_JSON_LINES, *_PARQUET))
    raise InputError(
        f"{path}: cannot tell its format; rename it to one of {known} "
        f"(text files also with {' '.join(COMPRESSIONS)} behind)"
    )


def _open_text(reader: type[DelimitedReader | JsonLinesReader], path: Path, layout: Layout) -> _Reader:
    blocks = ByteBlocks(path)
    try:
        return reader(blocks, layout)
    except InputError:
        blocks.close()
        raise


def _require_file(path: Path) -> None:
    try:
        num_bytes = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; check the path") from error
    if path.is_dir():
        raise InputError(f"{path} is a directory; name a file in it")
    if num_bytes == 0 and path.is_file():
        raise InputError(f"{path} is empty: it has no row")
