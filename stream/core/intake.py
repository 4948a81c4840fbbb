"""What comes in from a source, made ready to learn: late events and clocks that jumped are told apart."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.core.event import EventBatch, Poll, Rejection, mix64
from stream.core.windows import FutureGuard, split_late


class Batch(NamedTuple):
    """One poll, sorted out: what is to be learnt in turn, and what is not."""

    events: EventBatch
    """To be learnt."""
    late: NDArray[np.bool_]
    """Which of these are late, bool[n]."""
    tested: NDArray[np.intp]
    """Indices of the events to be tested before they are learnt, increasing."""
    rejections: list[Rejection]
    """What is not learnt, in the order of the source."""
    raw: EventBatch
    """All events as polled."""
    raw_index: NDArray[np.intp]
    """Where each event to be learnt stands in ``raw``."""
    end: dict[int, int]
    """The source's position after all of it."""

    def position_before(self, cut: int) -> dict[int, int]:
        """Return the position, for the partitions in here, at which the event ``cut`` is the next to be learnt.

        What is rejected on the way there is passed; after the last event, all of the batch.
        """
        next_raw = self.raw_index[cut] if cut < len(self.raw_index) else self.raw.num_events
        partitions, first = np.unique(self.raw.partition[next_raw:], return_index=True)
        offsets = self.raw.offset[next_raw:][first]
        return self.end | dict(zip(partitions.tolist(), offsets.tolist(), strict=True))

    def position_after(self, cut: int) -> dict[int, int]:
        """Return the position, for the partitions read so far, right behind the first ``cut`` events.

        What is rejected after them is still ahead, so this does not depend on where the batch ends.
        """
        passed = self.raw_index[cut - 1] + 1 if cut else 0
        partitions, last = np.unique(self.raw.partition[:passed][::-1], return_index=True)
        offsets = self.raw.offset[:passed][::-1][last] + 1
        return dict(zip(partitions.tolist(), offsets.tolist(), strict=True))


class Intake:
    """Sorts polls out by event time, and chooses by a hash of seed and offset which events are tested.

    Events behind the watermark are late; with ``learn_late`` they are learnt all the same, else rejected. Events far
    in the future are rejected (:class:`~stream.core.windows.FutureGuard`). The outcome depends on the events alone,
    never on how they are cut into polls.
    """

    def __init__(
        self, allowed_lateness_ms: int, learn_late: bool, max_future_jump_ms: int, test_share: float, seed: int
    ) -> None:
        self._allowed_lateness_ms = allowed_lateness_ms
        self._learn_late = learn_late
        self._max_future_jump_ms = max_future_jump_ms
        self._guard = FutureGuard(max_future_jump_ms)
        self._guard_before = self._guard.state()
        self._test_share = test_share
        self._seed = seed

    def sort(self, poll: Poll, running_max_ms: int, place: Callable[[int, int], str]) -> Batch:
        """Sort one poll out; ``running_max_ms`` is the highest event time learnt before it.

        ``place`` says where a person finds an event, from its partition and number.
        """
        raw = poll.events.frozen()
        self._guard_before = self._guard.state()
        far = self._guard.split(raw.timestamp_ms)
        late = np.zeros(raw.num_events, np.bool_)
        late[~far], _ = split_late(raw.timestamp_ms[~far], running_max_ms, self._allowed_lateness_ms)
        rejected = far if self._learn_late else far | late
        kept = np.flatnonzero(~rejected)
        events = raw.take(kept).frozen() if rejected.any() else raw
        rejections = list(poll.rejections)
        for index in np.flatnonzero(rejected).tolist():
            reason = "timestamp far in the future" if far[index] else "late event"
            where = place(int(raw.partition[index]), int(raw.number[index]))
            rejections.append(_rejection(raw, index, where, reason))
        rejections.sort(key=lambda rejection: rejection.offset)
        tested = np.flatnonzero(_chosen(events.partition, events.offset, np.uint64(self._seed), self._test_share))
        return Batch(events, late[kept], tested, rejections, raw, kept, _end_of(raw, poll.rejections))

    def state(self, batch: Batch | None, position: dict[int, int]) -> dict[str, int]:
        """Return the state at a position within the batch last sorted, fit for JSON; None: after all batches."""
        if batch is None:
            return self._guard.state()
        partitions, which = np.unique(batch.raw.partition, return_inverse=True)
        ends = np.array([position.get(partition, 0) for partition in partitions.tolist()], np.int64)
        guard = FutureGuard(self._max_future_jump_ms)
        guard.restore(self._guard_before)
        guard.split(batch.raw.timestamp_ms[batch.raw.offset < ends[which]])
        return guard.state()

    def restore(self, state: dict[str, int]) -> None:
        """Go on from ``state``."""
        self._guard.restore(state)


def _rejection(events: EventBatch, index: int, place: str, reason: str) -> Rejection:
    time = np.datetime64(int(events.timestamp_ms[index]), "ms")
    return Rejection(
        partition=int(events.partition[index]),
        offset=int(events.offset[index]),
        place=place,
        reason=reason,
        detail=f"event time {time}Z",
    )


def _end_of(events: EventBatch, rejections: list[Rejection]) -> dict[int, int]:
    end: dict[int, int] = {}
    if events.num_events:
        partitions, last = np.unique(events.partition[::-1], return_index=True)
        offsets = events.offset[::-1][last] + 1
        end = dict(zip(partitions.tolist(), offsets.tolist(), strict=True))
    for rejection in rejections:
        end[rejection.partition] = max(end.get(rejection.partition, 0), rejection.offset + 1)
    return end


def _chosen(partition: NDArray[np.int32], offset: NDArray[np.int64], seed: Any, share: float) -> NDArray[np.bool_]:
    out = np.ones(len(offset), np.bool_)
    if share < 1.0:
        _choose(partition, offset, seed, np.uint64(int(share * 2.0**64)), out)
    return out


@njit(cache=True, nogil=True)
def _choose(partition: Any, offset: Any, seed: Any, threshold: Any, out: Any) -> None:
    for i in range(len(offset)):
        salt = mix64(seed + mix64(np.uint64(partition[i]) + np.uint64(0x632BE59BD9B4E019)))
        out[i] = mix64(salt ^ np.uint64(offset[i])) < threshold
