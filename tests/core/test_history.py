"""Histories: which items, how long ago, and what is left of them when items go."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.core import arena
from stream.core.event import USER, mix64
from stream.core.history import (
    NUM_GAPS,
    Past,
    forget_items_gone,
    gap_at,
    item_at,
    mask_of,
    place_of,
    read_history,
    remember,
    word_of,
)
from stream.core.memory import ITEM_TOP, SLOT_BITS, USER_NEWBORN, Layout, Memory, allocate
from tests.core.twins import history_in, without

NO_ID = np.zeros(0, np.uint8)
LAYOUT = Layout(num_slots=64, num_buckets=96, arena_words=512, num_recent=16, num_seen_sets=0)
NUM_ITEMS, NUM_IDS = 12, 5

places = st.lists(st.tuples(st.integers(0, NUM_ITEMS - 1), st.integers(0, NUM_GAPS - 1)), max_size=9)
gaps = st.integers(0, NUM_GAPS - 1)


def memory_with(history: list[tuple[int, int]], size: int = NUM_IDS + 2) -> tuple[Memory, int]:
    """Return a memory in which a user took these, each after its gap, the newest last; and the user's slot."""
    m = allocate(LAYOUT)
    m.counters[USER_NEWBORN] = size
    user: int = arena.admit(m, np.uint64(mix64(100)), USER, NO_ID, 0, 0, 0.1, NUM_IDS)
    m.counters[ITEM_TOP] = NUM_ITEMS
    m.slots["alive"][:NUM_ITEMS] = 1
    for item, gap in history:
        remember(m, user, item, gap, NUM_IDS)
    return m, user


def words_of(m: Memory, user: int) -> list[tuple[int, int]]:
    begin, size = int(m.slots["offset"][user]), int(m.slots["size"][user])
    return history_in(m.words[begin : begin + min(size, NUM_IDS)])


def read(m: Memory, user: int, gap: int) -> tuple[list[int], list[int], Past]:
    """Return the items, the pauses and the past that is read of a user's history."""
    items, pauses = np.full(NUM_IDS, -7, np.int32), np.full(NUM_IDS, -7, np.int32)
    past = read_history(m, items, pauses, user, gap, NUM_IDS)
    return items[: past.held].tolist(), pauses[: past.held].tolist(), past


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 2**SLOT_BITS - 1), gaps)
def test_a_word_holds_a_slot_and_a_gap(item: int, gap: int) -> None:
    m = allocate(LAYOUT)
    m.words[0] = word_of(item, gap)
    assert (item_at(m, 0), gap_at(m, 0)) == (item, gap)
    assert m.words[0] >= 0, "what is negative is empty"


def test_an_empty_place_holds_no_item() -> None:
    m, user = memory_with([])
    assert item_at(m, int(m.slots["offset"][user])) == -1
    assert read(m, user, 3) == ([], [], (0, False, 0))


@settings(derandomize=True, deadline=None)
@given(places, st.integers(0, NUM_IDS + 2))
def test_the_newest_come_first_with_the_gaps_before_them(history: list[tuple[int, int]], size: int) -> None:
    m, user = memory_with(history, size)
    assert words_of(m, user) == history[::-1][: min(size, NUM_IDS)]


@settings(derandomize=True, deadline=None)
@given(places, gaps)
def test_a_pause_is_the_longest_gap_since(history: list[tuple[int, int]], gap: int) -> None:
    m, user = memory_with(history)
    held = words_of(m, user)
    items, pauses, _ = read(m, user, gap)
    assert items == [item for item, _ in held]
    assert pauses == [max([gap, *(before for _, before in held[:k])]) for k in range(len(held))]


@settings(derandomize=True, deadline=None)
@given(places, st.sets(st.integers(0, NUM_ITEMS - 1)))
def test_items_that_go_leave_the_pauses_between_the_others_as_they_were(
    history: list[tuple[int, int]], gone: set[int]
) -> None:
    m, user = memory_with(history)
    before = words_of(m, user)
    m.slots["alive"][list(gone)] = 0
    forget_items_gone(m, user, NUM_IDS)
    assert words_of(m, user) == without(before, lambda item: item in gone)


@settings(derandomize=True, deadline=None)
@given(places, st.integers(0, NUM_IDS + 2))
def test_a_history_is_full_when_no_place_is_empty(history: list[tuple[int, int]], size: int) -> None:
    m, user = memory_with(history, size)
    _, _, past = read(m, user, 2)
    assert past == (min(len(history), size, NUM_IDS), len(history) >= min(size, NUM_IDS), 0)


@pytest.mark.parametrize(("gap", "session"), [(0, 6), (1, 6), (4, 6), (5, 7), (7, 7)])
def test_an_hour_begins_a_new_session(gap: int, session: int) -> None:
    m, user = memory_with([(3, 1)])
    m.slots["session"][user] = 6
    assert read(m, user, gap)[2].session == session


def test_nobody_has_no_past() -> None:
    m, _ = memory_with([(3, 1)])
    assert read(m, -1, 4) == ([], [], (0, False, 0))


@pytest.mark.parametrize(("item", "place"), [(3, 0), (4, 1), (5, -1)])
def test_an_item_stands_at_its_newest_place(item: int, place: int) -> None:
    assert place_of(np.array([3, 4, 3, 5], np.int32), 3, item) == place


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 200), max_size=9))
def test_a_mask_has_the_bits_of_all_items_and_no_other(items: list[int]) -> None:
    mask = int(mask_of(np.array([*items, 9], np.int32), len(items)))
    assert {bit for bit in range(64) if mask >> bit & 1} == {item % 64 for item in items}
