"""What a peer of the model is."""

from typing import Any, Protocol

from numpy.typing import NDArray

from simulators.peers.events import Interactions


class Peer(Protocol):
    """A recommender that learns events in their order and scores the items known so far.

    It may have variants, such as several half-lives, that are tested side by side; what is reported is the one that is
    best with hindsight, so never too weak a rival.
    """

    @property
    def variants(self) -> tuple[str, ...]:
        """A few words for each variant, what it differs in."""

    @property
    def num_bytes(self) -> int:
        """Bytes of what one variant has to keep, as flat arrays: no structure that finds things is counted."""

    def learn(self, events: Interactions) -> None:
        """Learn the next events."""

    def scores(self, user: int, num_known: int) -> NDArray[Any]:
        """Return float[variants, num_known]: each variant's score of the items known, for a user now."""
