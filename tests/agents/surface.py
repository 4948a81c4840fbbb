"""A simulated stream: what a decision is worth is known, what is told of it is noisy, and the best one may move."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from agents.decisions import GRID
from stream.core.observation import LAST_REWARD, OBSERVATION_LENGTH
from stream.core.sizes import Curve, SizeDecision
from stream.ports import SizePolicy

SPREAD = 0.01
"""Standard deviation of what the grid's decisions are worth, and of the noise."""
LEVEL = 0.03
"""What rewards rise to, whatever is decided, as a model learns that knew nothing."""
RISE_WINDOWS = 10.0
FLATTEST = 30.0
_FAR = 1.5


class Surface:
    """Worth falls with the square of the distance from the best decision, in ln of users' share and shapes.

    There are two best decisions, far from each other; ``turns`` says when each is it.
    """

    def __init__(self, seed: int, turns: Callable[[int], int] = lambda _: 0) -> None:
        random = np.random.default_rng(seed)
        points = np.array([_point(decision) for decision in GRID])
        first = random.choice(points)
        second = random.choice(points[np.linalg.norm(points - first, axis=1) > _FAR])
        self._best = np.array([first, second])
        self._turns = turns
        raw = -((points[:, None] - self._best) ** 2).sum(axis=2)
        self._scale, self._mean = SPREAD / raw.std(), raw.mean()

    def turn(self, window: int) -> int:
        return self._turns(window)

    def worth(self, decision: SizeDecision, window: int) -> float:
        """Return what a decision is rewarded with on average, less what the grid is on average."""
        distance = ((_point(decision) - self._best[self.turn(window)]) ** 2).sum()
        return float(self._scale * (-distance - self._mean))

    def best_worth(self, window: int) -> float:
        return max(self.worth(decision, window) for decision in GRID)


def play(
    policy: SizePolicy, surface: Surface, num_windows: int, seed: int, *, sign: float = 1.0, visible: float = 0.0
) -> NDArray[np.float64]:
    """Return the worth of each window's decision, where rewards are told with ``sign``.

    Observations are noise; where it is the second decision's turn, all are shifted by ``visible``.
    """
    random = np.random.default_rng((seed, 1))
    direction = visible * random.choice([-1.0, 1.0], OBSERVATION_LENGTH)
    reward, worth = 0.0, np.zeros(num_windows)
    for window in range(num_windows):
        observation = random.normal(size=OBSERVATION_LENGTH) + direction * surface.turn(window)
        observation[LAST_REWARD] = reward
        worth[window] = surface.worth(policy.decide(observation.astype(np.float32)), window)
        level = LEVEL * (1.0 - math.exp(-window / RISE_WINDOWS))
        reward = level + sign * worth[window] + SPREAD * random.normal()
    return worth


def _point(decision: SizeDecision) -> NDArray[np.float64]:
    """Return where a decision stands; both coordinates of the grid are about as wide."""
    return np.array(
        [math.log(decision.users_share) / 1.2, _log_shape(decision.users) / 2, _log_shape(decision.items) / 2]
    )


def _log_shape(curve: Curve) -> float:
    return math.log(FLATTEST if curve.family == "uniform" else curve.shape)
