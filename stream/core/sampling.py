"""Which items an event's own item is held against: negatives, and how probable each draw was."""

from typing import Any

import numpy as np
from numba import njit

from stream.core import seen
from stream.core.event import mix64
from stream.core.memory import ITEM_TOP, Memory
from stream.core.model import Hyper, Shared, Workspace
from stream.core.numeric import FAST_MATH, log32

_f = np.float32
_LN2 = 0.6931471805599453


@njit(cache=True, nogil=True, inline="always")
def draw_below(random: Any, n: int) -> int:
    """Return a number in [0, n), n < 2^32, by the next 64 bits of SplitMix64."""
    random[0] = random[0] + np.uint64(0x9E3779B97F4A7C15)
    return np.int64(((mix64(random[0]) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@njit(cache=True, nogil=True, inline="always")
def draw_candidates(m: Memory, p: Shared, h: Hyper, w: Workspace, user: int, target: int) -> int:
    """Put the target and the negatives into ``w.candidates``; return how many there are.

    Negatives come from the recent events' items and uniformly from the catalogue. The target is never its own
    negative, nor is what is hidden from the user; draws that find no item are passed over.
    """
    n = 1
    w.candidates[0] = target
    user_key = m.slots[user].key
    for _ in range(h.negatives_recent):
        item = m.recent[draw_below(p.random, len(m.recent))]
        if item >= 0 and item != target and not _is_hidden(m, h, user_key, item):
            w.candidates[n] = item
            n += 1
    top = m.counters[ITEM_TOP]
    for _ in range(h.negatives_uniform):
        item = draw_below(p.random, top)
        if m.slots[item].alive and item != target and not _is_hidden(m, h, user_key, item):
            w.candidates[n] = item
            n += 1
    return n


@njit(cache=True, nogil=True, inline="always")
def _is_hidden(m: Memory, h: Hyper, user_key: Any, item: int) -> bool:
    return h.hides_taken and seen.contains(m, user_key, m.slots[item].key)


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def fill_log_q(h: Hyper, w: Workspace, n: int, top: int) -> None:
    """Turn ``w.log_q`` from the candidates' decayed mid counts into the log probability that a draw gives each.

    The share of the recent events that an item has is taken from its mid count, which decays about as fast as the
    ring of recent items turns over. Uniform draws are from the ``top`` item slots ever used, as not all are alive.
    """
    total = _f(h.negatives_recent + h.negatives_uniform)
    by_share = _f(h.negatives_recent * _LN2 / h.half_life_mid) / total
    by_chance = _f(h.negatives_uniform) / _f(top) / total
    for i in range(n):
        # An item that neither way can draw still needs a logarithm.
        w.log_q[i] = log32(by_share * w.log_q[i] + by_chance + _f(1e-12))
