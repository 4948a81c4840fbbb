"""Bringing every entity to its size in a new plan, in place.

What shrinks does so where it stands, leaving a hole; what grows moves to the top of the arena while there is room.
When the top is used up, one compaction sweeps the arena down, writing each extent's header behind it, and back up,
writing it in front again: two linear walks, no second copy, no order to be kept.
"""

from typing import Any

import numpy as np
from numba import njit

from stream.core.arena import fill_payload, frequency_bucket, slots_of
from stream.core.event import ITEM, USER
from stream.core.memory import ARENA_TOP, COMPACTIONS, NUM_FREQUENCY_BUCKETS, USER_WORDS, Memory
from stream.core.moving import move_words


@njit(cache=True, nogil=True, _nrt=False)
def assign_targets(m: Memory, side: int, at_least: Any, top_bits: int) -> None:
    """Set every entity's ``target`` from a size plan by its frequency rank; equals rank by slot.

    ``at_least[s]`` is the number of ranks whose size is s or more (see :mod:`stream.core.sizes`).
    ``m.scratch[0]`` holds the side's frequency histogram on entry.
    """
    assign_and_resize(m, side, at_least, top_bits, -1, 0.0, 0)


@njit(cache=True, nogil=True, _nrt=False)
def assign_and_resize(
    m: Memory, side: int, at_least: Any, top_bits: int, limit: int, scale: float, num_ids: int
) -> bool:
    """Set targets as :func:`assign_targets` does, and resize in passing while the top stays under ``limit``.

    Return whether all were resized; where one was not, :func:`resize` has to do the rest.
    """
    histogram, next_rank, bucket_size, next_drop = m.scratch[0], m.scratch[1], m.scratch[2], m.scratch[3]
    rank = 0
    size = len(at_least) - 1
    for bucket in range(NUM_FREQUENCY_BUCKETS - 1, -1, -1):
        while size > 0 and at_least[size] <= rank:
            size -= 1
        next_rank[bucket] = rank
        bucket_size[bucket] = size
        next_drop[bucket] = at_least[size]
        rank += histogram[bucket]
    fits = limit >= 0
    begin, end = slots_of(m, side)
    for slot in range(begin, end):
        if m.slots[slot].alive:
            bucket = frequency_bucket(m.slots[slot].slow, top_bits)
            rank = next_rank[bucket]
            next_rank[bucket] = rank + 1
            if rank >= next_drop[bucket]:
                size = bucket_size[bucket]
                while size > 0 and at_least[size] <= rank:
                    size -= 1
                bucket_size[bucket] = size
                next_drop[bucket] = at_least[size] if size > 0 else 2**31 - 1
            target = bucket_size[bucket]
            m.slots[slot].target = target
            if fits and target != m.slots[slot].size:
                fits = _resize_one(m, slot, side, limit, scale, num_ids)
    return fits


@njit(cache=True, nogil=True, _nrt=False)
def resize(m: Memory, scale: float, num_ids: int, free_words: int) -> None:
    """Bring every entity alive to its target size, keeping the shared prefix of its payload.

    Afterwards at least ``free_words`` are free at the top. Headers, ids, targets and those must fit together.
    """
    limit = len(m.words) - free_words
    for side in range(2):
        begin, end = slots_of(m, side)
        for slot in range(begin, end):
            if m.slots[slot].target != m.slots[slot].size and m.slots[slot].alive:
                if not _resize_one(m, slot, side, limit, scale, num_ids):
                    _sweep_up(m, _sweep_down(m), scale, num_ids)
                    m.counters[COMPACTIONS] += 1
                    return
    if m.counters[ARENA_TOP] > limit:
        _sweep_up(m, _sweep_down(m), scale, num_ids)
        m.counters[COMPACTIONS] += 1


@njit(cache=True, nogil=True, _nrt=False)
def _resize_one(m: Memory, slot: int, side: int, limit: int, scale: float, num_ids: int) -> bool:
    """Shrink an extent where it stands, or move it to the top to grow; return False where the top has no room."""
    size = np.int64(m.slots[slot].size)
    target = np.int64(m.slots[slot].target)
    offset = np.int64(m.slots[slot].offset)
    lead = np.int64(m.slots[slot].lead)
    top = m.counters[ARENA_TOP]
    if target > size and top + 1 + lead + target > limit:
        return False
    m.counters[USER_WORDS + side] += target - size
    m.slots[slot].size = target
    if target < size:
        m.words[offset + target] = -(size - target)
        return True
    move_words(m.words, top, offset - lead - 1, 1 + lead + size)
    m.words[offset - lead - 1] = -(1 + lead + size)
    m.slots[slot].offset = top + 1 + lead
    m.counters[ARENA_TOP] = top + 1 + lead + target
    fill_payload(m, slot, size, scale, num_ids)
    return True


@njit(cache=True, nogil=True, _nrt=False)
def _sweep_down(m: Memory) -> int:
    """Move every extent down over the holes, cut to its target, its owner's slot written behind it."""
    words = m.words
    top = m.counters[ARENA_TOP]
    source = 0
    free = 0
    while source < top:
        slot = words[source]
        if slot < 0:
            source -= slot
            continue
        lead = np.int64(m.slots[slot].lead)
        size = np.int64(m.slots[slot].size)
        kept = lead + min(size, np.int64(m.slots[slot].target))
        move_words(words, free, source + 1, kept)
        words[free + kept] = slot
        free += kept + 1
        source += 1 + lead + size
    return free


@njit(cache=True, nogil=True, _nrt=False)
def _sweep_up(m: Memory, packed: int, scale: float, num_ids: int) -> None:
    """Move every extent up to where it ends in the new order, grown to its target, its header in front again."""
    words = m.words
    total = 0
    m.counters[USER_WORDS + USER] = 0
    m.counters[USER_WORDS + ITEM] = 0
    for side in range(2):
        begin, end = slots_of(m, side)
        for slot in range(begin, end):
            if m.slots[slot].alive:
                target = np.int64(m.slots[slot].target)
                total += 1 + np.int64(m.slots[slot].lead) + target
                m.counters[USER_WORDS + side] += target
    m.counters[ARENA_TOP] = total
    source = packed
    while source > 0:
        slot = words[source - 1]
        lead = np.int64(m.slots[slot].lead)
        target = np.int64(m.slots[slot].target)
        size = min(np.int64(m.slots[slot].size), target)
        begin = source - 1 - lead - size
        header = total - target - lead - 1
        move_words(words, header + 1, begin, lead + size)
        words[header] = slot
        m.slots[slot].offset = header + 1 + lead
        m.slots[slot].size = target
        if target > size:
            fill_payload(m, slot, size, scale, num_ids)
        source = begin
        total = header
