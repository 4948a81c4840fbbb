"""A user's history: its last items, newest first, and how long it had paused before each.

A history is the first words of a user's extent. A word holds an item's slot in its lower SLOT_BITS bits, and above them
the time gap (:func:`gap_bucket`) between that event and the one before it; -1 is an empty place, and the last ones are
empty first. So the *pause* at a place, the longest gap between it and now, is known without a time being stored: a
basket, a session and a visit of weeks ago can weigh differently at the same place.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit

from stream.core.memory import ORIGIN_S, SLOT_BITS, Memory

NUM_GAPS: Final = 8
SESSION_GAP: Final = 5
"""A gap this long, an hour or more, begins a new session."""
_ITEM: Final = 2**SLOT_BITS - 1


@njit(cache=True, nogil=True, inline="always")
def gap_bucket(gap_s: int) -> int:
    """Return the bucket of a time gap: none known, 0 s, under 1 min, 10 min, 1 h, 1 day, 1 week, more."""
    if gap_s < 0:
        return 0
    if gap_s == 0:
        return 1
    if gap_s < 60:
        return 2
    if gap_s < 600:
        return 3
    if gap_s < 3600:
        return 4
    if gap_s < 86400:
        return 5
    if gap_s < 604800:
        return 6
    return 7


@njit(cache=True, nogil=True, inline="always")
def gap_since(m: Memory, user: int, time_s: int) -> int:
    """Return the bucket of the gap before a user's next event at ``time_s``; an event that comes late has no gap."""
    if user < 0 or m.slots[user].last_seen_s < 0:
        return 0
    return gap_bucket(max(np.int64(0), time_s - m.counters[ORIGIN_S] - m.slots[user].last_seen_s))


@njit(cache=True, nogil=True, inline="always")
def session_at(m: Memory, user: int, gap: int) -> int:
    """Return the number of the user's session, from 0, in which an event after a gap falls; 0 for nobody known."""
    if user < 0:
        return 0
    return np.int64(m.slots[user].session) + np.int64(gap >= SESSION_GAP)


@njit(cache=True, nogil=True, inline="always")
def history_length(m: Memory, user: int, num_ids: int) -> int:
    """Return how many places a user's history has; some may be empty, the last ones first."""
    return min(np.int64(m.slots[user].size), num_ids)


@njit(cache=True, nogil=True, inline="always")
def item_at(m: Memory, place: int) -> int:
    """Return the item's slot in a word of a history, -1 for an empty place."""
    word = np.int64(m.words[place])
    return word & _ITEM if word >= 0 else np.int64(-1)


@njit(cache=True, nogil=True, inline="always")
def gap_at(m: Memory, place: int) -> int:
    """Return the gap before the event that a word of a history holds; it must not be empty."""
    return np.int64(m.words[place]) >> SLOT_BITS


@njit(cache=True, nogil=True, inline="always")
def word_of(item: int, gap: int) -> int:
    """Return the word for an item and the gap before it: the reverse of :func:`item_at` and :func:`gap_at`."""
    return np.int32(np.int64(item) | (np.int64(gap) << SLOT_BITS))


class Past(NamedTuple):
    """What a user's history says at an event; its places are in a workspace (:func:`read_history`)."""

    held: int
    """Places that are not empty."""
    is_full: bool
    """None is empty, so the user may have taken more than they hold. Never for a user who is not known."""
    session: int
    """Number of the user's session that the event falls in."""


@njit(cache=True, nogil=True, inline="always")
def read_history(m: Memory, items: Any, pauses: Any, user: int, gap: int, num_ids: int) -> Past:
    """Write the items of a user's history, newest first, and the pause at each place, at an event after a gap."""
    if user < 0:
        return Past(0, False, 0)
    offset = np.int64(m.slots[user].offset)
    length = history_length(m, user, num_ids)
    pause = np.int64(gap)
    held = 0
    for k in range(length):
        item = item_at(m, offset + k)
        if item < 0:
            break
        items[k] = item
        pauses[k] = pause
        pause = max(pause, gap_at(m, offset + k))
        held += 1
    return Past(held, held == length, session_at(m, user, gap))


@njit(cache=True, nogil=True, inline="always")
def mask_of(items: Any, held: int) -> Any:
    """Return 64 bits of which bit (item mod 64) is set for every item of a history: a quick no for most items."""
    mask = np.uint64(0)
    for k in range(held):
        mask |= np.uint64(1) << np.uint64(items[k] & 63)
    return mask


@njit(cache=True, nogil=True, inline="always")
def place_of(items: Any, held: int, item: int) -> int:
    """Return the newest place at which an item stands in a history, -1 if it does not."""
    for k in range(held):
        if items[k] == item:
            return k
    return -1


@njit(cache=True, nogil=True, inline="always")
def remember(m: Memory, user: int, item: int, gap: int, num_ids: int) -> None:
    """Put an item at the first place of a user's history; the others move on, and the oldest is forgotten."""
    offset = np.int64(m.slots[user].offset)
    length = history_length(m, user, num_ids)
    for k in range(length - 1, 0, -1):
        m.words[offset + k] = m.words[offset + k - 1]
    if length > 0:
        m.words[offset] = word_of(item, gap)


@njit(cache=True, nogil=True, _nrt=False)
def forget_items_gone(m: Memory, user: int, num_ids: int) -> None:
    """Take items that are no more out of a user's history; what lay before them lies before the next newer one."""
    offset = np.int64(m.slots[user].offset)
    length = history_length(m, user, num_ids)
    kept = 0
    for k in range(length):
        item = item_at(m, offset + k)
        if item < 0:
            break
        if m.slots[item].alive:
            m.words[offset + kept] = m.words[offset + k]
            kept += 1
        elif kept > 0:
            newer = offset + kept - 1
            gap = max(gap_at(m, newer), gap_at(m, offset + k))
            m.words[newer] = word_of(item_at(m, newer), gap)
    for k in range(kept, length):
        m.words[offset + k] = -1
