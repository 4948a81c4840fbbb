"""What a policy sees: a vector of fixed length, whatever the number of users and items (after SCALL, CIKM 2024)."""

from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.core import arena
from stream.core.event import ITEM, USER
from stream.core.memory import ITEM_TOP, USER_WORDS, Memory
from stream.core.recommender import Recommender
from stream.core.sizes import FrequencyHistogram
from stream.core.stats import Quality

NUM_GROUPS: Final = 16
"""Groups of equal numbers of ranks over which frequencies are pooled, by side."""
NUM_COORDINATES: Final = 8
"""Leading coordinates of the mean embedding, by side."""
_GAPS: Final = ("first", "under_1h", "over_1h")
_LENGTHS: Final = {
    "user_frequencies": NUM_GROUPS,
    "item_frequencies": NUM_GROUPS,
    "item_embedding": NUM_COORDINATES,
    "user_vector": NUM_COORDINATES,
    "entities": 2,
    "sizes": 4,
    "room": 3,
    "drift": 2,
    "gaps": len(_GAPS),
    "gap_leads": len(_GAPS),
    "quality": 3,
    "last_reward": 1,
}
_BORDERS: Final = list(accumulate(_LENGTHS.values(), initial=0))
PARTS: Final[Mapping[str, slice]] = {
    name: slice(*span) for name, span in zip(_LENGTHS, pairwise(_BORDERS), strict=True)
}
"""Where each part of an observation stands:

* ``user_frequencies``, ``item_frequencies``: by rank, mean-pooled into NUM_GROUPS groups each, as ln(1 + events) / 10;
* ``item_embedding``, ``user_vector``: the mean of each side, its leading NUM_COORDINATES;
* ``entities``: users' share of all entities; share of the slots in use;
* ``sizes``: mean size by side, log2(1 + words) / 8; spread by side, half of the standard deviation over the mean;
* ``room``: words that a user or item could have on average, log2(1 + words) / 8; users' share of the payload; share
  of the arena in use;
* ``drift``: how far what was popular lately differs from what was popular before: the total variation distance of the
  items' shares between the slow and the mid counts, and between the mid and the fast ones;
* ``gaps``: share of the window's tests that were a user's first, within an hour of the last, after more;
* ``gap_leads``: the model's lead over popularity in recall, by those groups;
* ``quality``: recall, popularity's recall, share of tests whose item was new;
* ``last_reward``: the lead over popularity in NDCG.

Everything lies within [-1, 1]; what is not known yet is 0.
"""
OBSERVATION_LENGTH: Final = _BORDERS[-1]
LAST_REWARD: Final = PARTS["last_reward"].start
Vector = NDArray[np.float32]


def observe(recommender: Recommender, quality: Mapping[str, Quality]) -> Vector:
    """Return the observation (:data:`PARTS`), float32[OBSERVATION_LENGTH], each within [-1, 1].

    ``quality`` is the window's, by group, as :meth:`stream.core.evaluation.Prequential.window` has it.
    """
    memory, users, items = recommender.memory, recommender.num_users, recommender.num_items
    words = [int(memory.counters[USER_WORDS + side]) for side in (USER, ITEM)]
    entities = max(users + items, 1)
    tests, of_gap = quality["all"], [quality[gap] for gap in _GAPS]
    spread = [_spread(recommender.sizes(side)) for side in (USER, ITEM)]
    parts = {
        "user_frequencies": _pool(recommender.frequencies(USER)) / 10,
        "item_frequencies": _pool(recommender.frequencies(ITEM)) / 10,
        "item_embedding": _mean_embedding(memory, ITEM, 0),
        "user_vector": _mean_embedding(memory, USER, recommender.hyper.num_ids),
        "entities": [users / entities, (users + items) / len(memory.slots)],
        "sizes": [_octaves(words[USER] / max(users, 1)), _octaves(words[ITEM] / max(items, 1)), *spread],
        "room": [
            _octaves(sum(recommender.split_words(0.5).values()) / entities),
            words[USER] / max(sum(words), 1),
            arena.live_words(memory) / len(memory.words),
        ],
        "drift": _drift(memory),
        "gaps": [group.evaluated / max(tests.evaluated, 1) for group in of_gap],
        "gap_leads": [lead(group) for group in of_gap],
        "quality": [tests.recall or 0.0, tests.popularity_recall or 0.0, tests.first_sight_share or 0.0],
        "last_reward": [tests.reward],
    }
    observation = np.concatenate([np.asarray(parts[name], np.float32) for name in PARTS])
    return np.clip(np.nan_to_num(observation), -1.0, 1.0)


def lead(quality: Quality) -> float:
    """Return how much more the model recalled than popularity did, 0 where nothing was tested."""
    return (quality.recall or 0.0) - (quality.popularity_recall or 0.0)


def _octaves(words: float) -> float:
    return float(np.log2(1.0 + words)) / 8


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
    return float(np.sqrt(variance) / mean) / 2 if mean > 0 else 0.0


def _mean_embedding(memory: Memory, side: int, skip: int) -> NDArray[np.float64]:
    out = np.zeros(NUM_COORDINATES)
    _sum_coordinates(memory, side, skip, out)
    return out / max(int(memory.counters[side]), 1)


def _drift(memory: Memory) -> NDArray[np.float64]:
    out = np.zeros(2)
    _sum_distances(memory, out)
    return out


@njit(cache=True, nogil=True)
def _sum_coordinates(m: Memory, side: int, skip: int, out: Any) -> None:
    begin, end = arena.slots_of(m, side)
    for slot in range(begin, end):
        if m.slots[slot].alive:
            offset = np.int64(m.slots[slot].offset) + skip
            for c in range(min(np.int64(m.slots[slot].size) - skip, len(out))):
                out[c] += m.arena[offset + c]


@njit(cache=True, nogil=True)
def _sum_distances(m: Memory, out: Any) -> None:
    slow, mid, fast = 1e-30, 1e-30, 1e-30
    for slot in range(m.counters[ITEM_TOP]):
        if m.slots[slot].alive:
            slow += m.slots[slot].slow
            mid += m.slots[slot].mid
            fast += m.slots[slot].fast
    for slot in range(m.counters[ITEM_TOP]):
        if m.slots[slot].alive:
            share = m.slots[slot].mid / mid
            out[0] += 0.5 * abs(m.slots[slot].slow / slow - share)
            out[1] += 0.5 * abs(share - m.slots[slot].fast / fast)
