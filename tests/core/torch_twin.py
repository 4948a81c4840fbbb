"""The learner's naive twin: the score as its formula reads, gradients by torch's autograd, Adagrad by the textbook.

Everything is float64. Each occurrence of an item's row in an event, as context or as target, is a leaf of its own,
because a row's Adagrad takes them in turn.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.core.arena import side_of, slots_of
from stream.core.event import ITEM, USER
from stream.core.history import gap_at, item_at
from stream.core.memory import ITEM_TOP, Memory
from stream.core.model import LOGISTIC, SOFTMAX, WEIGHT_OF_NEWCOMERS, Hyper, Shared

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional
else:
    torch = pytest.importorskip("torch", reason="the twin needs autograd: install the extra 'torch'")
    functional, Tensor = torch.nn.functional, torch.Tensor

Floats = NDArray[np.float64]
EPSILON = 1e-6


class Parameter(NamedTuple):
    """A value and its Adagrad accumulator: of the same shape if shared, a single number for a row."""

    value: Floats
    adagrad: Floats


Parameters = dict[str | int, Parameter]
"""All that an event can change: shared ones by name, rows (of coordinates only) by slot."""


class Event(NamedTuple):
    """What one step is taken on: the candidates' slots, the target first."""

    user: int
    gap: int
    candidates: list[int]
    weight: float
    taken: Mapping[int, int] = MappingProxyType({})
    """Candidates that the filter has with the user, and how many sessions ago they were taken: 2 for more."""


class Leaves(NamedTuple):
    """Autograd's leaves, one for each occurrence."""

    contexts: list[Tensor]
    targets: list[Tensor]
    coordinates: Tensor
    lag: Tensor
    gate: Tensor
    newcomer: Tensor
    prior: Tensor
    repeats: list[Tensor]
    taken: Tensor


def coordinates_of(m: Memory, slot: int, num_ids: int) -> NDArray[np.float32]:
    """Return the part of an entity's extent that holds coordinates, as a view."""
    begin, size = int(m.slots["offset"][slot]), int(m.slots["size"][slot])
    ids = min(num_ids, size) if side_of(m, slot) == USER else 0
    return m.arena[begin + ids : begin + size]


def history_of(m: Memory, user: int, num_ids: int) -> list[int]:
    """Return the item slots that a user's extent names, newest first."""
    return [item for item, _ in _places_of(m, user, num_ids)]


def _places_of(m: Memory, user: int, num_ids: int) -> list[tuple[int, int]]:
    """Return item and gap of each place of a user's history, newest first."""
    begin, size = int(m.slots["offset"][user]), int(m.slots["size"][user])
    places = range(begin, begin + min(num_ids, size))
    return [(int(item_at(m, place)), int(gap_at(m, place))) for place in places if m.words[place] >= 0]


def pauses_of(m: Memory, user: int, gap: int, num_ids: int) -> list[int]:
    """Return the longest gap between now and each place of a user's history."""
    gaps = [gap, *(of_place for _, of_place in _places_of(m, user, num_ids))]
    return [max(gaps[: k + 1]) for k in range(len(gaps) - 1)]


def read_parameters(m: Memory, p: Shared, num_ids: int) -> Parameters:
    """Copy all parameters out, those of everyone alive."""
    found: Parameters = {}
    for name in ("lag", "gate", "newcomer", "prior", "repeat", "taken"):
        value, adagrad = getattr(p, name), getattr(p, f"{name}_adagrad")
        found[name] = Parameter(value.astype(np.float64), adagrad.astype(np.float64))
    for slot in (*range(*slots_of(m, ITEM)), *range(*slots_of(m, USER))):
        if m.slots["alive"][slot]:
            row = coordinates_of(m, slot, num_ids).astype(np.float64)
            found[slot] = Parameter(row, np.array(m.slots["adagrad"][slot], np.float64))
    return found


