"""The id index: open addressing with linear probing from a 64-bit key to a slot, in a fixed number of buckets.

Deletion shifts the run back (Knuth, TAOCP 6.4, algorithm R), so there are no tombstones and the table never has to be
rebuilt.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.core.memory import Memory


@njit(cache=True, nogil=True, inline="always")
def _home(key: Any, num_buckets: int) -> int:
    """Map the key's upper 32 bits to [0, num_buckets) by a multiplication (Lemire 2016), not a slow division."""
    return np.int64(((key >> np.uint64(32)) * np.uint64(num_buckets)) >> np.uint64(32))


@njit(cache=True, nogil=True, inline="always")
def find(m: Memory, key: Any) -> int:
    """Return the slot of ``key``, or -1."""
    num_buckets = len(m.buckets)
    bucket = _home(key, num_buckets)
    while True:
        slot = m.buckets[bucket]
        if slot < 0:
            return -1
        if m.slots[slot].key == key:
            return slot
        bucket += 1
        if bucket == num_buckets:
            bucket = 0


@njit(cache=True, nogil=True, _nrt=False)
def insert(m: Memory, key: Any, slot: int) -> None:
    """Enter a key that is not there."""
    num_buckets = len(m.buckets)
    bucket = _home(key, num_buckets)
    while m.buckets[bucket] >= 0:
        bucket += 1
        if bucket == num_buckets:
            bucket = 0
    m.buckets[bucket] = slot


@njit(cache=True, nogil=True, _nrt=False)
def remove(m: Memory, key: Any) -> None:
    """Take a key out that is there, and close the gap."""
    num_buckets = len(m.buckets)
    gap = _home(key, num_buckets)
    while m.slots[m.buckets[gap]].key != key:
        gap += 1
        if gap == num_buckets:
            gap = 0
    probe = gap
    while True:
        probe += 1
        if probe == num_buckets:
            probe = 0
        slot = m.buckets[probe]
        if slot < 0:
            break
        home = _home(m.slots[slot].key, num_buckets)
        # The entry may fill the gap unless its home lies behind the gap, cyclically.
        behind = gap < home <= probe if gap <= probe else (home > gap or home <= probe)
        if not behind:
            m.buckets[gap] = slot
            gap = probe
    m.buckets[gap] = -1


@njit(cache=True, nogil=True, _nrt=False)
def _find_all(m: Memory, keys: Any, out: Any) -> None:
    for i in range(len(keys)):
        out[i] = find(m, keys[i])


def find_all(m: Memory, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Return the slot of each key, -1 where it is unknown, as int32[n]."""
    out = np.empty(len(keys), np.int32)
    _find_all(m, keys, out)
    return out
