"""What all synthetic worlds have in common: events made in blocks, and an oracle.

Events are made in blocks of :data:`BLOCK`. A block is a function of (seed, world, block number), so any position can
be sought directly and memory does not grow. The price: what goes on among a world's users is cut where blocks end.
"""

import zlib
from abc import ABC, abstractmethod
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from simulators.names import Names
from simulators.rows import as_rows
from stream.adapters.columns import TextColumns
from stream.core.event import EventBatch, Origin, Poll
from stream.ports import Position

BLOCK: Final = 8192
"""Events in a block: what one poll gives at most."""

_START_MS: Final = 1_704_067_200_000  # midnight of 2024-01-01 UTC
_DAY_MS: Final = 86_400_000
_EVENTS_PER_DAY: Final = 172_800  # two a second on average

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


_TIME_OF_DAY: Final = np.linspace(0, 1, 97)
_SHARE_OF_DAY: Final = _TIME_OF_DAY - 0.8 * np.sin(2 * np.pi * _TIME_OF_DAY) / (2 * np.pi)
"""Share of a day's events before that time: the integral of a rate that is lowest at midnight."""


def draw_timestamps(block: int, rng: np.random.Generator) -> Indices:
    """Return the event times in ms: event n comes in the n-th of equal parts of the cumulative intensity."""
    day, share = np.divmod((block * BLOCK + np.arange(BLOCK) + rng.random(BLOCK)) / _EVENTS_PER_DAY, 1.0)
    return _START_MS + ((day + np.interp(share, _SHARE_OF_DAY, _TIME_OF_DAY)) * _DAY_MS).astype(np.int64)


class Block(NamedTuple):
    """The events of one block in their order, as indices into those who are alive: int64[BLOCK] each."""

    number: int
    users: Names
    items: Names
    user: Indices
    item: Indices
    timestamp_ms: Indices

    def batch(self) -> EventBatch:
        """Return the events as a batch; the spans of the ids are shared between events."""
        offset = np.arange(self.number * BLOCK, (self.number + 1) * BLOCK)
        return EventBatch(
            user=self.users.key[self.user],
            item=self.items.key[self.item],
            timestamp_ms=self.timestamp_ms,
            weight=np.ones(BLOCK, np.float32),
            partition=np.zeros(BLOCK, np.int32),
            offset=offset,
            number=offset,
            item_start=self.items.start[self.item],
            item_length=self.items.length[self.item],
            item_data=self.items.data,
        )

    def rows(self, begin: int, end: int) -> TextColumns:
        """Return events ``begin`` to ``end`` of the block as text."""
        here = slice(begin, end)
        number = self.number * BLOCK + np.arange(begin, end)
        return as_rows(self.users, self.user[here], self.items, self.item[here], self.timestamp_ms[here], number)


class Drawn(Protocol):
    """A block as a world keeps it: its events, and whatever else its oracle needs."""

    @property
    def events(self) -> Block:
        """The events."""


DrawnT = TypeVar("DrawnT", bound=Drawn)


class World(ABC, Generic[DrawnT]):
    """A synthetic world: a :class:`~stream.ports.Source` of one partition (0), and the truth behind it.

    The truth is asked for by event number (``offset``) and holds throughout the event's block, except
    :meth:`item_probabilities`. Arrays are of the users or the items alive then, in the order of :meth:`user_keys` or
    :meth:`item_keys`.
    """

    def __init__(self, name: str, seed: int, limit: int) -> None:
        self._name = name
        self._seed = seed
        self._limit = limit
        self._next = 0
        self._drawn: DrawnT | None = None

    @property
    def name(self) -> str:
        """``synthetic:NAME``, as it is asked for."""
        return f"synthetic:{self._name}"

    @property
    def num_records(self) -> int:
        """The limit it was opened with."""
        return self._limit

    def poll(self) -> Poll | None:
        """Return the events from here to the end of the block, or None once the limit is reached."""
        if self._next >= self._limit:
            return None
        events = self._block_at(self._next).events.batch()
        begin = self._next % BLOCK
        end = min(BLOCK, begin + self._limit - self._next)
        self._next += end - begin
        return Poll(events.cut(begin, end), [])

    def read_rows(self, max_rows: int) -> TextColumns | None:
        """Return 1 to ``max_rows`` of the events that :meth:`poll` would give, as text; times are in milliseconds."""
        begin = self._next % BLOCK
        num_rows = min(max_rows, self._limit - self._next, BLOCK - begin)
        if num_rows <= 0:
            return None
        rows = self._block_at(self._next).events.rows(begin, begin + num_rows)
        self._next += num_rows
        return rows

    def seek(self, position: Position) -> None:
        """Go on from event number ``position[0]`` (0 where it is not given)."""
        self._next = position.get(0, 0)
        assert self._next >= 0, "event numbers begin at 0"

    def origin(self, partition: int, number: int) -> Origin:  # noqa: ARG002
        """Return where a person finds an event: its number."""
        return Origin(f"event {number}")

    def partitions(self, position: Position) -> None:
        """Return None: a world waits for its reader."""

    def commit(self, position: Position) -> None:
        """Do nothing: a world keeps no account of who has read it."""

    def close(self) -> None:
        """Do nothing: a world holds no files."""

    def user_keys(self, offset: int) -> NDArray[np.uint64]:
        """Return the keys of the users alive at the event, uint64[num_users]."""
        return self._block_at(offset).events.users.key

    def item_keys(self, offset: int) -> NDArray[np.uint64]:
        """Return the keys of the items alive at the event, uint64[num_items]."""
        return self._block_at(offset).events.items.key

    @abstractmethod
    def user_rates(self, offset: int) -> Floats:
        """Return the marginal probability of each user at the event, float64[num_users], sum 1."""

    @abstractmethod
    def item_rates(self, offset: int) -> Floats:
        """Return the marginal probability of each item at the event, float64[num_items], sum 1."""

    @abstractmethod
    def item_probabilities(self, offset: int) -> Floats:
        """Return the probability of each item given all that came before, float64[num_items], sum 1.

        No recommender can expect a higher recall than ranking by this. Going through the offsets in order is quick,
        for the last block is kept.
        """

    @abstractmethod
    def _draw(self, number: int) -> DrawnT:
        """Make a block."""

    def _generator(self, *of: int) -> np.random.Generator:
        key = (zlib.crc32(self._name.encode()), *of)
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))

    def _block_at(self, offset: int) -> DrawnT:
        number = offset // BLOCK
        if self._drawn is None or number != self._drawn.events.number:
            self._drawn = self._draw(number)
        return self._drawn
