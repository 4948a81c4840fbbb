"""A model that does not change: what requests are answered from."""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core import arena, retrieval
from stream.core.event import ITEM, USER, hash_id
from stream.core.events import begin_test
from stream.core.history import NUM_GAPS
from stream.core.memory import NUM_ITEMS, NUM_LEARNT, NUM_USERS, Memory
from stream.core.model import Hyper, Shared, Workspace, new_workspace
from stream.core.outline import Outline, Popularity, outline_of, popularity_of
from stream.core.sizes import MAX_SIZE, summarise_sizes
from stream.core.status import SideStatus

Reason = Literal["personal", "popular", "cold"]
"""Why a user gets these items: known by history or coordinates; known, but with no words of its own; not known."""

_NUM_GROUPS: Final = 64
"""Groups of ranks that sizes and frequencies are told by."""
_NO_KEY: Final = np.uint64(0)


class Scored(NamedTuple):
    """An item and what speaks for it, in no unit: comparable within one answer only."""

    item: str
    score: float


class Recommendations(NamedTuple):
    """An answer, best item first."""

    items: list[Scored]
    reason: Reason


class Snapshot:
    """Answers from the state of one instant. Any number of threads may ask at once; nobody waits for another.

    ``arrays`` are a model's by name, as :meth:`stream.core.recommender.Recommender.state` has them. They are never
    written, so they may be read-only maps of shared memory; they must not change while this is in use.
    ``watermark_ms`` is the time of the newest event learnt, from which gaps since users' last events are reckoned;
    ``taken_s`` is when the state was taken, in seconds since the epoch.
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        hyper: Hyper,
        *,
        watermark_ms: int | None = None,
        taken_s: float = 0.0,
    ) -> None:
        self.memory, self.shared = memory_and_shared(arrays)
        self.hyper = hyper
        self.watermark_ms = watermark_ms
        self.taken_s = taken_s
        self._popularity: dict[int, Popularity] = {}
        self._outline: Outline | None = None

    @property
    def num_users(self) -> int:
        """Users known."""
        return int(self.memory.counters[NUM_USERS])

    @property
    def num_items(self) -> int:
        """Items known."""
        return int(self.memory.counters[NUM_ITEMS])

    @property
    def num_learnt(self) -> int:
        """Events learnt since the start of the stream."""
        return int(self.memory.counters[NUM_LEARNT])

    @property
    def hides_taken(self) -> bool:
        """Whether an item is taken once: the model was made to leave pairs already taken out."""
        return self.hyper.hides_taken == 1

    def recommend(
        self, user_id: str, n: int, *, exclude_seen: bool, timestamp_ms: int | None = None
    ) -> Recommendations:
        """Return the best ``n`` items for a user at a time (by default that of the newest event).

        ``exclude_seen`` leaves out what the user is known to have taken: by its history, and by the filter of pairs. Of
        items with equal scores the older comes first.
        """
        m, p, h, w = self.memory, self.shared, self.hyper, self._new_workspace()
        time_ms = timestamp_ms if timestamp_ms is not None else self.watermark_ms or 0
        key = np.uint64(hash_id(user_id, USER))
        user, _, gap, width, past = begin_test(m, p, h, w, key, _NO_KEY, time_ms)
        best, score = self._room(n)
        popularity = self._popularity_at(gap)
        num = retrieval.recommend(
            m, p, h, w, width, gap, past, key, popularity, self._outlined(), exclude_seen, best, score
        )  # fmt: skip
        return Recommendations(self._name(best[:num], score[:num]), self._reason(user))

    def similar(self, item_id: str, n: int) -> list[Scored] | None:
        """Return the ``n`` items most similar to an item, itself left out; None where it is not known.

        Similarity is the cosine of the embeddings. A coordinate that only one of two items has counts as zero for the
        other, as it does in the model's scores. An item without coordinates is like no other.
        """
        best, score = self._room(n)
        key = np.uint64(hash_id(item_id, ITEM))
        num = retrieval.find_similar(self.memory, self._new_workspace(), key, self._outlined(), best, score)
        return self._name(best[:num], score[:num]) if num >= 0 else None

    def side(self, side: int) -> SideStatus:
        """Return sizes, and sizes and frequencies by rank, of the users or the items."""
        slots = self.memory.slots[slice(*arena.slots_of(self.memory, side))]
        # One number that sorts by frequency (the bits of a float above 0 do) and has the size in its lowest byte. By
        # columns: numpy copies records field by field.
        ranked = slots["slow"].copy().view(np.uint32).astype(np.uint64) << np.uint64(8) | slots["size"]
        ranked = np.sort(ranked[slots["alive"] == 1])[::-1]
        sizes = (ranked & np.uint64(0xFF)).astype(np.int64)
        counts = (ranked >> np.uint64(8)).astype(np.uint32).view(np.float32) / self.shared.decay[0]
        return SideStatus(
            sizes=summarise_sizes(np.bincount(sizes, minlength=1)),
            size_by_rank=_means_of_groups(sizes),
            frequency_by_rank=_means_of_groups(counts),
        )

    def _new_workspace(self) -> Workspace:
        return new_workspace(self.hyper, max(self.shared.lag.shape[1], MAX_SIZE))

    def _room(self, n: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        room = min(n, self.num_items)
        return np.empty(room, np.int32), np.empty(room, np.float32)

    def prepare(self) -> None:
        """Work out now what requests would work out else, the first of each kind: some milliseconds."""
        for gap in range(NUM_GAPS):
            self._popularity_at(gap)

    def answer_nobody(self) -> None:
        """Answer one of each kind of request, so that the kernels that they need are compiled, or loaded."""
        self.recommend("", 1, exclude_seen=True)
        self.similar("", 1)
        self.side(ITEM)

    def _popularity_at(self, gap: int) -> Popularity:
        """Return what popularity adds to each item's score, the same for all users at this gap."""
        popularity = self._popularity.get(gap)
        if popularity is None:
            popularity = popularity_of(self.shared, self.hyper, gap, self._outlined())
            # Threads that come at the same time fill one each, all alike.
            self._popularity[gap] = popularity
        return popularity

    def _outlined(self) -> Outline:
        if self._outline is None:
            self._outline = outline_of(self.memory, self.shared)
        return self._outline

    def _name(self, slots: NDArray[np.int32], scores: NDArray[np.float32]) -> list[Scored]:
        ids = np.empty((len(slots), retrieval.ID_WORDS), np.int32)
        retrieval.copy_ids(self.memory, slots, ids)
        rows = (row.tobytes() for row in ids.view(np.uint8))
        return [Scored(row[1 : 1 + row[0]].decode(), score) for row, score in zip(rows, scores.tolist(), strict=True)]

    def _reason(self, user: int) -> Reason:
        if user < 0:
            return "cold"
        entity, num_ids = self.memory.slots[user], self.hyper.num_ids
        size = int(entity["size"])
        has_history = num_ids > 0 and size > 0 and self.memory.words[entity["offset"]] >= 0
        return "personal" if has_history or size > num_ids else "popular"


def memory_and_shared(arrays: Mapping[str, NDArray[Any]]) -> tuple[Memory, Shared]:
    """Return a model's state from its arrays by name, read-only: kernels that answer are compiled for that alone."""
    parts: dict[str, dict[str, NDArray[Any]]] = {"memory": {}, "shared": {}}
    for path, array in arrays.items():
        part, _, name = path.partition(".")
        parts[part][name] = view = array.view()
        view.flags.writeable = False
    words = parts["memory"]["arena"].view(np.int32)
    return Memory(**parts["memory"], words=words, scratch=words[:0].reshape(0, 1)), Shared(**parts["shared"])


def _means_of_groups(values: NDArray[Any]) -> list[float]:
    """Return the means of up to _NUM_GROUPS groups of (nearly) equal length, in order.

    >>> _means_of_groups(np.arange(128))[:2]
    [0.5, 2.5]
    """
    num = min(_NUM_GROUPS, len(values))
    if not num:
        return []
    borders = np.arange(num + 1) * len(values) // num
    means: list[float] = (np.add.reduceat(values, borders[:-1]) / np.diff(borders)).tolist()
    return means
