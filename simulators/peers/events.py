"""The events of a stream as dense columns: what every model is tested on, and what its peers learn."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from stream.core.event import Origin, Poll
from stream.core.intake import Batch
from stream.ports import Source

GAPS: Final = ("first", "under_1h", "over_1h")
"""Events by the time since the user's last event."""
_HOUR_S: Final = 3600

Sort = Callable[[Poll, Callable[[int, int], Origin], Mapping[tuple[int, int], str]], Batch]
"""Tells what is learnt and tested of a poll: :meth:`stream.core.trainer.Trainer.sort`."""


class Interactions(NamedTuple):
    """Some events in the order of the stream, all that a peer learns of them. Columns of one length."""

    user: NDArray[np.int64]
    """Users by number."""
    item: NDArray[np.int64]
    """Items by number, in the order in which they first came: those known before an event are the lowest numbers."""

    def cut(self, begin: int, end: int) -> Self:
        """Return the events ``begin`` to ``end``."""
        return type(self)(self.user[begin:end], self.item[begin:end])

    @property
    def num_events(self) -> int:
        """How many there are."""
        return len(self.user)


class Stream(NamedTuple):
    """All events that are learnt of a stream, and which of them are tested before."""

    events: Interactions
    user_key: NDArray[np.uint64]
    """By number: the user's key, which is the same whatever the order of ties."""
    item_key: NDArray[np.uint64]
    """By number: the item's key."""
    tested: NDArray[np.int64]
    """Indices of the tested events, increasing."""
    num_known: NDArray[np.int64]
    """By event: items that occurred before it. An item whose number is as high is seen for the first time."""
    is_taken: NDArray[np.bool_]
    """By event: its user has had its item before."""
    gap: NDArray[np.int64]
    """By event: which of GAPS."""

    @property
    def num_items(self) -> int:
        """Items in all."""
        return int(self.events.item.max(initial=-1)) + 1

    @property
    def first_sight(self) -> NDArray[np.bool_]:
        """By event: whether its item has not occurred before."""
        return self.events.item >= self.num_known


def gather(source: Source, sort: Sort) -> Stream:
    """Read a source to its end; what ``sort`` rejects is left out."""
    batches, tested, num = [], [np.zeros(0, np.int64)], 0
    while (poll := source.poll()) is not None:
        batch = sort(poll, source.origin, {})
        batches.append(batch.events)
        tested.append(batch.tested + num)
        num += batch.events.num_events
    user_key, item_key, timestamp_ms = (
        np.concatenate([np.zeros(0, dtype), *(getattr(events, name) for events in batches)])
        for name, dtype in (("user", np.uint64), ("item", np.uint64), ("timestamp_ms", np.int64))
    )
    keys, user = numbered(user_key)
    item_keys, item = numbered(item_key)
    num_known = np.maximum.accumulate(np.concatenate(([0], item + 1)))[:-1]
    is_taken = np.ones(num, np.bool_)
    is_taken[np.unique(user * max(len(item_key), 1) + item, return_index=True)[1]] = False
    gap = _gaps(user, timestamp_ms // 1000)
    return Stream(Interactions(user, item), keys, item_keys, np.concatenate(tested), num_known, is_taken, gap)


def numbered(key: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the distinct keys in the order in which they first come, and for each key its number there."""
    distinct, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty(len(distinct), np.int64)
    number[order] = np.arange(len(distinct))
    return distinct[order], number[inverse]


def _gaps(user: NDArray[np.int64], time_s: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return by event which of GAPS; an event that comes late does not turn its user's clock back."""
    last_s: dict[int, int] = {}
    gap = np.zeros(len(user), np.int64)
    for index, (number, now_s) in enumerate(zip(user.tolist(), time_s.tolist(), strict=True)):
        before_s = last_s.get(number)
        if before_s is not None:
            gap[index] = 1 if now_s - before_s < _HOUR_S else 2
        last_s[number] = now_s if before_s is None else max(before_s, now_s)
    return gap
