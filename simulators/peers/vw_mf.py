"""Low-rank interactions of user and item learnt event by event, by Vowpal Wabbit (``--lrq``, after Rendle 2010)."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from vowpalwabbit import Workspace

from simulators.peers.events import Interactions

FACTORS: Final = 16
_BITS: Final = 21
"""The table has a row for each of 2**21 hashes: some hundred thousand users and items hardly collide."""


class Descent(NamedTuple):
    """How a variant goes down."""

    rate: float
    is_plain: bool
    """In steps of this rate for good; else Vowpal Wabbit's own way, adaptive and normalised, with a rate that falls."""

    @property
    def stride(self) -> int:
        """Floats from one weight to the next: what the learner keeps for it stands between."""
        return 1 if self.is_plain else 4

    @property
    def text(self) -> str:
        """A few words."""
        return f"{FACTORS} factors, {'plain' if self.is_plain else 'adaptive'}, rate {self.rate:g}"


DESCENTS: Final = (Descent(0.1, False), Descent(0.01, True), Descent(0.1, True), Descent(0.25, True))


class VowpalWabbitMF:
    """A weight and factors for every user and item (:class:`~simulators.peers.peer.Peer`), a variant for each descent.

    It learns labels, and events have none: one that happened is a 1, and with each goes a -1 by the same user, of an
    item drawn from those known.
    """

    def __init__(self, num_items: int, seed: int, descents: tuple[Descent, ...] = DESCENTS) -> None:
        self.variants = tuple(descent.text for descent in descents)
        self._models = [
            Workspace(
                f"--lrq ui{FACTORS} --bit_precision {_BITS} --loss_function logistic --noconstant --quiet "
                f"--learning_rate {descent.rate} --random_seed {seed}" + " --sgd --power_t 0" * descent.is_plain
            )
            for descent in descents
        ]
        self._descents = descents
        self._rng = np.random.default_rng(seed)
        self._users: set[int] = set()
        self._num_known = 0
        self._places: dict[tuple[int, str], int] = {}
        # What is in Vowpal Wabbit's table, once more as arrays: to score all items at once.
        self._weights = np.zeros((len(descents), num_items, 1 + FACTORS), np.float32)

    @property
    def num_bytes(self) -> int:
        """A weight and the factors of every user and item, of four bytes, as the leanest descent keeps them."""
        return 4 * (1 + FACTORS) * (len(self._users) + self._num_known)

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
        for number, weights in enumerate(self._weights):
            for item in touched:
                weights[item] = self._row(number, "i", item)

    def _row(self, number: int, side: str, entity: int) -> list[float]:
        model, stride = self._models[number], self._descents[number].stride
        name = f"|{side} {side}{entity}"
        if (number, name) not in self._places:
            self._places[number, name] = model.example(name).feature(side, 0)
        place = self._places[number, name]
        return [model.get_weight(place, stride * k) for k in range(1 + FACTORS)]

    def scores(self, user: int, num_known: int) -> NDArray[np.float32]:
        """Return the predictions, but for what is the same for all items; a new user has no factors."""
        rows = [self._row(number, "u", user) for number in range(len(self._models))]
        pairs = zip(self._weights[:, :num_known], np.array(rows, np.float32), strict=True)
        return np.stack([of_items[:, 0] + of_items[:, 1:] @ row[1:] for of_items, row in pairs])
