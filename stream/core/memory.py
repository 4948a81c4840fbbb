"""Every byte that grows with users, items or events: one layout, allocated once from a budget.

The slot table has one 32-byte record per entity, users and items in the same table: items fill it from the bottom,
users from the top, and whoever comes first gets the room. The arena holds everything of variable length, one extent
per entity::

    header | item's id bytes (lead) | payload: an item's coordinates, or a user's ids and then coordinates
    1 word   0 or more words          exactly ``size`` words, from ``offset`` on

``words`` is the arena seen as int32: a header is the slot number of the extent's owner, or minus the length of a
hole, so that the arena can be walked in address order without any other structure.
"""

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core.event import ITEM, USER
from stream.core.ledger import Ledger
from stream.core.sizes import MAX_SIZE
from stream.errors import BudgetError

SLOT: Final = np.dtype(
    {
        "names": [
            *(
                "key",
                "offset",
                "size",
                "target",
                "lead",
                "alive",
                "adagrad",
                "slow",
                "mid",
                "fast",
                "last_seen_s",
                "session",
            )
        ],
        "formats": ["u8", "i4", "u1", "u1", "u1", "u1", "f4", "f4", "f4", "f4", "i4", "i4"],
        "offsets": [0, 8, 12, 13, 14, 15, 16, 20, 24, 28, 28, 24],
        "itemsize": 32,
    }
)
"""One entity. ``key``: 64-bit hash of its id; ``offset``: first payload word in the arena (next free slot while
not alive); ``size``: payload words owned; ``target``: words to own after the resize under way; ``lead``: words of id
bytes before the payload (items); ``adagrad``: row-wise accumulator; ``slow``, ``mid``, ``fast``: decayed counts by
half-life (a user has ``slow`` alone); ``last_seen_s``: a user's last event time in seconds after the stream's origin,
in the place of ``fast``; ``session``: how many sessions a user has had before this one, in the place of ``mid``."""

# Where to find what in `counters` (int64).
NUM_USERS, NUM_ITEMS = USER, ITEM
"""Entities alive, by side."""
USER_TOP, ITEM_TOP = 2, 3
"""Slots ever used, by side: items are slots [0, top), users are slots [num_slots - top, num_slots)."""
USER_FREE, ITEM_FREE = 4, 5
"""First slot of the free list, by side; -1 for none."""
ARENA_TOP = 6
"""First word never used since the last compaction."""
OVERHEAD_WORDS = 7
"""Headers and id bytes of all entities alive."""
USER_WORDS, ITEM_WORDS = 8, 9
"""Payload words owned, by side."""
USER_NEWBORN, ITEM_NEWBORN = 10, 11
"""Payload words a new entity gets, by side."""
EVICTED_USERS, EVICTED_ITEMS = 12, 13
NUM_LEARNT = 14
RECENT_NEXT = 15
"""Where the next event's item goes in `recent`."""
ORIGIN_S = 16
"""Event time of the first event in seconds; -1 before it."""
COMPACTIONS = 17
NUM_COUNTERS = 18

NEWCOMER_WORDS: Final = 1 + 64 + MAX_SIZE
"""The largest extent: a header, the longest id, the largest size."""
NUM_FREQUENCY_BUCKETS: Final = 1024
"""Frequencies are ranked in 1/16 octaves over 64 octaves."""


LEDGER_NAMES: Final = (
    "slots: keys, extents, optimizer state, frequencies",
    "id index",
    "arena: embeddings, histories, item ids",
    "recent items (negative sampling)",
    "pairs already taken",
    "resize scratch",
    "counters",
)
"""What the ledger calls the arrays of a :class:`Memory`."""

RESERVE_SHARE: Final = 16
"""One word in this many stays free at a resize, for newcomers and for what grows until the next one."""


