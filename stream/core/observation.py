"""What a policy sees: a vector of fixed length, whatever the number of users and items (after SCALL, CIKM 2024)."""

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.core import arena
from stream.core.event import ITEM, USER
from stream.core.memory import Memory
from stream.core.recommender import Recommender
from stream.core.sizes import FrequencyHistogram

NUM_GROUPS: Final = 16
"""Groups of equal numbers of ranks over which frequencies are pooled, by side."""
NUM_COORDINATES: Final = 8
"""Leading coordinates of the mean embedding, by side."""
OBSERVATION_LENGTH: Final = 2 * NUM_GROUPS + 2 * NUM_COORDINATES + 5
Vector = NDArray[np.float32]


def observe(recommender: Recommender, last_reward: float) -> Vector:
    """Return the observation, float32[OBSERVATION_LENGTH].

    In order: users' and items' frequencies by rank, mean-pooled into NUM_GROUPS groups each, as ln(1 + events);
    the mean item embedding and the mean user vector, NUM_COORDINATES each; the users' share of all entities; the
    spread of sizes by side (standard deviation over mean); the share of the arena in use; the last reward.
    """
    users, items = recommender.num_users, recommender.num_items
    memory = recommender.memory
    used = arena.live_words(memory) / len(memory.words)
    parts = [
        _pool(recommender.frequencies(USER)),
        _pool(recommender.frequencies(ITEM)),
        _mean_embedding(memory, ITEM, 0),
        _mean_embedding(memory, USER, recommender.hyper.num_ids),
        [users / max(users + items, 1)],
        [_spread(recommender.sizes(USER)), _spread(recommender.sizes(ITEM))],
        [used, last_reward],
    ]
    return np.concatenate([np.asarray(part, np.float32) for part in parts])


def _pool(frequencies: FrequencyHistogram) -> NDArray[np.float64]:
    """Return the mean of ln(1 + frequency) over each of NUM_GROUPS groups of as many ranks."""
    num = int(frequencies.count.sum())
    if num == 0:
        return np.zeros(NUM_GROUPS)
    # The integral of the step function "value by rank" up to each border between groups, exact within a bin.
    borders = np.linspace(0.0, num, NUM_GROUPS + 1)
    ranks = np.concatenate(([0], np.cumsum(frequencies.count)))
    integral = np.concatenate(([0.0], np.cumsum(np.log1p(frequencies.value) * frequencies.count)))
    return np.diff(np.interp(borders, ranks, integral)) * (NUM_GROUPS / num)


def _spread(histogram: NDArray[np.int64]) -> float:
    num = histogram.sum()
    if num == 0:
        return 0.0
    size = np.arange(len(histogram))
    mean = (size * histogram).sum() / num
    variance = ((size - mean) ** 2 * histogram).sum() / num
    return float(np.sqrt(variance) / mean) if mean > 0 else 0.0


def _mean_embedding(memory: Memory, side: int, skip: int) -> NDArray[np.float64]:
    out = np.zeros(NUM_COORDINATES)
    _sum_coordinates(memory, side, skip, out)
    return out / max(int(memory.counters[side]), 1)


@njit(cache=True, nogil=True)
def _sum_coordinates(m: Memory, side: int, skip: int, out: Any) -> None:
    begin, end = arena.slots_of(m, side)
    for slot in range(begin, end):
        if m.slots[slot].alive:
            offset = np.int64(m.slots[slot].offset) + skip
            for c in range(min(np.int64(m.slots[slot].size) - skip, len(out))):
                out[c] += m.arena[offset + c]
