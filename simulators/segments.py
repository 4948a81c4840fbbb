"""SCALL's protocol for streams (Qu et al., CIKM 2024), as its released code has it: filter, segments, split, reservoir.

A stream is cut into segments by its growth in users and items. A model learns the first part of a segment, is asked for
a ranking for each user of the rest, and learns that too before the next segment. Pure: columns in, indices out.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

TRAIN_SHARE: Final = 0.8
"""Of a segment with its reservoir before it, what is learnt before the test."""
RESERVOIR_SHARE: Final = 0.2
"""What a reservoir holds, of its segment's events."""
_DRAWN: Final = 1.1
"""What is drawn for a reservoir, of what it holds."""

Indices = NDArray[np.int64]


class Segment(NamedTuple):
    """Events ``begin`` to ``end`` of a stream, those from ``cut`` on to be tested."""

    begin: int
    cut: int
    end: int
    reservoir: Indices
    """Earlier events of the segment's users, of which a model may be reminded."""


def in_core(user: NDArray[Any], item: NDArray[Any], k: int) -> NDArray[np.bool_]:
    """Return which events are left, bool[n], once users and items with fewer than ``k`` events are gone for good.

    The largest such set, so the order of removal is all one. ``user`` and ``item`` are keys of any type, [n].

    >>> in_core(np.array([1, 1, 2, 2, 3]), np.array([7, 8, 7, 8, 8]), 2).tolist()
    [True, True, True, True, False]
    """
    sides = [np.unique(keys, return_inverse=True)[1] for keys in (user, item)]
    kept = np.ones(len(user), np.bool_)
    while True:
        before = np.count_nonzero(kept)
        for numbers in sides:
            kept &= np.bincount(numbers[kept], minlength=len(user))[numbers] >= k
        if np.count_nonzero(kept) == before:
            return kept


def begins_of_segments(user: NDArray[Any], item: NDArray[Any], growth: int) -> list[int]:
    """Return where segments begin: the first with the stream, each other with the event that is one too many.

    That is the event by which more than ``growth`` users and items are new; the users and items of that event are known
    to the segment which it begins. Segments without events are left out.

    >>> begins_of_segments(np.array([1, 1, 2, 3, 3]), np.array([7, 8, 7, 8, 9]), 3)
    [0, 2]
    """
    num_known = np.cumsum(_is_first(user).astype(np.int64) + _is_first(item))
    begins, known = [0], 0
    while (begin := int(np.searchsorted(num_known, known + growth, side="right"))) < len(user):
        begins.append(begin)
        known = int(num_known[begin])
    return sorted(set(begins))


def _is_first(keys: NDArray[Any]) -> NDArray[np.bool_]:
    first = np.zeros(len(keys), np.bool_)
    first[np.unique(keys, return_index=True)[1]] = True
    return first


def segments_of(user: NDArray[Any], item: NDArray[Any], growth: int, seed: int) -> list[Segment]:
    """Return the segments of a stream in the order of time; the seed draws their reservoirs.

    A reservoir's events come from those before its segment and from the reservoirs before it, so that what is replayed
    once is replayed again more readily.
    """
    begins = begins_of_segments(user, item, growth)
    rng, earlier, segments = np.random.default_rng(seed), np.zeros(0, np.int64), []
    for begin, end in zip(begins, [*begins[1:], len(user)], strict=True):
        own = np.arange(begin, end)
        of_users = earlier[np.isin(user[earlier], user[own])]
        reservoir = draw_reservoir(of_users, int(len(own) * RESERVOIR_SHARE), rng)
        segments.append(Segment(begin, begin + num_to_learn(len(reservoir), len(own)), end, reservoir))
        earlier = np.concatenate([earlier, reservoir, own])
    return segments


def num_to_learn(num_replayed: int, num_events: int) -> int:
    """Return how many of a segment's own events come before its test, which is the end of reservoir and events.

    >>> num_to_learn(0, 100), num_to_learn(20, 100)
    (80, 76)
    """
    return max(0, round((num_replayed + num_events) * TRAIN_SHARE) - num_replayed)


def draw_reservoir(events: Indices, capacity: int, rng: np.random.Generator) -> Indices:
    """Return up to ``capacity`` of some events, by reservoir sampling (Vitter 1985) from a sample not much larger."""
    if len(events) <= capacity:
        return events
    drawn = np.sort(rng.choice(events, min(int(capacity * _DRAWN), len(events)), replace=False))
    kept = drawn[:capacity].copy()
    for number in range(capacity, len(drawn)):
        place = int(rng.integers(number + 2))
        if place < capacity:
            kept[place] = drawn[number]
    return kept


class Asked(NamedTuple):
    """What is asked at the test of a segment, and what is right. Users and items in the order of their numbers."""

    users: Indices
    """Users of the test part who are known by then."""
    items: Indices
    """Items of the test part that are known by then: the only ones to be ranked."""
    relevant: NDArray[np.int64]
    """int64[users, items]: how often the user takes the item in the test part."""
    taken: NDArray[np.bool_]
    """bool[users, items]: the user has taken the item before the test; it is passed over."""


def question_of(segment: Segment, user: Indices, item: Indices) -> Asked:
    """Return what is asked at the test of a segment, given all events of the stream by number of user and item.

    Numbers are from 0 on, each in use: int64[n].
    """
    before, tested = slice(0, segment.cut), slice(segment.cut, segment.end)
    users = np.intersect1d(user[before], user[tested])
    items = np.intersect1d(item[before], item[tested])
    relevant = _count_pairs(users, items, user[tested], item[tested])
    return Asked(users, items, relevant, _count_pairs(users, items, user[before], item[before]) > 0)


def _count_pairs(users: Indices, items: Indices, user: Indices, item: Indices) -> NDArray[np.int64]:
    """Return how often each pair occurs among some events: int64[users, items]."""
    count = np.zeros((len(users), len(items)), np.int64)
    both = np.isin(user, users) & np.isin(item, items)
    np.add.at(count, (np.searchsorted(users, user[both]), np.searchsorted(items, item[both])), 1)
    return count


class Judged(NamedTuple):
    """How good an answer is, means over the users that were asked for; 0 where nobody was."""

    recall: float
    ndcg: float


def judge(asked: Asked, best: Iterable[Indices], top_k: int) -> Judged:
    """Judge an answer: for each user the places in ``asked.items`` of what is recommended, best first.

    Items that the user has taken are passed over; of the others the first ``top_k`` count. Recall is over what the user
    takes among the ranked items; a user who takes none of them has 0 of both, as in the released code.
    """
    recalls, ndcgs = [], []
    discount = 1 / np.log2(np.arange(2, top_k + 2))
    for relevant, taken, order in zip(asked.relevant, asked.taken, best, strict=True):
        gain = relevant[order[~taken[order]][:top_k]]
        ideal = np.sort(relevant)[::-1][:top_k]
        recalls.append(gain.sum() / max(relevant.sum(), 1))
        ndcgs.append((gain @ discount[: len(gain)]) / max(ideal @ discount[: len(ideal)], 1))
    return Judged(float(np.mean(recalls)), float(np.mean(ndcgs))) if recalls else Judged(0.0, 0.0)
