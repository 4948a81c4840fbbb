"""Another layout: the same entities as a dict remembers, in as many bytes as the larger of both at most."""

import tracemalloc
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from numpy.typing import NDArray

from stream.core import arena, index, memory, seen
from stream.core.event import ITEM, USER
from stream.core.memory import (
    SEEN_WAYS,
    SLOT_BITS,
    Layout,
    Memory,
    allocate,
    arrays_of,
    layout_of,
    ledger_of,
    plan_layout,
)
from stream.core.recommender import Recommender
from stream.core.relayout import _with_lengths, relayout
from stream.core.sizes import Curve, SizeDecision
from stream.errors import BudgetError
from tests.core.test_arena import MAX_SIZE, SCALE, TOP_BITS, ArenaMachine
from tests.core.test_memory import ANY, EVEN, HYPER, churn, learn, new_recommender, state_of
from tests.core.test_seen import locate, pairs
from tests.core.twins import SIDES, ArenaTwin, assert_sound, events_of, history_in, without

quick = settings(derandomize=True, deadline=None, max_examples=100)
few = settings(derandomize=True, deadline=None, max_examples=30)
seeds = st.integers(0, 2**32 - 1)


# Entities, against a dict


def renumber(twin: ArenaTwin, num_slots: int, num_words: int, recent: list[int], num_recent: int) -> list[int]:
    """Give the twin's entities the lowest and the highest slots, and return the recent items, oldest first."""
    items, users = twin.of(ITEM), twin.of(USER)
    number = {item.slot: i for i, item in enumerate(items)} | {-1: -1}
    for user in users:
        places = user.payload[: twin.num_ids]
        held = [number[item] + (gap << SLOT_BITS) for item, gap in history_in(places)]
        places[:] = held + [-1] * (len(places) - len(held))
    number |= {user.slot: num_slots - len(users) + i for i, user in enumerate(users)}
    for entity in (*items, *users):
        entity.slot = number[entity.slot]
    twin.num_slots, twin.num_words = num_slots, num_words
    twin.freed = {USER: [], ITEM: []}
    twin.used = {USER: len(users), ITEM: len(items)}
    return [number[item] for item in recent][-num_recent:]


