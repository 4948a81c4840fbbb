"""Low-rank interactions of user and item learnt event by event, by Vowpal Wabbit (``--lrq``, after Rendle 2010)."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from vowpalwabbit import Workspace

from simulators.peers.events import Interactions

FACTORS: Final = 16
RATES: Final = (0.1, 0.5)
_BITS: Final = 21
"""The table has a row for each of 2**21 hashes: some hundred thousand users and items hardly collide."""
_STRIDE: Final = 4
"""Floats that the learner keeps for a weight: itself, two of adaptive and normalised descent, and one to spare."""


class VowpalWabbitMF:
    """A weight and factors for every user and item (:class:`~simulators.peers.peer.Peer`), a variant for each rate.

    It learns labels, and events have none: one that happened is a 1, and with each goes a -1 by the same user, of an
    item drawn from those known.
    """

    def __init__(self, num_items: int, seed: int, rates: tuple[float, ...] = RATES) -> None:
        self.variants = tuple(f"{FACTORS} factors, rate {rate:g}" for rate in rates)
        self._models = [
            Workspace(
                f"--lrq ui{FACTORS} --bit_precision {_BITS} --loss_function logistic --noconstant --quiet "
                f"--learning_rate {rate} --random_seed {seed}"
            )
            for rate in rates
        ]
        self._rng = np.random.default_rng(seed)
        self._users: set[int] = set()
        self._num_known = 0
        self._places: dict[str, int] = {}
        # What is in Vowpal Wabbit's table, once more as arrays: to score all items at once.
        self._weights = np.zeros((len(rates), num_items, 1 + FACTORS), np.float32)

    @property
    def num_bytes(self) -> int:
        """A weight and the factors of every user and item, each of them beside what the learner keeps for it."""
        return 4 * _STRIDE * (1 + FACTORS) * (len(self._users) + self._num_known)

    def learn(self, events: Interactions) -> None:
        """Learn the next events, each with a negative."""
        touched = set()
        for user, item in zip(events.user.tolist(), events.item.tolist(), strict=True):
            self._users.add(user)
            self._num_known = max(self._num_known, item + 1)
            negative = int(self._rng.integers(self._num_known))
            for model in self._models:
                model.learn(f"1 |u u{user} |i i{item}")
                model.learn(f"-1 |u u{user} |i i{negative}")
            touched |= {item, negative}
        for model, weights in zip(self._models, self._weights, strict=True):
            for item in touched:
                weights[item] = self._row(model, "i", item)

    def _row(self, model: Any, side: str, number: int) -> list[float]:
        name = f"|{side} {side}{number}"
        if name not in self._places:
            self._places[name] = model.example(name).feature(side, 0)
        place = self._places[name]
        return [model.get_weight(place, _STRIDE * k) for k in range(1 + FACTORS)]

    def scores(self, user: int, num_known: int) -> NDArray[np.float32]:
        """Return the predictions, but for what is the same for all items; a new user has no factors."""
        rows = [self._row(model, "u", user) for model in self._models]
        pairs = zip(self._weights[:, :num_known], np.array(rows, np.float32), strict=True)
        return np.stack([of_items[:, 0] + of_items[:, 1:] @ row[1:] for of_items, row in pairs])
