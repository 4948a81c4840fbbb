"""One budget: laid out to the last bytes, never exceeded, and enough to go on learning whatever comes."""

import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.core import memory
from stream.core.event import ITEM, MAX_ID_BYTES, USER, EventBatch
from stream.core.ledger import Ledger
from stream.core.memory import MIN_RECENT, Layout, Memory, allocate, arrays_of, budget_for, ledger_of, plan_layout
from stream.core.model import SOFTMAX, Hyper
from stream.core.recommender import Recommender
from stream.core.sizes import Curve, SizeBounds, SizeDecision
from stream.errors import BudgetError
from tests.core.twins import assert_sound, events_of

quick = settings(derandomize=True, deadline=None, max_examples=200)
few = settings(derandomize=True, deadline=None, max_examples=25)
GIB = 1 << 30

HYPER = Hyper(
    loss=SOFTMAX,
    num_ids=3,
    hides_taken=0,
    use_prior=1,
    negatives_recent=3,
    negatives_uniform=2,
    rate_item=0.1,
    rate_user=0.1,
    rate_lag=0.01,
    rate_newcomer=0.01,
    rate_gate=0.01,
    rate_prior=0.01,
    rate_repeat=0.01,
    half_life_slow=100.0,
    half_life_mid=30.0,
    half_life_fast=5.0,
    initial_scale=0.1,
    initial_context=0.3,
)


# Layouts

words = st.integers(2, 400)
shares = st.sampled_from([0.0, 0.01, 0.25, 0.5, 0.9, 0.99])
entities = st.none() | st.integers(2, 5000)


def smallest_budget(words_per_entity: int, max_entities: int | None, seen_share: float) -> int:
    """The budget that the refusal of a smaller one asks for, in bytes."""
    with pytest.raises(BudgetError, match=r"give at least --budget \d+KiB$") as refusal:
        plan_layout(1000, words_per_entity, max_entities, seen_share)
    return 1024 * int(re.findall(r"--budget (\d+)KiB", str(refusal.value))[0])


@quick
@given(words, entities, shares, st.integers(0, 4 * GIB))
def test_a_layout_fills_any_budget_to_less_than_64_bytes(
    words_per_entity: int, max_entities: int | None, seen_share: float, above: int
) -> None:
    budget = smallest_budget(words_per_entity, max_entities, seen_share) + above
    layout = plan_layout(budget, words_per_entity, max_entities, seen_share)
    assert 0 <= budget - layout.num_bytes < 64
    assert 0 <= budget * seen_share - 16 * layout.num_seen_sets <= 16
    assert layout.num_slots == max_entities if max_entities else layout.num_slots >= 60
    assert layout.num_slots < layout.num_buckets
    assert layout.num_recent >= MIN_RECENT


@quick
@given(words, st.integers(0, GIB))
def test_a_full_index_leaves_each_entity_the_words_asked_for(words_per_entity: int, above: int) -> None:
    layout = plan_layout(smallest_budget(words_per_entity, None, 0.0) + above, words_per_entity)
    assert words_per_entity <= layout.arena_words / layout.num_slots < 1.5 * words_per_entity + 2


def test_a_budget_beyond_what_an_arena_can_address_is_not_exceeded_either() -> None:
    layout = plan_layout(64 * GIB, 12, max_entities=1_000_000)
    assert layout.arena_words == 2**31 - 1
    assert layout.num_bytes < 64 * GIB


def test_a_budget_that_is_too_small_is_refused_with_the_one_that_does() -> None:
    with pytest.raises(BudgetError) as refusal:
        plan_layout(20_000, 12, max_entities=500)
    assert str(refusal.value) == ("budget of 20,000 bytes is too small for 500 entities: give at least --budget 48KiB")
    with pytest.raises(BudgetError, match="too small: give"):
        plan_layout(20_000, 12)


@quick
@given(words, entities, shares)
def test_a_kibibyte_less_than_the_smallest_budget_is_refused(
    words_per_entity: int, max_entities: int | None, seen_share: float
) -> None:
    smallest = smallest_budget(words_per_entity, max_entities, seen_share)
    with pytest.raises(BudgetError):
        plan_layout(smallest - 1024, words_per_entity, max_entities, seen_share)


# The account

layouts = st.builds(
    Layout, *(st.integers(2, 100), st.integers(3, 150), st.integers(1, 500), st.integers(1, 50), st.integers(0, 9))
)


@quick
@given(layout=layouts)
def test_the_arrays_take_exactly_the_bytes_of_their_layout_and_the_ledger_names_them_all(layout: Layout) -> None:
    m = allocate(layout)
    assert np.shares_memory(m.words, m.arena)
    num_bytes = sum(array.nbytes for name, array in m._asdict().items() if name != "words")
    ledger = ledger_of(m, layout.num_bytes)
    assert num_bytes == layout.num_bytes == ledger.total_bytes
    assert not ledger.is_violated
    assert ledger_of(m, layout.num_bytes - 1).is_violated
    assert arrays_of(m).keys() == set(Memory._fields) - {"words", "scratch"}


