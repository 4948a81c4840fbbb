"""River's BiasedMF, one example after the other in Python (https://riverml.xyz, ``river.reco``)."""

import numpy as np
from numpy.typing import NDArray
from river.optim import SGD
from river.optim.initializers import Normal
from river.reco import BiasedMF

from tests.benchmarks.peers.learner import EXAMPLES, Work

RATE = 0.1


class RiverMF:
    """Biased matrix factorisation of ratings 1 and 0 (:class:`~tests.benchmarks.peers.learner.Learner`)."""

    def __init__(self, num_factors: int, seed: int = 1) -> None:
        rate, first = SGD(RATE), Normal(sigma=0.1, seed=seed)
        self._num_factors = num_factors
        self._model = BiasedMF(num_factors, rate, rate, latent_initializer=first, seed=seed)

    def prepare(self, work: Work) -> list[tuple[int, int, int]]:
        """Return the events as tuples of integers."""
        return list(zip(*(column.tolist() for column in work), strict=True))

    def learn(self, prepared: list[tuple[int, int, int]]) -> None:
        """Learn each event's two examples in turn."""
        learn_one = self._model.learn_one
        for user, item, negative in prepared:
            learn_one(user, item, 1.0)
            learn_one(user, negative, 0.0)

    def scores(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the ratings predicted."""
        pairs = zip(user.tolist(), item.tolist(), strict=True)
        return np.array([self._model.predict_one(*pair) for pair in pairs])

    def num_missed(self, work: Work) -> int:
        """Hold the examples that the mean of all ratings has counted against the events'."""
        return work.num_events - int(self._model.global_mean.n) // EXAMPLES

    @property
    def num_bytes(self) -> int:
        """A bias and the factors of every user and item, in river's eight bytes each; not the dicts around them."""
        return 8 * (self._num_factors + 1) * (len(self._model.u_latents) + len(self._model.i_latents))
