"""A contextual bandit over the grid of fixed decisions, for a stream that drifts.

After DESS, whose non-stationary bandit searches embedding sizes on a stream (He et al., "Dynamic Embedding Size Search
with Minimum Regret for Streaming Recommender System", CIKM 2023); here by D-LinUCB (Russac, Vernade, Cappé, "Weighted
Linear Bandits for Non-Stationary Environments", NeurIPS 2019), with one linear model for all arms.

**Model.** A reward is linear in the features x of decision and context: a constant, the context, a quadratic function
of three coordinates of the decision (:func:`arm_features`), and context times these coordinates. So what a window
tells of one arm it tells of its neighbours, and sixty arms do not need a window each before the first is pulled again.
A young model gets better whatever is decided; a feature of its own, youth, keeps the arms of the hour from getting the
credit.

**Estimate.** Discounted ridge regression: with the discount g, V = sum g^age x x' + I, W the same with g^2 for g, and
b = sum g^age r x, the estimate is theta = V^-1 b. Pulled is the arm with the highest x'theta + a s |x|, where |x|^2 =
x' V^-1 W V^-1 x, a is the exploration and s the noise's standard deviation, estimated from the errors of prediction
less what the uncertainty of theta adds to them. With s in the bonus, nothing depends on the unit of rewards but the
guess at s before the first one. All is a function of the observations and the seed.

river's bandits do not serve: ``LinUCBDisjoint`` learns every arm apart and has no exploration to set;
``BayesianLinearRegression`` forgets, with ``smoothing``, but its prior too, and without W its deviations are not
D-LinUCB's; neither has a state that JSON can hold.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.context import Context
from agents.decisions import GRID
from agents.policy import Observation, Policy, last_reward
from stream.core.sizes import Curve, SizeDecision

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

DISCOUNT: Final = 0.97
"""What a reward weighs one window later: a memory of about 33 windows."""
EXPLORATION: Final = 1.0
"""Standard deviations of the estimate that an arm is given the benefit of."""
NOISE: Final = 0.01
"""Standard deviation of a reward about its mean, as guessed before the first one; the guess weighs one window."""
NUM_CONTEXT: Final = 2
"""Coordinates of the context: each costs four weights."""
_TIE: Final = 1e-6
"""Bounds closer than this are equal, and the first of their arms is pulled: last bits are not to decide anything."""
_PRIOR: Final = {"constant": 3.0, "youth": 2.0, "context": 0.5, "linear": 1.0, "quadratic": 0.7, "interaction": 0.3}
"""How large weights are expected to be, in standard deviations of the noise: features are multiplied with it, so that
one regularisation serves all."""


class DiscountedLinUCB(Policy):
    """Pulls the arm of :data:`~agents.decisions.GRID` with the best optimistic estimate; forgets at a steady rate.

    >>> from stream.core.observation import OBSERVATION_LENGTH
    >>> DiscountedLinUCB("bandit", seed=1).decide(np.zeros(OBSERVATION_LENGTH, np.float32)) in GRID
    True
    """

    def __init__(self, name: str, seed: int) -> None:
        super().__init__(name)
        self._context = Context(NUM_CONTEXT, seed)
        self._arms = np.array([arm_features(decision) for decision in GRID])
        self._num_windows = 0
        dims = self._features(np.zeros(NUM_CONTEXT)).shape[1]
        self._gram = np.eye(dims)
        """V."""
        self._gram_of_squares = np.eye(dims)
        """W: as V, with the squares of the weights."""
        self._moment = np.zeros(dims)
        """b."""
        self._errors = np.array([NOISE**2, 1.0])
        """Discounted sum of squared errors of prediction, and of their number."""
        self._level: float | None = None
        """The first reward, which all are counted from."""
        self._pulled: Vector | None = None
        """Features of the decision that the window which closes next is going to reward."""

    def decide(self, observation: Observation) -> SizeDecision:
        """Take in the last reward; return the arm to pull."""
        reward = last_reward(observation)
        if reward is not None:
            self._level = reward if self._level is None else self._level
            if self._pulled is not None:
                self._learn(self._pulled, reward - self._level)
        features = self._features(self._context.read(observation))
        bounds = self._optimistic(features)
        arm = int(np.argmax(bounds >= bounds.max() - _TIE))
        self._pulled = features[arm]
        self._num_windows += 1
        return GRID[arm]

    def state(self) -> dict[str, Any]:
        """Return sums, level and pulled features, fit for JSON."""
        return {
            "context": self._context.state(),
            "gram": self._gram.tolist(),
            "gram_of_squares": self._gram_of_squares.tolist(),
            "moment": self._moment.tolist(),
            "errors": self._errors.tolist(),
            "num_windows": self._num_windows,
            "level": self._level,
            "pulled": None if self._pulled is None else self._pulled.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._context.restore(state["context"])
        self._gram, self._gram_of_squares = np.array(state["gram"]), np.array(state["gram_of_squares"])
        self._moment, self._errors = np.array(state["moment"]), np.array(state["errors"])
        self._num_windows, self._level = state["num_windows"], state["level"]
        self._pulled = None if state["pulled"] is None else np.array(state["pulled"])

    def _features(self, context: Vector) -> Matrix:
        """Return the features of every arm in a context, one row each."""
        n = len(self._arms)
        interaction = (self._arms[:, :3, None] * context).reshape(n, -1)
        youth = _PRIOR["youth"] / math.sqrt(1.0 + 0.5 * self._num_windows)
        of_all = np.concatenate([[_PRIOR["constant"], youth], _PRIOR["context"] * context])
        shared = np.broadcast_to(of_all, (n, len(of_all)))
        return np.hstack([shared, self._arms, _PRIOR["interaction"] * interaction])

    def _learn(self, x: Vector, reward: float) -> None:
        error = reward - x @ np.linalg.solve(self._gram, self._moment)
        excess = 1.0 + x @ np.linalg.solve(self._gram, x)
        self._errors = DISCOUNT * self._errors + np.array([error * error / excess, 1.0])
        outer, prior = np.outer(x, x), np.eye(len(x))
        self._gram = DISCOUNT * self._gram + outer + (1.0 - DISCOUNT) * prior
        self._gram_of_squares = DISCOUNT**2 * self._gram_of_squares + outer + (1.0 - DISCOUNT**2) * prior
        self._moment = DISCOUNT * self._moment + reward * x

    def _optimistic(self, features: Matrix) -> Vector:
        """Return the upper confidence bound of each row's reward."""
        solved = np.linalg.solve(self._gram, np.column_stack([self._moment, features.T]))
        estimate, spread = features @ solved[:, 0], solved[:, 1:]
        variance = np.einsum("ij,ij->j", spread, self._gram_of_squares @ spread)
        noise = math.sqrt(self._errors[0] / self._errors[1])
        bound: Vector = estimate + EXPLORATION * noise * np.sqrt(np.maximum(variance, 0.0))
        return bound


