"""Policies that do not learn: one decision for all windows."""

from typing import Any

import numpy as np

from agents.policy import Observation, Policy
from stream.core.action import even_share
from stream.core.sizes import SizeDecision


class FixedDecision(Policy):
    """Decides the same in every window."""

    def __init__(self, name: str, decision: SizeDecision) -> None:
        super().__init__(name)
        self._decision = decision

    def decide(self, observation: Observation) -> SizeDecision:  # noqa: ARG002
        """Return the fixed decision, whatever is observed."""
        return self._decision

    def state(self) -> dict[str, Any]:
        """Return nothing: there is no state."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Do nothing."""


class EvenDecision(FixedDecision):
    """Decides on the same curves in every window, and gives both sides the same mean size.

    With uniform curves every user and item owns the same: what the rewards of the environment are relative to.
    """

    def decide(self, observation: Observation) -> SizeDecision:
        """Return the fixed curves, with the users' share of all entities as their share of the words."""
        return self._decision._replace(users_share=even_share(np.nan_to_num(observation)))


class Unchanged(Policy):
    """Asks a policy once, and holds its first decision for good: what resampling each window has to beat.

    The curves stand; which entity is where on them goes on following the ranks.
    """

    def __init__(self, name: str, policy: Policy) -> None:
        super().__init__(name)
        self._policy = policy
        self._decision: SizeDecision | None = None
        self._trips: dict[str, int] = {}

    @property
    def trips(self) -> dict[str, int]:
        """How often the policy's guard stepped in, by reason: once at most, for it is asked once."""
        return dict(self._trips)

    def decide(self, observation: Observation) -> SizeDecision:
        """Return the decision of the first call."""
        if self._decision is None:
            self._decision = self._policy.decide(observation)
            self._trips = self._policy.trips
        return self._decision

    def state(self) -> dict[str, Any]:
        """Return the decision that stands, if there is one, and the guard's counts.

        Until there is a decision the policy has not been asked, and afterwards it is not asked again.
        """
        return {"decision": self._decision and self._decision.state(), "trips": dict(self._trips)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        if state["decision"] is not None:
            self._decision = SizeDecision.from_state(state["decision"])
        self._trips = dict(state["trips"])
