"""A file of dead letters: one JSON object a line."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from stream.adapters.columns import MAX_DETAIL_CHARS
from stream.core.event import Rejection
from stream.errors import StorageError
from stream.ports import Position


class DeadLetterFile:
    r"""Rejections as JSON lines, a :class:`~stream.ports.DeadLetters`.

    The keys are ``partition``, ``offset``, ``place``, ``reason`` and ``detail`` (at most 200 characters);
    where the place is a line or row of a file, ``line`` holds its number too. The file is there from the
    start, empty if need be, and what an earlier run left in it stays: ``rewind({})`` starts it afresh. A mark
    is the file's length in bytes.

    Raises :class:`StorageError`, in every method, where the disk refuses.

    >>> import tempfile
    >>> from stream.core.event import Origin
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "dead_letters.jsonl"
    >>> letters = DeadLetterFile(path)
    >>> letters.write([Rejection(0, 15, Origin("line 17"), "missing user id", "no user")])
    >>> letters.close()
    >>> path.read_text()
    '{"partition":0,"offset":15,"place":"line 17","line":17,"reason":"missing user id","detail":"no user"}\n'
    >>> folder.cleanup()
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
            _sync_directory(self.path.parent)
        except OSError as error:
            raise self._refused(error) from error

    def write(self, rejections: Sequence[Rejection]) -> None:
        """Append the rejections, in their order."""
        try:
            self._file.write(msgspec.json.Encoder().encode_lines([_fields(r) for r in rejections]))
        except OSError as error:
            raise self._refused(error) from error

    def mark(self) -> Position:
        """Make all that was written durable and return the file's length in bytes."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            return {0: os.fstat(self._file.fileno()).st_size}
        except OSError as error:
            raise self._refused(error) from error

    def rewind(self, mark: Position) -> dict[tuple[int, int], str]:
        """Cut the file back to the mark; one that is shorter, as it was moved away meanwhile, stays."""
        length = mark.get(0, 0)
        try:
            self._file.flush()
            if os.fstat(self._file.fileno()).st_size > length:
                os.ftruncate(self._file.fileno(), length)
        except OSError as error:
            raise self._refused(error) from error
        return {}

    def close(self) -> None:
        """Write out what is left and close the file."""
        try:
            self._file.close()
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> StorageError:
        return StorageError(
            f"{self.path}: dead letters cannot be written ({error.strerror or error}); "
            f"free space or write permission there, then resume"
        )


def _fields(rejection: Rejection) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "partition": rejection.partition,
        "offset": rejection.offset,
        "place": rejection.origin.place,
    }
    unit, _, number = rejection.origin.place.partition(" ")
    if unit in ("line", "row") and number.isdecimal():
        fields["line"] = int(number)
    return fields | {"reason": rejection.reason, "detail": _safe(rejection.detail)}


def _safe(text: str) -> str:
    # A lone surrogate is a legal character of a str, but no JSON can hold it.
    return text[:MAX_DETAIL_CHARS].encode("utf-8", "backslashreplace").decode("utf-8")[:MAX_DETAIL_CHARS]


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
