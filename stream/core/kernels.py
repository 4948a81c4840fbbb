"""One event of learning, in fused kernels over columns: score, loss, gradients, Adagrad.

The loss is a softmax over the event's item and sampled negatives with the logQ correction (Bengio and Senecal 2008;
Yi et al., RecSys 2019), or, in the plain setting, logistic, or BPR (Rendle et al., UAI 2009). Gradients are taken at
the state before the event. Rows learn by row-wise Adagrad: one accumulator a row, of the mean squared gradient over the
coordinates it owns; a row that occurs twice in an event, say as target and as context, learns in turn. The shared
parameters have an accumulator each.
"""

from typing import Any

import numpy as np
from numba import njit

from stream.core import seen
from stream.core.history import Past, mask_of, place_of, read_history
from stream.core.memory import ITEM_TOP, Memory
from stream.core.model import (
    LOGISTIC,
    NUM_RATES,
    SOFTMAX,
    WEIGHT_OF_NEWCOMERS,
    Hyper,
    Shared,
    Workspace,
    build_context,
    is_newcomer,
)
from stream.core.numeric import FAST_MATH, exp32, log32
from stream.core.ranking import weighs_taken
from stream.core.sampling import draw_candidates, fill_log_q

_f = np.float32
_EPSILON = _f(1e-6)


@njit(cache=True, nogil=True, inline="always")
def learn_event(m: Memory, p: Shared, h: Hyper, w: Workspace, user: int, item: int, gap: int, weight: Any) -> None:
    """Learn from one event of a known user and item, before it enters any count or history."""
    n = draw_candidates(m, p, h, w, user, item)
    learn_candidates(m, p, h, w, user, gap, n, weight)


