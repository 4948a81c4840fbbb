"""Events as columns, and the 64-bit keys that stand for ids.

A batch is one array per field, never a list of objects. Ids travel as keys: a 64-bit hash of the id's UTF-8 bytes,
salted by side, so that user ``"7"`` and item ``"7"`` differ. Items also carry their bytes, for the index stores an
item's id to name it in a recommendation.
"""

from typing import Any, Final, NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

USER: Final = 0
ITEM: Final = 1
MAX_ID_BYTES: Final = 252
"""The longest id accepted, in UTF-8 bytes; a longer one is a dead letter."""

_FNV_OFFSET: Final = np.uint64(0xCBF29CE484222325)
_FNV_PRIME: Final = np.uint64(0x100000001B3)


@njit(cache=True, nogil=True)
def mix64(x: Any) -> Any:
    """Scramble 64 bits (the finaliser of SplitMix64): every input bit reaches every output bit."""
    x = np.uint64(x)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def _hash_spans(data: Any, start: Any, length: Any, side: int, out: Any) -> None:
    salt = mix64(np.uint64(side) + np.uint64(0x9E3779B97F4A7C15))
    for i in range(len(start)):
        h = _FNV_OFFSET ^ salt
        for p in range(start[i], start[i] + length[i]):
            h = (h ^ np.uint64(data[p])) * _FNV_PRIME
        h = mix64(h)
        # Zero marks a free slot in the index, so no id may hash to it.
        out[i] = h if h != np.uint64(0) else np.uint64(1)


def hash_spans(
    data: NDArray[np.uint8], start: NDArray[np.int64], length: NDArray[np.int32], side: int
) -> NDArray[np.uint64]:
    """Return the 64-bit key of each id ``data[start[i] : start[i] + length[i]]`` (FNV-1a, then SplitMix64's finaliser).

    ``side`` is :data:`USER` or :data:`ITEM`. Two of n ids collide with probability n^2 / 2^65 (3e-8 at a million).
    """
    out = np.empty(len(start), np.uint64)
    _hash_spans(data, start, length, side, out)
    return out


def hash_id(name: str, side: int) -> int:
    """Return the key of one id.

    >>> hash_id("7", USER) != hash_id("7", ITEM)
    True
    """
    data = np.frombuffer(name.encode(), np.uint8)
    return int(hash_spans(data, np.zeros(1, np.int64), np.array([len(data)], np.int32), side)[0])


@njit(cache=True, nogil=True)
def _sum_of_offsets(partition: Any, offset: Any) -> Any:
    total = np.uint64(0)
    # Mixing leaves zero as it is, and the first record of the first partition must count.
    addend = np.uint64(0x9E3779B97F4A7C15)
    for i in range(len(offset)):
        total += mix64(mix64(np.uint64(partition[i]) + addend) ^ np.uint64(offset[i]))
    return total


def digest_of(partition: NDArray[np.int32], offset: NDArray[np.int64]) -> int:
    """Return the sum, modulo 2^64, of a hash of each (partition, offset).

    Sums of two sets of records can be added, in any order, and are equal with probability 2^-64 where the sets differ:
    so it shows that every record was learnt once, with nothing stored per record.
    """
    return int(_sum_of_offsets(partition, offset))


class EventBatch(NamedTuple):
    """Events as columns, in the order in which they are to be learnt. All columns have the same length n.

    ``item_data[item_start[i] : item_start[i] + item_length[i]]`` is the UTF-8 id of event i's item; the spans may lie
    in any order and may be shared, so that a permutation moves no bytes.
    """

    user: NDArray[np.uint64]
    """Key of the user."""
    item: NDArray[np.uint64]
    """Key of the item."""
    timestamp_ms: NDArray[np.int64]
    """Event time, milliseconds since the epoch (UTC)."""
    weight: NDArray[np.float32]
    """Weight of the event in the loss, > 0; 1 where the source has none."""
    partition: NDArray[np.int32]
    """Partition of the source the event came from (0 for files)."""
    offset: NDArray[np.int64]
    """Ordinal of the event in its partition, increasing; what a checkpoint remembers."""
    number: NDArray[np.int64]
    """By what number a person finds the event: a line of the file, say; the source knows of what."""
    item_start: NDArray[np.int64]
    item_length: NDArray[np.int32]
    item_data: NDArray[np.uint8]

    @property
    def num_events(self) -> int:
        """Number of events in the batch."""
        return len(self.user)

    def frozen(self) -> Self:
        """Return the same columns, read-only.

        Kernels are compiled for one kind of arrays alone: code compiled twice may round differently, and which of two
        was used must not depend on how a source made its columns.
        """
        if not any(column.flags.writeable for column in self):
            return self
        columns: dict[str, Any] = {name: column.view() for name, column in self._asdict().items()}
        for column in columns.values():
            column.flags.writeable = False
        return self._replace(**columns)

    def cut(self, begin: int, end: int) -> Self:
        """Return the events ``begin`` to ``end`` as views."""
        return self._replace(**{name: getattr(self, name)[begin:end] for name in _COLUMNS})

    def take(self, order: NDArray[np.intp]) -> Self:
        """Return the events named by ``order``; the id bytes stay where they are."""
        return self._replace(**{name: getattr(self, name)[order] for name in _COLUMNS})


_COLUMNS: Final = tuple(name for name in EventBatch._fields if name != "item_data")


class Record(NamedTuple):
    """A record as it came from a topic, before anything was made of it."""

    topic: str
    partition: int
    """Its number within the topic, which :attr:`EventBatch.partition` need not be."""
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


class Origin(NamedTuple):
    """Where an event came from."""

    place: str
    """Where a person finds it, as its source says: ``"line 17"``, ``"row 4"``, ``"clicks-0@12"``."""
    record: Record | None = None
    """The record itself, where the source gives records."""


class Rejection(NamedTuple):
    """A record that could not be used: why, and where it came from."""

    partition: int
    offset: int
    """Ordinal of the record in its partition, in the same count as :attr:`EventBatch.offset`."""
    origin: Origin
    reason: str
    """One of a few short reasons, fit for counting: ``"missing user id"``."""
    detail: str
    """What was found, cut to a readable length."""


class Gap(NamedTuple):
    """Offsets of a partition that were gone before they were read: ``begin`` to before ``end``."""

    partition: int
    begin: int
    end: int


class Poll(NamedTuple):
    """What a source gives at once: events that can be learnt, and records that cannot."""

    events: EventBatch
    rejections: list[Rejection]
    gaps: tuple[Gap, ...] = ()
    """What is lost right before these events."""
    is_to_be_saved: bool = False
    """The source waits until a checkpoint holds all that it has given so far, this included."""


NO_EVENTS: Final = EventBatch(
    *(np.empty(0, dtype) for dtype in ("u8", "u8", "i8", "f4", "i4", "i8", "i8", "i8", "i4", "u1"))
).frozen()
"""A batch without events."""
