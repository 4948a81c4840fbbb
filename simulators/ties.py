"""Shuffling what the order of a file gives away.

Many data sets stamp a whole basket or session with one time and list it in an order that no live stream would
show, such as by item number or by rating. A sequence model learns that order and looks better than it is.
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.core.event import EventBatch, Origin, Poll, mix64
from stream.core.stats import PartitionStatus
from stream.ports import Position, Source

BLOCK_RECORDS: Final = 1 << 16
"""Offsets a run of ties may span: it is cut where the offset reaches a multiple of this."""


class TieShuffled:
    """A source whose events of equal user and timestamp are permuted by the seed.

    Within each run of consecutive events with equal timestamp, the events of each user are permuted among the
    places that this user's events hold, in the order of a hash of seed and original offset. Partition and
    offset stay with the place, so that offsets go on increasing; rejections keep theirs. The outcome depends
    on seed and offsets alone, never on how the source cuts its polls: the last run is held back, with the
    rejections behind it, until a later poll shows where it ends. Runs are cut at every :data:`BLOCK_RECORDS`
    offsets, which bounds what is held back, and what :meth:`seek` reads again.

    For sources of one partition, as files and worlds are.
    """

    def __init__(self, source: Source, seed: int, block_records: int = BLOCK_RECORDS) -> None:
        self.source = source
        """The source as it is, with ties in their own order."""
        self._seed = seed
        self._block_records = block_records
        self._begin = 0
        self._held: Poll | None = None

    @property
    def name(self) -> str:
        """The source's name."""
        return self.source.name

    @property
    def num_records(self) -> int | None:
        """How many records the source holds, where that is known."""
        return self.source.num_records

    def poll(self) -> Poll | None:
        """Return the next events whose runs are complete, and the rejections before them; None at the end."""
        while True:
            poll = self.source.poll()
            if poll is not None:
                ready, self._held = self._split(poll if self._held is None else _joined(self._held, poll))
            elif self._held is not None:
                ready, self._held = self._held, None
            else:
                return None
            ready = self._shuffled(ready)
            if ready.events.num_events or ready.rejections:
                return ready

    def seek(self, position: Position) -> None:
        """Go on from ``position``: the source goes back to where the runs were last cut."""
        self._begin = position.get(0, 0)
        self._held = None
        self.source.seek({0: self._begin - self._begin % self._block_records})

    def origin(self, partition: int, number: int) -> Origin:
        """Return what the source says."""
        return self.source.origin(partition, number)

    def partitions(self, position: Position) -> list[PartitionStatus] | None:
        """Return what the source says."""
        return self.source.partitions(position)

    def commit(self, position: Position) -> None:
        """Tell the source."""
        self.source.commit(position)

    def close(self) -> None:
        """Close the source."""
        self.source.close()

    def _split(self, pending: Poll) -> tuple[Poll, Poll | None]:
        """Return the records up to the last run, and the rest where that run may go on."""
        events, rejections = pending.events, pending.rejections
        if events.num_events == 0:
            return pending, None
        newest = max(int(events.offset[-1]), rejections[-1].offset if rejections else 0)
        if newest // self._block_records > events.offset[-1] // self._block_records:
            return pending, None
        begin = int(np.flatnonzero(self._run_starts(events))[-1])
        first = bisect_left(rejections, int(events.offset[begin]), key=lambda rejection: rejection.offset)
        ready = Poll(events.cut(0, begin), rejections[:first])
        return ready, Poll(events.cut(begin, events.num_events), rejections[first:])

    def _run_starts(self, events: EventBatch) -> NDArray[np.bool_]:
        starts = np.ones(events.num_events, np.bool_)
        block = events.offset // self._block_records
        starts[1:] = (np.diff(events.timestamp_ms) != 0) | (np.diff(block) != 0)
        return starts

    def _shuffled(self, poll: Poll) -> Poll:
        events = self._permuted(poll.events)
        begin = int(np.searchsorted(events.offset, self._begin))
        kept = [rejection for rejection in poll.rejections if rejection.offset >= self._begin]
        return Poll(events.cut(begin, events.num_events), kept)

    def _permuted(self, events: EventBatch) -> EventBatch:
        starts = self._run_starts(events)
        places = np.flatnonzero(~starts | ~np.append(starts[1:], True))
        if len(places) == 0:
            return events
        run, user = np.cumsum(starts)[places], events.user[places]
        key = np.empty(len(places), np.uint64)
        _hash_offsets(events.offset[places], np.uint64(self._seed % 2**64), key)
        # Both sorts group by run and user; one lists a group's places in turn, the other who goes there.
        order = np.arange(events.num_events)
        order[places[np.lexsort((user, run))]] = places[np.lexsort((key, user, run))]
        return events.take(order)._replace(partition=events.partition, offset=events.offset)


@njit(cache=True, nogil=True)
def _hash_offsets(offset: Any, seed: Any, out: Any) -> None:
    salt = mix64(seed + np.uint64(0x9E3779B97F4A7C15))
    for i in range(len(offset)):
        out[i] = mix64(salt ^ np.uint64(offset[i]))


def _joined(held: Poll, poll: Poll) -> Poll:
    """Return both as one, moving only the id bytes that the held events need."""
    first, second = held.events, poll.events
    length = first.item_length.astype(np.int64)
    start = np.cumsum(length) - length
    ids = first.item_data[np.repeat(first.item_start - start, length) + np.arange(length.sum())]
    first = first._replace(item_start=start, item_data=ids)
    second = second._replace(item_start=second.item_start + len(ids))
    pairs: Iterator[tuple[NDArray[Any], NDArray[Any]]] = zip(first, second, strict=True)
    events = EventBatch(*(np.concatenate(pair) for pair in pairs))
    return Poll(events, held.rejections + poll.rejections)
