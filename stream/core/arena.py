"""Entities and their extents: admit and evict.

An entity owns one contiguous extent of exactly its size. Newcomers take words from the top of the arena; what an
evicted entity owned becomes a hole, until a resize (:mod:`stream.core.resizing`) closes it.
"""

from typing import Any

import numpy as np
from numba import njit

from stream.core import index
from stream.core.event import ITEM, USER, mix64
from stream.core.history import forget_items_gone
from stream.core.memory import (
    ARENA_TOP,
    EVICTED_USERS,
    ITEM_TOP,
    NUM_FREQUENCY_BUCKETS,
    NUM_USERS,
    OVERHEAD_WORDS,
    USER_FREE,
    USER_NEWBORN,
    USER_TOP,
    USER_WORDS,
    Memory,
)

NO_SLOT = -2
"""What :func:`admit` answers where all slots are taken: evict first."""
NO_ROOM = -3
"""What :func:`admit` answers where the arena's top is reached: resize first."""


@njit(cache=True, nogil=True, inline="always")
def side_of(m: Memory, slot: int) -> int:
    """Return USER or ITEM."""
    return ITEM if slot < m.counters[ITEM_TOP] else USER


@njit(cache=True, nogil=True, inline="always")
def slots_of(m: Memory, side: int) -> Any:
    """Return the range of slots that a side has used so far, as (begin, end); not all of them are alive."""
    if side == ITEM:
        return 0, m.counters[ITEM_TOP]
    return len(m.slots) - m.counters[USER_TOP], len(m.slots)


@njit(cache=True, nogil=True, inline="always")
def most_of_side(num_slots: int) -> int:
    """Return how many slots a side may have: the last sixteenth of the table is left to the other."""
    return num_slots - num_slots // 16


def live_words(m: Memory) -> int:
    """Return the words that entities own: headers, ids and payloads."""
    return int(m.counters[OVERHEAD_WORDS] + m.counters[USER_WORDS] + m.counters[USER_WORDS + ITEM])


@njit(cache=True, nogil=True)
def _next_slot(m: Memory, side: int) -> int:
    """Return a free slot without taking it, or NO_SLOT."""
    free = m.counters[USER_FREE + side]
    if free >= 0:
        return free
    num_slots = len(m.slots)
    top = m.counters[USER_TOP + side]
    if m.counters[USER_TOP] + m.counters[ITEM_TOP] == num_slots or top >= most_of_side(num_slots):
        return NO_SLOT
    return top if side == ITEM else num_slots - 1 - top


@njit(cache=True, nogil=True, inline="always")
def initial_coordinate(key: Any, c: int, scale: float) -> Any:
    """Return coordinate c of a new item: uniform in [-scale, scale], a pure function of the item's key.

    Growing from exactly zero would be a saddle point of a tied model.
    """
    h = mix64(key + np.uint64(c) * np.uint64(0x9E3779B97F4A7C15))
    unit = np.float32(np.int64(h >> np.uint64(40))) * np.float32(2.0**-23) - np.float32(1.0)
    return unit * np.float32(scale)


@njit(cache=True, nogil=True)
def fill_payload(m: Memory, slot: int, begin: int, scale: float, num_ids: int) -> None:
    """Give words ``begin`` and later of a payload their first values: coordinates, or empty places for ids."""
    entity = m.slots[slot]
    offset = np.int64(entity.offset)
    size = np.int64(entity.size)
    if side_of(m, slot) == ITEM:
        for c in range(begin, size):
            m.arena[offset + c] = initial_coordinate(entity.key, c, scale)
    else:
        for c in range(begin, size):
            if c < num_ids:
                m.words[offset + c] = -1
            else:
                m.arena[offset + c] = np.float32(0.0)


@njit(cache=True, nogil=True, _nrt=False)
def admit(
    m: Memory, key: Any, side: int, id_data: Any, id_start: int, id_length: int, scale: float, num_ids: int
) -> int:
    """Give a new entity a slot and an extent; return the slot, NO_SLOT or NO_ROOM (ordinary answers).

    An item's id, ``id_length`` bytes of ``id_data`` from ``id_start``, is stored before its payload: a length byte and
    the bytes.
    """
    slot = _next_slot(m, side)
    if slot == NO_SLOT:
        return NO_SLOT
    lead = (id_length + 4) // 4 if side == ITEM else 0
    size = m.counters[USER_NEWBORN + side]
    top = m.counters[ARENA_TOP]
    if top + 1 + lead + size > len(m.words):
        return NO_ROOM
    if m.counters[USER_FREE + side] >= 0:
        m.counters[USER_FREE + side] = m.slots[slot].offset
    else:
        m.counters[USER_TOP + side] += 1
    m.slots[slot].key = key
    m.slots[slot].offset = top + 1 + lead
    m.slots[slot].size = size
    m.slots[slot].target = size
    m.slots[slot].lead = lead
    m.slots[slot].alive = 1
    m.slots[slot].adagrad = 0.0
    m.slots[slot].slow = 0.0
    m.slots[slot].mid = 0.0
    m.slots[slot].fast = 0.0
    m.words[top] = slot
    if side == ITEM:
        _store_id(m.words, top + 1, id_data, id_start, id_length)
    else:
        m.slots[slot].last_seen_s = -1
    m.counters[ARENA_TOP] = top + 1 + lead + size
    m.counters[OVERHEAD_WORDS] += 1 + lead
    m.counters[USER_WORDS + side] += size
    m.counters[NUM_USERS + side] += 1
    fill_payload(m, slot, 0, scale, num_ids)
    index.insert(m, key, slot)
    return slot


