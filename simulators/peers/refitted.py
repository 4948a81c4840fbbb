"""What peers have in common that are fitted now and then to all events so far, and score by a user's items of now."""

from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simulators.peers.events import Interactions

HALF_LIFE_EVENTS: Final = 20_000.0
"""With ``recent``, an event's worth in a fit halves with so many events since."""
HALF_LIFE_ITEMS: Final = 10.0
"""With ``recent``, an item's worth to its user halves with so many later items of the user."""
_LEAST_TOLD: Final = 1e-9
"""What popularity may add to a score at most, to tell apart items that the model has the same to say of."""


class Fitted(Protocol):
    """A model as it was last fitted, with a variant or several."""

    @property
    def variants(self) -> tuple[str, ...]:
        """A few words for each variant."""

    @property
    def num_bytes(self) -> int:
        """Bytes of one variant."""

    def fit(self, user_items: csr_matrix) -> None:
        """Fit every variant to float32[users, items], the worth of what each user has had."""

    def scores(self, user: int, items: csr_matrix) -> NDArray[Any]:
        """Return float[variants, items fitted] for a user, by number and by its items, float32[1, same]."""


class Refitted:
    """Refits a model every so many events (:class:`~simulators.peers.peer.Peer`).

    Between two fits users go on having items, and are scored by those they have now; items that have come since are
    not known to the model. Among items that it gives equal scores, as it does for a user without items, the more
    popular goes first: any team would fall back on that.
    """

    def __init__(self, model: Fitted, refit_every: int, *, recent: bool) -> None:
        self.variants = model.variants
        self._model = model
        self._refit_every = refit_every
        self._recent = recent
        self._num_fitted = 0
        """Items that the model knows."""
        self._user: list[int] = []
        self._item: list[int] = []
        self._items_of: dict[int, list[int]] = {}
        self._counts: NDArray[np.float64] = np.zeros(0)

    @property
    def num_bytes(self) -> int:
        """Those of the model, and two numbers of four bytes for every event that it is fitted to."""
        return self._model.num_bytes + 8 * len(self._user)

    def learn(self, events: Interactions) -> None:
        """Learn the next events; refits right after each ``refit_every`` of all."""
        for user, item in zip(events.user.tolist(), events.item.tolist(), strict=True):
            self._user.append(user)
            self._item.append(item)
            self._items_of.setdefault(user, []).append(item)
            if len(self._user) % self._refit_every == 0:
                self._fit()

    def _fit(self) -> None:
        user, item = np.array(self._user), np.array(self._item)
        worth = self._worth(len(user), HALF_LIFE_EVENTS)
        shape = (int(user.max()) + 1, int(item.max()) + 1)
        self._num_fitted = shape[1]
        self._counts = np.bincount(item, worth, shape[1]).astype(np.float64)
        # Repeated pairs are added up.
        self._model.fit(csr_matrix((worth, (user, item)), shape, dtype=np.float32))

    def _worth(self, num: int, half_life: float) -> NDArray[np.float32]:
        """Return what each of ``num`` things is worth, the newest last."""
        worth = 0.5 ** (np.arange(num)[::-1] / half_life) if self._recent else np.ones(num)
        return worth.astype(np.float32)

    def scores(self, user: int, num_known: int) -> NDArray[np.float64]:
        """Return the model's scores by the items that the user has now; 0 of an item that it does not know."""
        out = np.zeros((len(self.variants), num_known))
        if not self._num_fitted:
            return out
        had = self._items_of.get(user, [])
        item, worth = np.array(had, np.int64), self._worth(len(had), HALF_LIFE_ITEMS)
        item, worth = item[item < self._num_fitted], worth[item < self._num_fitted]
        shape = (1, self._num_fitted)
        row = csr_matrix((worth, (np.zeros(len(item), np.int64), item)), shape, dtype=np.float32)
        out[:, : self._num_fitted] = self._model.scores(user, row)
        out[:, : self._num_fitted] += self._counts * (_LEAST_TOLD / self._counts.max())
        return out
