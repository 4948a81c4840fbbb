"""Policies with networks drawn at random."""

from itertools import pairwise

import numpy as np

from agents.trained import Layers, Trained
from stream.core.observation import OBSERVATION_LENGTH

LENGTH = 3


def random_policy(num_critics: int = 2, seed: int = 1) -> Trained:
    """A policy of the shapes that training gives, tried over all actions."""
    random = np.random.default_rng(seed)

    def network(*widths: int) -> Layers:
        return tuple(
            (
                (random.normal(size=(after, before)) / np.sqrt(before)).astype(np.float32),
                random.normal(0, 0.1, after).astype(np.float32),
            )
            for before, after in pairwise(widths)
        )

    return Trained(
        actions="scall",
        mean=random.uniform(-0.2, 0.2, OBSERVATION_LENGTH).astype(np.float32),
        scale=random.uniform(0.05, 0.5, OBSERVATION_LENGTH).astype(np.float32),
        actor=network(OBSERVATION_LENGTH, 64, 64, LENGTH),
        critics=tuple(network(OBSERVATION_LENGTH + LENGTH, 64, 64, 1) for _ in range(num_critics)),
        low=np.full(LENGTH, -1, np.float32),
        high=np.full(LENGTH, 1, np.float32),
        provenance={"data": ["nothing"], "seed": seed},
    )
