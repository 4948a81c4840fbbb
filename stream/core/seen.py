"""A bounded, aging memory of (user, item) pairs already taken.

A set-associative table of 16-bit fingerprints: a pair belongs to one set of eight; a new one enters at the front and
pushes the oldest out. Two bytes a pair; an alien pair is taken for a known one with probability of at most
8 / 65,535 (1.2e-4).
"""

from typing import Any

import numpy as np
from numba import njit

from stream.core.event import mix64
from stream.core.memory import SEEN_WAYS, Memory


@njit(cache=True, nogil=True, inline="always")
def _locate(user_key: Any, item_key: Any, num_sets: int) -> Any:
    h = mix64(user_key ^ (item_key * np.uint64(0x9E3779B97F4A7C15)))
    which = np.int64(((h >> np.uint64(32)) * np.uint64(num_sets)) >> np.uint64(32))
    fingerprint = np.uint16(h & np.uint64(0xFFFF))
    # Zero marks an empty place.
    return which, fingerprint if fingerprint != 0 else np.uint16(1)


@njit(cache=True, nogil=True, _nrt=False)
def contains(m: Memory, user_key: Any, item_key: Any) -> bool:
    """Return whether the pair was taken, as far as the filter remembers."""
    if len(m.seen) == 0:
        return False
    which, fingerprint = _locate(user_key, item_key, len(m.seen))
    for way in range(SEEN_WAYS):
        if m.seen[which, way] == fingerprint:
            return True
    return False


@njit(cache=True, nogil=True, _nrt=False)
def add(m: Memory, user_key: Any, item_key: Any) -> None:
    """Remember the pair as the newest of its set."""
    if len(m.seen) == 0:
        return
    which, fingerprint = _locate(user_key, item_key, len(m.seen))
    carried = fingerprint
    for way in range(SEEN_WAYS):
        held = m.seen[which, way]
        m.seen[which, way] = carried
        if held == fingerprint or held == 0:
            break
        carried = held