class Memory(NamedTuple):
    """The arrays of one model. Whatever is per user, item or event is here, and only here."""

    slots: NDArray[Any]
    """SLOT[num_slots]"""
    buckets: NDArray[np.int32]
    """The id index: open addressing from key to slot; -1 is empty. int32[num_buckets]"""
    arena: NDArray[np.float32]
    """float32[arena_words]"""
    words: NDArray[np.int32]
    """The same memory as ``arena``."""
    recent: NDArray[np.int32]
    """Item slots of the last events, a ring: where negatives are drawn from. int32[num_recent]"""
    seen: NDArray[np.uint16]
    """Fingerprints of (user, item) pairs, newest first in each set. uint16[num_sets, 8]; no sets if not asked for"""
    scratch: NDArray[np.int32]
    """What a resize needs while it runs. int32[4, NUM_FREQUENCY_BUCKETS]"""
    counters: NDArray[np.int64]
    """int64[NUM_COUNTERS]"""


class Layout(NamedTuple):
    """Lengths of the arrays of a :class:`Memory`."""

    num_slots: int
    num_buckets: int
    arena_words: int
    num_recent: int
    num_seen_sets: int

    @property
    def bytes_by_name(self) -> dict[str, int]:
        """Bytes of each array, by its name in the ledger."""
        words = (self.num_buckets, self.arena_words, self.num_recent)
        fixed = (16 * NUM_FREQUENCY_BUCKETS, 8 * NUM_COUNTERS)
        sizes = (SLOT.itemsize * self.num_slots, *(4 * num for num in words), 16 * self.num_seen_sets, *fixed)
        return dict(zip(LEDGER_NAMES, sizes, strict=True))

    @property
    def num_bytes(self) -> int:
        """Bytes of all arrays together."""
        return sum(self.bytes_by_name.values())


BYTES_PER_ENTITY_INDEX: Final = SLOT.itemsize + 6
"""A slot and 1.5 buckets."""
MIN_SLOTS: Final = 64
SLOT_BITS: Final = 28
"""Slots are numbered with so many, for a history has something else in the other bits of a word."""
MIN_RECENT: Final = 256
MAX_RECENT: Final = 4096
SEEN_WAYS: Final = 8


