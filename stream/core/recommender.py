"""The recommender as the loop sees it: learn, test, recommend, resize; all state in arrays of fixed size."""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core import arena, memory, ranking, resizing, seen
from stream.core.event import ITEM, USER, EventBatch
from stream.core.events import learn_events, rank_event
from stream.core.memory import USER_NEWBORN, Layout, Memory
from stream.core.model import Hyper, Shared, new_shared, new_workspace
from stream.core.relayout import relayout
from stream.core.sizes import Curve, FrequencyHistogram, SizeBounds, SizeDecision, plan_sizes
from stream.core.snapshot import Scored, Snapshot

_EVICTED_AT_ONCE: Final = 64
"""One entity of a side in this many goes when the index is full, so that the search is paid for once."""


LARGEST_STEP: Final = 8
"""Words of a vector register that the kernels work with."""


class Learnt(NamedTuple):
    """How far a call of :meth:`Recommender.learn` came."""

    reached: int
    """First event not learnt."""
    num_new: int
    """Users and items admitted on the way."""
    needs_resize: bool
    """The arena has no room for the next newcomer: resize, then go on from ``reached``."""


class Ranked(NamedTuple):
    """The place of an event's item in each ranking, 0 first; infinite where it cannot be recommended."""

    rank: NDArray[np.float64]
    """float64[NUM_RANKINGS]"""
    gap: int
    """Time gap since the user's last event, as :func:`stream.core.history.gap_bucket` has it; 0 for a first event."""
    first_sight: bool
    """The item is not in the index."""


