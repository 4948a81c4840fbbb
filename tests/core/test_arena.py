"""The arena against a dict: after any operation the same entities, the same words bit for bit, and no loose ends."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from numpy.typing import NDArray

from stream.core import arena, memory, resizing
from stream.core.event import ITEM, MAX_ID_BYTES, USER
from stream.core.history import NUM_GAPS
from stream.core.memory import NUM_FREQUENCY_BUCKETS, SLOT_BITS, Layout, Memory, allocate
from stream.core.sizes import sizes_by_rank
from tests.core import twins
from tests.core.twins import ArenaTwin, assert_same, assert_sound

SCALE = 0.1
TOP_BITS = twins.top_bits_of(2.0**17)
# Ties of a sixteenth octave, and both ends of the scale.
COUNTS = [0.0, 1e-30, 0.5, 1.0, 1.01, 1.02, 1.1, 2.0, 3.0, 900.0, 2.0**40]
ID_LENGTHS = [0, 1, 2, 3, 4, 7, 8, 20, 20, MAX_ID_BYTES]
MAX_SIZE = 40

quick = settings(derandomize=True, deadline=None, max_examples=100)
sides = st.sampled_from([USER, ITEM])
seeds = st.integers(0, 2**32 - 1)


def at_least_of(sizes_in_order: Sequence[int], maximum: int = MAX_SIZE) -> NDArray[np.int64]:
    """A size plan: how many sizes are s or more, for s from 0 to one above the maximum."""
    return np.array([sum(size >= s for size in sizes_in_order) for s in range(maximum + 2)], np.int64)


class ArenaMachine(RuleBasedStateMachine):
    """Drives the arena and its twin side by side."""

    @initialize(num_slots=st.sampled_from([48, 33, 15, 2]), num_ids=st.sampled_from([0, 1, 5]), is_tight=st.booleans())
    def begin(self, num_slots: int, num_ids: int, is_tight: bool) -> None:
        num_words = 100 + num_slots * (12 if is_tight else 40)
        self.m = allocate(Layout(num_slots, num_slots + num_slots // 2, num_words, num_recent=12, num_seen_sets=0))
        self.twin = ArenaTwin(num_slots, num_words, num_ids, SCALE, newborn={USER: 8, ITEM: 8}, recent=[-1] * 12)
        self.num_met = 0
        self.set_newborn(8, 8)

    def set_newborn(self, user: int, item: int) -> None:
        self.twin.newborn = {USER: user, ITEM: item}
        self.m.counters[memory.USER_NEWBORN : memory.ITEM_NEWBORN + 1] = user, item

    @rule(seed=seeds)
    def admit(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(random.integers(1, 20)):
            self.num_met += 1
            side = int(random.choice([USER, ITEM]))
            length = int(random.choice(ID_LENGTHS))
            before = int(random.integers(0, 5))
            data = random.integers(33, 127, before + length, np.uint8)
            key = twins.key_of(str(self.num_met).encode(), side)
            expected = self.twin.admit(key, side, data[before:].tobytes())
            num_ids = self.twin.num_ids
            assert arena.admit(self.m, np.uint64(key), side, data, before, length, SCALE, num_ids) == expected
            if expected < 0:
                break

    @precondition(lambda self: self.twin.entities)
    @rule(seed=seeds)
    def learn(self, seed: int) -> None:
        """Put any bits into coordinates, items into histories and among the recent ones, and counts on all."""
        random = np.random.default_rng(seed)
        items = [item.slot for item in self.twin.of(ITEM)]
        for entity in self.twin.entities.values():
            payload = random.integers(-(2**31), 2**31, len(entity.payload), np.int32)
            if entity.side == USER:
                places = min(len(payload), self.twin.num_ids)
                known = random.choice(items, random.integers(0, places + 1)).tolist() if items else []
                gaps = random.integers(0, NUM_GAPS, len(known)).tolist()
                words = [item + (gap << SLOT_BITS) for item, gap in zip(known, gaps, strict=True)]
                payload[:places] = words + [-1] * (places - len(known))
            entity.payload = payload
            entity.slow = float(random.choice(COUNTS))
            offset = self.m.slots["offset"][entity.slot]
            self.m.words[offset : offset + len(payload)] = payload
            self.m.slots["slow"][entity.slot] = entity.slow
        self.twin.recent = random.choice([-1, *items], len(self.m.recent)).tolist()
        self.m.recent[:] = self.twin.recent

    @precondition(lambda self: self.twin.entities)
    @rule(side=sides, divisor=st.sampled_from([1, 2, 6, 50]))
    def evict(self, side: int, divisor: int) -> None:
        num = -(-len(self.twin.of(side)) // divisor)
        self.twin.evict(side, num, TOP_BITS)
        arena.evict(self.m, side, num, TOP_BITS, self.twin.num_ids)

    @precondition(lambda self: self.twin.entities)
    @rule(free_words=st.integers(0, 60), most=st.sampled_from([0, 4, 12, MAX_SIZE]), seed=seeds)
    def resize(self, free_words: int, most: int, seed: int) -> None:
        """Draw sizes up to ``most``, and nothing for those for whom nothing is left."""
        random = np.random.default_rng(seed)
        room = self.twin.num_words - sum(entity.overhead for entity in self.twin.entities.values()) - free_words
        if room < 0:
            return
        targets: dict[int, int] = {}
        for side in (USER, ITEM):
            ranked = self.twin.by_rank(side, TOP_BITS)
            wanted = np.sort(random.integers(0, most + 1, len(ranked)))[::-1]
            granted = np.where(np.cumsum(wanted) <= room, wanted, 0).tolist()
            room -= sum(granted)
            targets |= {entity.key: size for entity, size in zip(ranked, granted, strict=True)}
            arena.count_frequencies(self.m, side, TOP_BITS, self.m.scratch[0])
            resizing.assign_targets(self.m, side, at_least_of(granted), TOP_BITS)
        slots = {entity.slot: targets[key] for key, entity in self.twin.entities.items()}
        assert {slot: self.m.slots["target"][slot] for slot in slots} == slots
        self.set_newborn(*random.integers(0, most + 1, 2).tolist())
        self.twin.resize(targets, free_words)
        resizing.resize(self.m, SCALE, self.twin.num_ids, free_words)
        assert self.m.counters[memory.ARENA_TOP] <= self.twin.num_words - free_words

    @invariant()
    def agree(self) -> None:
        assert_sound(self.m, self.twin.num_ids)
        assert_same(self.m, self.twin)


def test_the_arena_does_what_a_dict_does() -> None:
    few = settings(quick, max_examples=80, stateful_step_count=40, report_multiple_bugs=False)
    run_state_machine_as_test(ArenaMachine, settings=few)


# One operation at a time

NUM_IDS = 4


def small(num_slots: int, num_words: int, newborn: int = 3) -> Memory:
    m = allocate(Layout(num_slots, num_slots + num_slots // 2, num_words, num_recent=4, num_seen_sets=0))
    m.counters[memory.USER_NEWBORN : memory.ITEM_NEWBORN + 1] = newborn
    return m


def admit(m: Memory, name: str, side: int) -> int:
    data = np.frombuffer(name.encode(), np.uint8).copy()
    key = np.uint64(twins.key_of(data.tobytes(), side))
    return int(arena.admit(m, key, side, data, 0, len(data), SCALE, NUM_IDS))


@pytest.mark.parametrize("side", [USER, ITEM])
@pytest.mark.parametrize("num_slots", [16, 31, 64])
def test_a_side_alone_leaves_a_sixteenth_of_the_slots_to_the_other(side: int, num_slots: int) -> None:
    m = small(num_slots, num_words=40 * num_slots)
    answers = [admit(m, str(i), side) for i in range(num_slots)]
    left = num_slots // 16
    assert arena.NO_SLOT not in answers[:-left]
    assert answers[-left:] == [arena.NO_SLOT] * left
    others = [admit(m, str(i), 1 - side) for i in range(left + 1)]
    assert sorted(answers[:-left] + others[:-1]) == list(range(num_slots))
    assert others[-1] == arena.NO_SLOT
    assert_sound(m, NUM_IDS)


@pytest.mark.parametrize(("name", "num_words"), [("", 5), ("abc", 5), ("abcd", 6), ("x" * MAX_ID_BYTES, 68)])
def test_a_newcomer_takes_its_header_its_id_and_its_size_to_the_last_word(name: str, num_words: int) -> None:
    roomy, tight = small(4, num_words), small(4, num_words - 1)
    slot = admit(roomy, name, ITEM)
    assert arena.item_id(roomy, slot) == name
    assert roomy.counters[memory.ARENA_TOP] == num_words
    before = [array.tobytes() for array in tight]
    assert admit(tight, name, ITEM) == arena.NO_ROOM
    assert [array.tobytes() for array in tight] == before


@quick
@given(names=st.lists(st.text(max_size=63), min_size=1, max_size=5, unique=True))
def test_stored_ids_are_read_back_in_any_script(names: list[str]) -> None:
    m = small(12, num_words=800)
    slots = [admit(m, name, ITEM) for name in names]
    assert [arena.item_id(m, slot) for slot in slots] == names


@quick
@given(key=st.integers(1, 2**64 - 1), c=st.integers(0, 255), scale=st.sampled_from([0.1, 1.0]))
def test_initial_coordinates_hash_the_key_evenly_into_the_scale(key: int, c: int, scale: float) -> None:
    assert arena.initial_coordinate(np.uint64(key), c, scale) == twins.initial_coordinate(key, c, scale)
    assert abs(twins.initial_coordinate(key, c, scale)) <= np.float32(scale)


def test_an_item_that_lost_coordinates_gets_the_same_first_ones_again() -> None:
    m = small(8, num_words=60, newborn=9)
    item = admit(m, "film", ITEM)
    first = payload(m, item).tolist()
    for size in (2, 9):
        m.slots["target"][item] = size
        resizing.resize(m, SCALE, NUM_IDS, 0)
    assert payload(m, item).tolist() == first


def payload(m: Memory, slot: int) -> NDArray[np.float32]:
    offset, size = int(m.slots["offset"][slot]), int(m.slots["size"][slot])
    return m.arena[offset : offset + size]


@pytest.mark.parametrize(("num_words", "num_compactions"), [(200, 0), (44, 1)])
def test_a_resize_works_in_place_while_the_top_has_room(num_words: int, num_compactions: int) -> None:
    m = small(8, num_words, newborn=8)
    slots = [admit(m, name, side) for name, side in (("a", ITEM), ("u", USER), ("b", ITEM))]
    kept = [payload(m, slot)[:5].copy() for slot in slots]
    m.slots["target"][slots] = [13, 5, 10]
    resizing.resize(m, SCALE, NUM_IDS, 0)
    assert m.counters[memory.COMPACTIONS] == num_compactions
    assert m.slots["size"][slots].tolist() == [13, 5, 10]
    assert [payload(m, slot)[:5].tobytes() for slot in slots] == [words.tobytes() for words in kept]
    assert_sound(m, NUM_IDS)


def populate(m: Memory, side: int, is_alive: NDArray[np.bool_], slow: NDArray[np.float32]) -> NDArray[np.intp]:
    """Give a side its entities by their counts alone; return their slots."""
    used = len(is_alive)
    m.counters[memory.USER_TOP + side] = used
    slots = np.arange(used) + (0 if side == ITEM else len(m.slots) - used)
    m.slots["alive"][slots] = is_alive
    m.slots["slow"][slots] = slow
    return slots[is_alive]


@quick
@given(side=sides, num=st.integers(0, 300), octaves=st.sampled_from([0, 1, 5, 60]), seed=seeds)
def test_targets_are_the_plan_s_sizes_by_bucket_and_then_by_slot(side: int, num: int, octaves: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    m = small(300, num_words=1)
    is_alive = random.random(num) < 0.8
    slots = populate(m, side, is_alive, np.exp2(octaves * random.random(num) - 8).astype(np.float32))
    at_least = at_least_of(random.integers(0, random.integers(1, 256), len(slots)).tolist(), maximum=255)

    arena.count_frequencies(m, side, TOP_BITS, m.scratch[0])
    buckets = [twins.frequency_bucket(count, TOP_BITS) for count in m.slots["slow"][slots].tolist()]
    assert m.scratch[0].tolist() == np.bincount(buckets, minlength=NUM_FREQUENCY_BUCKETS).tolist()
    resizing.assign_targets(m, side, at_least, TOP_BITS)
    ranked = slots[np.lexsort((slots, -np.array(buckets, np.int64)))]
    assert m.slots["target"][ranked].tolist() == sizes_by_rank(at_least).tolist()
    assert not m.slots["target"][np.setdiff1d(np.arange(300), slots)].any()


def test_buckets_are_sixteenths_of_octaves_and_everything_beyond_the_ends() -> None:
    m = small(8, num_words=1)
    counts = np.array([0, 1, 1.06, 1.0625, 2, 2.0**17, 2.0**17 * 1.07, 1e30], np.float32)
    populate(m, ITEM, np.ones(8, np.bool_), counts)
    arena.count_frequencies(m, ITEM, TOP_BITS, m.scratch[0])
    one = 1023 - 17 * 16
    assert np.flatnonzero(m.scratch[0]).tolist() == [0, one, one + 1, one + 16, 1023]
    assert m.scratch[0][[0, one, one + 1, one + 16, 1023]].tolist() == [1, 2, 1, 1, 3]


def test_an_evicted_item_leaves_histories_and_recent_items_in_order() -> None:
    m = small(16, num_words=200)
    items = [admit(m, name, ITEM) for name in "abcd"]
    user = admit(m, "u", USER)
    m.slots["slow"][items] = [5.0, 1.0, 4.0, 2.0]
    payload(m, user).view(np.int32)[:] = [items[1], items[0], items[3]]
    m.recent[:] = [items[2], items[1], -1, items[3]]
    arena.evict(m, ITEM, 2, TOP_BITS, NUM_IDS)
    assert payload(m, user).view(np.int32).tolist() == [items[0], -1, -1]
    assert m.recent.tolist() == [items[2], -1, -1, -1]
    newcomer = admit(m, "e", ITEM)
    assert newcomer == items[3], "the slot that was freed last"
    assert_sound(m, NUM_IDS)