def learn(m: Memory, p: Shared, h: Hyper, event: Event) -> Parameters:
    """Return the parameters after one step, computed naively."""
    after = read_parameters(m, p, h.num_ids)
    history = history_of(m, event.user, h.num_ids)
    pauses = pauses_of(m, event.user, event.gap, h.num_ids)
    leaves = _leaves(after, history, pauses, event)
    loss = _loss(_scores(m, p, h, leaves, pauses, event), _log_q(m, p, h, event), h, event.weight)
    torch.autograd.backward(loss)
    if h.num_ids > 0 and not history:
        for leaf in leaves.targets:
            leaf.grad = None if leaf.grad is None else WEIGHT_OF_NEWCOMERS * leaf.grad

    for item, leaf in zip(history + event.candidates, leaves.contexts + leaves.targets, strict=True):
        _step(after[item], leaf, h.rate_item)
    _step(after[event.user], leaves.coordinates, h.rate_user)
    _step(after["lag"], leaves.lag, h.rate_lag)
    _step(after["gate"], leaves.gate, h.rate_gate)
    _step(after["newcomer"], leaves.newcomer, h.rate_newcomer)
    _step(after["prior"], leaves.prior, h.rate_prior)
    for item, leaf in zip(event.candidates, leaves.repeats, strict=True):
        if item in history:
            place = history.index(item)
            _step(after["repeat"], leaf, h.rate_repeat, (place, pauses[place]))
    _step(after["taken"], leaves.taken, h.rate_repeat)
    return after


def _leaves(before: Parameters, history: list[int], pauses: list[int], event: Event) -> Leaves:
    def leaf(value: Any) -> Tensor:
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    def repeat_of(item: int) -> float:
        place = history.index(item) if item in history else None
        return 0.0 if place is None else float(before["repeat"].value[place, pauses[place]])

    return Leaves(
        contexts=[leaf(before[item].value) for item in history],
        targets=[leaf(before[item].value) for item in event.candidates],
        coordinates=leaf(before[event.user].value),
        lag=leaf(before["lag"].value),
        gate=leaf(before["gate"].value),
        newcomer=leaf(before["newcomer"].value),
        prior=leaf(before["prior"].value),
        repeats=[leaf(repeat_of(item)) for item in event.candidates],
        taken=leaf(before["taken"].value),
    )


def _scores(m: Memory, p: Shared, h: Hyper, leaves: Leaves, pauses: list[int], event: Event) -> Tensor:
    def padded(row: Tensor) -> Tensor:
        return functional.pad(row, (0, leaves.lag.shape[1] - len(row)))

    history = history_of(m, event.user, h.num_ids)
    is_full = len(history) == min(int(m.slots["size"][event.user]), h.num_ids)
    x = padded(leaves.coordinates)
    if h.num_ids > 0 and not history:
        x = x + leaves.newcomer
    for k, row in enumerate(leaves.contexts):
        x = x + leaves.gate[pauses[k]] * leaves.lag[k] * padded(row)
    scores = []
    for item, row, repeat in zip(event.candidates, leaves.targets, leaves.repeats, strict=True):
        score = x @ padded(row) + repeat
        # A history with room holds all that was taken: nothing else is looked up.
        if item in event.taken and not h.hides_taken and (is_full or item in history):
            score = score + leaves.taken[event.taken[item], event.gap]
        if h.use_prior:
            counts = torch.tensor([float(m.slots[name][item]) for name in ("slow", "mid", "fast")])
            score = score + leaves.prior[event.gap] @ torch.log(counts / torch.tensor(p.decay) + 0.5)
        scores.append(score)
    return torch.stack(scores)


def _log_q(m: Memory, p: Shared, h: Hyper, event: Event) -> Tensor:
    """Return the log probability that a negative, drawn in a random one of the two ways, is the candidate."""
    q, draws = [], h.negatives_recent + h.negatives_uniform
    for item in event.candidates:
        share_of_recent = float(m.slots["mid"][item]) / p.decay[1] * np.log(2) / h.half_life_mid
        q.append(h.negatives_recent * share_of_recent + h.negatives_uniform / m.counters[ITEM_TOP])
    return torch.log(torch.tensor(q, dtype=torch.float64) / draws)


def _loss(scores: Tensor, log_q: Tensor, h: Hyper, weight: float) -> Tensor:
    if h.loss == SOFTMAX:
        return -weight * torch.log_softmax(scores - log_q, 0)[0]
    if h.loss == LOGISTIC:
        return weight * (functional.softplus(-scores[0]) + functional.softplus(scores[1:]).sum())
    # The mean over no pairs is no loss.
    return weight * functional.softplus(scores[1:] - scores[0]).sum() / max(len(scores) - 1, 1)


def _step(parameter: Parameter, leaf: Tensor, rate: float, at: Any = ...) -> None:
    value, adagrad = parameter
    if leaf.grad is None or leaf.numel() == 0:
        return
    gradient = leaf.grad.numpy()
    adagrad[at] += gradient**2 if adagrad.shape == value.shape else np.mean(gradient**2)
    value[at] -= rate * gradient / np.sqrt(adagrad[at] + EPSILON)
