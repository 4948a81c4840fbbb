"""What an agent's numbers mean: an action, each number in [-1, 1], decoded into a size decision.

Numbers of one range around zero are what learners of continuous actions expect; SCALL's are from 0 to 1. Shares and
shapes lie on scales on which a step means about as much everywhere: a share by its odds, a power law's shape and a
group's size by their logarithms. What a number means does not depend on the stream.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import Any, ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from stream.core.families import GROUPS, RANK_GROUPS
from stream.core.observation import PARTS
from stream.core.sizes import FAMILIES, Curve, SizeDecision
from stream.errors import UsageError

Numbers = Sequence[float] | NDArray[np.floating[Any]]
Observation = NDArray[np.float32]
_LOW, _HIGH = FAMILIES["powerlaw"].shape_range
_SHARE_MIDDLE, _SHARE_RANGE = -0.6, 3.5
"""Logarithm of the odds of the users' share for the number 0 (a share of .35), and how far from there its ends are."""
USERS_MIDDLE: Final = 5.0
"""Shape of the users' curve for the number 0: rather flat, for what every user needs first is a few recent ids."""


class ActionSpace(Protocol):
    """A way to write size decisions as so many numbers in [-1, 1]."""

    name: ClassVar[str]
    length: ClassVar[int]
    """Numbers of an action."""

    def decode(self, action: Numbers) -> SizeDecision:
        """Return the decision that an action stands for.

        Numbers beyond [-1, 1] count as its ends. Raises ValueError for a wrong length or a number that is not finite.
        """

    def uniform(self, observation: Observation) -> tuple[float, ...]:
        """Return the action nearest to uniform sizes where ``observation`` is seen."""


class ThreeNumbers:
    """SCALL's action: the users' share of the budget, the shape of the users' curve, the shape of the items'.

    >>> decision = ThreeNumbers().decode([0.0, 1.0, -1.0])
    >>> round(decision.users_share, 3), decision.users.shape, decision.items.shape
    (0.354, 30.0, 0.1)
    """

    name: ClassVar[str] = "scall"
    length: ClassVar[int] = 3

    def decode(self, action: Numbers) -> SizeDecision:
        """Return the decision; raises ValueError for what is no action."""
        share, users, items = _checked(action, self.length)
        return SizeDecision(share_of(share), power_law(users, USERS_MIDDLE), power_law(items))

    def uniform(self, observation: Observation) -> tuple[float, ...]:
        """Return even shares, and the flattest curves."""
        return number_of(even_share(observation)), 1.0, 1.0


class GroupedRanks:
    """The users' share of the budget, and then for each side how sizes fall from group to group of ranks.

    A side has a number for each group of :data:`~stream.core.families.RANK_GROUPS`, the head's first: how many times as
    much the group's entities get as those of the next one, from once at -1 to four times at 1.

    >>> users, items = [1.0, -1.0, -1.0, -1.0, -1.0], [0.0, 0.0, -1.0, 0.0, -1.0]
    >>> decision = GroupedRanks().decode([0.0, *users, *items])
    >>> decision.users.shape, decision.items.shape
    ((4.0, 1.0, 1.0, 1.0, 1.0), (8.0, 4.0, 2.0, 2.0, 1.0))
    """

    name: ClassVar[str] = "groups"
    length: ClassVar[int] = 1 + 2 * len(RANK_GROUPS)

    def decode(self, action: Numbers) -> SizeDecision:
        """Return the decision; raises ValueError for what is no action."""
        share, *numbers = _checked(action, self.length)
        users, items = numbers[: len(RANK_GROUPS)], numbers[len(RANK_GROUPS) :]
        return SizeDecision(share_of(share), group_levels(users), group_levels(items))

    def uniform(self, observation: Observation) -> tuple[float, ...]:
        """Return even shares, and one level for all groups."""
        return number_of(even_share(observation)), *[-1.0] * (self.length - 1)


def _checked(action: Numbers, length: int) -> list[float]:
    numbers = np.asarray(action, np.float64)
    if numbers.shape != (length,) or not np.isfinite(numbers).all():
        raise ValueError(f"an action is {length} finite numbers, not {numbers.tolist()!r}"[:200])
    clipped: list[float] = np.clip(numbers, -1.0, 1.0).tolist()
    return clipped


def share_of(number: float) -> float:
    """Return the users' share of the payload that a number in [-1, 1] stands for.

    The logarithm of its odds goes with the cube of the number: little happens by mistake around the middle, for a
    change of the share costs what users or items had learnt. The best shares of streams are alike, however many users
    and items they have, so it is the share of the words that a number means, and not of the mean sizes.

    >>> [round(share_of(number), 3) for number in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    [0.016, 0.262, 0.354, 0.459, 0.948]
    """
    return 1 / (1 + math.exp(-_SHARE_MIDDLE - _SHARE_RANGE * number**3))


def number_of(share: float) -> float:
    """Return the number of a users' share, the reverse of :func:`share_of`; the nearest end for one beyond.

    >>> round(number_of(share_of(-0.7)), 6), number_of(0.999)
    (-0.7, 1.0)
    """
    cube = (math.log(share / (1 - share)) - _SHARE_MIDDLE) / _SHARE_RANGE
    return min(max(math.cbrt(cube), -1.0), 1.0)


def even_share(observation: Observation) -> float:
    """Return the users' share of all entities: as their share of the words it gives both sides the same mean size."""
    return float(np.clip(observation[PARTS["entities"]][0], 0.001, 0.999))


def power_law(number: float, middle: float = 1.0) -> Curve:
    """Return SCALL's power law for a number in [-1, 1]: of shape 0.1 (steep) to 30 (flat), by the logarithm.

    ``middle`` is the shape of the number 0, and so where a learner begins.

    >>> [round(power_law(number).shape, 2) for number in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    [0.1, 0.32, 1.0, 5.48, 30.0]
    """
    end = _HIGH if number > 0 else _LOW
    shape = middle ** (1.0 - abs(number)) * end ** abs(number)
    return Curve("powerlaw", min(max(shape, _LOW), _HIGH))


def group_levels(numbers: Sequence[float]) -> Curve:
    """Return the curve of a level for each group, which is 2**(1 + number) times the next one's; the tail's is 1.

    >>> group_levels([-1.0, 0.0, -1.0, 1.0, -1.0]).shape
    (8.0, 8.0, 4.0, 4.0, 1.0)
    """
    steps = (2.0 ** (1.0 + number) for number in reversed(numbers))
    return Curve(GROUPS, tuple(accumulate(steps, mul))[::-1])


def uniform_decision(observation: Observation) -> SizeDecision:
    """Return the decision under which every user and item owns the same: the reference of every reward."""
    return SizeDecision(even_share(observation), Curve("uniform"), Curve("uniform"))


ACTION_SPACES: Final[dict[str, ActionSpace]] = {space.name: space for space in (ThreeNumbers(), GroupedRanks())}
"""Every action space by the name it is asked for by."""


def action_space(name: str) -> ActionSpace:
    """Return the action space of a name; raises :class:`UsageError` for one that there is not."""
    space = ACTION_SPACES.get(name)
    if space is None:
        raise UsageError(f"action space {name!r} is unknown: give one of {', '.join(ACTION_SPACES)}")
    return space