class RelayoutMachine(ArenaMachine):
    """The arena and its twin, with changes of the layout among all that may happen to them."""

    @rule(num_slots=st.integers(2, 60), num_recent=st.integers(1, 24), spare=st.integers(0, 900), seed=seeds)
    def relayout(self, num_slots: int, num_recent: int, spare: int, seed: int) -> None:
        """Evict and cut until everything fits, as a recommender does, and go on in any other layout."""
        twin, total = self.twin, len(self.twin.entities)
        for side in SIDES:
            excess = len(twin.of(side)) - len(twin.of(side)) * num_slots // max(total, 1)
            if total > num_slots and excess > 0:
                twin.evict(side, excess, TOP_BITS)
                arena.evict(self.m, side, excess, TOP_BITS, twin.num_ids)
        if seed % 2:
            # All the room there is at the top goes; else the arena ends in free words.
            self.resize(0, MAX_SIZE, seed)
        num_words = max(twin.top, 1) + spare
        start = seed % len(self.m.recent)
        self.m.counters[memory.RECENT_NEXT] = start
        in_order = twin.recent[start:] + twin.recent[:start]
        newest = renumber(twin, num_slots, num_words, in_order, num_recent)
        twin.recent = newest + [-1] * (num_recent - len(newest))
        layout = Layout(num_slots, num_slots + num_slots // 2, num_words, num_recent, 0)
        self.m = relayout(self.m, layout, twin.num_ids)
        assert layout_of(self.m) == layout
        assert self.m.counters[memory.RECENT_NEXT] == len(newest) % num_recent


def test_a_layout_changed_in_place_does_what_a_dict_does() -> None:
    few = settings(quick, max_examples=60, stateful_step_count=30, report_multiple_bugs=False)
    run_state_machine_as_test(RelayoutMachine, settings=few)


def test_slots_without_an_owner_are_empty() -> None:
    recommender = new_recommender()
    learn(recommender, churn(200, 5, 8, seed=1), [200], EVEN)
    recommender.evict(USER, 5)
    recommender.evict(ITEM, 5)
    layout = layout_of(recommender.memory)
    for num_slots in (28, 40):
        recommender.change_layout(layout._replace(num_slots=num_slots, num_buckets=60), EVEN)
        slots = recommender.memory.slots
        num = recommender.num_users + recommender.num_items
        assert np.count_nonzero(slots.view(np.uint8).reshape(num_slots, -1).any(axis=1)) == num < num_slots


# Pairs taken


def filter_of(num_sets: int) -> Memory:
    return allocate(Layout(2, 3, arena_words=1, num_recent=1, num_seen_sets=num_sets))


def with_sets(m: Memory, num_sets: int) -> Memory:
    return relayout(m, layout_of(m)._replace(num_seen_sets=num_sets), num_ids=0)


def add_all(m: Memory, some: Sequence[tuple[int, int]]) -> None:
    for user, item in some:
        seen.add(m, np.uint64(user), np.uint64(item), item % 8)


def found(m: Memory, some: Sequence[tuple[int, int]]) -> list[bool]:
    return [bool(seen.contains(m, np.uint64(user), np.uint64(item))) for user, item in some]


def overlap(one: int, num: int, other: int, num_other: int) -> bool:
    """Whether the ranges of 32-bit hashes that two sets stand for have one in common."""
    first = max(-(-one * 2**32 // num), -(-other * 2**32 // num_other))
    return first < min(-(-(one + 1) * 2**32 // num), -(-(other + 1) * 2**32 // num_other))


@quick
@given(before=st.integers(1, 40), after=st.integers(1, 40), num_pairs=st.integers(0, 300), seed=seeds)
def test_pairs_go_wherever_they_are_looked_up_the_newest_of_each_set_first(
    before: int, after: int, num_pairs: int, seed: int
) -> None:
    m = filter_of(before)
    add_all(m, pairs(num_pairs, seed))
    old = m.seen.tolist()
    expected = []
    for to in range(after):
        sources = [old[i] for i in range(before) if overlap(i, before, to, after)]
        by_age = [held[way] for way in range(SEEN_WAYS) for held in sources if held[way]]
        first_of = {entry % 2**13: entry for entry in reversed(by_age)}
        newest = [entry for entry in dict.fromkeys(by_age) if first_of[entry % 2**13] == entry][:SEEN_WAYS]
        expected.append(newest + [0] * (SEEN_WAYS - len(newest)))
    assert with_sets(m, after).seen.tolist() == expected


@pytest.mark.parametrize("turns", [[14, 28, 56], [3, 90, 7], [5, 1, 6]])
def test_pairs_that_have_room_are_never_forgotten(turns: list[int]) -> None:
    m = filter_of(7)
    some = pairs(SEEN_WAYS, seed=1)
    add_all(m, some)
    for num_sets in turns:
        m = with_sets(m, num_sets)
        assert all(found(m, some))


def test_a_pair_taken_again_in_another_session_has_one_place_when_sets_come_together() -> None:
    some = pairs(SEEN_WAYS, seed=2)
    m = filter_of(1)
    add_all(m, some)
    m = with_sets(m, 6)
    for user, item in some:
        seen.add(m, np.uint64(user), np.uint64(item), item % 8 + 1)
    m = with_sets(m, 1)
    assert all(found(m, some)), "none was pushed out by the other entry of another"


def test_more_sets_keep_every_pair_that_does_not_share_one_with_two() -> None:
    m = filter_of(50)
    some = pairs(400, seed=2)
    add_all(m, some)
    known = [pair for pair, is_found in zip(some, found(m, some), strict=True) if is_found]
    doubled = with_sets(m, 100)
    assert all(found(doubled, known))
    halved = with_sets(doubled, 50)
    assert all(found(halved, known)), "both halves of a set hold the same"
    fewer = with_sets(halved, 25)
    assert sum(found(fewer, known)) > 25 * SEEN_WAYS * 0.8
    assert all(locate(pair, 25)[0] < 25 for pair in known)


# Bytes


budgets = st.integers(30 * 1024, 400 * 1024)


def layout_for(budget_bytes: int) -> Layout:
    return plan_layout(budget_bytes, 12, seen_share=0.1)


@few
@given(turns=st.lists(budgets, min_size=2, max_size=5), seed=seeds)
def test_no_change_ever_takes_more_than_the_larger_budget(turns: list[int], seed: int) -> None:
    tracemalloc.start()
    try:
        recommender = new_recommender(layout_for(turns[0]), user=ANY, item=ANY)
        events = churn(60 * len(turns), 20, 20, seed)
        beside = tracemalloc.get_traced_memory()[0] - turns[0]
        for i, (old, new) in enumerate(pairwise(turns)):
            learn(recommender, events.cut(60 * i, 60 * i + 60), [60], EVEN)
            beside = max(beside, tracemalloc.get_traced_memory()[0] - layout_of(recommender.memory).num_bytes)
            tracemalloc.reset_peak()
            recommender.change_layout(layout_for(new), EVEN)
            # What numba and hypothesis keep for themselves comes to some kilobytes, and the ring is copied.
            assert tracemalloc.get_traced_memory()[1] < max(old, new) + beside + 60_000
    finally:
        tracemalloc.stop()


def test_every_array_shrinks_before_any_grows() -> None:
    m = allocate(Layout(100, 150, 1000, 300, 20))
    totals: list[int] = []

    class Watched(np.ndarray[tuple[int, ...], np.dtype[np.generic]]):
        def resize(self, *shape: object, **named: object) -> None:  # type: ignore[override]
            super().resize(*shape, **named)  # type: ignore[arg-type]
            totals.append(sum(array.nbytes for array in watched_arrays.values()))

    watched_arrays = {name: _owned_as(Watched, array) for name, array in arrays_of(m).items() if name != "counters"}
    m = m._replace(**watched_arrays)
    before = sum(array.nbytes for array in watched_arrays.values())
    m = _with_lengths(m, Layout(200, 300, 500, 400, 10))
    assert len(totals) == 5
    assert min(totals) < min(before, totals[-1])
    assert totals == sorted(totals[:2], reverse=True) + sorted(totals[2:])
    assert m.arena.shape == m.words.shape == (500,)


def _owned_as(kind: type, array: NDArray[np.generic]) -> NDArray[np.generic]:
    owned: NDArray[np.generic] = np.ndarray.__new__(kind, array.shape, array.dtype)
    owned[...] = array
    return owned


def test_a_budget_that_the_machine_does_not_give_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    recommender = new_recommender(layout_for(1 << 16))
    learn(recommender, churn(60, 20, 20, seed=1), [60], EVEN)
    before = state_of(recommender)

    def refuse(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", refuse)
    with pytest.raises(BudgetError, match=r"does not give [0-9,]+ bytes more: ask for a smaller"):
        recommender.change_layout(layout_for(1 << 20), EVEN)
    monkeypatch.undo()
    assert state_of(recommender) == before


# A recommender in it

decisions = st.builds(
    SizeDecision,
    st.sampled_from([0.0, 0.3, 1.0]),
    *[st.sampled_from([Curve("uniform"), Curve("powerlaw", 0.3), Curve("frequency", 0.5)])] * 2,
)
steps = st.lists(st.tuples(st.sampled_from(["learn", "change", "evict", "resize"]), seeds), min_size=1, max_size=12)


class Remembered:
    """What a model holds, by key, in Python's own terms: slots do not appear in it."""

    def __init__(self, recommender: Recommender) -> None:
        m = recommender.memory
        self.counts: dict[int, tuple[float, ...]] = {}
        self.payload: dict[int, bytes] = {}
        self.history: dict[int, list[tuple[int, int]]] = {}
        self.name: dict[int, str] = {}
        key_of = {int(slot): int(m.slots["key"][slot]) for slot in np.flatnonzero(m.slots["alive"])}
        for slot, key in key_of.items():
            entity = m.slots[slot]
            begin, end = int(entity["offset"]), int(entity["offset"]) + int(entity["size"])
            ids = 0 if slot < m.counters[memory.ITEM_TOP] else HYPER.num_ids
            self.counts[key] = tuple(entity[name].tobytes() for name in ("slow", "mid", "fast", "adagrad"))
            self.payload[key] = m.words[begin + ids : end].tobytes()
            if ids:
                words = m.words[begin : min(begin + ids, end)]
                self.history[key] = [(key_of[item], gap) for item, gap in history_in(words)]
            else:
                self.name[key] = arena.item_id(m, slot)
        at = int(m.counters[memory.RECENT_NEXT])
        self.recent = [key_of[item] for item in np.roll(m.recent, -at).tolist() if item >= 0]


def assert_kept(before: Remembered, after: Remembered) -> None:
    """What is still there is what it was, as far as it is there."""
    assert after.counts.items() <= before.counts.items()
    assert after.name.items() <= before.name.items()
    for key, payload in after.payload.items():
        shared = min(len(payload), len(before.payload[key]))
        assert payload[:shared] == before.payload[key][:shared]
    for key, history in after.history.items():
        alive = without(before.history[key], lambda item: item not in after.counts)
        assert [item for item, _ in history] == [item for item, _ in alive[: len(history)]]
        # The last one's gap may have been longer by what a shorter history no longer holds.
        assert history[:-1] == alive[: max(0, len(history) - 1)]
    alive = [item for item in before.recent if item in after.counts]
    assert after.recent == alive[len(alive) - len(after.recent) :]


def take(recommender: Recommender, step: str, seed: int, decision: SizeDecision) -> None:
    """Let one thing happen to a model; the second half of it is checked where the budget changes."""
    random = np.random.default_rng(seed)
    if step == "learn":
        learn(recommender, churn(80, 20, 30, seed), [80], decision)
    elif step == "resize":
        recommender.resize(decision)
    elif step == "evict":
        for side in SIDES:
            recommender.evict(side, int(recommender.memory.counters[side]) // 3)
    else:
        before, old = Remembered(recommender), layout_of(recommender.memory)
        budget = int(random.choice([30, 31, 40, 64, 150])) * 1024 + int(random.integers(0, 500))
        recommender.change_layout(layout_for(budget), decision)
        assert_kept(before, Remembered(recommender))
        assert not ledger_of(recommender.memory, budget).is_violated
        if layout_of(recommender.memory).num_slots >= old.num_slots:
            assert Remembered(recommender).counts == before.counts, "there was room for all"
    assert_sound(recommender.memory, HYPER.num_ids)


@few
@given(turns=steps, decision=decisions)
def test_whatever_happens_a_model_keeps_what_it_has_room_for_and_learns_on(
    turns: list[tuple[str, int]], decision: SizeDecision
) -> None:
    recommender = new_recommender(layout_for(64 * 1024), user=ANY, item=ANY)
    for step, seed in [("learn", 0), *turns, ("change", 1), ("learn", 2)]:
        take(recommender, step, seed, decision)
    twin = new_recommender(layout_for(64 * 1024), user=ANY, item=ANY)
    for step, seed in [("learn", 0), *turns, ("change", 1), ("learn", 2)]:
        take(twin, step, seed, decision)
    assert state_of(twin) == state_of(recommender), "the same again, to the last bit"


@few
@given(turns=steps, decision=decisions)
def test_a_state_of_another_layout_is_restored_and_goes_on_bit_by_bit(
    turns: list[tuple[str, int]], decision: SizeDecision
) -> None:
    first, second = new_recommender(layout_for(64 * 1024)), new_recommender(layout_for(90 * 1024), seed=2)
    learn(second, churn(100, 20, 20, seed=3), [100], EVEN)
    for step, seed in [*turns, ("learn", 0), ("change", 1)]:
        take(first, step, seed, decision)
    second.restore({name: array.copy() for name, array in first.state().items()})
    for recommender in (first, second):
        learn(recommender, churn(80, 20, 30, seed=5), [80], decision)
    assert state_of(second) == state_of(first)


def test_the_least_frequent_of_both_sides_go_and_the_most_frequent_keep_their_coordinates() -> None:
    recommender = new_recommender(layout_for(150 * 1024), user=ANY, item=ANY)
    random = np.random.default_rng(1)
    ids = [np.arange(1500) // 3 + random.geometric(1 / 60, 1500) for _ in SIDES]
    events = events_of([f"u{i}" for i in ids[USER]], [f"i{i}" for i in ids[ITEM]])
    learn(recommender, events, [1500], EVEN)
    before = Remembered(recommender)
    num = {USER: recommender.num_users, ITEM: recommender.num_items}
    layout = layout_for(30 * 1024)
    assert sum(num.values()) > 2 * layout.num_slots
    recommender.change_layout(layout, EVEN)
    after = Remembered(recommender)
    kept = {USER: recommender.num_users, ITEM: recommender.num_items}
    for side in SIDES:
        assert kept[side] == pytest.approx(layout.num_slots * num[side] / sum(num.values()), rel=0.1)
    frequency = {key: np.frombuffer(counts[0], np.float32)[0] for key, counts in before.counts.items()}
    for side in (before.history.keys(), before.name.keys()):
        gone, stayed = side - after.counts.keys(), side & after.counts.keys()
        # Frequencies are ranked in sixteenths of octaves.
        assert max(frequency[key] for key in gone) <= 1.07 * min(frequency[key] for key in stayed)
    best = max(before.name, key=lambda key: frequency[key])
    assert 40 < len(after.payload[best]) < len(before.payload[best])


@pytest.mark.parametrize("side", [USER, ITEM])
def test_one_of_a_side_is_left_however_small_the_table(side: int) -> None:
    recommender = new_recommender(Layout(400, 600, 6000, 16, 0))
    num_users, num_items = (300, 1) if side == ITEM else (1, 300)
    ids = np.arange(300)
    data = np.frombuffer(b"abcdefgh", np.uint8).copy()
    for of, num in ((USER, num_users), (ITEM, num_items)):
        recommender.memory.counters[memory.USER_NEWBORN + of] = 2
        for i in ids[:num]:
            key = np.uint64(1 + of * 1000 + i)
            arena.admit(recommender.memory, key, of, data, 0, 8, SCALE, HYPER.num_ids)
    recommender.change_layout(Layout(50, 75, 3000, 16, 0), EVEN)
    assert recommender.memory.counters[side] == 1
    assert recommender.memory.counters[1 - side] == arena.most_of_side(50)
    keys = recommender.memory.slots["key"][recommender.memory.slots["alive"] == 1]
    assert (index.find_all(recommender.memory, keys) >= 0).all()
