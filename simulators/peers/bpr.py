"""Matrix factorisation by pairs, what a user took before what it did not (Rendle et al., UAI 2009), by ``implicit``."""

from typing import Any, Final, NamedTuple

import numpy as np
from implicit.cpu.bpr import BayesianPersonalizedRanking
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simulators.peers.refitted import Refitted

FACTORS: Final = 64


class Descent(NamedTuple):
    """How a variant goes down."""

    rate: float
    regularization: float
    epochs: int
    """Passes over all events so far at each fit."""


DESCENTS: Final = (Descent(0.01, 0.01, 20), Descent(0.05, 0.01, 20), Descent(0.05, 0.001, 20))


class Pairs:
    """Factors and items' biases (:class:`~simulators.peers.refitted.Fitted`).

    A fit goes on from the factors of the one before. A user that has come since has none, and gets the items' biases.
    """

    def __init__(self, seed: int) -> None:
        self.variants = tuple(f"rate {of.rate:g}, L2 {of.regularization:g}" for of in DESCENTS)
        self._rng = np.random.default_rng(seed)
        self._models = [
            BayesianPersonalizedRanking(FACTORS, of.rate, of.regularization, np.float32, of.epochs, 1, True, seed)
            for of in DESCENTS
        ]

    @property
    def num_bytes(self) -> int:
        """Those of the factors of users and items, and of the items' biases."""
        model = self._models[0]
        return 0 if model.user_factors is None else model.user_factors.nbytes + model.item_factors.nbytes

    def fit(self, user_items: csr_matrix) -> None:
        """Descend from the factors of the last fit; those who have come since begin small and at random."""
        num_users, num_items = user_items.shape
        for model in self._models:
            # The last column is 1 of a user, and the bias of an item.
            model.user_factors = self._grown(model.user_factors, num_users, 1.0)
            model.item_factors = self._grown(model.item_factors, num_items, 0.0)
            model.fit(user_items, show_progress=False)

    def _grown(self, factors: NDArray[np.float32] | None, num: int, last: float) -> NDArray[np.float32]:
        out = (self._rng.random((num, FACTORS + 1), np.float32) - np.float32(0.5)) / np.float32(FACTORS)
        out[:, -1] = last
        if factors is not None:
            out[: len(factors)] = factors
        return out

    def scores(self, user: int, items: csr_matrix) -> NDArray[Any]:
        """Return the products with the items' factors, and the biases."""
        del items
        return np.stack([_scores(model, user) for model in self._models])


def _scores(model: Any, user: int) -> NDArray[np.float32]:
    if user >= len(model.user_factors):
        return model.item_factors[:, -1]  # type: ignore[no-any-return]
    return model.item_factors @ model.user_factors[user]  # type: ignore[no-any-return]


def bpr(refit_every: int, seed: int) -> Refitted:
    """Return BPR, refitted every so many events."""
    return Refitted(Pairs(seed), refit_every, recent=False)
