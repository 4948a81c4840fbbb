"""What tells quickly that most items score too little for a user: prepared once for a model that does not change.

Rows are read in the order of the slots, which is about that of the arena, and written wherever the outline has them:
the other way round every row would be waited for.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.core.memory import ITEM_TOP, Memory
from stream.core.model import BLOCK, NUM_RATES, Hyper, Shared
from stream.core.numeric import FAST_MATH, log32

NUM_LEADING: Final = 16
"""Coordinates by which most items are left behind: a multiple of four."""
_NUM_CLASSES: Final = 8
_f = np.float32


class Outline(NamedTuple):
    """The n items, those of long embeddings first."""

    slot: NDArray[np.int32]
    """int32[n]: the items' slots."""
    place: NDArray[np.int32]
    """int32[slots]: where an item's slot stands in that order; -1 for slots without an owner."""
    leading: NDArray[np.float32]
    """float32[blocks, NUM_LEADING, BLOCK]: leading coordinates of each BLOCK items, those of one place next to each
    other; missing ones are 0."""
    rest: NDArray[np.float32]
    """float32[n]: length of the coordinates behind those."""
    norm: NDArray[np.float32]
    """float32[n]: length of all."""
    longest_from_block: NDArray[np.float32]
    """float32[blocks]: the greatest length from each block of BLOCK items on."""
    log_counts: NDArray[np.float32]
    """float32[NUM_RATES, n]: logarithms of the decayed counts, slow, mid and fast, each with 1/2 added."""


class Popularity(NamedTuple):
    """What the prior adds to each item's score, for all users at one time gap."""

    of_item: NDArray[np.float32]
    """float32[n], in the outline's order."""
    from_block: NDArray[np.float32]
    """float32[blocks]: the most from each block of BLOCK items on."""


def outline_of(m: Memory, p: Shared) -> Outline:
    """Return the outline of all items."""
    norms = np.empty(m.counters[ITEM_TOP], np.float32)
    _fill_norms(m, norms)
    # By a few classes of length, not by length: within a class memory is read in one direction.
    has_length = np.isfinite(norms) & (norms > 0)
    scale = (_NUM_CLASSES - 0.01) / np.max(norms, initial=1e-30, where=has_length)
    of_class = np.zeros(len(norms), np.uint8)
    np.multiply(norms, scale, out=of_class, where=has_length, casting="unsafe")
    alive = np.flatnonzero(norms >= 0)
    slot = alive[np.argsort(_NUM_CLASSES - of_class[alive], kind="stable")].astype(np.int32)
    num = len(slot)
    outline = Outline(
        slot=slot,
        place=np.full(len(norms), -1, np.int32),
        leading=np.zeros((-(-num // BLOCK), NUM_LEADING, BLOCK), np.float32),
        rest=np.empty(num, np.float32),
        norm=norms[slot],
        longest_from_block=_most_from_block(norms[slot]),
        log_counts=np.empty((NUM_RATES, num), np.float32),
    )
    outline.place[slot] = np.arange(num, dtype=np.int32)
    _fill_outline(m, p, outline)
    return outline


def popularity_of(p: Shared, h: Hyper, gap: int, outline: Outline) -> Popularity:
    """Return the popularity of all items at a time gap."""
    of_item = np.zeros(len(outline.slot), np.float32)
    if h.use_prior:
        _weigh_counts(p, gap, outline.log_counts, of_item)
    return Popularity(of_item, _most_from_block(of_item))


def _most_from_block(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the greatest value from each block of BLOCK on.

    >>> _most_from_block(np.arange(600, 0, -1).astype(np.float32))
    array([600., 344.,  88.], dtype=float32)
    """
    most = np.maximum.reduceat(values, np.arange(0, len(values), BLOCK)) if len(values) else values
    return np.maximum.accumulate(most[::-1])[::-1].copy()


@njit(cache=True, nogil=True, fastmath=FAST_MATH, _nrt=False)
def _fill_norms(m: Memory, norms: Any) -> None:
    for i in range(len(norms)):
        s = m.slots[i]
        row = np.uint64(s.offset)
        square = _f(0.0)
        if s.alive:
            for c in range(np.uint64(s.size)):
                square += m.arena[row + c] * m.arena[row + c]
        # What is no number ranks with nothing, and is still an item.
        norms[i] = (np.sqrt(square) if square >= _f(0.0) else _f(0.0)) if s.alive else _f(-1.0)


@njit(cache=True, nogil=True, fastmath=FAST_MATH, _nrt=False)
def _fill_outline(m: Memory, p: Shared, outline: Outline) -> None:
    """Fill ``leading``, ``rest`` and ``log_counts``."""
    slow, mid, fast = outline.log_counts[0], outline.log_counts[1], outline.log_counts[2]
    by_slow, by_mid, by_fast = _f(1.0 / p.decay[0]), _f(1.0 / p.decay[1]), _f(1.0 / p.decay[2])
    half = _f(0.5)
    for item in range(len(outline.place)):
        i = np.int64(outline.place[item])
        if i < 0:
            continue
        s = m.slots[item]
        row = np.uint64(s.offset)
        size = np.int64(s.size)
        block = outline.leading[i // BLOCK]
        for c in range(np.uint64(min(size, NUM_LEADING))):
            block[c, i % BLOCK] = m.arena[row + c]
        of_rest = _f(0.0)
        for c in range(np.uint64(NUM_LEADING), np.uint64(max(size, NUM_LEADING))):
            of_rest += m.arena[row + c] * m.arena[row + c]
        outline.rest[i] = np.sqrt(of_rest)
        slow[i] = s.slow * by_slow + half
        mid[i] = s.mid * by_mid + half
        fast[i] = s.fast * by_fast + half
    for i in range(len(outline.slot)):
        slow[i] = log32(slow[i])
        mid[i] = log32(mid[i])
        fast[i] = log32(fast[i])


@njit(cache=True, nogil=True, fastmath=FAST_MATH, _nrt=False)
def _weigh_counts(p: Shared, gap: int, log_counts: Any, popularity: Any) -> None:
    slow, mid, fast = log_counts[0], log_counts[1], log_counts[2]
    a, b, c = p.prior[gap, 0], p.prior[gap, 1], p.prior[gap, 2]
    for i in range(len(popularity)):
        popularity[i] = a * slow[i] + b * mid[i] + c * fast[i]