@njit(cache=True, nogil=True, inline="always")
def learn_candidates(m: Memory, p: Shared, h: Hyper, w: Workspace, user: int, gap: int, n: int, weight: Any) -> None:
    """Take one step on the loss of ``w.candidates[0]`` against the n - 1 candidates after it."""
    past = read_history(m, w.items, w.pauses, user, gap, h.num_ids)
    width = build_context(m, p, w, user, past.held, h.num_ids)
    _score_candidates(m, p, h, w, m.slots[user].key, gap, past, n, width)
    if h.loss == SOFTMAX:
        fill_log_q(h, w, n, m.counters[ITEM_TOP])
        _softmax_gradient(w, n, weight)
    elif h.loss == LOGISTIC:
        _logistic_gradient(w, n, weight)
    else:
        _bpr_gradient(w, n, weight)
    is_new = is_newcomer(past.held, h.num_ids)
    _learn_targets(m, h, w, n, width, _f(WEIGHT_OF_NEWCOMERS) if is_new else _f(1.0))
    _learn_coordinates(m, h, w, user)
    if is_new:
        _learn_newcomer(p, h, w)
    if weighs_taken(m, h):
        _learn_taken(p, h, w, gap, n)
    if h.use_prior:
        _learn_prior(p, h, w, gap, n)
    if h.num_ids > 0:
        _learn_history(m, p, h, w, past.held)
        _learn_own_targets(m, p, h, w, n, width)


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def _score_candidates(
    m: Memory, p: Shared, h: Hyper, w: Workspace, user_key: Any, gap: int, past: Past, n: int, width: int
) -> None:
    """Fill ``w.score``, and on the way ``w.place``, ``w.features`` and (for log q) the mid counts."""
    slow, mid, fast = w.features[0], w.features[1], w.features[2]
    mask = mask_of(w.items, past.held)
    weighs = weighs_taken(m, h)
    for i in range(n):
        item = w.candidates[i]
        s = m.slots[item]
        slow[i] = s.slow
        mid[i] = s.mid
        fast[i] = s.fast
        place = -1
        if (mask >> np.uint64(item & 63)) & np.uint64(1):
            place = place_of(w.items, past.held, item)
        w.place[i] = place
        row = np.uint64(s.offset)
        dot = p.repeat[place, w.pauses[place]] if place >= 0 else _f(0.0)
        age = -1
        # A history with room holds all that was taken, unless it has just grown: look-ups are saved by it.
        if weighs and (past.is_full or place >= 0):
            stamp = seen.find(m, user_key, s.key)
            if stamp >= 0:
                age = seen.age_of(stamp, past.session)
                dot += p.taken[age, gap]
        w.age[i] = age
        for c in range(np.uint64(min(np.int64(s.size), width))):
            dot += w.x[c] * m.arena[row + c]
        w.score[i] = dot
    if h.use_prior or h.loss == SOFTMAX:
        by_slow, by_mid, by_fast = _f(1.0 / p.decay[0]), _f(1.0 / p.decay[1]), _f(1.0 / p.decay[2])
        for i in range(n):
            w.log_q[i] = mid[i] * by_mid
            slow[i] = log32(slow[i] * by_slow + _f(0.5))
            mid[i] = log32(mid[i] * by_mid + _f(0.5))
            fast[i] = log32(fast[i] * by_fast + _f(0.5))
    if h.use_prior:
        a, b, c = p.prior[gap, 0], p.prior[gap, 1], p.prior[gap, 2]
        for i in range(n):
            w.score[i] += a * slow[i] + b * mid[i] + c * fast[i]


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def _softmax_gradient(w: Workspace, n: int, weight: Any) -> None:
    top = w.score[0] - w.log_q[0]
    for i in range(n):
        w.gradient[i] = w.score[i] - w.log_q[i]
        top = max(top, w.gradient[i])
    total = _f(0.0)
    for i in range(n):
        # A floor on the exponent keeps squares of gradients out of the slow denormal range.
        e = exp32(max(w.gradient[i] - top, _f(-30.0)))
        w.gradient[i] = e
        total += e
    scale = weight / total
    for i in range(n):
        w.gradient[i] *= scale
    w.gradient[0] -= weight


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def _logistic_gradient(w: Workspace, n: int, weight: Any) -> None:
    for i in range(n):
        w.gradient[i] = weight / (_f(1.0) + exp32(-w.score[i]))
    w.gradient[0] -= weight


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def _bpr_gradient(w: Workspace, n: int, weight: Any) -> None:
    share = weight / _f(max(n - 1, 1))
    total = _f(0.0)
    for i in range(1, n):
        g = share / (_f(1.0) + exp32(w.score[0] - w.score[i]))
        w.gradient[i] = g
        total += g
    w.gradient[0] = -total


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def _learn_targets(m: Memory, h: Hyper, w: Workspace, n: int, width: int, weight: Any) -> None:
    """Sum up the gradient by the context in ``w.dx``, and update the candidates' rows in the same pass.

    ``weight`` scales the gradients by rows. Candidates of the user's history wait (:func:`_learn_own_targets`): their
    rows are still needed as they were.
    """
    w.dx[:] = _f(0.0)
    # |x|^2 over all of x serves every row that is as wide.
    norm = _f(0.0)
    for c in range(np.uint64(width)):
        norm += w.x[c] * w.x[c]
    rate = _f(h.rate_item)
    for i in range(n):
        s = m.slots[w.candidates[i]]
        row = np.uint64(s.offset)
        size = np.int64(s.size)
        d = min(size, width)
        g = w.gradient[i]
        if w.place[i] >= 0:
            for c in range(np.uint64(d)):
                w.dx[c] += g * m.arena[row + c]
            continue
        square = norm
        if d < width:
            square = _f(0.0)
            for c in range(np.uint64(d)):
                square += w.x[c] * w.x[c]
        by_row = weight * g
        adagrad = s.adagrad + by_row * by_row * square / _f(max(size, 1))
        s.adagrad = adagrad
        step = rate * by_row / np.sqrt(adagrad + _EPSILON)
        for c in range(np.uint64(d)):
            e = m.arena[row + c]
            w.dx[c] += g * e
            m.arena[row + c] = e - step * w.x[c]


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def _learn_own_targets(m: Memory, p: Shared, h: Hyper, w: Workspace, n: int, width: int) -> None:
    """Update the rows of candidates that stand in the user's history, and the weights of repeats."""
    for i in range(n):
        k = w.place[i]
        if k < 0:
            continue
        g = w.gradient[i]
        pause = w.pauses[k]
        accumulated = p.repeat_adagrad[k, pause] + g * g
        p.repeat_adagrad[k, pause] = accumulated
        p.repeat[k, pause] -= _f(h.rate_repeat) * g / np.sqrt(accumulated + _EPSILON)
        s = m.slots[w.candidates[i]]
        row = np.uint64(s.offset)
        d = min(np.int64(s.size), width)
        square = _f(0.0)
        for c in range(np.uint64(d)):
            square += w.x[c] * w.x[c]
        adagrad = s.adagrad + g * g * square / _f(max(np.int64(s.size), 1))
        s.adagrad = adagrad
        step = _f(h.rate_item) * g / np.sqrt(adagrad + _EPSILON)
        for c in range(np.uint64(d)):
            m.arena[row + c] -= step * w.x[c]


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def _learn_history(m: Memory, p: Shared, h: Hyper, w: Workspace, held: int) -> None:
    """Update the rows in the history as context, the lag kernel and the gates."""
    if held == 0:
        return
    pause = w.pauses[0]
    gate = p.gate[pause]
    gate_gradient = _f(0.0)
    for k in range(held):
        item = w.items[k]
        # Pauses only grow from place to place, so a gate that is left is done with.
        if w.pauses[k] != pause:
            _learn_gate(p, h, pause, gate_gradient)
            pause = w.pauses[k]
            gate = p.gate[pause]
            gate_gradient = _f(0.0)
        row = np.uint64(m.slots[item].offset)
        d = np.int64(m.slots[item].size)
        if d == 0:
            continue
        square = _f(0.0)
        for c in range(np.uint64(d)):
            g = w.dx[c] * gate * p.lag[k, c]
            square += g * g
        adagrad = m.slots[item].adagrad + square / _f(d)
        m.slots[item].adagrad = adagrad
        step = _f(h.rate_item) / np.sqrt(adagrad + _EPSILON) * gate
        rate = _f(h.rate_lag)
        for c in range(np.uint64(d)):
            e = m.arena[row + c]
            a = p.lag[k, c]
            by_lag = w.dx[c] * e
            gate_gradient += by_lag * a
            by_lag *= gate
            m.arena[row + c] = e - step * w.dx[c] * a
            accumulated = p.lag_adagrad[k, c] + by_lag * by_lag
            p.lag_adagrad[k, c] = accumulated
            p.lag[k, c] = a - rate * by_lag / np.sqrt(accumulated + _EPSILON)
    _learn_gate(p, h, pause, gate_gradient)


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def _learn_gate(p: Shared, h: Hyper, pause: int, gradient: Any) -> None:
    accumulated = p.gate_adagrad[pause] + gradient * gradient
    p.gate_adagrad[pause] = accumulated
    p.gate[pause] -= _f(h.rate_gate) * gradient / np.sqrt(accumulated + _EPSILON)


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def _learn_coordinates(m: Memory, h: Hyper, w: Workspace, user: int) -> None:
    num = np.int64(m.slots[user].size) - h.num_ids
    if num <= 0:
        return
    square = _f(0.0)
    for c in range(np.uint64(num)):
        square += w.dx[c] * w.dx[c]
    adagrad = m.slots[user].adagrad + square / _f(num)
    m.slots[user].adagrad = adagrad
    step = _f(h.rate_user) / np.sqrt(adagrad + _EPSILON)
    begin = np.uint64(np.int64(m.slots[user].offset) + h.num_ids)
    for c in range(np.uint64(num)):
        m.arena[begin + c] -= step * w.dx[c]


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def _learn_newcomer(p: Shared, h: Hyper, w: Workspace) -> None:
    for c in range(np.uint64(len(p.newcomer))):
        accumulated = p.newcomer_adagrad[c] + w.dx[c] * w.dx[c]
        p.newcomer_adagrad[c] = accumulated
        p.newcomer[c] -= _f(h.rate_newcomer) * w.dx[c] / np.sqrt(accumulated + _EPSILON)


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def _learn_prior(p: Shared, h: Hyper, w: Workspace, gap: int, n: int) -> None:
    for q in range(NUM_RATES):
        g = _f(0.0)
        for i in range(n):
            g += w.gradient[i] * w.features[q, i]
        accumulated = p.prior_adagrad[gap, q] + g * g
        p.prior_adagrad[gap, q] = accumulated
        p.prior[gap, q] -= _f(h.rate_prior) * g / np.sqrt(accumulated + _EPSILON)


@njit(cache=True, nogil=True, fastmath=FAST_MATH, inline="always")
def _learn_taken(p: Shared, h: Hyper, w: Workspace, gap: int, n: int) -> None:
    for age in range(seen.NUM_AGES):
        g = _f(0.0)
        for i in range(n):
            if w.age[i] == age:
                g += w.gradient[i]
        accumulated = p.taken_adagrad[age, gap] + g * g
        p.taken_adagrad[age, gap] = accumulated
        p.taken[age, gap] -= _f(h.rate_repeat) * g / np.sqrt(accumulated + _EPSILON)


@njit(cache=True, nogil=True)
def lean_on_context(m: Memory, x: Any, item: int, share: float) -> None:
    """Add to a new item ``share`` of the direction of the context that brought it."""
    row = np.uint64(m.slots[item].offset)
    size = np.int64(m.slots[item].size)
    square = _f(1e-12)
    for c in range(np.uint64(size)):
        square += x[c] * x[c]
    scale = _f(share) / np.sqrt(square)
    for c in range(np.uint64(size)):
        m.arena[row + c] += scale * x[c]
