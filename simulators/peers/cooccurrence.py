"""What came after the user's last items before, exact and without bounds, blended with popularity.

Of the simple recommenders it is the strongest that we know on streams.
"""

from array import array
from collections import deque
from itertools import product
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulators.peers.events import Interactions
from simulators.peers.popularity import DecayedCounts

HISTORY: Final = 20
"""A user's last items that are looked at."""
LAG_POWER: Final = 0.7
"""In the counts, the item k places before counts (k + 1) to this negative power."""
FLOOR: Final = 1e-3
"""Added to what is known of an item before its logarithm is taken."""
_PRIOR_MASS: Final = 3.0
"""Added to how often an item was followed: what followed it once tells little."""


class Blend(NamedTuple):
    """How the counts become a score; the ones tried are chosen from with hindsight."""

    lag_power: float
    """The item k places back has a say of (k + 1) to this negative power."""
    mass_power: float
    """An item's counts are divided by their sum to this power: 1 makes shares of them."""
    half_life: float
    """Of popularity, in events."""
    popularity: float
    """Weight of its logarithm."""

    @property
    def text(self) -> str:
        """The blend in a few words."""
        return (
            f"lag power {self.lag_power:g}, mass power {self.mass_power:g}, popularity {self.popularity:g} "
            f"with a half-life of {self.half_life:g} events"
        )


BLENDS: Final = tuple(map(Blend._make, product((0.6, 1.0), (0.6, 1.0), (300.0, 2_000.0), (0.2, 0.5, 1.0))))


class _Followers:
    """The items that came after one item, and how often; counts weigh less with the places between."""

    __slots__ = ("counts", "items", "mass", "place")

    def __init__(self) -> None:
        self.place: dict[int, int] = {}
        self.items = array("i")
        self.counts = array("f")
        self.mass = 0.0

    def add(self, item: int, worth: float) -> None:
        place = self.place.setdefault(item, len(self.items))
        if place == len(self.items):
            self.items.append(item)
            self.counts.append(0.0)
        self.counts[place] += worth
        self.mass += worth


class Cooccurrence:
    """Scores by the followers of the user's last items (:class:`~simulators.peers.peer.Peer`).

    The score of item j, for the last items r_0 (newest), r_1, ... and a blend (a, b, half-life, w), is

        ln(FLOOR + sum_k (k + 1)^-a count(r_k, j) / (mass(r_k) + 3)^b) + w ln(popularity(j) + 1/2)
    """

    def __init__(self, num_items: int, blends: tuple[Blend, ...] = BLENDS) -> None:
        self.variants = tuple(blend.text for blend in blends)
        self._blends = blends
        self._kernels = sorted({(blend.lag_power, blend.mass_power) for blend in blends})
        self._half_lives = tuple(sorted({blend.half_life for blend in blends}))
        self._popularity = DecayedCounts(num_items, self._half_lives)
        self._followers: dict[int, _Followers] = {}
        self._last: dict[int, deque[int]] = {}
        self._worth = [(k + 1) ** -LAG_POWER for k in range(HISTORY)]

    @property
    def num_bytes(self) -> int:
        """Four bytes for each number: a follower and its count; an item's mass and popularity; a user's last items."""
        pairs = sum(len(followers.items) for followers in self._followers.values())
        return 8 * pairs + 8 * len(self._followers) + 4 * sum(map(len, self._last.values()))

    def learn(self, events: Interactions) -> None:
        """Count the next events as followers of their users' last items."""
        for user, item in zip(events.user.tolist(), events.item.tolist(), strict=True):
            last = self._last.setdefault(user, deque(maxlen=HISTORY))
            for before, worth in zip(last, self._worth, strict=False):
                self._followers[before].add(item, worth)
            self._followers.setdefault(item, _Followers())
            last.appendleft(item)
        self._popularity.learn(events.item)

    def scores(self, user: int, num_known: int) -> NDArray[np.float32]:
        """Return the score of each item under each blend."""
        popularity = self._popularity.counts[:, :num_known] / self._popularity.unit[:, None]
        popular = dict(zip(self._half_lives, np.log(popularity + 0.5).astype(np.float32), strict=True))
        personal = dict(zip(self._kernels, self._personal(user, num_known), strict=True))
        out = np.empty((len(self._blends), num_known), np.float32)
        for row, blend in zip(out, self._blends, strict=True):
            np.multiply(popular[blend.half_life], np.float32(blend.popularity), out=row)
            row += personal[blend.lag_power, blend.mass_power]
        return out

    def _personal(self, user: int, num_known: int) -> NDArray[np.float32]:
        """Return the logarithms of what the user's last items say, float32[kernels, num_known]."""
        out = np.full((len(self._kernels), num_known), FLOOR, np.float32)
        for k, before in enumerate(self._last.get(user, ())):
            followers = self._followers[before]
            items = np.frombuffer(followers.items, np.int32) if followers.items else np.zeros(0, np.int32)
            counts = np.array(followers.counts, np.float32)
            for row, (lag_power, mass_power) in zip(out, self._kernels, strict=True):
                row[items] += counts * np.float32((k + 1) ** -lag_power / (followers.mass + _PRIOR_MASS) ** mass_power)
        return np.log(out, out=out)
