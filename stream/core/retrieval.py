"""The best n items of the whole catalogue: for a user, or like an item. Kernels read the model and never write it."""

from typing import Any, Final

import numpy as np
from numba import njit

from stream.core import index, seen
from stream.core.event import MAX_ID_BYTES
from stream.core.memory import Memory
from stream.core.model import BLOCK, Hyper, Shared, Workspace, history_length, history_mask, place_in_history
from stream.core.numeric import FAST_MATH, log32

ID_WORDS: Final = (MAX_ID_BYTES + 4) // 4
"""Words that an item's id takes, at most."""
_f = np.float32


@njit(cache=True, nogil=True, fastmath=FAST_MATH, _nrt=False)
def fill_popularity(m: Memory, p: Shared, h: Hyper, w: Workspace, gap: int, popularity: Any) -> None:
    """Fill ``popularity``, float32[n], with what the prior adds to the scores of the first n item slots.

    Slots without an owner get -infinity.
    """
    slow, mid, fast = w.counts[0], w.counts[1], w.counts[2]
    a, b, c = p.prior[gap, 0], p.prior[gap, 1], p.prior[gap, 2]
    by_slow, by_mid, by_fast = _f(1.0 / p.decay[0]), _f(1.0 / p.decay[1]), _f(1.0 / p.decay[2])
    half = _f(0.5)
    for begin in range(0, len(popularity), BLOCK):
        block = popularity[begin : begin + BLOCK]
        for i in range(len(block)):
            s = m.slots[begin + i]
            slow[i] = s.slow
            mid[i] = s.mid
            fast[i] = s.fast
            block[i] = _f(0.0) if s.alive else _f(-np.inf)
        if h.use_prior:
            for i in range(len(block)):
                popular = a * log32(slow[i] * by_slow + half) + b * log32(mid[i] * by_mid + half)
                block[i] += popular + c * log32(fast[i] * by_fast + half)


@njit(cache=True, nogil=True, fastmath=FAST_MATH, _nrt=False)
def fill_norms(m: Memory, norm: Any) -> None:
    """Fill ``norm``, float32[n], with the length of the embedding of each of the first n item slots.

    Slots without an owner get 0.
    """
    for i in range(len(norm)):
        s = m.slots[i]
        square = _f(0.0)
        if s.alive:
            row = np.uint64(s.offset)
            for c in range(np.uint64(s.size)):
                square += m.arena[row + c] * m.arena[row + c]
        norm[i] = np.sqrt(square)


@njit(cache=True, nogil=True, fastmath=FAST_MATH, _nrt=False)
def recommend(
    m: Memory,
    p: Shared,
    h: Hyper,
    w: Workspace,
    width: int,
    user: int,
    user_key: Any,
    popularity: Any,
    norm: Any,
    hides_taken: bool,
    best: Any,
    score: Any,
) -> int:
    """Fill ``best`` with the slots of the highest-scored items, best first; return how many there are.

    The context is ``w.x``, of which ``width`` coordinates may be non-zero; ``popularity`` and ``norm`` are as
    :func:`fill_popularity` and :func:`fill_norms` leave them; ``best`` is int32[n], ``score`` float32[n]. Lower slots
    come first among equals. ``hides_taken`` leaves out the items of the user's history and those that the filter holds
    for this user.
    """
    if len(best) == 0:
        return 0
    n = 0
    mask = np.uint64(0)
    if user >= 0:
        mask = history_mask(m, user, h.num_ids)
        if not hides_taken:
            n = _offer_history(m, p, h, w, width, user, popularity, best, score)
    square = _f(0.0)
    for c in range(width):
        square += w.x[c] * w.x[c]
    # No item scores more than this times its length above its popularity (Cauchy and Schwarz), roundings included.
    reach = np.sqrt(square) * _f(1.0001)
    cut = _cut(score, n == len(best))
    for i in range(len(popularity)):
        # Most items are left behind here, and their rows are never read. Not a number is no score either.
        if not popularity[i] + reach * norm[i] > cut:
            continue
        value = _score(m, w, width, popularity, i)
        if not value > _f(-np.inf) or (n == len(best) and not _beats(value, i, score[0], best[0])):
            continue
        if (mask >> np.uint64(i & 63)) & np.uint64(1) and place_in_history(m, user, i, h.num_ids) >= 0:
            continue
        if hides_taken and seen.contains(m, user_key, m.slots[i].key):
            continue
        n = _offer(best, score, n, i, value)
        cut = _cut(score, n == len(best))
    _sort(best, score, n)
    return n


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def _score(m: Memory, w: Workspace, width: int, popularity: Any, item: int) -> Any:
    s = m.slots[item]
    row = np.uint64(s.offset)
    dot = _f(0.0)
    for c in range(np.uint64(min(np.int64(s.size), np.int64(width)))):
        dot += w.x[c] * m.arena[row + c]
    return popularity[item] + dot


