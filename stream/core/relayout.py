"""Bringing a model to another layout of its memory, in place: what a change of the budget comes down to.

No array is copied as a whole. Entities move within their array before it shrinks, or after it has grown, and all that
shrink do so before any grows, so that together they never take more bytes than the larger of the two layouts.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.core import index
from stream.core.arena import slots_of
from stream.core.event import ITEM, USER
from stream.core.history import gap_at, history_length, item_at, word_of
from stream.core.memory import (
    ARENA_TOP,
    ITEM_FREE,
    ITEM_TOP,
    NUM_ITEMS,
    NUM_USERS,
    RECENT_NEXT,
    SEEN_WAYS,
    SLOT,
    USER_FREE,
    USER_TOP,
    Layout,
    Memory,
    layout_of,
)
from stream.core.seen import fingerprint_of
from stream.errors import BudgetError


def relayout(memory: Memory, layout: Layout, num_ids: int) -> Memory:
    """Return the same entities in arrays of another layout; ``memory`` must not be used any more.

    Extents stay where they are, so the entities have to fit beforehand: into the slots, and below the new end of the
    arena. Slots are numbered anew without gaps, each side in its order. Of the recent items the newest stay, and of the
    pairs taken as many as their sets have room for (:func:`_rehash`). ``num_ids`` is the most ids in a history.

    Resizing goes through ``realloc``: the pages of a large array are moved, not copied; a C library may copy one that
    is smaller than its threshold for that (32 MiB at most in glibc).

    Raises:
        BudgetError: the machine does not give so much memory; nothing has changed.

    """
    num_users, num_items = int(memory.counters[NUM_USERS]), int(memory.counters[NUM_ITEMS])
    assert num_users + num_items <= layout.num_slots, (num_users, num_items, layout)
    assert memory.counters[ARENA_TOP] <= layout.arena_words, layout
    before = layout_of(memory)
    _require_memory(layout.num_bytes - before.num_bytes)

    _renumber(memory, layout.num_slots, num_ids)
    recent = _in_order(memory)[-layout.num_recent :]
    users_before, users_after = before.num_slots - num_users, layout.num_slots - num_users
    if users_after < users_before:
        _move(memory.slots, users_before, users_after, num_users)
    if layout.num_seen_sets < before.num_seen_sets:
        _rehash(memory.seen, before.num_seen_sets, layout.num_seen_sets)
    memory = _with_lengths(memory, layout)
    if users_after > users_before:
        _move(memory.slots, users_before, users_after, num_users)
    if layout.num_seen_sets > before.num_seen_sets:
        _rehash(memory.seen, before.num_seen_sets, layout.num_seen_sets)

    memory.slots.view(np.uint8)[SLOT.itemsize * num_items : SLOT.itemsize * users_after] = 0
    memory.recent[: len(recent)] = recent
    memory.recent[len(recent) :] = -1
    for counter, value in (
        *((USER_TOP, num_users), (ITEM_TOP, num_items), (USER_FREE, -1), (ITEM_FREE, -1)),
        (RECENT_NEXT, len(recent) % layout.num_recent),
    ):
        memory.counters[counter] = value
    memory.buckets[:] = -1
    _index(memory)
    return memory


def _require_memory(num_bytes: int) -> None:
    """Ask for as much as is to be added, and give it back untouched."""
    try:
        np.empty(max(0, num_bytes), np.uint8)
    except MemoryError:
        raise BudgetError(
            f"the machine does not give {num_bytes:,} bytes more: ask for a smaller budget, or free some memory"
        ) from None


def _in_order(memory: Memory) -> NDArray[np.int32]:
    """Return the items of the last events, oldest first."""
    return np.roll(memory.recent, -int(memory.counters[RECENT_NEXT]))


def _with_lengths(memory: Memory, layout: Layout) -> Memory:
    """Resize every array in place; what is added is zero."""
    shapes: list[tuple[NDArray[Any], tuple[int, ...]]] = [
        (memory.slots, (layout.num_slots,)),
        (memory.buckets, (layout.num_buckets,)),
        (memory.arena, (layout.arena_words,)),
        (memory.recent, (layout.num_recent,)),
        (memory.seen, (layout.num_seen_sets, SEEN_WAYS)),
    ]
    for array, shape in sorted(shapes, key=lambda pair: pair[1] > pair[0].shape):
        if shape != array.shape:
            # Whoever else holds the array sees the new one; the one view of it is renewed below.
            array.resize(shape, refcheck=False)
    return memory._replace(words=memory.arena.view(np.int32))


@njit(cache=True, nogil=True, _nrt=False)
def _renumber(m: Memory, num_slots: int, num_ids: int) -> None:
    """Give all entities their numbers in a table of ``num_slots``, and pack each side at its end of this table.

    Whatever names slots names the new ones afterwards, but for the index, whose buckets hold old number -> new number
    meanwhile.
    """
    number = 0
    begin, end = slots_of(m, ITEM)
    for slot in range(begin, end):
        if m.slots[slot].alive:
            m.buckets[slot] = number
            number += 1
    number = num_slots
    begin, end = slots_of(m, USER)
    for slot in range(end - 1, begin - 1, -1):
        if m.slots[slot].alive:
            number -= 1
            m.buckets[slot] = number
    for i in range(len(m.recent)):
        if m.recent[i] >= 0:
            m.recent[i] = m.buckets[m.recent[i]]
    for side in range(2):
        begin, end = slots_of(m, side)
        for slot in range(begin, end):
            if m.slots[slot].alive:
                offset = np.int64(m.slots[slot].offset)
                m.words[offset - np.int64(m.slots[slot].lead) - 1] = m.buckets[slot]
                if side == USER:
                    for k in range(history_length(m, slot, num_ids)):
                        item = item_at(m, offset + k)
                        if item >= 0:
                            m.words[offset + k] = word_of(m.buckets[item], gap_at(m, offset + k))
    _pack(m)


@njit(cache=True, nogil=True, _nrt=False)
def _pack(m: Memory) -> None:
    """Move the items alive to the bottom of the table and the users alive to its top, in their order."""
    to = 0
    begin, end = slots_of(m, ITEM)
    for slot in range(begin, end):
        if m.slots[slot].alive:
            m.slots[to] = m.slots[slot]
            to += 1
    to = len(m.slots)
    begin, end = slots_of(m, USER)
    for slot in range(end - 1, begin - 1, -1):
        if m.slots[slot].alive:
            to -= 1
            m.slots[to] = m.slots[slot]


@njit(cache=True, nogil=True, _nrt=False)
def _move(slots: Any, source: int, target: int, num: int) -> None:
    """Move ``num`` records that lie together, over themselves if need be."""
    if target < source:
        for i in range(num):
            slots[target + i] = slots[source + i]
    else:
        for i in range(num - 1, -1, -1):
            slots[target + i] = slots[source + i]


@njit(cache=True, nogil=True, _nrt=False)
def _index(m: Memory) -> None:
    """Enter all entities into an empty index."""
    for side in range(2):
        begin, end = slots_of(m, side)
        for slot in range(begin, end):
            index.insert(m, m.slots[slot].key, slot)


@njit(cache=True, nogil=True)
def _rehash(seen: Any, num_before: int, num_sets: int) -> None:
    """Bring the pairs taken from ``num_before`` sets to ``num_sets``; the array has the larger number of sets.

    A set stands for a range of hashes, of which a fingerprint does not tell the place. So it goes to every set whose
    range overlaps with its own, and is found there whichever it was. Where more come together than a set has room for,
    the newest of each stay.
    """
    held = np.empty(SEEN_WAYS, np.uint16)
    for i in range(num_sets):
        # No set is written before it was read for the last time.
        to = i if num_sets < num_before else num_sets - 1 - i
        lowest = ((np.int64(to) << 32) + num_sets - 1) // num_sets
        highest = ((np.int64(to + 1) << 32) + num_sets - 1) // num_sets - 1
        first, last = (lowest * num_before) >> 32, (highest * num_before) >> 32
        num_held = 0
        for way in range(SEEN_WAYS):
            for source in range(first, last + 1):
                entry = seen[source, way]
                is_new = entry != 0 and num_held < SEEN_WAYS
                for k in range(num_held):
                    # A pair taken again since it stood in several sets has another session in one of them.
                    is_new = is_new and fingerprint_of(held[k]) != fingerprint_of(entry)
                if is_new:
                    held[num_held] = entry
                    num_held += 1
        for way in range(SEEN_WAYS):
            seen[to, way] = held[way] if way < num_held else np.uint16(0)
