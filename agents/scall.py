"""The learnt policy in service: it acts at each window, guarded."""

from collections import Counter
from typing import Any, Final

import numpy as np

from agents.policy import Observation, Policy
from agents.trained import Floats, Trained
from stream.core.action import ACTION_SPACES, uniform_decision
from stream.core.sizes import SizeDecision

MARGIN: Final = 0.1
"""How far beyond the range that it was tried in a number of an action may lie."""
WORST_DROP: Final = 0.1
"""A return this much below that of uniform sizes is a drop: returns are sums of relative NDCG."""


class ScallPolicy(Policy):
    """Acts as a trained agent does, by its mean action, where that can be trusted.

    Where the action lies outside the range in which the policy was tried, the nearest within is taken. Sizes are
    uniform in a window where a number is not finite, and where the lower of the critics expects less of the action than
    of uniform sizes, by more than WORST_DROP. Each reason is counted.
    """

    def __init__(self, name: str, trained: Trained) -> None:
        super().__init__(name)
        self._trained = trained
        self._actions = ACTION_SPACES[trained.actions]
        self._trips: Counter[str] = Counter()

    @property
    def trips(self) -> dict[str, int]:
        """How often the guard stepped in, by reason."""
        return dict(self._trips)

    def decide(self, observation: Observation) -> SizeDecision:
        """Return the agent's decision, or uniform sizes."""
        # What overflows is not finite, and found out by that.
        with np.errstate(all="ignore"):
            action = self._known(self._act(observation))
            reason = self._reason_against(observation, action)
        if reason is not None:
            self._trips[reason] += 1
            return uniform_decision(np.nan_to_num(observation))
        return self._actions.decode(action)

    def _act(self, observation: Observation) -> Floats:
        return self._trained.act(observation)

    def _known(self, action: Floats) -> Floats:
        """Return an action, or the nearest known one where it lies outside the known range."""
        if not self._is_outside(action):
            return action
        self._trips["outside the known range"] += 1
        return np.clip(action, self._trained.low, self._trained.high)

    def _is_outside(self, action: Floats) -> bool:
        low, high = self._trained.low - MARGIN, self._trained.high + MARGIN
        return bool((action < low).any() or (action > high).any())

    def _reason_against(self, observation: Observation, action: Floats) -> str | None:
        """Say why an action is not to be taken, None where it may be."""
        if not (np.isfinite(observation).all() and np.isfinite(action).all()):
            return "not finite"
        if self._is_outside(action):
            return "outside the known range"
        uniform = np.array(self._actions.uniform(observation), np.float32)
        return "predicted drop" if self._expects_drop(observation, action, uniform) else None

    def _expects_drop(self, observation: Observation, action: Floats, instead: Floats) -> bool:
        """Return whether an action is expected to be worth less than another, by more than WORST_DROP."""
        worth, of_other = (self._trained.worth(observation, numbers) for numbers in (action, instead))
        return worth is not None and of_other is not None and not worth >= of_other - WORST_DROP

    def state(self) -> dict[str, Any]:
        """Return the guard's counts; the networks stand still."""
        return {"trips": dict(self._trips)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._trips = Counter(state["trips"])