def plan_in_steps(
    curve: Curve, num: int, words: int, bounds: SizeBounds, frequencies: FrequencyHistogram | None = None
) -> NDArray[np.int64]:
    """Plan sizes (:func:`~stream.core.sizes.plan_sizes`) in steps: vector code is twice as fast on whole vectors.

    A step is the largest power of two up to half the mean size that divides the maximum, and at most LARGEST_STEP. All
    sizes are multiples of it; less than a step's words go to waste.

    >>> plan_in_steps(Curve("powerlaw", 1.0), 4, 64, SizeBounds(2, 32))[::8].tolist()
    [4, 4, 3, 1, 0]
    """
    mean = words // num if num else 0
    step = LARGEST_STEP
    while step > 1 and (2 * step > mean or bounds.maximum % step):
        step //= 2
    units = SizeBounds(-(-bounds.minimum // step), bounds.maximum // step)
    at_least = plan_sizes(curve, num, words // step, units, frequencies)
    sizes = np.arange(bounds.maximum + 2)
    return at_least[np.minimum(-(-sizes // step), units.maximum + 1)]


def _reserve(arena_words: int) -> int:
    """Return how many words a resize leaves free: at least for two of the largest newcomers."""
    return max(arena_words // memory.RESERVE_SHARE, 2 * memory.NEWCOMER_WORDS)


class Recommender:
    """A streaming recommender whose whole per-entity state is a :class:`~stream.core.memory.Memory`.

    ``user_bounds`` and ``item_bounds`` limit the sizes that entities may have, in words. A user's words are its last
    item ids first (``hyper.num_ids`` of them), then coordinates.
    """

    def __init__(
        self, layout: Layout, hyper: Hyper, user_bounds: SizeBounds, item_bounds: SizeBounds, seed: int
    ) -> None:
        self.memory: Memory = memory.allocate(layout)
        width = max(1, item_bounds.maximum, user_bounds.maximum - hyper.num_ids)
        self.shared: Shared = new_shared(hyper, seed, width)
        self.hyper = hyper
        self.bounds = {USER: user_bounds, ITEM: item_bounds}
        self._workspace = new_workspace(hyper, width)
        half_lives = (hyper.half_life_slow, hyper.half_life_mid, hyper.half_life_fast)
        self._growth = 2.0 ** (1.0 / np.array(half_lives))
        for side, bounds in self.bounds.items():
            self.memory.counters[USER_NEWBORN + side] = bounds.maximum

    @property
    def num_users(self) -> int:
        """Users in the index."""
        return int(self.memory.counters[memory.NUM_USERS])

    @property
    def num_items(self) -> int:
        """Items in the index."""
        return int(self.memory.counters[memory.NUM_ITEMS])

    @property
    def workspace_bytes(self) -> int:
        """Bytes of the scratch for one event."""
        return sum(array.nbytes for array in self._workspace)

    @property
    def num_learnt(self) -> int:
        """Events learnt since the first."""
        return int(self.memory.counters[memory.NUM_LEARNT])

    def learn(self, events: EventBatch, begin: int, end: int, max_new: int) -> Learnt:
        """Learn events ``begin`` to ``end`` of a batch, each before it enters any state.

        Stops early after the event that admits the ``max_new``-th new entity, or before one whose newcomer finds no
        room in the arena. A full index is no reason to stop: the least frequent of that side go.
        """
        events = events.frozen()
        columns = (
            *(events.user, events.item, events.timestamp_ms, events.weight),
            *(events.item_start, events.item_length, events.item_data),
        )
        num_new = 0
        while True:
            begin, admitted, stopped, side = learn_events(
                self.memory, self.shared, self.hyper, self._workspace, self._growth,
                columns, begin, end, max_new - num_new,
            )  # fmt: skip
            num_new += admitted
            if stopped != arena.NO_SLOT:
                return Learnt(begin, num_new, stopped == arena.NO_ROOM)
            self.evict(side, max(1, int(self.memory.counters[side]) // _EVICTED_AT_ONCE))

    def test(self, user_key: Any, item_key: Any, timestamp_ms: int) -> Ranked:
        """Rank one event's item against all items known, before the event is learnt."""
        rank = np.full(ranking.NUM_RANKINGS, np.inf)
        gap, item = rank_event(
            self.memory, self.shared, self.hyper, self._workspace, user_key, item_key, timestamp_ms, rank
        )
        return Ranked(rank, gap, item < 0)

    def is_seen(self, user_key: Any, item_key: Any) -> bool:
        """Return whether the filter of pairs already taken holds this one; never, if it was not asked for."""
        return bool(seen.contains(self.memory, user_key, item_key))

    def recommend(self, user_id: str, n: int, timestamp_ms: int) -> list[Scored]:
        """Return the ids and scores of the best ``n`` items for a user at a time, best first.

        A user who is not known gets what newcomers take. Items already taken are left out where the filter is on.
        """
        snapshot = Snapshot(self.state(), self.hyper)
        return snapshot.recommend(user_id, n, exclude_seen=snapshot.hides_taken, timestamp_ms=timestamp_ms).items

    def evict(self, side: int, num: int) -> None:
        """Evict the ``num`` entities of a side with the lowest decayed frequency."""
        arena.evict(self.memory, side, num, self._top_bits(), self.hyper.num_ids)

    def resize(self, decision: SizeDecision, items_only: bool = False, arena_words: int | None = None) -> None:
        """Share the arena's words out anew as decided, by rank of decayed frequency, and set what newcomers get.

        A side takes no more words than its largest size allows; the other gets what is left. With ``items_only``
        the users keep theirs, which is cheaper where they are many. With ``arena_words`` everything is brought into
        the arena's first so many words.
        """
        arena_words = len(self.memory.words) if arena_words is None else arena_words
        self._make_room_for_payload(arena_words)
        words = self.split_words(decision.users_share, arena_words)
        # A compaction is put off until the reserve is nearly used up; the next newcomer must find room all the same.
        limit = arena_words - max(_reserve(arena_words) // 8, memory.NEWCOMER_WORDS)
        fits = items_only or self._plan_side(USER, decision.users, words[USER], limit)
        if items_only:
            words[ITEM] = min(words[ITEM], sum(words.values()) - int(self.memory.counters[memory.USER_WORDS]))
        fits = self._plan_side(ITEM, decision.items, max(0, words[ITEM]), limit if fits else -1)
        if not fits or self.memory.counters[memory.ARENA_TOP] > limit:
            free_words = len(self.memory.words) - limit
            resizing.resize(self.memory, self.hyper.initial_scale, self.hyper.num_ids, free_words)
        top = self.memory.counters[memory.ARENA_TOP]
        assert arena.live_words(self.memory) <= top <= arena_words, self.memory.counters

    def split_words(self, users_share: float, arena_words: int | None = None) -> dict[int, int]:
        """Return the payload words that each side may own now, or of an arena of so many words."""
        arena_words = len(self.memory.words) if arena_words is None else arena_words
        taken = int(self.memory.counters[memory.OVERHEAD_WORDS]) + _reserve(arena_words)
        payload = max(0, arena_words - taken)
        most = {side: int(self.memory.counters[side]) * self.bounds[side].maximum for side in (USER, ITEM)}
        users = min(int(payload * users_share), most[USER])
        items = min(payload - users, most[ITEM])
        return {USER: min(payload - items, most[USER]), ITEM: items}

    def change_layout(self, layout: Layout, decision: SizeDecision) -> None:
        """Go on in another layout with all that it has room for, and share the arena's words out as decided.

        The least frequent go where there are too few slots, of both sides in proportion. Embeddings are cut to the new
        arena before it is there, by rank, so that the most frequent lose nothing that they are to have afterwards.

        Raises:
            BudgetError: the machine does not give so much memory; nothing has changed but sizes, if at all.

        """
        self._make_room_in_slots(layout.num_slots)
        if layout.arena_words < len(self.memory.words):
            self.resize(decision, arena_words=layout.arena_words)
        self.memory = relayout(self.memory, layout, self.hyper.num_ids)
        self.resize(decision)

    def _make_room_in_slots(self, num_slots: int) -> None:
        num_users, num_items = self.num_users, self.num_items
        if num_users + num_items > num_slots:
            num_items = max(1, num_slots * num_items // (num_users + num_items)) if num_items else 0
            num_users = min(num_users, num_slots - num_items)
        most = arena.most_of_side(num_slots)
        for side, num in ((USER, min(num_users, most)), (ITEM, min(num_items, most))):
            if num < self.memory.counters[side]:
                self.evict(side, int(self.memory.counters[side]) - num)

    def _make_room_for_payload(self, arena_words: int) -> None:
        """Evict items while ids alone fill most of the arena, as a stream of very long ids can."""
        most = (arena_words - _reserve(arena_words)) * 3 // 4
        while self.memory.counters[memory.OVERHEAD_WORDS] > most and self.num_items > 1:
            self.evict(ITEM, max(1, self.num_items // _EVICTED_AT_ONCE))

    def frequencies(self, side: int) -> FrequencyHistogram:
        """Return how many entities have which decayed frequency, in events, within 1/32 octave."""
        self._count_frequencies(side)
        histogram = self.memory.scratch[0]
        used = np.flatnonzero(histogram)[::-1]
        bits = ((used + self._top_bits() - memory.NUM_FREQUENCY_BUCKETS + 1) << 19) + (1 << 18)
        value = bits.astype(np.int32).view(np.float32).astype(np.float64) / self.shared.decay[0]
        return FrequencyHistogram(value, histogram[used].astype(np.int64))

    def _count_frequencies(self, side: int) -> None:
        arena.count_frequencies(self.memory, side, self._top_bits(), self.memory.scratch[0])

    def sizes(self, side: int) -> NDArray[np.int64]:
        """Return how many entities of a side have which size: int64[maximum + 1]."""
        histogram = np.zeros(self.bounds[side].maximum + 1, np.int64)
        arena.count_sizes(self.memory, side, histogram)
        return histogram

    def _plan_side(self, side: int, curve: Curve, words: int, limit: int) -> bool:
        """Plan one side's sizes and resize in passing what can be; return whether that was all."""
        memory, bounds = self.memory, self.bounds[side]
        num = int(memory.counters[side])
        self._count_frequencies(side)
        frequencies = self.frequencies(side) if curve.family == "frequency" else None
        at_least = plan_in_steps(curve, num, words, bounds, frequencies)
        # A newcomer is worth a mean size at once: what a user or item is good for shows in its first events.
        newborn = round(at_least[1:].sum() / num) if num else bounds.maximum
        memory.counters[USER_NEWBORN + side] = min(max(newborn, bounds.minimum), bounds.maximum)
        hyper = self.hyper
        return bool(
            resizing.assign_and_resize(
                memory, side, at_least, self._top_bits(), limit, hyper.initial_scale, hyper.num_ids
            )
        )

    def _top_bits(self) -> int:
        """Return the upper end of the scale on which frequencies are ranked: 2^17 events, above any half-life."""
        return int(np.float32(self.shared.decay[0] * 2.0**17).view(np.int32)) >> 19

    def state(self) -> dict[str, NDArray[Any]]:
        """Return every array of the state, by name; they are the live ones, not copies."""
        shared = {f"shared.{name}": array for name, array in self.shared._asdict().items()}
        return {f"memory.{name}": array for name, array in memory.arrays_of(self.memory).items()} | shared

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take over the values of a state, in place; what this one held is gone."""
        layout = Layout(*(len(arrays[f"memory.{name}"]) for name in ("slots", "buckets", "arena", "recent", "seen")))
        if layout != memory.layout_of(self.memory):
            self.memory.counters[:] = 0
            self.memory = relayout(self.memory, layout, self.hyper.num_ids)
        for name, array in self.state().items():
            assert array.shape == arrays[name].shape, name
            array[...] = arrays[name]
