"""Decayed popularity: what was taken most of late, the same for every user."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulators.peers.events import Interactions

HALF_LIVES: Final = (100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0)
"""In events."""
_RESCALE_AT: Final = 2.0**500


class DecayedCounts:
    """How often each item came, an event's worth halving with every ``half_lives[q]`` events since.

    Counts are kept in units that shrink, so that learning touches no other item. They rank as the decayed counts do.
    """

    def __init__(self, num_items: int, half_lives: tuple[float, ...]) -> None:
        self.counts = np.zeros((len(half_lives), num_items))
        """float64[half-lives, items], in units of :attr:`unit`."""
        self.unit = np.ones(len(half_lives))
        """Worth of the newest event."""
        self._growth = 2.0 ** (1.0 / np.array(half_lives))

    def learn(self, item: NDArray[np.int64]) -> None:
        """Count the next events."""
        for begin in range(0, len(item), 1000):
            block = item[begin : begin + 1000]
            worth = self.unit[:, None] * self._growth[:, None] ** np.arange(1, len(block) + 1)
            for counts, worths in zip(self.counts, worth, strict=True):
                np.add.at(counts, block, worths)
            self.unit = worth[:, -1]
            for q in np.flatnonzero(self.unit > _RESCALE_AT).tolist():
                self.counts[q] /= self.unit[q]
                self.unit[q] = 1.0


class Popularity:
    """Ranks by decayed counts (:class:`~simulators.peers.peer.Peer`), a variant for each half-life."""

    def __init__(self, num_items: int, half_lives: tuple[float, ...] = HALF_LIVES) -> None:
        self.variants = tuple(f"half-life of {half_life:g} events" for half_life in half_lives)
        self._counts = DecayedCounts(num_items, half_lives)
        self._num_known = 0

    @property
    def num_bytes(self) -> int:
        """A count of four bytes an item."""
        return 4 * self._num_known

    def learn(self, events: Interactions) -> None:
        """Count the next events."""
        self._counts.learn(events.item)
        self._num_known = max(self._num_known, int(events.item.max(initial=-1)) + 1)

    def scores(self, user: int, num_known: int) -> NDArray[np.float64]:  # noqa: ARG002
        """Return the counts."""
        return self._counts.counts[:, :num_known]
