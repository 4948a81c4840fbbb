"""The bytes of a file, decompressed, one block at a time."""

import bz2
import gzip
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream.errors import InputError

COMPRESSIONS: Final = (".gz", ".bz2", ".zst")
"""Suffixes of the compressions that are undone on the way."""
MAX_ROW_BYTES: Final = 1 << 20
"""The longest row of a text file; a longer one is malformed. Bounds what a missing line end can pile up."""

_PIECE_BYTES: Final = 1 << 18
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_DAMAGE: Final = (OSError, EOFError, zlib.error, pa.ArrowException)


class ByteBlocks:
    """A window on the bytes of a file that only moves forward, for readers that take whole rows out of it.

    ``data[begin:]`` is what was read and not yet taken; a reader moves ``begin``. A block's memory is never
    used again, so that arrays may go on pointing into it. A UTF-8 byte order mark is skipped.

    Raises :class:`InputError` where the file cannot be opened.
    """

    def __init__(self, path: Path, block_bytes: int = 1 << 22) -> None:
        self.path = path
        self._block_bytes = block_bytes
        try:
            self._size = path.stat().st_size
            self._raw = path.open("rb")
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
        self._stream = _decompressed(self._raw, path.suffix.lower())
        self.data: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.begin = 0
        self.final = False
        """True when no byte follows what is in ``data``."""
        self._damage: str | None = None
        self.refill()
        if self.data[:3].tobytes() == _BYTE_ORDER_MARK:
            self.begin = 3

    @property
    def num_left(self) -> int:
        """Number of bytes read and not yet taken."""
        return len(self.data) - self.begin

    @property
    def fraction_read(self) -> float:
        """Share of the file's bytes, as they lie on the disk, that were read."""
        return self._raw.tell() / self._size if self._size else 1.0

    def refill(self) -> None:
        """Read one block more behind the bytes not yet taken.

        Where the file is damaged, what came before the damage counts as its end, less the line that was cut.
        """
        filled = self.num_left
        buffer = np.empty(filled + self._block_bytes, np.uint8)
        buffer[:filled] = self.data[self.begin :]
        try:
            while filled < len(buffer) and not self.final:
                piece = self._stream.read1(min(len(buffer) - filled, _PIECE_BYTES))
                buffer[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
                filled += len(piece)
                self.final = not piece
        except _DAMAGE as error:
            self.final, self._damage = True, str(error)
            filled = buffer[:filled].tobytes().rfind(b"\n") + 1
        self.data, self.begin = buffer[:filled], 0

    def first_line(self) -> bytes:
        """Return the line at ``begin`` without its end, and leave it there; a very long one may be cut."""
        while True:
            rest = self.data[self.begin :].tobytes()
            line, end, _ = rest.partition(b"\n")
            if end or self.final or len(rest) > MAX_ROW_BYTES:
                return line.removesuffix(b"\r")
            self.refill()

    def skip_line(self) -> None:
        """Take everything up to and with the next line end."""
        while True:
            at = self.data[self.begin :].tobytes().find(b"\n")
            if at >= 0:
                self.begin += at + 1
                return
            self.begin = len(self.data)
            if self.final:
                return
            self.refill()

    def require_intact(self, last_line: int) -> None:
        """Raise :class:`InputError` where the bytes ended in damage instead of the file's end."""
        if self._damage is not None:
            raise InputError(
                f"{self.path} is damaged after line {last_line} ({self._damage}); "
                f"the rows before it were read, fetch the file again for the rest"
            )

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        self._raw.close()


def _decompressed(raw: Any, suffix: str) -> Any:
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=raw)
    if suffix == ".bz2":
        return bz2.BZ2File(raw)
    if suffix == ".zst":
        return pa.CompressedInputStream(raw, "zstd")
    return raw
