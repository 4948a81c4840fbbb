"""Policies that do not learn: one fixed curve of sizes for all windows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.core.sizes import Curve, SizeDecision, parse_curve


class FixedCurve:
    """Decides the same in every window: a share for the users, and one curve for both sides.

    >>> policy = open_policy("powerlaw:0.5", users_share=0.4)
    >>> policy.decide(np.zeros(3, np.float32)).items
    Curve(family='powerlaw', shape=0.5)
    """

    def __init__(self, name: str, users_share: float, curve: Curve) -> None:
        self.name = name
        self._decision = SizeDecision(users_share, curve, curve)

    def decide(self, observation: NDArray[np.float32]) -> SizeDecision:  # noqa: ARG002
        """Return the fixed decision, whatever is observed."""
        return self._decision

    def state(self) -> dict[str, Any]:
        """Return nothing: there is no state."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Do nothing."""


def open_policy(text: str, users_share: float) -> FixedCurve:
    """Return the policy that ``text`` names: a family of curves, and its shape behind a colon if need be.

    Raises:
        UsageError: no such family, or the shape is out of its range.

    """
    return FixedCurve(text, users_share, parse_curve(text))
