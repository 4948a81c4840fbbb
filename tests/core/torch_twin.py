"""The learner's naive twin: the score as its formula reads, gradients by torch's autograd, Adagrad by the textbook.

Everything is float64. Each occurrence of an item's row in an event, as context or as target, is a leaf of its own,
because a row's Adagrad takes them in turn.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.core.arena import side_of, slots_of
from stream.core.event import ITEM, USER
from stream.core.memory import ITEM_TOP, Memory
from stream.core.model import LOGISTIC, SOFTMAX, Hyper, Shared

if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:
    torch = pytest.importorskip("torch", reason="the twin needs autograd: install the extra 'torch'")
    functional = torch.nn.functional

Floats = NDArray[np.float64]
WIDTH = 256
EPSILON = 1e-6


class Parameters(NamedTuple):
    """All that an event can change, in float64, each with its accumulator; rows by slot, coordinates only."""

    rows: dict[int, Floats]
    row_adagrad: dict[int, float]
    shared: dict[str, Floats]
    """lag, gate, prior, repeat"""
    shared_adagrad: dict[str, Floats]


class Event(NamedTuple):
    """One step: the candidates' slots, the target first, against a user's state."""

    user: int
    gap: int
    candidates: list[int]
    weight: float


class Leaves(NamedTuple):
    """Autograd's leaves, one for each occurrence."""

    contexts: "list[torch.Tensor]"
    targets: "list[torch.Tensor]"
    coordinates: "torch.Tensor"
    lag: "torch.Tensor"
    gate: "torch.Tensor"
    prior: "torch.Tensor"
    repeats: "list[torch.Tensor]"


def coordinates_of(m: Memory, slot: int, num_ids: int) -> NDArray[np.float32]:
    """Return the part of an entity's extent that holds coordinates, as a view."""
    begin, size = int(m.slots["offset"][slot]), int(m.slots["size"][slot])
    ids = min(num_ids, size) if side_of(m, slot) == USER else 0
    return m.arena[begin + ids : begin + size]


def read_parameters(m: Memory, p: Shared, num_ids: int) -> Parameters:
    """Copy the parameters of everyone alive out of the memory."""
    rows, row_adagrad = {}, {}
    for side in (USER, ITEM):
        for slot in range(*slots_of(m, side)):
            if m.slots["alive"][slot]:
                rows[slot] = coordinates_of(m, slot, num_ids).astype(np.float64)
                row_adagrad[slot] = float(m.slots["adagrad"][slot])
    names = ("lag", "gate", "prior", "repeat")
    shared = {name: getattr(p, name).astype(np.float64) for name in names}
    return Parameters(rows, row_adagrad, shared, {n: getattr(p, f"{n}_adagrad").astype(np.float64) for n in names})


def history_of(m: Memory, user: int, num_ids: int) -> list[int]:
    """Return the item slots that a user's extent names, newest first."""
    begin, size = int(m.slots[user]["offset"]), int(m.slots[user]["size"])
    places = m.words[begin : begin + min(num_ids, size)].tolist()
    return [item for item in places if item >= 0]


def learn(m: Memory, p: Shared, h: Hyper, event: Event) -> Parameters:
    """Return the parameters after one step on the event, computed naively."""
    after = read_parameters(m, p, h.num_ids)
    history = history_of(m, event.user, h.num_ids)
    leaves = _leaves(after, history, event)
    _loss(_scores(m, p, h, history, leaves, event), _log_q(m, p, h, history, event), h, event.weight).backward()

    for item, leaf in [
        *zip(history, leaves.contexts, strict=True),
        *zip(event.candidates, leaves.targets, strict=True),
    ]:
        _step_row(after, item, leaf, h.rate_item)
    _step_row(after, event.user, leaves.coordinates, h.rate_user)
    _step_shared(after, "lag", ..., leaves.lag, h.rate_lag)
    _step_shared(after, "gate", ..., leaves.gate, h.rate_gate)
    _step_shared(after, "prior", ..., leaves.prior, h.rate_prior)
    for item, leaf in zip(event.candidates, leaves.repeats, strict=True):
        if item in history:
            _step_shared(after, "repeat", history.index(item), leaf, h.rate_repeat)
    return after


