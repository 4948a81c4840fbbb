"""Records into events: typed decoding of JSON values by a schema, with a reason for each record that is none."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream.adapters.columns import TextColumns, decode
from stream.adapters.kafka.client import Chunk
from stream.adapters.verdicts import INVALID_UTF8, MALFORMED, TOMBSTONE, TOO_LARGE, WRONG_SCHEMA
from stream.core.event import Origin, Poll, Record, Rejection
from stream.errors import UsageError
from stream.service_settings import KEY, TIMESTAMP, Schema

ABSURD_TIME: Final = "absurd timestamp"

_SHOWN_BYTES: Final = 200


class Decoded(NamedTuple):
    """Events and rejections of some records, and where each record is to be found again by its number."""

    poll: Poll
    origin: Callable[[int], Origin]


class RecordDecoder:
    """Decodes JSON records by a schema; all else in a value is passed over unread.

    Ids are strings or integers, times are strings or numbers; a value of another type is of a wrong schema. An event
    time before ``schema.oldest``, or more than ``schema.max_ahead_s`` ahead of its record's own timestamp, is absurd.
    Where the records are of several partitions, their events are merged by event time, each partition in its order.

    >>> from stream.adapters.kafka.client import TopicPartition
    >>> decoder = RecordDecoder(Schema(user="who.id", item="sku", timestamp="@timestamp"), max_record_bytes=1000)
    >>> values = [b'{"who": {"id": 7}, "sku": "A-1"}', None, b'{"who": 7}']
    >>> times = [1_700_000_000_000] * 3
    >>> chunk = Chunk(TopicPartition("clicks", 0), [5, 6, 7], times, [b"7"] * 3, values)
    >>> poll, origin = decoder.decode([chunk], [0])
    >>> poll.events.offset.tolist(), [rejection.reason for rejection in poll.rejections], origin(1).place
    ([5], ['tombstone', 'wrong schema'], 'clicks-0@6')
    """

    def __init__(self, schema: Schema, max_record_bytes: int) -> None:
        self._fields = (schema.user, schema.item, schema.timestamp, schema.weight)
        self._max_record_bytes = max_record_bytes
        self._oldest_ms = round(datetime.fromisoformat(schema.oldest).replace(tzinfo=UTC).timestamp() * 1000)
        self._max_ahead_ms = round(schema.max_ahead_s * 1000)
        self._decode_value = msgspec.json.Decoder(_type_of(self._fields)).decode

    def decode(self, chunks: Sequence[Chunk], ids: Sequence[int]) -> Decoded:
        """Return what the records of one poll are; ``ids`` are the chunks' numbers for ``EventBatch.partition``."""
        lengths = [len(chunk.offset) for chunk in chunks]
        partition = np.repeat(np.array(ids, np.int32), lengths)
        offset = np.fromiter(chain.from_iterable(chunk.offset for chunk in chunks), np.int64, len(partition))
        written_ms = np.fromiter(chain.from_iterable(chunk.timestamp_ms for chunk in chunks), np.int64, len(partition))
        begins = np.cumsum([0, *lengths])

        def origin(number: int) -> Origin:
            which = int(np.searchsorted(begins, number, "right")) - 1
            chunk, i = chunks[which], number - int(begins[which])
            topic, of_topic = chunk.partition
            record = Record(topic, of_topic, chunk.timestamp_ms[i], chunk.key[i], chunk.value[i])
            return Origin(f"{chunk.partition}@{chunk.offset[i]}", record)

        poll = self._without_absurd(decode(self._rows(chunks), partition, offset, origin), written_ms, origin)
        return Decoded(_merged(poll), origin)

    def _rows(self, chunks: Sequence[Chunk]) -> TextColumns:
        values = [value for chunk in chunks for value in chunk.value]
        rows, faults, details = self._decode_all(values)
        arrays = [_as_text(self._column(field, rows, chunks), details) for field in self._fields if field is not None]
        arrays += [None] * (len(self._fields) - len(arrays))
        return TextColumns.from_arrow(arrays, np.arange(len(values)), faults)

    def _decode_all(self, values: Sequence[bytes | None]) -> tuple[list[Any], NDArray[np.uint8], dict[int, bytes]]:
        """Return a struct or None per value, a fault per value, and what to show of the faulty ones."""
        decode_value, most = self._decode_value, self._max_record_bytes
        faults = np.zeros(len(values), np.uint8)
        details: dict[int, bytes] = {}
        try:
            # One at a time, for joined values could make up for each other's faults.
            if max(map(len, values), default=0) <= most:  # type: ignore[arg-type]
                return [decode_value(value) for value in values], faults, details  # type: ignore[arg-type]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
            pass
        rows: list[Any] = []
        for i, value in enumerate(values):
            row, faults[i], detail = self._decode_one(value)
            rows.append(row)
            if faults[i]:
                details[i] = detail
        return rows, faults, details

    def _decode_one(self, value: bytes | None) -> tuple[Any, int, bytes]:
        if value is None:
            return None, TOMBSTONE, b"no value"
        if len(value) > self._max_record_bytes:
            return None, TOO_LARGE, b"%d bytes" % len(value)
        try:
            return self._decode_value(value), 0, b""
        except UnicodeDecodeError:
            return None, INVALID_UTF8, value[:_SHOWN_BYTES]
        except msgspec.ValidationError as error:
            return None, WRONG_SCHEMA, str(error).encode()
        except (msgspec.DecodeError, RecursionError):
            return None, MALFORMED, value[:_SHOWN_BYTES]

    def _column(self, field: str, rows: list[Any], chunks: Sequence[Chunk]) -> list[Any]:
        if field == KEY:
            return [key for chunk in chunks for key in chunk.key]
        if field == TIMESTAMP:
            return [time if time >= 0 else None for chunk in chunks for time in chunk.timestamp_ms]
        found = rows
        for name in field.split("."):
            attribute = _attribute(name)
            found = [None if row is None else getattr(row, attribute) for row in found]
        return found

    def _without_absurd(self, poll: Poll, written_ms: NDArray[np.int64], origin: Callable[[int], Origin]) -> Poll:
        events = poll.events
        time_ms, written_ms = events.timestamp_ms, written_ms[events.number]
        absurd = (time_ms < self._oldest_ms) | ((written_ms >= 0) & (time_ms - written_ms > self._max_ahead_ms))
        if not absurd.any():
            return poll
        rejections = list(poll.rejections)
        for i in np.flatnonzero(absurd).tolist():
            detail = f"event time {np.datetime64(int(time_ms[i]), 'ms')}Z"
            whence = origin(int(events.number[i]))
            rejections.append(Rejection(int(events.partition[i]), int(events.offset[i]), whence, ABSURD_TIME, detail))
        return Poll(events.take(np.flatnonzero(~absurd)), rejections)


