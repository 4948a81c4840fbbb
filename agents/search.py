"""Random search, online: tries decisions at random and keeps the best.

Random search over the parameters of the size distributions takes most of what can be had from them (BET, WSDM 2024).
There a try is a training run; here it is a window of a live stream, so tries cost what they lose, rewards are noisy,
and what was best need not stay so.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.policy import Observation, Policy, last_reward
from stream.core.sizes import FAMILIES, Curve, SizeDecision

NUM_CANDIDATES: Final = 12
"""Decisions kept at a time; so many windows at the start try one each."""
TRY_RATE: Final = 0.1
"""Share of the later windows that try something: half of them a candidate again, half of them a new one."""
DISCOUNT: Final = 0.97
"""What a reward weighs one window later: a memory of about 33 windows."""
PRIOR_WINDOWS: Final = 1.0
"""A candidate's mean is drawn to the mean over all, as if that had been its reward in so many windows more."""
_SHARES: Final = (0.02, 0.8)
_SHAPES: Final = FAMILIES["powerlaw"].shape_range


class _Candidate(NamedTuple):
    """A decision, what it was rewarded with, and in how many windows, both discounted."""

    users_share: float
    users_shape: float
    items_shape: float
    reward: float = 0.0
    windows: float = 0.0

    def decision(self) -> SizeDecision:
        return SizeDecision(self.users_share, Curve("powerlaw", self.users_shape), Curve("powerlaw", self.items_shape))


class RandomSearch(Policy):
    """Searches the decisions of one power law a side: share and shapes are drawn evenly on a logarithmic scale.

    The first :data:`NUM_CANDIDATES` windows try one decision each. Then the candidate with the best mean reward
    stands, but for a share :data:`TRY_RATE` of the windows. Means are discounted, and drawn to the mean of all
    candidates, the more so the less has been seen of one: a lucky window does not make a candidate the best for
    long, and a good one long ago is worth little. A new candidate takes the place of the worst.

    Draws depend on the seed and the number of windows alone.

    >>> from stream.core.observation import OBSERVATION_LENGTH
    >>> search = RandomSearch("random", seed=1)
    >>> nothing_seen = np.zeros(OBSERVATION_LENGTH, np.float32)
    >>> search.decide(nothing_seen) == search.decide(nothing_seen)
    False
    """

    def __init__(self, name: str, seed: int) -> None:
        super().__init__(name)
        self._seed = seed
        self._num_windows = 0
        self._candidates: list[_Candidate] = []
        self._standing: int | None = None
        """The candidate that the window which closes next is going to reward."""

    def decide(self, observation: Observation) -> SizeDecision:
        """Take in the last reward; return the best candidate's decision, or one to try."""
        reward = last_reward(observation)
        if reward is not None and self._standing is not None:
            self._learn(self._standing, reward)
        random = np.random.default_rng((self._seed, self._num_windows))
        self._num_windows += 1
        if len(self._candidates) < NUM_CANDIDATES:
            self._candidates.append(_draw(random))
            self._standing = len(self._candidates) - 1
        elif random.random() < TRY_RATE:
            self._standing = self._try(random)
        else:
            self._standing = int(np.argmax(self._means()))
        return self._candidates[self._standing].decision()

    def state(self) -> dict[str, Any]:
        """Return the candidates, which of them stands, and how many windows there were."""
        return {
            "num_windows": self._num_windows,
            "candidates": [list(candidate) for candidate in self._candidates],
            "standing": self._standing,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._num_windows = state["num_windows"]
        self._candidates = [_Candidate(*candidate) for candidate in state["candidates"]]
        self._standing = state["standing"]

    def _learn(self, standing: int, reward: float) -> None:
        for i, candidate in enumerate(self._candidates):
            total, windows = DISCOUNT * candidate.reward, DISCOUNT * candidate.windows
            if i == standing:
                total, windows = total + reward, windows + 1.0
            self._candidates[i] = candidate._replace(reward=total, windows=windows)

    def _means(self) -> NDArray[np.float64]:
        """Return each candidate's mean reward, drawn to the mean over all of them."""
        reward, windows = np.array([[candidate.reward, candidate.windows] for candidate in self._candidates]).T
        seen = windows > 1e-9
        overall = np.mean(reward[seen] / windows[seen]) if seen.any() else 0.0
        means: NDArray[np.float64] = (reward + PRIOR_WINDOWS * overall) / (windows + PRIOR_WINDOWS)
        return means

    def _try(self, random: np.random.Generator) -> int:
        """Return a candidate to see again, or a new one in the place of the worst."""
        if random.random() < 0.5:
            return int(random.integers(NUM_CANDIDATES))
        worst = int(np.argmin(self._means()))
        self._candidates[worst] = _draw(random)
        return worst


def _draw(random: np.random.Generator) -> _Candidate:
    low, high = np.log([_SHARES, _SHAPES, _SHAPES]).T
    share, users, items = np.exp(random.uniform(low, high)).tolist()
    # The exponential's last bit must not leave the range.
    users, items = (min(max(shape, _SHAPES[0]), _SHAPES[1]) for shape in (users, items))
    return _Candidate(share, users, items)
