"""The recommender's parameters and settings, and the context vector that scores items.

Score of item j for a user whose last items are r_0 (newest), r_1, ..., at a time gap in bucket b::

    x   = sum_k gate[b] * lag[k] o E[r_k]  +  p_u
    s_j = x . E_j  +  sum_q prior[b, q] * ln(count_q(j) + 1/2)  +  repeat[k] if j stands at place k

E is tied: the same vector is read as context and as target. Missing coordinates count as zero. A user without a
history has x = 0 and is served by the prior alone, with weights of its own: the cold path.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.core.memory import ORIGIN_S, Memory
from stream.core.numeric import FAST_MATH
from stream.core.sizes import MAX_SIZE

SOFTMAX, LOGISTIC, BPR = 0, 1, 2
LOSSES: Final = {"softmax": SOFTMAX, "logistic": LOGISTIC, "bpr": BPR}
NUM_GAPS: Final = 8
NUM_RATES: Final = 3
"""Decayed counts an item has: slow, mid and fast."""
BLOCK: Final = 256
"""Item slots that are scored at once when the catalogue is ranked."""
_f = np.float32


class Hyper(NamedTuple):
    """Settings of the learner that do not change while it runs."""

    loss: int
    """SOFTMAX, or in the plain setting LOGISTIC or BPR."""
    num_ids: int
    """Most ids in a user's history; 0 leaves plain matrix factorisation."""
    use_prior: int
    """1: popularity is an additive prior with learnt weights; 0: no prior."""
    negatives_recent: int
    """Negatives drawn from the last events' items."""
    negatives_uniform: int
    """Negatives drawn from all items known."""
    negatives_own: int
    """Negatives from the newest places of the user's own history."""
    rate_item: float
    """Learning rate of the items' rows; the others likewise, each under its own Adagrad."""
    rate_user: float
    rate_lag: float
    rate_gate: float
    rate_prior: float
    rate_repeat: float
    half_life_slow: float
    """Events after which a count has halved; the slow count is the frequency that sizes and evictions go by."""
    half_life_mid: float
    half_life_fast: float
    initial_scale: float
    """New coordinates of items are uniform in [-initial_scale, initial_scale]."""
    initial_context: float
    """How much of the direction of the context that brought it a new item takes on."""


class Shared(NamedTuple):
    """Parameters shared by all users and items, each with its Adagrad accumulator of the same shape."""

    lag: NDArray[np.float32]
    """float32[places, width]: weight of coordinate c of the item at place k of the history."""
    gate: NDArray[np.float32]
    """float32[NUM_GAPS]: weight of the history by time since the user's last event."""
    prior: NDArray[np.float32]
    """float32[NUM_GAPS, NUM_RATES]: weights of the log counts, slow, mid and fast, by time since the last event."""
    repeat: NDArray[np.float32]
    """float32[places]: added to an item's score when it stands at place k of the history."""
    lag_adagrad: NDArray[np.float32]
    gate_adagrad: NDArray[np.float32]
    prior_adagrad: NDArray[np.float32]
    repeat_adagrad: NDArray[np.float32]
    decay: NDArray[np.float64]
    """float64[NUM_RATES]: what one event adds to a count now (forward decay, Cormode et al. 2009: it grows by
    2^(1/half-life) an event, and the counts stand still)."""
    random: NDArray[np.uint64]
    """uint64[1]: state of the generator (SplitMix64)."""


class Workspace(NamedTuple):
    """Scratch of fixed size for one event; n is the most candidates an event can have."""

    x: NDArray[np.float32]
    """float32[width]: the context."""
    dx: NDArray[np.float32]
    """float32[width]: gradient of the loss by the context."""
    candidates: NDArray[np.int32]
    """int32[n]: item slots, the event's item first, then the negatives."""
    place: NDArray[np.int32]
    """int32[n]: where a candidate stands in the user's history; -1 if it does not."""
    features: NDArray[np.float32]
    """float32[NUM_RATES, n]: log counts."""
    log_q: NDArray[np.float32]
    """float32[n]: log probability that a draw gives the candidate."""
    score: NDArray[np.float32]
    """float32[n]"""
    gradient: NDArray[np.float32]
    """float32[n]: derivative of the loss by each score."""
    block: NDArray[np.float32]
    """float32[BLOCK]: scores of a block of the catalogue."""
    counts: NDArray[np.float32]
    """float32[NUM_RATES, BLOCK]: decayed counts of a block of the catalogue."""


