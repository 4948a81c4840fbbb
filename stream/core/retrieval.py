"""The best n items of the whole catalogue: for a user, or like an item. Kernels read the model and never write it."""

from typing import Any, Final

import numpy as np
from numba import njit

from stream.core import index, seen
from stream.core.event import MAX_ID_BYTES
from stream.core.history import Past, mask_of, place_of
from stream.core.memory import Memory
from stream.core.model import BLOCK, Hyper, Shared, Workspace
from stream.core.numeric import FAST_MATH
from stream.core.outline import NUM_LEADING, Outline, Popularity
from stream.core.ranking import bounds_of_taken, weighs_taken, weight_if_taken

ID_WORDS: Final = (MAX_ID_BYTES + 4) // 4
"""Words that an item's id takes, at most."""
_f = np.float32
_ROUNDING = _f(1e-5)
"""What a bound is off by, at most, relative to the product of the lengths: sums in another order round differently."""


@njit(cache=True, nogil=True, fastmath=FAST_MATH, _nrt=False)
def _fill_bounds(x: Any, outline: Outline, begin: int, length: Any, of_rest: Any, bounds: Any) -> None:
    """Fill ``bounds`` with what the dot products of ``x`` and the items from ``begin`` on are at most.

    That is the product of the leading coordinates, and the product of the lengths of the others (Cauchy and Schwarz).
    ``length`` and ``of_rest`` are those of ``x``. In vectors over items, four places at a time.
    """
    end = begin + len(bounds)
    rest, norm = outline.rest[begin:end], outline.norm[begin:end]
    slack = _ROUNDING * length
    for i in range(len(bounds)):
        bounds[i] = of_rest * rest[i] + slack * norm[i]
    leading = outline.leading[begin // BLOCK]
    for c in range(0, NUM_LEADING, 4):
        e0, e1, e2, e3 = leading[c], leading[c + 1], leading[c + 2], leading[c + 3]
        x0, x1, x2, x3 = x[c], x[c + 1], x[c + 2], x[c + 3]
        for i in range(len(bounds)):
            bounds[i] += x0 * e0[i] + x1 * e1[i] + x2 * e2[i] + x3 * e3[i]


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def _length(x: Any, begin: int, end: int) -> Any:
    square = _f(0.0)
    for c in range(begin, end):
        square += x[c] * x[c]
    return np.sqrt(square)


@njit(cache=True, nogil=True, fastmath=FAST_MATH, _nrt=False)
def recommend(
    m: Memory,
    p: Shared,
    h: Hyper,
    w: Workspace,
    width: int,
    gap: int,
    past: Past,
    user_key: Any,
    popularity: Popularity,
    outline: Outline,
    hides_taken: bool,
    best: Any,
    score: Any,
) -> int:
    """Fill ``best`` with the slots of the highest-scored items, best first; return how many there are.

    The context is ``w.x``, of which ``width`` coordinates may be non-zero; ``best`` is int32[n], ``score`` float32[n].
    Lower slots come first among equals. ``hides_taken`` leaves out the items of the user's history and those that the
    filter holds for this user.
    """
    if len(best) == 0:
        return 0
    n = 0
    mask = mask_of(w.items, past.held)
    weighs = not hides_taken and past.is_full and weighs_taken(m, h)
    most_taken = bounds_of_taken(p, gap)[1] if weighs else _f(0.0)
    if not hides_taken:
        n = _offer_history(m, p, h, w, width, gap, past, user_key, popularity, outline, best, score)
    length, of_rest = _length(w.x, 0, width), _length(w.x, NUM_LEADING, max(width, NUM_LEADING))
    cut = _cut(score, n == len(best))
    num = len(outline.slot)
    for begin in range(0, num, BLOCK):
        # The longest come first: once even the most popular cannot make up for the length, nothing can (LEMP,
        # Teflioudi et al., SIGMOD 2015).
        longest = length * outline.longest_from_block[begin // BLOCK] * (_f(1.0) + _ROUNDING)
        if not popularity.from_block[begin // BLOCK] + longest + most_taken > cut:
            break
        bounds = w.block[: min(BLOCK, num - begin)]
        _fill_bounds(w.x, outline, begin, length, of_rest, bounds)
        for i in range(begin, begin + len(bounds)):
            # Most items are left behind here, and their rows are never read. Not a number is no score either.
            bound = popularity.of_item[i] + bounds[i - begin]
            if not bound + most_taken > cut:
                continue
            item = np.int64(outline.slot[i])
            taken = _f(0.0)
            if weighs:
                taken = weight_if_taken(m, p, user_key, m.slots[item].key, past.session, gap)
                if not bound + taken > cut:
                    continue
            value = _score(m, w, width, popularity.of_item[i], item) + taken
            if not value > _f(-np.inf) or (n == len(best) and not _beats(value, item, score[0], best[0])):
                continue
            if not _is_left_out(m, w, past, user_key, mask, item, hides_taken):
                n = _offer(best, score, n, item, value)
                cut = _cut(score, n == len(best))
    _sort(best, score, n)
    return n


@njit(cache=True, nogil=True, inline="always")
def _is_left_out(m: Memory, w: Workspace, past: Past, user_key: Any, mask: Any, item: int, hides_taken: bool) -> bool:
    """Return whether an item is not to be offered: it is in the history, or among what is to be hidden."""
    if (mask >> np.uint64(item & 63)) & np.uint64(1) and place_of(w.items, past.held, item) >= 0:
        return True
    return hides_taken and seen.contains(m, user_key, m.slots[item].key)


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def _score(m: Memory, w: Workspace, width: int, popular: Any, item: int) -> Any:
    s = m.slots[item]
    row = np.uint64(s.offset)
    dot = _f(0.0)
    for c in range(np.uint64(min(np.int64(s.size), np.int64(width)))):
        dot += w.x[c] * m.arena[row + c]
    return popular + dot


@njit(cache=True, nogil=True, inline="always")
def _offer_history(
    m: Memory,
    p: Shared,
    h: Hyper,
    w: Workspace,
    width: int,
    gap: int,
    past: Past,
    user_key: Any,
    popularity: Popularity,
    outline: Outline,
    best: Any,
    score: Any,
) -> int:
    """Enter the items of the user's history, whose places have weights of their own; return how many there are now."""
    n = 0
    for k in range(past.held):
        item = np.int64(w.items[k])
        if place_of(w.items, past.held, item) == k:
            value = _score(m, w, width, popularity.of_item[outline.place[item]], item) + p.repeat[k, w.pauses[k]]
            if weighs_taken(m, h):
                value += weight_if_taken(m, p, user_key, m.slots[item].key, past.session, gap)
            if value > _f(-np.inf) and (n < len(best) or _beats(value, item, score[0], best[0])):
                n = _offer(best, score, n, item, value)
    return n


@njit(cache=True, nogil=True, inline="always")
def _cut(score: Any, is_full: bool) -> Any:
    """Return what an item's bound has to exceed to be looked at: a little less than the worst entry of a full heap."""
    return score[0] - _f(1e-5) * (_f(1.0) + abs(score[0])) if is_full else _f(-np.inf)


@njit(cache=True, nogil=True, fastmath=FAST_MATH, _nrt=False)
def find_similar(m: Memory, w: Workspace, item_key: Any, outline: Outline, best: Any, score: Any) -> int:
    """Fill ``best`` with the slots of the items nearest to one by cosine, nearest first; return how many there are.

    The answer is -1 where the item is not known. The item itself and those of length 0 are not among them, and none is
    near an item of length 0. Coordinates that only one of two items has count as zero for the other.
    """
    item = index.find(m, item_key)
    if item < 0:
        return -1
    n = 0
    own_norm = outline.norm[outline.place[item]]
    if own_norm == 0.0 or len(best) == 0:
        return n
    width = np.int64(m.slots[item].size)
    own = np.uint64(m.slots[item].offset)
    for c in range(np.uint64(width)):
        w.x[c] = m.arena[own + c] / own_norm
    of_rest = _length(w.x, NUM_LEADING, max(width, NUM_LEADING))
    cut = _f(-np.inf)
    for begin in range(0, len(outline.slot), BLOCK):
        bounds = w.block[: min(BLOCK, len(outline.slot) - begin)]
        _fill_bounds(w.x, outline, begin, _f(1.0), of_rest, bounds)
        for i in range(begin, begin + len(bounds)):
            norm = outline.norm[i]
            other = np.int64(outline.slot[i])
            if norm == 0.0 or other == item or not bounds[i - begin] > cut * norm:
                continue
            cosine = _score(m, w, width, _f(0.0), other) / norm
            if cosine > _f(-np.inf) and (n < len(best) or _beats(cosine, other, score[0], best[0])):
                n = _offer(best, score, n, other, cosine)
                cut = _cut(score, n == len(best))
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
