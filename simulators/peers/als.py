"""Weighted matrix factorisation by alternating least squares (Hu, Koren and Volinsky, ICDM 2008), by ``implicit``."""

from typing import Any, Final

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from simulators.peers.refitted import Refitted

FACTORS: Final = 64
_REGULARIZATION: Final = 0.05
_ALPHAS: Final = (1.0, 10.0)
"""How much more an item that was taken counts than one that was not."""
_ITERATIONS: Final = 8
_VANISHED: Final = 1e-6


class Factors:
    """Factors under several weights of what was taken (:class:`~simulators.peers.refitted.Fitted`).

    A fit goes on from the factors of the one before. A user is folded in: its factors are solved for when it is scored.
    """

    def __init__(self, seed: int) -> None:
        self.variants = tuple(f"alpha {alpha:g}" for alpha in _ALPHAS)
        self._seed = seed
        self._models: list[Any] = []

    @property
    def num_bytes(self) -> int:
        """Those of the factors of users and items."""
        return sum(factors.nbytes for model in self._models[:1] for factors in (model.user_factors, model.item_factors))

    def fit(self, user_items: csr_matrix) -> None:
        """Solve for the factors, beginning with those of the last fit."""
        rng = np.random.default_rng(self._seed)
        # implicit asks for it: many small products are slower on several threads.
        with threadpool_limits(1, "blas"):
            before = self._models or [None] * len(_ALPHAS)
            self._models = [self._fitted(user_items, *pair, rng) for pair in zip(_ALPHAS, before, strict=True)]

    def _fitted(self, user_items: csr_matrix, alpha: float, before: Any, rng: np.random.Generator) -> Any:
        model = AlternatingLeastSquares(
            FACTORS, _REGULARIZATION, alpha, iterations=_ITERATIONS, num_threads=1, random_state=self._seed
        )
        num_users, num_items = user_items.shape
        first = rng.random((num_users + num_items, FACTORS), np.float32) * np.float32(0.01)
        model.user_factors, model.item_factors = first[:num_users], first[num_users:]
        if before is not None:
            _take_over(model.user_factors, before.user_factors)
            _take_over(model.item_factors, before.item_factors)
        model.fit(user_items, show_progress=False)
        return model

    def scores(self, user: int, items: csr_matrix) -> NDArray[Any]:
        """Fold the user in, and return the products with the items' factors."""
        del user
        return np.stack([model.item_factors @ model.recalculate_user(0, items) for model in self._models])


def _take_over(factors: NDArray[np.float32], before: NDArray[np.float32]) -> None:
    """Begin with the factors of the last fit, but for rows that have all but vanished: numbers so small are slow."""
    kept = np.flatnonzero(np.abs(before).max(axis=1) > _VANISHED)
    factors[kept] = before[kept]


def als(refit_every: int, seed: int, *, recent: bool = False) -> Refitted:
    """Return ALS, refitted every so many events; with ``recent``, later events and items are worth more."""
    return Refitted(Factors(seed), refit_every, recent=recent)
