"""Ranking against the full known catalogue: the place of one item (to test), or the best n (to recommend)."""

from typing import Any, Final

import numpy as np
from numba import njit

from stream.core import seen
from stream.core.memory import ITEM_TOP, Memory
from stream.core.model import Hyper, Shared, Workspace, history_mask, place_in_history
from stream.core.numeric import FAST_MATH, log32

NUM_RANKINGS: Final = 4
"""Rankings an event is tested by: the model's, and by slow, mid and fast count alone."""
_BLOCK = 256
_f = np.float32


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def score_block(m: Memory, p: Shared, h: Hyper, x: Any, width: int, gap: int, begin: int, end: int, out: Any) -> None:
    """Fill ``out[:end - begin]`` with the scores of the item slots from ``begin`` to ``end``, repeats left out.

    Slots without an owner get -infinity.
    """
    if h.use_prior:
        a, b, c = p.prior[gap, 0], p.prior[gap, 1], p.prior[gap, 2]
        slow, mid, fast = _f(1.0 / p.decay[0]), _f(1.0 / p.decay[1]), _f(1.0 / p.decay[2])
        half = _f(0.5)
        for i in range(end - begin):
            s = m.slots[begin + i]
            popular = a * log32(s.slow * slow + half)
            out[i] = popular + b * log32(s.mid * mid + half) + c * log32(s.fast * fast + half)
    else:
        for i in range(end - begin):
            out[i] = _f(0.0)
    for i in range(end - begin):
        s = m.slots[begin + i]
        if s.alive:
            row = np.int64(s.offset)
            dot = _f(0.0)
            for k in range(min(np.int64(s.size), width)):
                dot += x[k] * m.arena[row + k]
            out[i] += dot
        else:
            out[i] = _f(-np.inf)


@njit(cache=True, nogil=True, inline="always")
def _count(other: Any, own: Any, rank: Any, which: int) -> None:
    if other > own:
        rank[which] += 1.0
    elif other == own:
        rank[which] += 0.5


@njit(cache=True, nogil=True, fastmath=FAST_MATH)
def rank_item(
    m: Memory, p: Shared, h: Hyper, w: Workspace, width: int, gap: int, user: int, target: int, user_key: Any, rank: Any
) -> None:
    """Write the target's place (0 is first) in each of the NUM_RANKINGS rankings into ``rank``, float64.

    The context is ``w.x``. Items of equal score share the middle of their places. Items that the filter holds for this
    user are passed over, as they would be in service (it is empty unless it was asked for).
    """
    rank[:] = 0.0
    repeat = place_in_history(m, user, target, h.num_ids)
    score_block(m, p, h, w.x, width, gap, target, target + 1, w.block)
    own = w.block[0] + (p.repeat[repeat] if repeat >= 0 else _f(0.0))
    slow, mid, fast = m.slots[target].slow, m.slots[target].mid, m.slots[target].fast
    mask = history_mask(m, user, h.num_ids) if user >= 0 else np.uint64(0)
    top = m.counters[ITEM_TOP]
    for begin in range(0, top, _BLOCK):
        end = min(begin + _BLOCK, top)
        score_block(m, p, h, w.x, width, gap, begin, end, w.block)
        for i in range(end - begin):
            item = begin + i
            score = w.block[i]
            if (mask >> np.uint64(item & 63)) & np.uint64(1):
                place = place_in_history(m, user, item, h.num_ids)
                if place >= 0:
                    score += p.repeat[place]
            s = m.slots[item]
            if not (score >= own or s.slow >= slow or s.mid >= mid or s.fast >= fast):
                continue
            if item == target or not s.alive or seen.contains(m, user_key, s.key):
                continue
            _count(score, own, rank, 0)
            _count(s.slow, slow, rank, 1)
            _count(s.mid, mid, rank, 2)
            _count(s.fast, fast, rank, 3)


@njit(cache=True, nogil=True, fastmath=FAST_MATH)
def recommend(
    m: Memory,
    p: Shared,
    h: Hyper,
    w: Workspace,
    width: int,
    gap: int,
    user: int,
    user_key: Any,
    best: Any,
    best_score: Any,
) -> int:
    """Fill ``best`` with the slots of the highest-scored items, best first; return how many there are.

    The context is ``w.x``; ``best`` is int32[n], ``best_score`` float32[n]. Lower slots come first among equals. Items
    that the filter holds for this user are passed over.
    """
    n = 0
    if len(best) == 0:
        return n
    mask = history_mask(m, user, h.num_ids) if user >= 0 else np.uint64(0)
    top = m.counters[ITEM_TOP]
    for begin in range(0, top, _BLOCK):
        end = min(begin + _BLOCK, top)
        score_block(m, p, h, w.x, width, gap, begin, end, w.block)
        for i in range(end - begin):
            item = begin + i
            score = w.block[i]
            if (mask >> np.uint64(item & 63)) & np.uint64(1):
                place = place_in_history(m, user, item, h.num_ids)
                if place >= 0:
                    score += p.repeat[place]
            if not m.slots[item].alive or (n == len(best) and score <= best_score[n - 1]):
                continue
            if seen.contains(m, user_key, m.slots[item].key):
                continue
            at = n if n < len(best) else n - 1
            while at > 0 and best_score[at - 1] < score:
                if at < len(best):
                    best[at] = best[at - 1]
                    best_score[at] = best_score[at - 1]
                at -= 1
            best[at] = item
            best_score[at] = score
            n = min(n + 1, len(best))
    return n