def new_shared(hyper: Hyper, seed: int, width: int = MAX_SIZE) -> Shared:
    """Return the parameters before the first event: lag kernel 1/(k+1), gates 1, prior a third each, no repeats.

    ``width`` is the most coordinates that a user or item can have.
    """
    places = max(hyper.num_ids, 1)
    lag = np.repeat(1.0 / np.arange(1, places + 1, dtype=np.float32)[:, None], width, axis=1)
    return Shared(
        lag=lag.astype(np.float32),
        gate=np.ones(NUM_GAPS, np.float32),
        prior=np.full((NUM_GAPS, NUM_RATES), 1 / 3, np.float32),
        repeat=np.zeros(places, np.float32),
        lag_adagrad=np.zeros((places, width), np.float32),
        gate_adagrad=np.zeros(NUM_GAPS, np.float32),
        prior_adagrad=np.zeros((NUM_GAPS, NUM_RATES), np.float32),
        repeat_adagrad=np.zeros(places, np.float32),
        decay=np.ones(NUM_RATES, np.float64),
        random=np.array([seed], np.uint64),
    )


def new_workspace(hyper: Hyper, width: int = MAX_SIZE) -> Workspace:
    """Return scratch for one event at a time; ``width`` is the most coordinates that a user or item can have."""
    n = 1 + hyper.negatives_recent + hyper.negatives_uniform + hyper.negatives_own
    return Workspace(
        x=np.zeros(width, np.float32),
        dx=np.zeros(width, np.float32),
        candidates=np.zeros(n, np.int32),
        place=np.zeros(n, np.int32),
        features=np.zeros((NUM_RATES, n), np.float32),
        log_q=np.zeros(n, np.float32),
        score=np.zeros(n, np.float32),
        gradient=np.zeros(n, np.float32),
        block=np.zeros(BLOCK, np.float32),
        counts=np.zeros((NUM_RATES, BLOCK), np.float32),
    )


@njit(cache=True, nogil=True, inline="always")
def gap_bucket(gap_s: int) -> int:
    """Return which gate a time gap goes through: none known, 0 s, under 1 min, 10 min, 1 h, 1 day, 1 week, more."""
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
    """Return the gate for a user's next event at ``time_s``; an event that comes late has no gap."""
    if user < 0 or m.slots[user].last_seen_s < 0:
        return 0
    return gap_bucket(max(np.int64(0), time_s - m.counters[ORIGIN_S] - m.slots[user].last_seen_s))


@njit(cache=True, nogil=True, inline="always")
def history_length(m: Memory, user: int, num_ids: int) -> int:
    """Return how many places for ids a user's extent has; some may be empty (-1), the last ones first."""
    return min(np.int64(m.slots[user].size), num_ids)


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def build_context(m: Memory, p: Shared, x: Any, user: int, gap: int, num_ids: int) -> int:
    """Fill ``x`` from a user's history and coordinates; return how many leading coordinates may be non-zero."""
    x[:] = _f(0.0)
    if user < 0:
        return 0
    offset = np.int64(m.slots[user].offset)
    coordinates = np.int64(m.slots[user].size) - num_ids
    width = np.int64(0)
    gate = p.gate[gap]
    for k in range(history_length(m, user, num_ids)):
        item = m.words[offset + k]
        if item < 0:
            break
        row = np.uint64(m.slots[item].offset)
        d = np.int64(m.slots[item].size)
        for c in range(np.uint64(d)):
            x[c] += gate * p.lag[k, c] * m.arena[row + c]
        width = max(width, d)
    if coordinates > 0:
        begin = np.uint64(offset + num_ids)
        for c in range(np.uint64(coordinates)):
            x[c] += m.arena[begin + c]
    return max(width, coordinates)


@njit(cache=True, nogil=True, inline="always")
def history_mask(m: Memory, user: int, num_ids: int) -> Any:
    """Return 64 bits of which bit (item mod 64) is set for every item of the history: a quick no for most items."""
    mask = np.uint64(0)
    offset = np.int64(m.slots[user].offset)
    for k in range(history_length(m, user, num_ids)):
        item = m.words[offset + k]
        if item >= 0:
            mask |= np.uint64(1) << np.uint64(item & 63)
    return mask


@njit(cache=True, nogil=True, inline="always")
def place_in_history(m: Memory, user: int, item: int, num_ids: int) -> int:
    """Return the newest place at which ``item`` stands in the user's history, -1 if it does not."""
    if user < 0:
        return -1
    offset = np.int64(m.slots[user].offset)
    for k in range(history_length(m, user, num_ids)):
        if m.words[offset + k] == item:
            return k
    return -1
