"""Who knows what made a synthetic world: nobody can expect to recall more."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.blocks import World
from simulators.peers.events import Interactions, Stream


class Oracle:
    """Ranks by each item's true chance at the event (:class:`~simulators.peers.peer.Peer`).

    ``world`` is the one that all of ``stream`` is from, event by event. As for everybody, only items that have occurred
    are ranked.
    """

    variants = ("",)
    num_bytes = 0

    def __init__(self, world: World[Any], stream: Stream) -> None:
        self._world = world
        self._in_order = np.argsort(stream.item_key)
        self._keys = stream.item_key[self._in_order]
        self._num_learnt = 0

    def learn(self, events: Interactions) -> None:
        """Note how far the stream has come: there is nothing to learn."""
        self._num_learnt += events.num_events

    def scores(self, user: int, num_known: int) -> NDArray[np.float64]:  # noqa: ARG002
        """Return the chances at the event that comes next, whose user the world knows."""
        keys = self._world.item_keys(self._num_learnt)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        number = self._in_order[at]
        is_known = (self._keys[at] == keys) & (number < num_known)
        scores = np.zeros((1, num_known))
        scores[0, number[is_known]] = self._world.item_probabilities(self._num_learnt)[is_known]
        return scores
