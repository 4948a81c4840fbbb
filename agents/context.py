"""A few numbers that stand for an observation, whose own are many, of unlike scales, and drifting."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.policy import Observation
from stream.core.observation import LAST_REWARD, OBSERVATION_LENGTH

Vector = NDArray[np.float64]

DISCOUNT: Final = 0.97
"""What an observation weighs in mean and deviation one window later."""
_LIMIT: Final = 3.0
_SMALLEST_DEVIATION: Final = 1e-3


class Context:
    """Projects observations at random onto a few coordinates, each about standard normal (Johnson-Lindenstrauss).

    Coordinates of the observation are compressed (sign times ln(1 + |x|)) and standardised by their discounted means
    and deviations so far. The last reward is left out: it belongs to the decision before. What is not finite counts
    as average. The projection is fixed by the seed.

    >>> context = Context(num_coordinates=2, seed=1)
    >>> context.read(np.full(OBSERVATION_LENGTH, np.inf, np.float32)).tolist()
    [0.0, 0.0]
    """

    def __init__(self, num_coordinates: int, seed: int) -> None:
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], (num_coordinates, OBSERVATION_LENGTH))
        signs[:, LAST_REWARD] = 0.0
        self._projection = signs / math.sqrt(OBSERVATION_LENGTH - 1)
        self._weight = np.zeros(OBSERVATION_LENGTH)
        self._sum = np.zeros(OBSERVATION_LENGTH)
        self._squares = np.zeros(OBSERVATION_LENGTH)

    def read(self, observation: Observation) -> Vector:
        """Return the coordinates, float64, within about ±3, and remember the observation's scale."""
        usable = np.isfinite(observation)
        x = np.where(usable, observation, np.float32(0.0)).astype(np.float64)
        x = np.copysign(np.log1p(np.abs(x)), x)
        self._weight = DISCOUNT * self._weight + usable
        self._sum = DISCOUNT * self._sum + x
        self._squares = DISCOUNT * self._squares + x * x
        weight = np.maximum(self._weight, 1e-300)
        mean = self._sum / weight
        deviation = np.sqrt(np.maximum(self._squares / weight - mean * mean, 0.0))
        standard = np.where(usable, (x - mean) / np.maximum(deviation, _SMALLEST_DEVIATION), 0.0)
        coordinates: Vector = self._projection @ np.clip(standard, -_LIMIT, _LIMIT)
        return np.clip(coordinates, -_LIMIT, _LIMIT)

    def state(self) -> dict[str, Any]:
        """Return the sums, fit for JSON."""
        return {"weight": self._weight.tolist(), "sum": self._sum.tolist(), "squares": self._squares.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._weight, self._sum, self._squares = (np.array(state[name]) for name in ("weight", "sum", "squares"))
