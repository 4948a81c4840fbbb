"""Exact size plans (being written by its owner)."""

from typing import NamedTuple


class Curve(NamedTuple):
    """A family of size curves and its one shape parameter (see :data:`FAMILIES`); the mean comes from the budget."""

    family: str
    shape: float = 1.0


class SizeDecision(NamedTuple):
    """What a policy decides for a window: how the words are split between the sides, and how within each."""

    users_share: float
    """Share of the arena's payload words that users get, in [0, 1]."""
    users: Curve
    items: Curve
