"""Ranking against the full known catalogue: the place of one item, to test."""

from typing import Any, Final

import numpy as np
from numba import njit

from stream.core import seen
from stream.core.history import Past, place_of
from stream.core.memory import ITEM_TOP, Memory
from stream.core.model import BLOCK, NUM_RATES, Hyper, Shared, Workspace
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
def weighs_taken(m: Memory, h: Hyper) -> bool:
    """Return whether what a user took has a weight, rather than being hidden or not remembered."""
    return len(m.seen) > 0 and not h.hides_taken


@njit(cache=True, nogil=True, inline="always")
def weight_if_taken(m: Memory, p: Shared, user_key: Any, item_key: Any, session: int, gap: int) -> Any:
    """Return what is added to an item's score because the user took it, 0 where the filter does not have the pair."""
    stamp = seen.find(m, user_key, item_key)
    return p.taken[seen.age_of(stamp, session), gap] if stamp >= 0 else _f(0.0)


@njit(cache=True, nogil=True, inline="always")
def bounds_of_taken(p: Shared, gap: int) -> Any:
    """Return the least and the most that :func:`weight_if_taken` can be at a gap."""
    least, most = _f(0.0), _f(0.0)
    for age in range(seen.NUM_AGES):
        least, most = min(least, p.taken[age, gap]), max(most, p.taken[age, gap])
    return least, most


@njit(cache=True, nogil=True, inline="always")
def _finish_block(
    m: Memory, p: Shared, h: Hyper, w: Workspace, gap: int, past: Past, user_key: Any, begin: int, end: int
) -> None:
    """Add the repeat weights to the scores of a block, and take slots without an owner out of its counts."""
    for i in range(end - begin):
        if w.block[i] == _f(-np.inf):
            _take_out(w, i)
    for k in range(past.held):
        item = w.items[k]
        if begin <= item < end and place_of(w.items, past.held, item) == k:
            w.block[item - begin] += p.repeat[k, w.pauses[k]]
            if weighs_taken(m, h) and not past.is_full:
                w.block[item - begin] += weight_if_taken(m, p, user_key, m.slots[item].key, past.session, gap)


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
    past: Past,
    target: int,
    user_key: Any,
    rank: Any,
) -> None:
    """Write the target's place (0 is first) in each of the NUM_RANKINGS rankings into ``rank``, float64.

    The context is ``w.x``. Items of equal score share the middle of their places. Items that the filter hides from this
    user are passed over, as they would be in service.
    """
    score_block(m, p, h, w, width, gap, target, target + 1)
    _finish_block(m, p, h, w, gap, past, user_key, target, target + 1)
    hides = len(m.seen) > 0 and h.hides_taken
    # A history with room holds all that was taken, unless it has just grown: look-ups are saved by it.
    weighs = weighs_taken(m, h) and past.is_full
    least, most = bounds_of_taken(p, gap)
    if weighs:
        w.block[0] += weight_if_taken(m, p, user_key, m.slots[target].key, past.session, gap)
    own = w.block[0]
    slow, mid, fast = m.slots[target].slow, m.slots[target].mid, m.slots[target].fast
    rank[:] = 0.0
    top = m.counters[ITEM_TOP]
    for begin in range(0, top, BLOCK):
        end = min(begin + BLOCK, top)
        score_block(m, p, h, w, width, gap, begin, end)
        _finish_block(m, p, h, w, gap, past, user_key, begin, end)
        if begin <= target < end:
            _take_out(w, target - begin)
        if weighs:
            for i in range(end - begin):
                # Where no weight changes anything about the target's place, there is nothing to look up.
                if w.block[i] + least <= own <= w.block[i] + most:
                    w.block[i] += weight_if_taken(m, p, user_key, m.slots[begin + i].key, past.session, gap)
        if hides:
            for i in range(end - begin):
                popular = w.counts[0, i] >= slow or w.counts[1, i] >= mid or w.counts[2, i] >= fast
                if (w.block[i] >= own or popular) and seen.contains(m, user_key, m.slots[begin + i].key):
                    _take_out(w, i)
        rank[0] += _places_before(w.block, end - begin, own)
        rank[1] += _places_before(w.counts[0], end - begin, slow)
        rank[2] += _places_before(w.counts[1], end - begin, mid)
        rank[3] += _places_before(w.counts[2], end - begin, fast)