@njit(cache=True, nogil=True)
def _store_id(words: Any, at: int, id_data: Any, id_start: int, id_length: int) -> None:
    word = np.uint32(id_length)
    for i in range(id_length):
        place = (i + 1) & 3
        if place == 0:
            word = np.uint32(0)
        word |= np.uint32(id_data[id_start + i]) << np.uint32(8 * place)
        if place == 3 or i == id_length - 1:
            words[at + (i + 1) // 4] = np.int32(word)
    if id_length == 0:
        words[at] = np.int32(word)


def item_id(m: Memory, slot: int) -> str:
    """Return the stored id of an item."""
    entity = m.slots[slot]
    begin = int(entity["offset"]) - int(entity["lead"])
    raw = m.words[begin : begin + int(entity["lead"])].tobytes()
    return raw[1 : 1 + raw[0]].decode()


@njit(cache=True, nogil=True, inline="always")
def frequency_bucket(count: Any, top_bits: int) -> int:
    """Return the bucket of a decayed count on a logarithmic scale, 16 to the octave; 0 is least.

    ``top_bits`` are the float32 bits of the scale's upper end, shifted by 19.
    """
    bits = np.int64(np.float32(count).view(np.int32)) >> 19
    bucket = bits - top_bits + (NUM_FREQUENCY_BUCKETS - 1)
    return min(max(bucket, 0), NUM_FREQUENCY_BUCKETS - 1)


@njit(cache=True, nogil=True, _nrt=False)
def count_frequencies(m: Memory, side: int, top_bits: int, histogram: Any) -> None:
    """Fill ``histogram``, a row of the scratch, with the number of a side's entities in each frequency bucket."""
    # Neighbours tend to fall into the same bucket; counting them in turn in four rows keeps them from waiting.
    rows = m.scratch
    rows[:] = 0
    begin, end = slots_of(m, side)
    for slot in range(begin, end):
        if m.slots[slot].alive:
            rows[slot & 3, frequency_bucket(m.slots[slot].slow, top_bits)] += 1
    for bucket in range(NUM_FREQUENCY_BUCKETS):
        histogram[bucket] = rows[0, bucket] + rows[1, bucket] + rows[2, bucket] + rows[3, bucket]


@njit(cache=True, nogil=True, _nrt=False)
def count_sizes(m: Memory, side: int, histogram: Any) -> None:
    """Add the number of a side's entities of each size to ``histogram``."""
    begin, end = slots_of(m, side)
    for slot in range(begin, end):
        if m.slots[slot].alive:
            histogram[m.slots[slot].size] += 1


@njit(cache=True, nogil=True, _nrt=False)
def _release(m: Memory, slot: int) -> None:
    side = side_of(m, slot)
    size = np.int64(m.slots[slot].size)
    lead = np.int64(m.slots[slot].lead)
    header = np.int64(m.slots[slot].offset) - lead - 1
    index.remove(m, m.slots[slot].key)
    m.words[header] = -(1 + lead + size)
    m.slots[slot].alive = 0
    m.slots[slot].key = np.uint64(0)
    m.slots[slot].offset = m.counters[USER_FREE + side]
    m.counters[USER_FREE + side] = slot
    m.counters[OVERHEAD_WORDS] -= 1 + lead
    m.counters[USER_WORDS + side] -= size
    m.counters[NUM_USERS + side] -= 1
    m.counters[EVICTED_USERS + side] += 1


@njit(cache=True, nogil=True, _nrt=False)
def evict(m: Memory, side: int, num: int, top_bits: int, num_ids: int) -> None:
    """Evict the ``num`` entities of a side with the lowest decayed frequency, lower slots first among equals.

    Evicted items leave the users' histories and the recent items too, so that no slot number outlives its owner.
    """
    histogram = m.scratch[0]
    count_frequencies(m, side, top_bits, histogram)
    boundary = 0
    whole = 0
    while boundary < NUM_FREQUENCY_BUCKETS - 1 and whole + histogram[boundary] <= num:
        whole += histogram[boundary]
        boundary += 1
    from_boundary = num - whole
    begin, end = slots_of(m, side)
    for slot in range(begin, end):
        if m.slots[slot].alive:
            bucket = frequency_bucket(m.slots[slot].slow, top_bits)
            if bucket == boundary and from_boundary > 0:
                from_boundary -= 1
                _release(m, slot)
            elif bucket < boundary:
                _release(m, slot)
    if side == ITEM:
        _forget_evicted_items(m, num_ids)


@njit(cache=True, nogil=True, _nrt=False)
def _forget_evicted_items(m: Memory, num_ids: int) -> None:
    for i in range(len(m.recent)):
        if m.recent[i] >= 0 and not m.slots[m.recent[i]].alive:
            m.recent[i] = -1
    begin, end = slots_of(m, USER)
    for slot in range(begin, end):
        if m.slots[slot].alive:
            forget_items_gone(m, slot, num_ids)