@njit(cache=True, nogil=True, inline="always")
def _offer_history(
    m: Memory, p: Shared, h: Hyper, w: Workspace, width: int, user: int, popularity: Any, best: Any, score: Any
) -> int:
    """Enter the items of the user's history, whose places have weights of their own; return how many there are now."""
    n = 0
    offset = np.int64(m.slots[user].offset)
    for k in range(history_length(m, user, h.num_ids)):
        item = m.words[offset + k]
        if item >= 0 and place_in_history(m, user, item, h.num_ids) == k:
            value = _score(m, w, width, popularity, item) + p.repeat[k]
            if value > _f(-np.inf) and (n < len(best) or _beats(value, item, score[0], best[0])):
                n = _offer(best, score, n, item, value)
    return n


@njit(cache=True, nogil=True, inline="always")
def _cut(score: Any, is_full: bool) -> Any:
    """Return what an item's bound has to exceed to be looked at: a little less than the worst entry of a full heap."""
    return score[0] - _f(1e-5) * (_f(1.0) + abs(score[0])) if is_full else _f(-np.inf)


@njit(cache=True, nogil=True, fastmath=FAST_MATH, _nrt=False)
def find_similar(m: Memory, w: Workspace, item_key: Any, norm: Any, best: Any, score: Any) -> int:
    """Fill ``best`` with the slots of the items nearest to one by cosine, nearest first; return how many there are.

    The answer is -1 where the item is not known. ``norm`` is as :func:`fill_norms` leaves it. The item itself and those
    of length 0 are not among them, and none is near an item of length 0. Coordinates that only one of two items has
    count as zero for the other.
    """
    item = index.find(m, item_key)
    if item < 0:
        return -1
    n = 0
    if norm[item] == 0.0 or len(best) == 0:
        return n
    width = np.int64(m.slots[item].size)
    own = np.uint64(m.slots[item].offset)
    for c in range(np.uint64(width)):
        w.x[c] = m.arena[own + c] / norm[item]
    for i in range(len(norm)):
        if norm[i] == 0.0 or i == item:
            continue
        row = np.uint64(m.slots[i].offset)
        dot = _f(0.0)
        for c in range(np.uint64(min(np.int64(m.slots[i].size), width))):
            dot += w.x[c] * m.arena[row + c]
        dot /= norm[i]
        if dot > _f(-np.inf) and (n < len(best) or _beats(dot, i, score[0], best[0])):
            n = _offer(best, score, n, i, dot)
    _sort(best, score, n)
    return n


@njit(cache=True, nogil=True, _nrt=False)
def copy_ids(m: Memory, slots: Any, ids: Any) -> None:
    """Fill each row of ``ids``, int32[n, ID_WORDS], with the id of an item: a byte for its length, then its bytes."""
    for i in range(len(slots)):
        s = m.slots[slots[i]]
        lead = np.int64(s.lead)
        begin = np.int64(s.offset) - lead
        for k in range(lead):
            ids[i, k] = m.words[begin + k]


@njit(cache=True, nogil=True, inline="always")
def _beats(score: Any, slot: int, other_score: Any, other_slot: int) -> bool:
    """Return whether an entry ranks before another: by a higher score, or by the lower slot."""
    return score > other_score or (score == other_score and slot < other_slot)


@njit(cache=True, nogil=True, inline="always")
def _swap(best: Any, score: Any, i: int, j: int) -> None:
    best[i], best[j] = best[j], best[i]
    score[i], score[j] = score[j], score[i]


@njit(cache=True, nogil=True, _nrt=False)
def _sink(best: Any, score: Any, n: int) -> None:
    """Let the root of a heap of n entries, whose worst entry is to be the root, sink to its place."""
    i = 0
    while 2 * i + 1 < n:
        child = 2 * i + 1
        if child + 1 < n and _beats(score[child], best[child], score[child + 1], best[child + 1]):
            child += 1
        if not _beats(score[i], best[i], score[child], best[child]):
            break
        _swap(best, score, i, child)
        i = child


@njit(cache=True, nogil=True, _nrt=False)
def _offer(best: Any, score: Any, n: int, slot: int, new: Any) -> int:
    """Take an entry into the heap; where that is full, in the place of its worst. Return how many there are."""
    if n == len(best):
        best[0], score[0] = slot, new
        _sink(best, score, n)
        return n
    best[n], score[n] = slot, new
    i = n
    while i > 0:
        parent = (i - 1) // 2
        if not _beats(score[parent], best[parent], score[i], best[i]):
            break
        _swap(best, score, i, parent)
        i = parent
    return n + 1


@njit(cache=True, nogil=True, _nrt=False)
def _sort(best: Any, score: Any, n: int) -> None:
    """Bring a heap into order, best first."""
    for end in range(n - 1, 0, -1):
        _swap(best, score, 0, end)
        _sink(best, score, end)
