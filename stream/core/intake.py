"""What comes in from a source, made ready to learn: late events and clocks that jumped are told apart."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.core.event import EventBatch, Gap, Origin, Poll, Rejection, mix64
from stream.core.windows import NO_EVENT_TIME, FutureGuard, split_late


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
    gaps: tuple[Gap, ...]
    """What was lost at the source before these events."""
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

    Events behind the watermark of their partition are late; with ``learn_late`` they are learnt all the same, else
    rejected. (Each partition has its own, for only within one do events come in an order: while a backlog is read,
    partitions are far apart.) Events far in the future are rejected (:class:`~stream.core.windows.FutureGuard`). The
    outcome depends on the events alone, never on how they are cut into polls.
    """

    def __init__(
        self, allowed_lateness_ms: int, learn_late: bool, max_future_jump_ms: int, test_share: float, seed: int
    ) -> None:
        self._allowed_lateness_ms = allowed_lateness_ms
        self._learn_late = learn_late
        self._max_future_jump_ms = max_future_jump_ms
        self._guard = FutureGuard(max_future_jump_ms)
        self._running_max_ms: dict[int, int] = {}
        self._before = self._state()
        self._test_share = test_share
        self._seed = seed

    def sort(self, poll: Poll, origin: Callable[[int, int], Origin], dead: Mapping[tuple[int, int], str]) -> Batch:
        """Sort one poll out.

        ``origin`` says where an event came from, by its partition and number. ``dead`` are (partition, offset) that
        were rejected before and cannot be learnt any more, with the reason.
        """
        raw = poll.events.frozen()
        self._before = self._state()
        far, late = self._split(raw.timestamp_ms, raw.partition)
        rejected = far if self._learn_late else far | late
        already = _members(raw, dead)
        rejected = rejected | already
        kept = np.flatnonzero(~rejected)
        events = raw.take(kept).frozen() if rejected.any() else raw
        rejections = list(poll.rejections)
        for index in np.flatnonzero(rejected).tolist():
            partition, offset = int(raw.partition[index]), int(raw.offset[index])
            if already[index]:
                reason = dead[partition, offset]
            else:
                reason = "timestamp far in the future" if far[index] else "late event"
            whence = origin(partition, int(raw.number[index]))
            detail = f"event time {np.datetime64(int(raw.timestamp_ms[index]), 'ms')}Z"
            rejections.append(Rejection(partition, offset, whence, reason, detail))
        rejections.sort(key=lambda rejection: rejection.offset)
        tested = np.flatnonzero(_chosen(events.partition, events.offset, np.uint64(self._seed), self._test_share))
        return Batch(events, late[kept], tested, rejections, poll.gaps, raw, kept, _end_of(poll))

    def _split(
        self, timestamp_ms: NDArray[np.int64], partition: NDArray[np.int32]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which of the next events are far in the future, and which are late."""
        far = self._guard.split(timestamp_ms)
        late = np.zeros(len(timestamp_ms), np.bool_)
        for number in np.unique(partition).tolist():
            its = np.flatnonzero((partition == number) & ~far)
            before = self._running_max_ms.get(number, NO_EVENT_TIME)
            late[its], after = split_late(timestamp_ms[its], before, self._allowed_lateness_ms)
            self._running_max_ms[number] = after
        return far, late

    def state(self, batch: Batch | None, position: dict[int, int]) -> dict[str, Any]:
        """Return the state at a position within the batch last sorted, fit for JSON; None: after all batches."""
        if batch is None:
            return self._state()
        partitions, which = np.unique(batch.raw.partition, return_inverse=True)
        ends = np.array([position.get(partition, 0) for partition in partitions.tolist()], np.int64)
        passed = batch.raw.offset < ends[which]
        there = Intake(self._allowed_lateness_ms, self._learn_late, self._max_future_jump_ms, 0.0, 0)
        there.restore(self._before)
        there._split(batch.raw.timestamp_ms[passed], batch.raw.partition[passed])
        return there._state()

    def _state(self) -> dict[str, Any]:
        watermarks = {str(partition): time for partition, time in self._running_max_ms.items()}
        return {"guard": self._guard.state(), "running_max_ms": watermarks}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._guard.restore(state["guard"])
        self._running_max_ms = {int(partition): time for partition, time in state["running_max_ms"].items()}


def drop_known(poll: Poll, position: Mapping[int, int]) -> tuple[Poll, int]:
    """Return the poll without the records before ``position``, which are known already, and how many those were."""
    events = poll.events
    known = np.zeros(events.num_events, np.bool_)
    for partition in np.unique(events.partition).tolist():
        known |= (events.partition == partition) & (events.offset < position.get(partition, 0))
    rejections = [r for r in poll.rejections if r.offset >= position.get(r.partition, 0)]
    num_known = int(known.sum()) + len(poll.rejections) - len(rejections)
    if num_known:
        poll = poll._replace(events=events.take(np.flatnonzero(~known)), rejections=rejections)
    return poll, num_known


def _members(events: EventBatch, dead: Mapping[tuple[int, int], str]) -> NDArray[np.bool_]:
    if not dead:
        return np.zeros(events.num_events, np.bool_)
    places = zip(events.partition.tolist(), events.offset.tolist(), strict=True)
    return np.fromiter((place in dead for place in places), np.bool_, events.num_events)


def _end_of(poll: Poll) -> dict[int, int]:
    events, end = poll.events, {gap.partition: gap.end for gap in poll.gaps}
    if events.num_events:
        partitions, last = np.unique(events.partition[::-1], return_index=True)
        offsets = events.offset[::-1][last] + 1
        end |= dict(zip(partitions.tolist(), offsets.tolist(), strict=True))
    for rejection in poll.rejections:
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