def _leaves(before: Parameters, history: list[int], event: Event) -> Leaves:
    def leaf(value: Any) -> "torch.Tensor":
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    repeat = before.shared["repeat"]
    return Leaves(
        contexts=[leaf(before.rows[item]) for item in history],
        targets=[leaf(before.rows[item]) for item in event.candidates],
        coordinates=leaf(before.rows[event.user]),
        lag=leaf(before.shared["lag"]),
        gate=leaf(before.shared["gate"]),
        prior=leaf(before.shared["prior"]),
        repeats=[leaf(repeat[history.index(i)] if i in history else 0.0) for i in event.candidates],
    )


def _padded(row: "torch.Tensor") -> "torch.Tensor":
    return functional.pad(row, (0, WIDTH - len(row)))


def _scores(m: Memory, p: Shared, h: Hyper, history: list[int], leaves: Leaves, event: Event) -> "torch.Tensor":
    x = _padded(leaves.coordinates)
    for k in range(len(history)):
        x = x + leaves.gate[event.gap] * leaves.lag[k] * _padded(leaves.contexts[k])
    scores = []
    for item, row, repeat in zip(event.candidates, leaves.targets, leaves.repeats, strict=True):
        score = x @ _padded(row) + repeat
        if h.use_prior:
            counts = [float(m.slots[item][name]) for name in ("slow", "mid", "fast")]
            score = score + leaves.prior[event.gap] @ torch.log(torch.tensor(counts) / torch.tensor(p.decay) + 0.5)
        scores.append(score)
    return torch.stack(scores)


def _log_q(m: Memory, p: Shared, h: Hyper, history: list[int], event: Event) -> "torch.Tensor":
    """Return the log probability that a negative, drawn in a random one of the three ways, is the candidate."""
    draws = h.negatives_recent + h.negatives_uniform + h.negatives_own
    q = []
    for item in event.candidates:
        share_of_recent = float(m.slots[item]["mid"]) / p.decay[1] * np.log(2) / h.half_life_mid
        expected = h.negatives_recent * share_of_recent + h.negatives_uniform / m.counters[ITEM_TOP]
        expected += item in history and history.index(item) < h.negatives_own
        q.append(expected / draws)
    return torch.log(torch.tensor(q, dtype=torch.float64))


def _loss(scores: "torch.Tensor", log_q: "torch.Tensor", h: Hyper, weight: float) -> "torch.Tensor":
    if h.loss == SOFTMAX:
        return -weight * torch.log_softmax(scores - log_q, 0)[0]
    if h.loss == LOGISTIC:
        return weight * (functional.softplus(-scores[0]) + functional.softplus(scores[1:]).sum())
    # The mean over no pairs is no loss.
    return weight * functional.softplus(scores[1:] - scores[0]).sum() / max(len(scores) - 1, 1)


def _gradient(leaf: "torch.Tensor") -> Floats:
    gradient: Floats = np.zeros(tuple(leaf.shape)) if leaf.grad is None else leaf.grad.numpy()
    return gradient


def _step_row(after: Parameters, slot: int, leaf: "torch.Tensor", rate: float) -> None:
    gradient = _gradient(leaf)
    if len(gradient) > 0:
        after.row_adagrad[slot] += float(np.mean(gradient**2))
        after.rows[slot] = after.rows[slot] - rate * gradient / np.sqrt(after.row_adagrad[slot] + EPSILON)


def _step_shared(after: Parameters, name: str, at: Any, leaf: "torch.Tensor", rate: float) -> None:
    gradient = _gradient(leaf)
    after.shared_adagrad[name][at] += gradient**2
    after.shared[name][at] -= rate * gradient / np.sqrt(after.shared_adagrad[name][at] + EPSILON)
