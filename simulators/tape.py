"""A stream kept in memory, to be replayed as often as one likes without reading or decoding it again."""

from bisect import bisect_right
from math import ceil
from typing import Any, Self

import numpy as np

from stream.config import Memory
from stream.core.event import Origin, Poll
from stream.core.memory import budget_for, slots_for, smallest_budget
from stream.ports import Position, Source


class Tape:
    """A :class:`~stream.ports.Source` of one partition that gives what another gave, again and again.

    >>> from simulators.synthetic import open_world
    >>> tape = Tape.record(open_world("drift", seed=1, limit=10_000))
    >>> tape.seek({0: 9_998})
    >>> tape.poll().events.offset, tape.poll()
    (array([9998, 9999]), None)
    """

    def __init__(self, name: str, polls: list[Poll]) -> None:
        self._name = name
        self._polls = polls
        self._ends = [_end(poll) for poll in polls]
        self._begin = 0
        self._next = 0

    @classmethod
    def record(cls, source: Source) -> Self:
        """Read a source of one partition to its end, and close it."""
        polls = []
        while (poll := source.poll()) is not None:
            polls.append(poll._replace(events=poll.events.frozen()))
        source.close()
        return cls(source.name, polls)

    def reopened(self) -> Self:
        """Return a reader of its own, at the beginning; the events are shared."""
        return type(self)(self._name, self._polls)

    @property
    def name(self) -> str:
        """The name of what was recorded."""
        return self._name

    @property
    def num_records(self) -> int:
        """Events and rejections in all."""
        return sum(poll.events.num_events + len(poll.rejections) for poll in self._polls)

    def poll(self) -> Poll | None:
        """Return what is left of the poll at hand, or the next one; None at the end."""
        if self._next == len(self._polls):
            return None
        poll = self._polls[self._next]
        self._next += 1
        begin = int(np.searchsorted(poll.events.offset, self._begin))
        events = poll.events.cut(begin, poll.events.num_events) if begin else poll.events
        # Rejections may come before the first event, too.
        rejections = [rejection for rejection in poll.rejections if rejection.offset >= self._begin]
        return poll._replace(events=events, rejections=rejections)

    def seek(self, position: Position) -> None:
        """Go on from ``position[0]``, 0 where it is not given."""
        self._begin = position.get(0, 0)
        self._next = bisect_right(self._ends, self._begin)

    def origin(self, partition: int, number: int) -> Origin:  # noqa: ARG002
        """Return a name for an event: the number by which its source knows it."""
        return Origin(f"{self._name} {number}")

    def partitions(self, position: Position) -> None:
        """Return None: nothing waits."""

    def commit(self, position: Position) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing: other readers may go on."""

    def sized_for(self, words: int, *, pairs: bool = False) -> dict[str, Any]:
        """Return the memory settings with which every user and item on the tape could own so many words at once.

        With ``pairs`` there is room to remember every pair of user and item, too, and else as many as usual.
        """
        events = [poll.events for poll in self._polls if poll.events.num_events]
        user, item, length = (
            np.concatenate([getattr(batch, name) for batch in events] or [np.zeros(0, np.int64)])
            for name in ("user", "item", "item_length")
        )
        num_users, (items, first) = len(np.unique(user)), np.unique(item, return_index=True)
        id_bytes = int(np.ceil(length[first].mean())) if len(items) else 1
        num_pairs = len(user) if pairs else 0
        num_slots = slots_for(num_users, len(items))
        budget = budget_for(num_users, len(items), words, words, id_bytes, num_pairs)
        seen_share = max(0.001, 4 * num_pairs / budget)
        if not pairs:
            seen_share = Memory().seen_share
            budget = ceil(budget / (1 - seen_share))
        return {
            "memory.budget_bytes": max(budget, smallest_budget(2, num_slots, seen_share)),
            "memory.max_entities": num_slots,
            "memory.seen_share": seen_share,
        }


def _end(poll: Poll) -> int:
    """Return the offset after the last record."""
    last = [int(poll.events.offset[-1])] if poll.events.num_events else []
    return 1 + max(last + [rejection.offset for rejection in poll.rejections], default=-1)
