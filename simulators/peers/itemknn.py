"""Item-kNN: the nearest neighbours of the items that a user has had (Sarwar et al., WWW 2001), by ``implicit``."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from implicit.nearest_neighbours import ItemItemRecommender, bm25_weight, normalize
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simulators.peers.refitted import Refitted

_NEIGHBOURS: Final = (20, 100)
_WEIGHTS: Final[dict[str, Callable[[csr_matrix], Any]]] = {
    "cosine": lambda user_items: normalize(user_items.T).T,
    "BM25": lambda user_items: bm25_weight(user_items.T, K1=1.2, B=0.75).T,
}


class NearestItems:
    """Neighbours by the cosine and by BM25, few and many of them (:class:`~simulators.peers.refitted.Fitted`)."""

    def __init__(self) -> None:
        self.variants = tuple(f"{name}, {num} neighbours" for name in _WEIGHTS for num in _NEIGHBOURS)
        self._models = [ItemItemRecommender(num, num_threads=1) for _ in _WEIGHTS for num in _NEIGHBOURS]

    @property
    def num_bytes(self) -> int:
        """An item's number and a similarity of four bytes each, for every neighbour of the largest variant."""
        fitted = [model.similarity for model in self._models if model.similarity is not None]
        return max((8 * similarity.nnz for similarity in fitted), default=0)

    def fit(self, user_items: csr_matrix) -> None:
        """Find the neighbours of every item."""
        weighted = [weigh(user_items).tocsr() for weigh in _WEIGHTS.values() for _ in _NEIGHBOURS]
        for model, matrix in zip(self._models, weighted, strict=True):
            model.fit(matrix, show_progress=False)

    def scores(self, user: int, items: csr_matrix) -> NDArray[Any]:
        """Return by item its similarities to the user's items, added up."""
        del user
        return np.concatenate([(items @ model.similarity).toarray() for model in self._models])


def itemknn(refit_every: int, *, recent: bool = False) -> Refitted:
    """Return item-kNN, refitted every so many events; with ``recent``, later events and items are worth more."""
    return Refitted(NearestItems(), refit_every, recent=recent)
