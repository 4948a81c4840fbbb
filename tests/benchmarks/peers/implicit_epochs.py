"""Epochs of ``implicit``: alternating least squares and Bayesian personalised ranking over all pairs at once."""

from typing import Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from tests.benchmarks.peers.learner import Work


class ImplicitEpochs:
    """One epoch over a whole matrix at a time (:class:`~tests.benchmarks.peers.learner.Learner`).

    Negatives are its own: ALS holds all items that were not taken against those that were, BPR draws one a pair.
    Repeated events are one pair that weighs more.
    """

    def __init__(self, kind: str, num_factors: int, seed: int = 1) -> None:
        classes = {"ALS": AlternatingLeastSquares, "BPR": BayesianPersonalizedRanking}
        rate = {"learning_rate": 0.05} if kind == "BPR" else {}
        self._model: Any = classes[kind](num_factors, iterations=1, num_threads=1, random_state=seed, **rate)
        self._fitted: csr_matrix | None = None

    def prepare(self, work: Work) -> csr_matrix:
        """Return how often each user took each item, float32[users, items]."""
        ones = np.ones(work.num_events, np.float32)
        return csr_matrix((ones, (work.user, work.item)), dtype=np.float32)

    def learn(self, prepared: csr_matrix) -> None:
        """Go over the matrix once, from the factors of the last time if it still has the same shape."""
        if self._fitted is not None and self._fitted.shape != prepared.shape:
            self._model.user_factors = self._model.item_factors = None
        # implicit asks for it: many small products are slower on several threads.
        with threadpool_limits(1, "blas"):
            self._model.fit(prepared, show_progress=False)
        self._fitted = prepared

    def scores(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the products of the factors; 0 before anything is fitted."""
        if self._fitted is None:
            return np.zeros(len(user))
        return (self._model.user_factors[user] * self._model.item_factors[item]).sum(1).astype(np.float64)

    def num_missed(self, work: Work) -> int:
        """Hold the sum of the fitted matrix, which counts events, against the events'."""
        return work.num_events - (0 if self._fitted is None else round(float(self._fitted.sum(dtype=np.float64))))

    @property
    def num_bytes(self) -> int:
        """The factors of users and of items; not the matrix, which has to be kept as well."""
        return 0 if self._fitted is None else self._model.user_factors.nbytes + self._model.item_factors.nbytes