def test_a_ledger_lists_its_lines_largest_first() -> None:
    ledger = Ledger(60, {"a": 10, "b": 30, "c": 20})
    assert [(line.name, line.bytes) for line in ledger.lines()] == [("b", 30), ("c", 20), ("a", 10)]
    assert ledger.total_bytes == 60
    assert not ledger.is_violated
    assert Ledger(59, ledger.bytes_by_name).is_violated


@quick
@given(layout=layouts)
def test_a_new_memory_is_sound_and_empty(layout: Layout) -> None:
    m = allocate(layout)
    assert_sound(m, num_ids=4)
    assert m.counters[: memory.ITEM_NEWBORN + 1].tolist() == [0, 0, 0, 0, -1, -1, *[0] * 6]


# A recommender on it

decisions = st.builds(
    SizeDecision,
    st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    *[st.sampled_from([Curve("uniform"), Curve("powerlaw", 0.3), Curve("pareto", 1.5), Curve("frequency", 0.5)])] * 2,
)
EVEN = SizeDecision(0.3, Curve("powerlaw", 1.0), Curve("powerlaw", 1.0))
TINY = Layout(num_slots=32, num_buckets=48, arena_words=1100, num_recent=16, num_seen_sets=3)


FEW, MANY, ANY = SizeBounds(0, 12), SizeBounds(0, 20), SizeBounds(0, 255)


def new_recommender(
    layout: Layout = TINY, user: SizeBounds = FEW, item: SizeBounds = MANY, seed: int = 1
) -> Recommender:
    return Recommender(layout, HYPER, user, item, seed)


def churn(num_events: int, num_users: int, num_items: int, seed: int) -> EventBatch:
    """Events of users and items that drift: some come back at once, some late, most never; ids of all lengths."""
    random = np.random.default_rng(seed)
    drift = np.arange(num_events) // 3
    user = drift + random.geometric(1 / num_users, num_events)
    item = drift + random.geometric(1 / num_items, num_events)
    lengths = np.random.default_rng(0).choice([0, 0, 0, 9, MAX_ID_BYTES - 8], 2 * num_events)
    return events_of([f"u{i}" for i in user], [f"{i}".ljust(lengths[i % len(lengths)], "~") for i in item])


def learn(
    recommender: Recommender, events: EventBatch, ends: Sequence[int], decision: SizeDecision, max_new: int = 1 << 40
) -> int:
    """Learn a batch up to each of ``ends`` in turn, with a resize where there is no room; return how many."""
    begin = num_resizes = num_stuck = 0
    for end in ends:
        while begin < end:
            learnt = recommender.learn(events, begin, end, max_new)
            assert_sound(recommender.memory, HYPER.num_ids)
            # A resize in place may leave room for the user alone; the next one compacts.
            num_stuck = num_stuck + 1 if learnt.reached == begin else 0
            assert num_stuck <= 2, "a resize made no room"
            if learnt.needs_resize:
                num_resizes += 1
                recommender.resize(decision)
                assert_sound(recommender.memory, HYPER.num_ids)
            begin = learnt.reached
    return num_resizes


def state_of(recommender: Recommender) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in recommender.state().items()}


def test_a_tiny_memory_runs_out_of_slots_and_of_room_and_goes_on() -> None:
    recommender = new_recommender()
    num_resizes = learn(recommender, churn(300, 5, 8, seed=1), [300], EVEN)
    assert num_resizes > 5
    assert recommender.memory.counters[memory.EVICTED_USERS] > 20
    assert recommender.memory.counters[memory.EVICTED_ITEMS] > 20
    assert recommender.memory.counters[memory.COMPACTIONS] > 0
    assert recommender.num_learnt == 300
    assert recommender.num_users + recommender.num_items > TINY.num_slots // 2


@few
@given(
    seed=st.integers(0, 2**32 - 1),
    num_users=st.sampled_from([2, 10]),
    num_items=st.sampled_from([3, 15]),
    cuts=st.sets(st.integers(1, 149), max_size=12),
    max_new=st.sampled_from([1, 2, 7, 1 << 40]),
    decision=decisions,
)
def test_how_a_stream_is_cut_into_calls_changes_no_byte(
    seed: int, num_users: int, num_items: int, cuts: set[int], max_new: int, decision: SizeDecision
) -> None:
    events = churn(150, num_users, num_items, seed)
    whole, cut = new_recommender(), new_recommender()
    assert learn(whole, events, [150], decision) == learn(cut, events, [*sorted(cuts), 150], decision, max_new)
    assert state_of(whole) == state_of(cut)


