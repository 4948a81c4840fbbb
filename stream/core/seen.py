"""A bounded, aging memory of (user, item) pairs already taken, and in which of the user's sessions.

A set-associative table of 16-bit entries: a fingerprint of FINGERPRINT_BITS, and above it the number of the session,
modulo NUM_STAMPS. A pair belongs to one set of eight; a new one enters at the front and pushes the oldest out. That is
two bytes a pair; an alien pair is taken for a known one with probability of at most 8 / 8,191 (1e-3).
"""

from typing import Any, Final

import numpy as np
from numba import njit

from stream.core.memory import SEEN_WAYS, Memory

FINGERPRINT_BITS: Final = 13
NUM_STAMPS: Final = 8
NUM_AGES: Final = 3
"""Ages that are told apart: taken in this session, in the last, before."""
_FINGERPRINT: Final = 2**FINGERPRINT_BITS - 1


@njit(cache=True, nogil=True, inline="always")
def _locate(user_key: Any, item_key: Any, num_sets: int) -> Any:
    # Keys are well mixed as they come, so one product is enough; turned, so that a pair is not its mirror image.
    turned = (item_key << np.uint64(32)) | (item_key >> np.uint64(32))
    h = (user_key ^ turned) * np.uint64(0x9E3779B97F4A7C15)
    which = np.int64(((h >> np.uint64(32)) * np.uint64(num_sets)) >> np.uint64(32))
    fingerprint = np.int64((h >> np.uint64(32 - FINGERPRINT_BITS)) & np.uint64(_FINGERPRINT))
    # Zero marks an empty place.
    return which, max(fingerprint, 1)


@njit(cache=True, nogil=True, inline="always")
def fingerprint_of(entry: Any) -> int:
    """Return the fingerprint in an entry, 0 where the place is empty."""
    return np.int64(entry) & _FINGERPRINT


@njit(cache=True, nogil=True, _nrt=False)
def find(m: Memory, user_key: Any, item_key: Any) -> int:
    """Return the stamp of the session in which the pair was taken, as far as the filter remembers; else -1."""
    if len(m.seen) == 0:
        return -1
    which, fingerprint = _locate(user_key, item_key, len(m.seen))
    for way in range(SEEN_WAYS):
        if fingerprint_of(m.seen[which, way]) == fingerprint:
            return np.int64(m.seen[which, way]) >> FINGERPRINT_BITS
    return -1


@njit(cache=True, nogil=True, inline="always")
def contains(m: Memory, user_key: Any, item_key: Any) -> bool:
    """Return whether the pair was taken, as far as the filter remembers."""
    return find(m, user_key, item_key) >= 0


@njit(cache=True, nogil=True, inline="always")
def age_of(stamp: int, session: int) -> int:
    """Return how old a pair with a stamp is in a session: below NUM_AGES. Eight sessions ago reads as this one."""
    return min((session - stamp) & (NUM_STAMPS - 1), NUM_AGES - 1)


@njit(cache=True, nogil=True, _nrt=False)
def add(m: Memory, user_key: Any, item_key: Any, session: int) -> None:
    """Remember the pair as the newest of its set."""
    if len(m.seen) == 0:
        return
    which, fingerprint = _locate(user_key, item_key, len(m.seen))
    carried = np.int64(fingerprint | ((session & (NUM_STAMPS - 1)) << FINGERPRINT_BITS))
    for way in range(SEEN_WAYS):
        held = np.int64(m.seen[which, way])
        m.seen[which, way] = np.uint16(carried)
        if held == 0 or fingerprint_of(held) == fingerprint:
            break
        carried = held
