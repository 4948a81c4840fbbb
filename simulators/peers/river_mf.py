"""Biased matrix factorisation learnt event by event (Koren et al., 2009), by river."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from river.optim import SGD
from river.optim.initializers import Normal
from river.reco import BiasedMF

from simulators.peers.events import Interactions

FACTORS: Final = 16


class Step(NamedTuple):
    """How a variant learns."""

    rate: float
    l2: float
    """Weight of the parameters' squares in the loss."""


STEPS: Final = (Step(0.01, 0.0), Step(0.1, 0.01))


class RiverMF:
    """River's BiasedMF (:class:`~simulators.peers.peer.Peer`), a variant for each kind of step.

    It predicts ratings, and events have none: one that happened is a rating of 1, and with each goes a rating of 0 by
    the same user of an item drawn from those known.
    """

    def __init__(self, num_items: int, seed: int, steps: tuple[Step, ...] = STEPS) -> None:
        self.variants = tuple(f"{FACTORS} factors, rate {step.rate:g}, L2 {step.l2:g}" for step in steps)
        self._models = [_model(step, seed) for step in steps]
        self._rng = np.random.default_rng(seed)
        self._num_known = 0
        # What river keeps in dicts, once more as arrays: to score all items at once.
        self._bias = np.zeros((len(steps), num_items))
        self._latents = np.zeros((len(steps), num_items, FACTORS))

    @property
    def num_bytes(self) -> int:
        """A bias and the factors of every user and item, in river's eight bytes each."""
        model = self._models[0]
        return 8 * (FACTORS + 1) * (len(model.u_latents) + len(model.i_latents))

    def learn(self, events: Interactions) -> None:
        """Learn the next events, each with a negative."""
        touched = set()
        for user, item in zip(events.user.tolist(), events.item.tolist(), strict=True):
            self._num_known = max(self._num_known, item + 1)
            negative = int(self._rng.integers(self._num_known))
            for model in self._models:
                model.learn_one(user, item, 1.0)
                model.learn_one(user, negative, 0.0)
            touched |= {item, negative}
        for model, bias, latents in zip(self._models, self._bias, self._latents, strict=True):
            for item in touched:
                bias[item] = model.i_biases[item]
                latents[item] = model.i_latents[item]

    def scores(self, user: int, num_known: int) -> NDArray[np.float64]:
        """Return the predictions, but for what is the same for all items; a new user has no factors."""
        # Asking river itself would let it keep the user.
        factors = [model.u_latents[user] if user in model.u_latents else np.zeros(FACTORS) for model in self._models]
        products = [latents[:num_known] @ mine for latents, mine in zip(self._latents, factors, strict=True)]
        scores: NDArray[np.float64] = self._bias[:, :num_known] + np.array(products)
        return scores


def _model(step: Step, seed: int) -> BiasedMF:
    rate, first = SGD(step.rate), Normal(sigma=0.1, seed=seed)
    return BiasedMF(FACTORS, rate, rate, l2_bias=step.l2, l2_latent=step.l2, latent_initializer=first, seed=seed)
