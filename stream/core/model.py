"""The recommender's parameters and settings, and the context vector that scores items.

Score of item j for a user whose last items are r_0 (newest), r_1, ..., at a time gap in bucket b::

    x   = sum_k gate[b_k] * lag[k] o E[r_k]  +  p_u      (newcomer + p_u, where there is no r_0)
    s_j = x . E_j  +  sum_q prior[b, q] * ln(count_q(j) + 1/2)
          + repeat[k, b_k] if j stands at place k  +  taken[a, b] if the filter has (user, j), taken a sessions ago

where b_k is the longest gap between now and place k (:mod:`stream.core.history`). E is tied: the same vector is read as
context and as target. Missing coordinates count as zero. All users without a history share one vector, the newcomer's,
and the prior has weights of its own for them: the cold path; items hardly learn from it (``WEIGHT_OF_NEWCOMERS``).
Where an item is taken once (``hides_taken``), the filter hides instead, and what is hidden is no negative either.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.core.history import NUM_GAPS
from stream.core.memory import Memory
from stream.core.numeric import FAST_MATH
from stream.core.seen import NUM_AGES
from stream.core.sizes import MAX_SIZE

SOFTMAX, LOGISTIC, BPR = 0, 1, 2
LOSSES: Final = {"softmax": SOFTMAX, "logistic": LOGISTIC, "bpr": BPR}
NUM_RATES: Final = 3
"""Decayed counts an item has: slow, mid and fast."""
WEIGHT_OF_NEWCOMERS: Final = 0.1
"""Of newcomers' events in what items' rows learn: what newcomers take would else drown what goes together."""
BLOCK: Final = 256
"""Item slots that are scored at once when the catalogue is ranked."""
_f = np.float32


class Hyper(NamedTuple):
    """Settings of the learner that do not change while it runs."""

    loss: int
    """SOFTMAX, or in the plain setting LOGISTIC or BPR."""
    num_ids: int
    """Most ids in a user's history; 0 leaves plain matrix factorisation."""
    hides_taken: int
    """1: an item is taken once, and pairs that the filter has are neither ranked nor learnt as negatives; 0: a pair
    taken has a weight, which is learnt."""
    use_prior: int
    """1: popularity is an additive prior with learnt weights; 0: no prior."""
    negatives_recent: int
    """Negatives drawn from the last events' items."""
    negatives_uniform: int
    """Negatives drawn from all items known."""
    rate_item: float
    """Learning rate of the items' rows; the others likewise, each under its own Adagrad."""
    rate_user: float
    rate_lag: float
    rate_newcomer: float
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
    """float32[NUM_GAPS]: weight of a place of the history by the longest gap since."""
    newcomer: NDArray[np.float32]
    """float32[width]: the context of whoever has no history."""
    prior: NDArray[np.float32]
    """float32[NUM_GAPS, NUM_RATES]: weights of the log counts, slow, mid and fast, by time since the last event."""
    repeat: NDArray[np.float32]
    """float32[places, NUM_GAPS]: added to an item's score when it stands at a place of the history, by the longest gap
    since."""
    taken: NDArray[np.float32]
    """float32[NUM_AGES, NUM_GAPS]: added to an item's score when the filter has the pair, by the pair's age and the
    time since the user's last event."""
    lag_adagrad: NDArray[np.float32]
    gate_adagrad: NDArray[np.float32]
    newcomer_adagrad: NDArray[np.float32]
    prior_adagrad: NDArray[np.float32]
    repeat_adagrad: NDArray[np.float32]
    taken_adagrad: NDArray[np.float32]
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
    items: NDArray[np.int32]
    """int32[places]: the items of the user's history, newest first."""
    pauses: NDArray[np.int32]
    """int32[places]: the pause at each place."""
    age: NDArray[np.int32]
    """int32[n]: age of the pair of user and candidate where the filter has it, and does not hide; else -1."""
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
    """Return the parameters before the first event: lag kernel 1/(k+1), gates 1, prior a third each, the rest 0.

    ``width`` is the most coordinates that a user or item can have.
    """
    places = max(hyper.num_ids, 1)
    lag = np.repeat(1.0 / np.arange(1, places + 1, dtype=np.float32)[:, None], width, axis=1)
    return Shared(
        lag=lag.astype(np.float32),
        gate=np.ones(NUM_GAPS, np.float32),
        newcomer=np.zeros(width, np.float32),
        prior=np.full((NUM_GAPS, NUM_RATES), 1 / 3, np.float32),
        repeat=np.zeros((places, NUM_GAPS), np.float32),
        taken=np.zeros((NUM_AGES, NUM_GAPS), np.float32),
        lag_adagrad=np.zeros((places, width), np.float32),
        gate_adagrad=np.zeros(NUM_GAPS, np.float32),
        newcomer_adagrad=np.zeros(width, np.float32),
        prior_adagrad=np.zeros((NUM_GAPS, NUM_RATES), np.float32),
        repeat_adagrad=np.zeros((places, NUM_GAPS), np.float32),
        taken_adagrad=np.zeros((NUM_AGES, NUM_GAPS), np.float32),
        decay=np.ones(NUM_RATES, np.float64),
        random=np.array([seed], np.uint64),
    )


def new_workspace(hyper: Hyper, width: int = MAX_SIZE) -> Workspace:
    """Return scratch for one event at a time; ``width`` is the most coordinates that a user or item can have."""
    n = 1 + hyper.negatives_recent + hyper.negatives_uniform
    return Workspace(
        x=np.zeros(width, np.float32),
        dx=np.zeros(width, np.float32),
        candidates=np.zeros(n, np.int32),
        place=np.zeros(n, np.int32),
        items=np.zeros(max(hyper.num_ids, 1), np.int32),
        pauses=np.zeros(max(hyper.num_ids, 1), np.int32),
        age=np.zeros(n, np.int32),
        features=np.zeros((NUM_RATES, n), np.float32),
        log_q=np.zeros(n, np.float32),
        score=np.zeros(n, np.float32),
        gradient=np.zeros(n, np.float32),
        block=np.zeros(BLOCK, np.float32),
        counts=np.zeros((NUM_RATES, BLOCK), np.float32),
    )


@njit(cache=True, nogil=True, inline="always")
def is_newcomer(held: int, num_ids: int) -> bool:
    """Return whether a history has nothing to tell; in plain matrix factorisation nobody has one."""
    return num_ids > 0 and held == 0


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def build_context(m: Memory, p: Shared, w: Workspace, user: int, held: int, num_ids: int) -> int:
    """Fill ``w.x`` from a user's history, which has been read, and coordinates; return how many may be non-zero."""
    x = w.x
    x[:] = _f(0.0)
    width = np.int64(0)
    if is_newcomer(held, num_ids):
        width = np.int64(len(p.newcomer))
        for c in range(np.uint64(width)):
            x[c] = p.newcomer[c]
    if user < 0:
        return width
    for k in range(held):
        item = w.items[k]
        row = np.uint64(m.slots[item].offset)
        d = np.int64(m.slots[item].size)
        gate = p.gate[w.pauses[k]]
        for c in range(np.uint64(d)):
            x[c] += gate * p.lag[k, c] * m.arena[row + c]
        width = max(width, d)
    coordinates = np.int64(m.slots[user].size) - num_ids
    if coordinates > 0:
        begin = np.uint64(np.int64(m.slots[user].offset) + num_ids)
        for c in range(np.uint64(coordinates)):
            x[c] += m.arena[begin + c]
    return max(width, coordinates)
