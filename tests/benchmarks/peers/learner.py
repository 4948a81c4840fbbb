"""What a peer is to the benchmarks, and the work that all of them are given.

The work is that of the plain setting: each event is one example with the label 1 and one, of the same user and an item
drawn from those known, with the label 0. Peers are told the negatives, and dense numbers in place of ids, for nothing:
ours draws its own and looks keys up within its time.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from stream.core.event import EventBatch

EXAMPLES = 2
"""Of an event: the positive and the negative."""


class Work(NamedTuple):
    """Events as columns of one length n."""

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    negative: NDArray[np.int64]
    """An item that is not the event's own, unless it is the only one known."""

    @property
    def num_events(self) -> int:
        """How many there are."""
        return len(self.user)

    def cut(self, begin: int, end: int) -> Self:
        """Return the events ``begin`` to ``end`` as views."""
        return type(self)(self.user[begin:end], self.item[begin:end], self.negative[begin:end])

    def in_batches(self, size: int) -> Iterator[Self]:
        """Yield the events in batches of so many; the last may have fewer."""
        return (self.cut(begin, begin + size) for begin in range(0, self.num_events, size))


class Learner(Protocol):
    """A peer that learns batches of events."""

    def prepare(self, work: Work) -> Any:
        """Return a batch as the library itself reads it; not measured."""

    def learn(self, prepared: Any) -> None:
        """Learn what was prepared, batch after batch in the order of the stream."""

    def scores(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the score of each pair, float64[n]: the higher, the likelier."""

    def num_missed(self, work: Work) -> int:
        """Return how many events of ``work``, all that was learnt, left no trace in the library: 0, if all is well."""

    @property
    def num_bytes(self) -> int:
        """Bytes of the parameters, and of the optimizer's state beside them."""


def work_of(events: EventBatch, seed: int = 1) -> Work:
    """Return a stream's events with users and items numbered as they first come, and a negative each."""
    user, item = number(events.user), number(events.item)
    known = np.maximum.accumulate(item) + 1
    negative = (np.random.default_rng(seed).random(len(item)) * known).astype(np.int64)
    negative = np.where(negative == item, (negative + 1) % known, negative)
    return Work(user, item, negative)


def number(keys: NDArray[Any]) -> NDArray[np.int64]:
    """Number the different values in the order in which they first come.

    >>> number(np.array([7, 9, 7, 3])).tolist()
    [0, 1, 0, 2]
    """
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def count_untouched(work: Work, users: NDArray[np.bool_], items: NDArray[np.bool_]) -> int:
    """Return how many events have a user or an item whose row was never touched; the columns are by row."""
    return int((~(users[work.user] & items[work.item])).sum())