@few
@given(seed=st.integers(0, 2**32 - 1), middle=st.integers(0, 120), decision=decisions)
def test_a_restored_recommender_goes_on_as_if_nothing_had_been(seed: int, middle: int, decision: SizeDecision) -> None:
    events = churn(120, 6, 8, seed)
    first, second = new_recommender(seed=1), new_recommender(seed=2)
    learn(second, churn(50, 3, 3, seed=7), [50], EVEN)
    learn(first, events, [middle], decision)
    second.restore({name: array.copy() for name, array in first.state().items()})
    assert state_of(second) == state_of(first)
    for recommender in (first, second):
        recommender.resize(decision)
        learn(recommender, events.cut(middle, 120), [120 - middle], decision)
    assert state_of(second) == state_of(first)


@few
@given(seed=st.integers(0, 2**32 - 1), decision=decisions, least=st.integers(0, 4), most=st.integers(4, 40))
def test_a_resize_keeps_to_the_bounds_and_its_reserve_whatever_is_decided(
    seed: int, decision: SizeDecision, least: int, most: int
) -> None:
    recommender = new_recommender(user=SizeBounds(0, 9), item=SizeBounds(least, most))
    learn(recommender, churn(100, 6, 8, seed), [100], EVEN)
    recommender.resize(decision)
    m = recommender.memory
    for side, bounds in recommender.bounds.items():
        sizes = np.repeat(np.arange(len(recommender.sizes(side))), recommender.sizes(side))
        assert len(sizes) == m.counters[side]
        assert set(sizes) <= {0, *range(bounds.minimum, bounds.maximum + 1)}
        assert bounds.minimum <= m.counters[memory.USER_NEWBORN + side] <= bounds.maximum
    live = m.counters[memory.OVERHEAD_WORDS] + m.counters[memory.USER_WORDS] + m.counters[memory.ITEM_WORDS]
    assert live + max(len(m.words) // 16, 2 * memory.NEWCOMER_WORDS) <= len(m.words)


def test_ids_of_the_greatest_length_leave_embeddings_their_words() -> None:
    items = [str(i).ljust(MAX_ID_BYTES, "~") for i in range(60)]
    recommender = new_recommender(Layout(100, 150, 2500, 16, 0), user=ANY, item=ANY)
    learn(recommender, events_of(["u"] * 60, items), [60], EVEN)
    recommender.resize(EVEN)
    counters = recommender.memory.counters
    assert counters[memory.OVERHEAD_WORDS] <= (2500 - 640) * 3 / 4
    assert counters[memory.EVICTED_ITEMS] > 0
    assert counters[memory.ITEM_WORDS] > 100


@pytest.mark.parametrize("max_entities", [2, 3, 17, 64, 400])
def test_the_smallest_budget_for_some_entities_is_one_to_learn_with(max_entities: int) -> None:
    assert_learns_with(smallest_budget(12, max_entities, 0.0), 12, max_entities, 0.0)


@pytest.mark.parametrize("words_per_entity", [2, 5, 12, 400])
@pytest.mark.parametrize("seen_share", [0.0, 0.99])
def test_the_smallest_budget_is_one_to_learn_with(words_per_entity: int, seen_share: float) -> None:
    assert_learns_with(smallest_budget(words_per_entity, None, seen_share), words_per_entity, None, seen_share)


def assert_learns_with(budget_bytes: int, words_per_entity: int, max_entities: int | None, seen_share: float) -> None:
    """Learn some thousand events of ids that come and go, with the greatest sizes there are and regular resizes."""
    layout = plan_layout(budget_bytes, words_per_entity, max_entities, seen_share)
    recommender = new_recommender(layout, user=ANY, item=SizeBounds(1, 255))
    events = churn(2000, 100, 100, seed=words_per_entity)
    for begin in range(0, 2000, 500):
        learn(recommender, events.cut(begin, begin + 500), [500], EVEN)
        recommender.resize(EVEN)
        assert_sound(recommender.memory, HYPER.num_ids)
        assert not ledger_of(recommender.memory, budget_bytes).is_violated
        words = recommender.memory.counters[[memory.USER_WORDS, memory.ITEM_WORDS]].sum()
        assert words > (layout.arena_words - 2 * memory.NEWCOMER_WORDS) / 8
    assert recommender.num_learnt == 2000


@few
@given(
    num_users=st.integers(20, 200),
    num_items=st.integers(20, 200),
    user_size=st.integers(0, 30),
    item_size=st.integers(0, 60),
)
def test_a_budget_for_so_many_of_such_sizes_gives_all_of_them_their_size(
    num_users: int, num_items: int, user_size: int, item_size: int
) -> None:
    budget = budget_for(num_users, num_items, user_size, item_size, id_bytes=3)
    recommender = new_recommender(
        plan_layout(budget, 12, max_entities=num_users + num_items),
        user=SizeBounds(0, user_size),
        item=SizeBounds(0, item_size),
    )
    ids = np.arange(max(num_users, num_items))
    events = events_of([f"u{i}" for i in ids % num_users], [f"{i:03}" for i in ids % num_items])
    learn(recommender, events, [len(ids)], EVEN)
    recommender.resize(EVEN)
    assert recommender.sizes(USER).tolist() == [0] * user_size + [num_users]
    assert recommender.sizes(ITEM).tolist() == [0] * item_size + [num_items]