def arm_features(decision: SizeDecision) -> Vector:
    """Return what the model knows of a decision: three coordinates, their squares (centred) and products.

    The coordinates are the users' share, on a logarithmic scale, and the Gini coefficients of both sides' ideal sizes,
    each from -1 to 1 over the grid. The Gini coefficient of the power law of shape a is 1 / (2 a + 1).

    >>> arm_features(SizeDecision(0.05, Curve("uniform"), Curve("powerlaw", 0.3)))[:3].round(3).tolist()
    [-1.0, -1.0, 1.0]
    """
    at = 2.0 * (_coordinates(decision) - _LOWEST) / (_HIGHEST - _LOWEST) - 1.0
    quadratic = np.array([*(1.5 * at * at - 0.5), at[0] * at[1], at[0] * at[2], at[1] * at[2]])
    return np.concatenate([_PRIOR["linear"] * at, _PRIOR["quadratic"] * quadratic])


def _coordinates(decision: SizeDecision) -> Vector:
    return np.array([math.log(decision.users_share), _gini(decision.users), _gini(decision.items)])


def _gini(curve: Curve) -> float:
    family, shape = curve
    assert family in ("uniform", "powerlaw"), curve
    assert not isinstance(shape, tuple), curve
    return 0.0 if family == "uniform" else 1.0 / (2.0 * shape + 1.0)


_LOWEST: Final = np.min([_coordinates(decision) for decision in GRID], axis=0)
_HIGHEST: Final = np.max([_coordinates(decision) for decision in GRID], axis=0)