def _merged(poll: Poll) -> Poll:
    events = poll.events
    partitions = np.unique(events.partition)
    if len(partitions) < 2:
        return poll
    reached_ms = np.empty(events.num_events, np.int64)
    for partition in partitions.tolist():
        its = events.partition == partition
        reached_ms[its] = np.maximum.accumulate(events.timestamp_ms[its])
    return poll._replace(events=events.take(np.argsort(reached_ms, kind="stable")))


def _as_text(column: list[Any], details: dict[int, bytes]) -> Any:
    """Return values as text, ``large_binary``; those with a detail as that."""
    if not details:
        try:
            array = pa.array(column)
        except (pa.ArrowException, OverflowError):
            pass
        else:
            # Where all values are of one kind, no Python looks at each.
            if pa.types.is_string(array.type) or pa.types.is_binary(array.type):
                return array.cast(pa.large_binary())
            if pa.types.is_integer(array.type):
                return array.cast(pa.large_string()).cast(pa.large_binary())
    texts = [value if value.__class__ in (str, bytes) or value is None else str(value) for value in column]
    for i, detail in details.items():
        texts[i] = detail
    return pa.array(texts, pa.large_binary())


def _attribute(name: str) -> str:
    # A key of JSON need not be a name that Python takes.
    return f"of_{name.encode().hex()}"


def _type_of(fields: tuple[str, str, str, str | None]) -> Any:
    user, item, timestamp, weight = fields
    types = ((user, str | int | None), (item, str | int | None), (timestamp, str | int | float | None))
    tree: dict[str, Any] = {}
    for path, kind in (*types, (weight, int | float | None)):
        if path is None or path.startswith("@"):
            continue
        *branches, leaf = path.split(".")
        level = tree
        for name in branches:
            level = level.setdefault(name, {})
            if not isinstance(level, dict):
                raise UsageError(
                    f"schema: {path!r} goes on where another field already ends; mend the paths in [schema]"
                )
        if isinstance(level.get(leaf), dict):
            raise UsageError(f"schema: {path!r} ends where another field goes on; mend the paths in [schema]")
        level[leaf] = level[leaf] | kind if leaf in level else kind
    return _struct(tree)


def _struct(tree: dict[str, Any]) -> Any:
    fields = [
        (_attribute(name), _struct(kind) | None if isinstance(kind, dict) else kind, None)
        for name, kind in tree.items()
    ]
    return msgspec.defstruct("Value", fields, rename={_attribute(name): name for name in tree}, gc=False)
