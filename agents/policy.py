"""What every policy owes the loop, and where it reads what its last decision was worth."""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.core.observation import LAST_REWARD
from stream.core.sizes import SizeDecision

Observation = NDArray[np.float32]


class Policy(ABC):
    """Decides how the bytes are shared out, once a window: a size policy of the loop.

    Whatever is observed, the decision is valid. The reward of a decision is in the observation of the next call.
    ``name`` is what the policy is asked for by.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def trips(self) -> dict[str, int]:
        """How often a guard stepped in, by reason: never, where a policy has none."""
        return {}

    @abstractmethod
    def decide(self, observation: Observation) -> SizeDecision:
        """Return the decision for the coming window, from float32[OBSERVATION_LENGTH]."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` needs, fit for JSON and small."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``, of a policy that was opened by the same name and seed."""


def last_reward(observation: Observation) -> float | None:
    """Return the reward of the window that has just closed; None where it is not known.

    A difference of two NDCGs lies within [-1, 1]; what does not was never measured.
    """
    reward = float(observation[LAST_REWARD])
    return reward if math.isfinite(reward) and abs(reward) <= 1.0 else None
