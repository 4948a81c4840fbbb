"""Ranking against the full known catalogue: the place of one item, to test."""

from typing import Any, Final

import numpy as np
from numba import njit

from stream.core import seen
from stream.core.memory import ITEM_TOP, Memory
from stream.core.model import BLOCK, NUM_RATES, Hyper, Shared, Workspace, history_length, place_in_history
from stream.core.numeric import FAST_MATH, log32

NUM_RANKINGS: Final = 4
"""Rankings an event is tested by: the model's, and by slow, mid and fast count alone."""
_f = np.float32


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def score_block(m: Memory, p: Shared, h: Hyper, w: Workspace, width: int, gap: int, begin: int, end: int) -> None:
    """Fill ``w.block[:end - begin]`` with the scores of the item slots from ``begin`` to ``end``, repeats left out.

    The context is ``w.x``. Slots without an owner get -infinity.
    """
    num = end - begin
    slow, mid, fast = w.counts[0], w.counts[1], w.counts[2]
    for i in range(num):
        s = m.slots[begin + i]
        slow[i] = s.slow
        mid[i] = s.mid
        fast[i] = s.fast
        dot = _f(-np.inf)
        if s.alive:
            row = np.uint64(s.offset)
            dot = _f(0.0)
            for k in range(np.uint64(min(np.int64(s.size), width))):
                dot += w.x[k] * m.arena[row + k]
        w.block[i] = dot
    if h.use_prior:
        a, b, c = p.prior[gap, 0], p.prior[gap, 1], p.prior[gap, 2]
        by_slow, by_mid, by_fast = _f(1.0 / p.decay[0]), _f(1.0 / p.decay[1]), _f(1.0 / p.decay[2])
        half = _f(0.5)
        for i in range(num):
            popular = a * log32(slow[i] * by_slow + half) + b * log32(mid[i] * by_mid + half)
            w.block[i] += popular + c * log32(fast[i] * by_fast + half)


@njit(cache=True, nogil=True, inline="always")
def _finish_block(m: Memory, p: Shared, h: Hyper, w: Workspace, user: int, begin: int, end: int) -> None:
    """Add the repeat weights to the scores of a block, and take slots without an owner out of its counts."""
    for i in range(end - begin):
        if w.block[i] == _f(-np.inf):
            _take_out(w, i)
    if user >= 0:
        offset = np.int64(m.slots[user].offset)
        for k in range(history_length(m, user, h.num_ids)):
            item = m.words[offset + k]
            if begin <= item < end and place_in_history(m, user, item, h.num_ids) == k:
                w.block[item - begin] += p.repeat[k]


@njit(cache=True, nogil=True, inline="always")
def _take_out(w: Workspace, i: int) -> None:
    """Let nothing in a block rank lower than its entry i."""
    w.block[i] = _f(-np.inf)
    for q in range(NUM_RATES):
        w.counts[q, i] = _f(-1.0)


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def _places_before(values: Any, num: int, own: Any) -> float:
    """Count the values above ``own``, and half of those equal to it."""
    above = np.int32(0)
    equal = np.int32(0)
    for i in range(num):
        above += np.int32(values[i] > own)
        equal += np.int32(values[i] == own)
    return np.float64(above) + 0.5 * np.float64(equal)


@njit(cache=True, nogil=True, fastmath=FAST_MATH, _nrt=False)
def rank_item(
    m: Memory,
    p: Shared,
    h: Hyper,
    w: Workspace,
    width: int,
    gap: int,
    user: int,
    target: int,
    user_key: Any,
    rank: Any,
) -> None:
    """Write the target's place (0 is first) in each of the NUM_RANKINGS rankings into ``rank``, float64.

    The context is ``w.x``. Items of equal score share the middle of their places. Items that the filter holds for this
    user are passed over, as they would be in service (it is empty unless it was asked for).
    """
    score_block(m, p, h, w, width, gap, target, target + 1)
    _finish_block(m, p, h, w, user, target, target + 1)
    own = w.block[0]
    slow, mid, fast = m.slots[target].slow, m.slots[target].mid, m.slots[target].fast
    rank[:] = 0.0
    filtered = len(m.seen) > 0
    top = m.counters[ITEM_TOP]
    for begin in range(0, top, BLOCK):
        end = min(begin + BLOCK, top)
        score_block(m, p, h, w, width, gap, begin, end)
        _finish_block(m, p, h, w, user, begin, end)
        if begin <= target < end:
            _take_out(w, target - begin)
        if filtered:
            for i in range(end - begin):
                popular = w.counts[0, i] >= slow or w.counts[1, i] >= mid or w.counts[2, i] >= fast
                if (w.block[i] >= own or popular) and seen.contains(m, user_key, m.slots[begin + i].key):
                    _take_out(w, i)
        rank[0] += _places_before(w.block, end - begin, own)
        rank[1] += _places_before(w.counts[0], end - begin, slow)
        rank[2] += _places_before(w.counts[1], end - begin, mid)
        rank[3] += _places_before(w.counts[2], end - begin, fast)