def plan_layout(
    budget_bytes: int, words_per_entity: int, max_entities: int | None = None, seen_share: float = 0.0
) -> Layout:
    """Lay a budget out: how many entities it can index, and how many words are left for them.

    At full occupancy each entity has ``words_per_entity`` words on average, header and id bytes included; with fewer
    entities each has more. ``max_entities`` fixes the number of slots instead, and the arena gets all the rest.
    ``seen_share`` of the budget goes to the filter of pairs already taken.

    Raises:
        BudgetError: too small for anything useful; names the smallest budget that works.

    >>> layout = plan_layout(1 << 20, words_per_entity=12)
    >>> (1 << 20) - layout.num_bytes < 64, layout.num_slots > 10_000
    (True, True)

    """
    assert words_per_entity >= 2, "one word is the header alone"
    assert max_entities is None or max_entities >= 2, "a user and an item"
    smallest = smallest_budget(words_per_entity, max_entities, seen_share)
    if budget_bytes < smallest:
        need = f" for {max_entities:,} entities" if max_entities else ""
        raise BudgetError(
            f"budget of {budget_bytes:,} bytes is too small{need}: "
            f"give at least --budget {math.ceil(smallest / 1024)}KiB"
        )
    num_seen_sets = int(budget_bytes * seen_share) // 16
    num_recent = min(MAX_RECENT, max(MIN_RECENT, (budget_bytes - 16 * num_seen_sets) // 256))
    empty = Layout(0, 0, 0, num_recent, num_seen_sets).num_bytes
    rest = budget_bytes - empty
    num_slots = max_entities or min(2**SLOT_BITS, rest // (BYTES_PER_ENTITY_INDEX + 4 * words_per_entity))
    num_buckets = num_slots + num_slots // 2
    arena_words = (rest - SLOT.itemsize * num_slots - 4 * num_buckets) // 4
    layout = Layout(num_slots, num_buckets, min(arena_words, 2**31 - 1), num_recent, num_seen_sets)
    assert layout.num_bytes <= budget_bytes
    return layout


def budget_for(
    num_users: int, num_items: int, user_size: int, item_size: int, id_bytes: int, num_pairs: int = 0
) -> int:
    """Return the bytes with which so many entities all have so many words.

    ``id_bytes`` is the mean length of an item's id; ``num_pairs`` pairs taken are remembered at half the filter's load.

    >>> budget_for(100_000, 20_000, user_size=8, item_size=16, id_bytes=7) // 2**20
    9
    """
    num_slots = num_users + num_items
    # The length byte, and half a word of padding on average.
    lead = (id_bytes + 1) / 4 + 0.5
    words = num_users * (1 + user_size) + math.ceil(num_items * (1 + lead + item_size))
    arena_words = words + max(words // (RESERVE_SHARE - 1) + 1, 2 * NEWCOMER_WORDS)
    return Layout(num_slots, num_slots + num_slots // 2, arena_words, MAX_RECENT, num_pairs // 4).num_bytes


def slots_for(num_users: int, num_items: int) -> int:
    """Return slots enough for both sides, of which neither may take the last sixteenth from the other.

    >>> slots_for(1000, 500)
    1669
    """
    return round(1.07 * (num_users + num_items)) + 64


def smallest_budget(words_per_entity: int, max_entities: int | None, seen_share: float) -> int:
    """Return the fewest bytes that :func:`plan_layout` lays out."""
    # Beside an entity's header and id, the arena has to hold what a resize leaves free for newcomers.
    newcomers = 3 * NEWCOMER_WORDS
    if max_entities is None:
        slots = max(MIN_SLOTS, math.ceil(newcomers / (words_per_entity - 1)))
        arena_words = slots * words_per_entity
    else:
        slots = max_entities
        arena_words = slots * 4 + newcomers
    core = Layout(0, 0, arena_words, MIN_RECENT, 0).num_bytes + slots * BYTES_PER_ENTITY_INDEX
    return math.ceil((core + 16) / (1 - seen_share))


def allocate(layout: Layout) -> Memory:
    """Allocate all arrays at once, and touch them, so that resident memory does not grow later."""
    arena = np.full(layout.arena_words, 0, np.float32)
    memory = Memory(
        slots=np.zeros(layout.num_slots, SLOT),
        buckets=np.full(layout.num_buckets, -1, np.int32),
        arena=arena,
        words=arena.view(np.int32),
        recent=np.full(layout.num_recent, -1, np.int32),
        seen=np.full((layout.num_seen_sets, SEEN_WAYS), 0, np.uint16),
        scratch=np.zeros((4, NUM_FREQUENCY_BUCKETS), np.int32),
        counters=np.zeros(NUM_COUNTERS, np.int64),
    )
    memory.slots["key"] = 0
    for name in (USER_FREE, ITEM_FREE, ORIGIN_S):
        memory.counters[name] = -1
    return memory


def arrays_of(memory: Memory) -> dict[str, NDArray[Any]]:
    """Return the arrays that make up the state, by name: all but the second view of the arena and the scratch."""
    return {name: array for name, array in memory._asdict().items() if name not in ("words", "scratch")}


def layout_of(memory: Memory) -> Layout:
    """Return the lengths of a memory's arrays.

    >>> layout_of(allocate(Layout(8, 12, 100, 16, 2)))
    Layout(num_slots=8, num_buckets=12, arena_words=100, num_recent=16, num_seen_sets=2)
    """
    return Layout(*map(len, (memory.slots, memory.buckets, memory.arena, memory.recent, memory.seen)))


def ledger_of(memory: Memory, budget_bytes: int) -> Ledger:
    """Name every array and its bytes, from the arrays themselves."""
    arrays = (memory.slots, memory.buckets, memory.arena, memory.recent, memory.seen, memory.scratch, memory.counters)
    return Ledger(budget_bytes, dict(zip(LEDGER_NAMES, (array.nbytes for array in arrays), strict=True)))
