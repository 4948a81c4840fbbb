"""A batch of events, one after the other, in one kernel: find or admit, learn, remember.

Kernels here are compiled without reference counts (``_nrt=False``): they allocate nothing, and counting the references
to some thirty arrays at every inlined call took two thirds of an event's time.
"""

from typing import Any

import numpy as np
from numba import njit

from stream.core import arena, index, seen
from stream.core.event import ITEM, USER
from stream.core.history import gap_since, read_history, remember, session_at
from stream.core.kernels import lean_on_context, learn_event
from stream.core.memory import ITEM_TOP, NUM_LEARNT, ORIGIN_S, RECENT_NEXT, USER_TOP, Memory
from stream.core.model import NUM_RATES, Hyper, Shared, Workspace, build_context
from stream.core.numeric import FAST_MATH
from stream.core.ranking import rank_item

_f = np.float32
_RESCALE_AT = 2.0**30
_LATEST_S = 2**31 - 1
_FORGET_AT = _f(2.0**-90)
"""A count this small is nothing; below it float32 would turn slow."""


@njit(cache=True, nogil=True, fastmath=FAST_MATH, _nrt=False)
def learn_events(
    m: Memory, p: Shared, h: Hyper, w: Workspace, growth: Any, events: Any, begin: int, end: int, max_new: int
) -> Any:
    """Learn events ``begin`` to ``end``; return (reached, entities admitted, what stopped it, side).

    ``events`` are the columns (user, item, timestamp_ms, weight, item_start, item_length, item_data); ``growth`` is
    float64[NUM_RATES], the factor by which an event's worth grows. It stops early after the event that admitted the
    ``max_new``-th entity, and where the index (NO_SLOT) or the arena (NO_ROOM) has no room for a newcomer.
    """
    users, items, timestamp_ms, weight, item_start, item_length, item_data = events
    num_new = 0
    for i in range(begin, end):
        time_s = timestamp_ms[i] // 1000
        if m.counters[NUM_LEARNT] == 0:
            m.counters[ORIGIN_S] = time_s
        user = index.find(m, users[i])
        if user < 0:
            user = arena.admit(m, users[i], USER, item_data, 0, 0, h.initial_scale, h.num_ids)
            if user < 0:
                return i, num_new, user, USER
            num_new += 1
        gap = gap_since(m, user, time_s)
        item = index.find(m, items[i])
        if item < 0:
            item = arena.admit(m, items[i], ITEM, item_data, item_start[i], item_length[i], h.initial_scale, h.num_ids)
            if item < 0:
                return i, num_new, item, ITEM
            num_new += 1
            past = read_history(m, w.items, w.pauses, user, gap, h.num_ids)
            build_context(m, p, w, user, past.held, h.num_ids)
            lean_on_context(m, w.x, item, h.initial_context)
        learn_event(m, p, h, w, user, item, gap, weight[i])
        _count(m, p, user, item, growth)
        _enter(m, h, user, item, gap, time_s)
        if num_new >= max_new:
            return i + 1, num_new, 0, 0
    return end, num_new, 0, 0


@njit(cache=True, nogil=True, inline="always")
def _enter(m: Memory, h: Hyper, user: int, item: int, gap: int, time_s: int) -> None:
    """Enter the event into the user's history, the recent items and the pairs taken."""
    # A time before the origin must not read as never seen, nor one long after it wrap around in 32 bits.
    # An event that comes late does not turn the user's clock back.
    since_origin_s = min(
        max(np.int64(m.slots[user].last_seen_s), time_s - m.counters[ORIGIN_S], np.int64(0)), _LATEST_S
    )
    m.slots[user].last_seen_s = since_origin_s
    m.slots[user].session = session_at(m, user, gap)
    remember(m, user, item, gap, h.num_ids)
    at = m.counters[RECENT_NEXT]
    m.recent[at] = item
    m.counters[RECENT_NEXT] = at + 1 if at + 1 < len(m.recent) else 0
    if len(m.seen) > 0:
        seen.add(m, m.slots[user].key, m.slots[item].key, np.int64(m.slots[user].session))
    m.counters[NUM_LEARNT] += 1


@njit(cache=True, nogil=True, inline="always")
def _count(m: Memory, p: Shared, user: int, item: int, growth: Any) -> None:
    """Add the event to the decayed counts."""
    m.slots[user].slow += _f(p.decay[0])
    m.slots[item].slow += _f(p.decay[0])
    m.slots[item].mid += _f(p.decay[1])
    m.slots[item].fast += _f(p.decay[2])
    for q in range(NUM_RATES):
        p.decay[q] *= growth[q]
        if p.decay[q] >= _RESCALE_AT:
            p.decay[q] /= _RESCALE_AT
            _rescale(m, q)


@njit(cache=True, nogil=True)
def _rescaled(count: Any) -> Any:
    return count * _f(1.0 / _RESCALE_AT) if count > _FORGET_AT else _f(0.0)


@njit(cache=True, nogil=True, _nrt=False)
def _rescale(m: Memory, q: int) -> None:
    """Divide a count by a power of two before its unit grows out of float32; ratios stay exact."""
    for slot in range(m.counters[ITEM_TOP]):
        if q == 0:
            m.slots[slot].slow = _rescaled(m.slots[slot].slow)
        elif q == 1:
            m.slots[slot].mid = _rescaled(m.slots[slot].mid)
        else:
            m.slots[slot].fast = _rescaled(m.slots[slot].fast)
    if q == 0:
        for slot in range(len(m.slots) - m.counters[USER_TOP], len(m.slots)):
            m.slots[slot].slow = _rescaled(m.slots[slot].slow)


@njit(cache=True, nogil=True, _nrt=False)
def begin_test(m: Memory, p: Shared, h: Hyper, w: Workspace, user_key: Any, item_key: Any, timestamp_ms: int) -> Any:
    """Look the two sides of an event up and build its context; return (user, item, gap, width, past).

    User and item are -1 where they are not known.
    """
    user = index.find(m, user_key)
    item = index.find(m, item_key)
    gap = gap_since(m, user, timestamp_ms // 1000)
    past = read_history(m, w.items, w.pauses, user, gap, h.num_ids)
    width = build_context(m, p, w, user, past.held, h.num_ids)
    return user, item, gap, width, past


@njit(cache=True, nogil=True, _nrt=False)
def rank_event(
    m: Memory, p: Shared, h: Hyper, w: Workspace, user_key: Any, item_key: Any, timestamp_ms: int, rank: Any
) -> Any:
    """Rank an event's item as :func:`~stream.core.ranking.rank_item` does; return (gap, item), -1 for unknown.

    An item that is not known, or that is hidden from this user, gets no rank.
    """
    _, item, gap, width, past = begin_test(m, p, h, w, user_key, item_key, timestamp_ms)
    if item >= 0 and not (h.hides_taken and seen.contains(m, user_key, item_key)):
        rank_item(m, p, h, w, width, gap, past, item, user_key, rank)
    return gap, item
