"""Naive twins of the memory core: Python's own numbers, a dict of entities, and what must hold of a memory at any time.

Nothing here is quick, and nothing shares code with what it checks.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.core import arena, index, memory
from stream.core.event import ITEM, USER, EventBatch, hash_spans
from stream.core.memory import SLOT_BITS, Memory

Words = NDArray[np.int32]

SIDES = (USER, ITEM)
_64_BITS = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15


def mix64(x: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _64_BITS
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _64_BITS
    return x ^ (x >> 31)


def key_of(name: bytes, side: int) -> int:
    """FNV-1a from a salted offset, scrambled; never 0."""
    h = 0xCBF29CE484222325 ^ mix64(side + _GOLDEN)
    for byte in name:
        h = (h ^ byte) * 0x100000001B3 & _64_BITS
    return mix64(h) or 1


def initial_coordinate(key: int, c: int, scale: float) -> np.float32:
    """24 bits of a hash, laid out evenly over [-scale, scale]."""
    unit = (mix64((key + c * _GOLDEN) & _64_BITS) >> 40) / 2**23 - 1
    return np.float32(unit) * np.float32(scale)


def frequency_bucket(count: float, top_bits: int) -> int:
    """Sixteenths of octaves below the top: exponent and four bits of the mantissa of a float32."""
    bits: int = struct.unpack("<i", struct.pack("<f", count))[0]
    return min(max((bits >> 19) - top_bits + 1023, 0), 1023)


def top_bits_of(top: float) -> int:
    """Where the scale of frequency buckets ends."""
    bits: int = struct.unpack("<i", struct.pack("<f", top))[0]
    return bits >> 19


@dataclass
class Entity:
    """One user or item of the twin; counts are set from outside."""

    key: int
    side: int
    slot: int
    name: bytes
    payload: Words
    slow: float = 0.0

    @property
    def overhead(self) -> int:
        """Words beside the payload: a header, and an item's id behind a byte for its length."""
        return 1 + (-(-(1 + len(self.name)) // 4) if self.side == ITEM else 0)


@dataclass
class ArenaTwin:
    """The arena as a dict from key to entity; of where things lie it knows only how much of the top is used."""

    num_slots: int
    num_words: int
    num_ids: int
    scale: float
    newborn: dict[int, int]
    entities: dict[int, Entity] = field(default_factory=dict)
    departed: set[int] = field(default_factory=set)
    recent: list[int] = field(default_factory=list)
    num_evicted: dict[int, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    freed: dict[int, list[int]] = field(default_factory=lambda: {USER: [], ITEM: []})
    used: dict[int, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    top: int = 0
    num_compactions: int = 0

    def of(self, side: int) -> list[Entity]:
        """The entities of a side by slot."""
        return sorted((e for e in self.entities.values() if e.side == side), key=lambda e: e.slot)

    def free_slot(self, side: int) -> int | None:
        """The slot freed last, or else the next one that was never used."""
        if self.freed[side]:
            return self.freed[side][-1]
        reserved = self.num_slots // 16
        if sum(self.used.values()) == self.num_slots or self.used[side] >= self.num_slots - reserved:
            return None
        return self.used[side] if side == ITEM else self.num_slots - 1 - self.used[side]

    def admit(self, key: int, side: int, name: bytes) -> int:
        """Admit an entity; the slot, NO_SLOT or NO_ROOM."""
        slot = self.free_slot(side)
        if slot is None:
            return arena.NO_SLOT
        entity = Entity(key, side, slot, name, np.empty(0, np.int32))
        extent = entity.overhead + self.newborn[side]
        if self.top + extent > self.num_words:
            return arena.NO_ROOM
        if self.freed[side]:
            self.freed[side].pop()
        else:
            self.used[side] += 1
        self.top += extent
        self.set_size(entity, self.newborn[side])
        self.entities[key] = entity
        return slot

    def set_size(self, entity: Entity, size: int) -> None:
        """Keep the shared prefix; what is new is an initial coordinate, an empty place for an id, or 0."""
        kept = entity.payload[:size]
        places = range(len(kept), size)
        if entity.side == ITEM:
            coordinates = [initial_coordinate(entity.key, c, self.scale) for c in places]
            fresh = np.array(coordinates, np.float32).view(np.int32)
        else:
            fresh = np.array([-1 if c < self.num_ids else 0 for c in places], np.int32)
        entity.payload = np.concatenate((kept, fresh))

    def evict(self, side: int, num: int, top_bits: int) -> None:
        """Drop the least frequent, and every mention of dropped items."""
        order = sorted(self.of(side), key=lambda e: (frequency_bucket(e.slow, top_bits), e.slot))
        gone = {e.slot: e.key for e in order[:num]}
        for slot in sorted(gone):
            del self.entities[gone[slot]]
            self.freed[side].append(slot)
        self.departed |= set(gone.values())
        self.num_evicted[side] += len(gone)
        if side == ITEM:
            self.recent = [-1 if item in gone else item for item in self.recent]
            for user in self.of(USER):
                places = user.payload[: self.num_ids]
                left = without(history_in(places), lambda item: item in gone)
                kept = [item + (gap << SLOT_BITS) for item, gap in left]
                places[:] = kept + [-1] * (len(places) - len(kept))

    def by_rank(self, side: int, top_bits: int) -> list[Entity]:
        """The entities of a side, most frequent bucket first, then lowest slot."""
        return sorted(self.of(side), key=lambda e: (-frequency_bucket(e.slow, top_bits), e.slot))

    def resize(self, targets: dict[int, int], free_words: int) -> None:
        """Give every entity, by key, its target size."""
        to_regrow = [
            entity.overhead + targets[key]
            for key, entity in self.entities.items()
            if targets[key] > len(entity.payload)
        ]
        for key, size in targets.items():
            self.set_size(self.entities[key], size)
        if sum(to_regrow) <= self.num_words - self.top - free_words:
            self.top += sum(to_regrow)
        else:
            self.top = sum(entity.overhead + len(entity.payload) for entity in self.entities.values())
            self.num_compactions += 1


def history_in(words: Words) -> list[tuple[int, int]]:
    """The items in a history's words, each with the gap before it."""
    return [(word % 2**SLOT_BITS, word >> SLOT_BITS) for word in words.tolist() if word >= 0]


def without(history: list[tuple[int, int]], is_gone: Callable[[int], bool]) -> list[tuple[int, int]]:
    """What is left of a history: the pause between two items that stay is what it was."""
    stay = [k for k, (item, _) in enumerate(history) if not is_gone(item)]
    ends = [*stay[1:], len(history)][: len(stay)]
    return [
        (history[begin][0], max(gap for _, gap in history[begin:end])) for begin, end in zip(stay, ends, strict=True)
    ]


def assert_same(m: Memory, twin: ArenaTwin) -> None:
    """Whatever the twin knows, the memory has."""
    for key, entity in twin.entities.items():
        slot = m.slots[entity.slot]
        assert (int(slot["key"]), int(slot["size"])) == (key, len(entity.payload))
        offset = int(slot["offset"])
        assert m.words[offset : offset + len(entity.payload)].tolist() == entity.payload.tolist()
        assert slot["slow"] == np.float32(entity.slow)
        if entity.side == ITEM:
            assert arena.item_id(m, entity.slot) == entity.name.decode()
    keys = np.array([*twin.entities, *twin.departed], np.uint64)
    slots = [entity.slot for entity in twin.entities.values()] + [-1] * len(twin.departed)
    assert index.find_all(m, keys).tolist() == slots
    assert m.recent[: len(twin.recent)].tolist() == twin.recent
    for side in SIDES:
        assert m.counters[memory.NUM_USERS + side] == len(twin.of(side))
        assert m.counters[memory.USER_TOP + side] == twin.used[side]
        assert m.counters[memory.EVICTED_USERS + side] == twin.num_evicted[side]
        assert free_slots(m, side) == twin.freed[side][::-1]
    assert m.counters[memory.ARENA_TOP] == twin.top
    assert m.counters[memory.COMPACTIONS] == twin.num_compactions


def free_slots(m: Memory, side: int) -> list[int]:
    """The free list of a side, first to be taken first."""
    found: list[int] = []
    slot = int(m.counters[memory.USER_FREE + side])
    while slot >= 0:
        assert slot not in found, "the free list runs in a ring"
        found.append(slot)
        slot = int(m.slots[slot]["offset"])
    return found


def extents(m: Memory) -> Iterator[tuple[int, int]]:
    """Walk the arena: (owner's slot or -1 for a hole, first word), each beginning where the one before ends."""
    at, top = 0, int(m.counters[memory.ARENA_TOP])
    while at < top:
        header = int(m.words[at])
        yield max(header, -1), at
        at += 1 + int(m.slots[header]["lead"]) + int(m.slots[header]["size"]) if header >= 0 else -header
    assert at == top <= len(m.words)


def assert_sound(m: Memory, num_ids: int) -> None:
    """What must hold of any memory between two calls: every structure tells of the same entities."""
    alive = np.flatnonzero(m.slots["alive"])
    of_side = {USER: alive[alive >= len(m.slots) - m.counters[memory.USER_TOP]].tolist()}
    of_side[ITEM] = alive[alive < m.counters[memory.ITEM_TOP]].tolist()
    assert sorted(of_side[USER] + of_side[ITEM]) == alive.tolist()
    assert m.counters[memory.USER_TOP] + m.counters[memory.ITEM_TOP] <= len(m.slots)

    owned = [(slot, at) for slot, at in extents(m) if slot >= 0]
    assert sorted(slot for slot, _ in owned) == alive.tolist()
    for slot, at in owned:
        assert m.slots[slot]["offset"] == at + 1 + int(m.slots[slot]["lead"])
    assert arena.live_words(m) == sum(1 + int(m.slots[s]["lead"]) + int(m.slots[s]["size"]) for s, _ in owned)
    assert sorted(m.buckets[m.buckets >= 0]) == alive.tolist()
    assert index.find_all(m, m.slots["key"][alive]).tolist() == alive.tolist()
    assert m.counters[memory.OVERHEAD_WORDS] == sum(1 + int(m.slots[slot]["lead"]) for slot in alive)
    for side, slots in of_side.items():
        begin, end = arena.slots_of(m, side)
        assert set(free_slots(m, side)) == set(range(begin, end)) - set(slots)
        assert m.counters[memory.NUM_USERS + side] == len(slots)
        assert m.counters[memory.USER_WORDS + side] == m.slots["size"][slots].sum(dtype=np.int64)
    _assert_mentions_are_alive(m, of_side, num_ids)


def _assert_mentions_are_alive(m: Memory, of_side: dict[int, list[int]], num_ids: int) -> None:
    known = {*of_side[ITEM], -1}
    assert known.issuperset(m.recent.tolist())
    for slot in of_side[USER]:
        offset, size = int(m.slots[slot]["offset"]), int(m.slots[slot]["size"])
        words = m.words[offset : offset + min(size, num_ids)]
        assert known.issuperset(item for item, _ in history_in(words))
        places = words.tolist()
        assert -1 not in places or set(places[places.index(-1) :]) == {-1}, "a gap in a history"


def events_of(user_ids: Iterable[str], item_ids: Sequence[str]) -> EventBatch:
    """A batch of one event a second."""
    users = [name.encode() for name in user_ids]
    items = [name.encode() for name in item_ids]
    n = len(items)
    data, start, length = _joined(items)
    return EventBatch(
        user=hash_spans(*_joined(users), USER),
        item=hash_spans(data, start, length, ITEM),
        timestamp_ms=1_700_000_000_000 + 1000 * np.arange(n, dtype=np.int64),
        weight=np.ones(n, np.float32),
        partition=np.zeros(n, np.int32),
        offset=np.arange(n, dtype=np.int64),
        number=np.arange(1, n + 1, dtype=np.int64),
        item_start=start,
        item_length=length,
        item_data=data,
    )


def _joined(names: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32]]:
    length = np.array([len(name) for name in names], np.int32)
    start = np.cumsum(length, dtype=np.int64) - length
    # A copy, for a view of bytes cannot be written to and would be another type to the compiler.
    return np.frombuffer(b"".join(names), np.uint8).copy(), start, length
