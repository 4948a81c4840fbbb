"""The trainer stops where a count on paper stops, goes on from any state bit by bit, and holds itself to its budget."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.assembly import build_trainer
from stream.config import make_settings
from stream.core import memory
from stream.core.event import ITEM, USER, EventBatch, Origin, Poll, digest_of
from stream.core.intake import Batch
from stream.core.sizes import Curve, SizeDecision
from stream.core.trainer import Step, Trainer, summarise_sizes
from tests.core.twins import events_of

quick = settings(derandomize=True, deadline=None, max_examples=100)
slow = settings(derandomize=True, deadline=None, max_examples=40)
SMALL = {"memory.budget_bytes": 1 << 17, "sizes.resize_every_events": 40}
QUANTILES = {"min": 0.0, "p10": 0.1, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99, "max": 1.0}


def new_trainer(**changes: Any) -> Trainer:
    """A trainer as the command line builds it; settings have two underscores for their point."""
    return build_trainer(make_settings(SMALL | {name.replace("__", "."): value for name, value in changes.items()}))


def stream(num: int, seed: int = 1) -> EventBatch:
    """Events of users and items that come and go; every ninth is late."""
    random = np.random.default_rng(seed)
    drift = np.arange(num) // 4
    users, items = drift + random.geometric(0.1, num), drift + random.geometric(0.05, num)
    events = events_of([f"u{user}" for user in users], [f"i{item}" for item in items])
    events.timestamp_ms[8::9] -= 100_000
    return events


def sort(trainer: Trainer, events: EventBatch) -> Batch:
    return trainer.sort(Poll(events, []), lambda _, number: Origin(f"event {number}"))


def run(trainer: Trainer, batch: Batch, begin: int, end: int) -> None:
    """Test and learn event by event, resizing where it is due."""
    for at in range(begin, end):
        trainer.test(batch, at)
        step = trainer.learn(batch, at, at + 1)
        if step.is_waiting:
            trainer.resize(trainer.decision)
            step = trainer.learn(batch, at, at + 1)
        trainer.note_learnt(batch, at, at + 1)
        if step.resize_due:
            trainer.resize(trainer.decision)


def frozen(trainer: Trainer, batch: Batch | None, position: dict[int, int]) -> tuple[dict[str, NDArray[Any]], Any]:
    """A state as a checkpoint keeps it: copies, and values that have been through JSON."""
    arrays, meta = trainer.state(batch, position)
    return {name: array.copy() for name, array in arrays.items()}, json.loads(json.dumps(meta, allow_nan=False))


def assert_same(one: Trainer, other: Trainer) -> None:
    (arrays, meta), (other_arrays, other_meta) = frozen(one, None, {}), frozen(other, None, {})
    assert other_meta == meta
    assert {name: array.tobytes() for name, array in other_arrays.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }


# Where it stops


@slow
@given(
    resize_every=st.integers(1, 60),
    growth=st.integers(1, 60),
    ends=st.lists(st.integers(0, 70), min_size=1, max_size=8),
)
def test_learning_stops_where_a_resize_is_due_or_the_growth_is_reached(
    resize_every: int, growth: int, ends: list[int]
) -> None:
    trainer = new_trainer(
        sizes__resize_every_events=resize_every, windows__close_after=f"growth:{growth}", windows__learn_late=True
    )
    num = 200
    batch = sort(trainer, stream(num))
    known: set[tuple[int, int]] = set()
    at = num_new = turn = 0
    while at < num:
        end = min(at + ends[turn % len(ends)], num) if turn < 20 else num
        expected = at
        while expected < end:
            new = {(USER, int(batch.events.user[expected])), (ITEM, int(batch.events.item[expected]))} - known
            known |= new
            num_new += len(new)
            expected += 1
            if expected % resize_every == 0 or num_new >= growth:
                break
        step = trainer.learn(batch, at, end)
        is_due = expected > at and expected % resize_every == 0
        assert step == Step(expected, is_due, is_waiting=False)
        trainer.note_learnt(batch, at, step.reached)
        if num_new >= growth:
            assert trainer.clock.remaining_growth == 0
            trainer.open_window()
            num_new = 0
        at, turn = step.reached, turn + 1


def test_learning_waits_for_room_and_goes_on_after_a_resize() -> None:
    trainer = new_trainer(memory__budget_bytes=1 << 16, sizes__resize_every_events=10**6)
    num = 600
    batch = sort(trainer, events_of([f"u{i}" for i in range(num)], [f"i{i}" for i in range(num)]))
    at = num_waits = 0
    while at < num:
        step = trainer.learn(batch, at, num)
        assert step.is_waiting == step.resize_due == (step.reached < num)
        assert trainer.recommender.num_learnt == step.reached > at
        trainer.note_learnt(batch, at, step.reached)
        if step.is_waiting:
            trainer.resize(trainer.decision)
            num_waits += 1
        at = step.reached
    assert num_waits > 1
    assert trainer.account.counts().learnt == num
    assert trainer.account.window_count("resizes") == num_waits


# What it notes


def test_what_was_learnt_is_counted_and_the_window_keeps_its_span() -> None:
    trainer = new_trainer(windows__learn_late=True)
    batch = sort(trainer, stream(100))
    assert batch.late.sum() == 11
    run(trainer, batch, 0, 60)
    trainer.open_window()
    run(trainer, batch, 60, 100)
    counts, of_window = trainer.account.counts(), trainer.account.window_counts()
    assert (counts.events, counts.learnt, counts.late) == (100, 100, 11)
    assert (of_window.events, of_window.learnt, of_window.late) == (40, 40, int(batch.late[60:].sum()))
    times = batch.events.timestamp_ms.tolist()
    # In the order of learning: the last event is late and lies before the first.
    assert trainer.event_span_ms() == (times[60], times[99])
    assert trainer.clock.running_max_ms == max(times)
    trainer.note_learnt(batch, 100, 100)
    assert trainer.account.counts() == counts


@quick
@given(ends=st.lists(st.integers(0, 60), max_size=4), num_learnt=st.integers(0, 60))
def test_the_digest_is_of_the_records_learnt_and_of_no_others(ends: list[int], num_learnt: int) -> None:
    trainer = new_trainer()
    events = stream(60)._replace(partition=np.arange(60, dtype=np.int32) % 3)
    batch = sort(trainer, events)
    num_learnt = min(num_learnt, batch.events.num_events)
    assert trainer.digest == "0" * 16
    for begin, end in pairwise(sorted([0, *(min(end, num_learnt) for end in ends), num_learnt])):
        trainer.note_learnt(batch, begin, end)
    learnt = batch.events.cut(0, num_learnt)
    assert trainer.digest == f"{digest_of(learnt.partition, learnt.offset):016x}"
    restored = new_trainer()
    restored.restore(*frozen(trainer, batch, batch.position_before(num_learnt)))
    assert restored.digest == trainer.digest


def test_an_event_is_tested_before_it_is_learnt() -> None:
    trainer = new_trainer()
    batch = sort(trainer, events_of(["u", "u", "u"], ["a", "b", "a"]))
    run(trainer, batch, 0, 3)
    assert trainer.evaluation.total()["all"].evaluated == 3
    assert trainer.evaluation.total()["all"].first_sight_share == pytest.approx(2 / 3)
    assert trainer.evaluation.total()["first"].evaluated == 1


def test_the_last_reward_is_the_windows_lead_over_popularity() -> None:
    trainer = new_trainer(evaluation__top_k=3, windows__learn_late=True)
    assert trainer.observe()[-1] == 0.0
    batch = sort(trainer, stream(300))
    run(trainer, batch, 0, 200)
    trainer.open_window()
    run(trainer, batch, 200, 300)
    quality, total = trainer.evaluation.window()["all"], trainer.evaluation.total()["all"]
    assert quality.ndcg is not None
    assert quality.popularity_ndcg is not None
    assert total.ndcg is not None
    assert total.popularity_ndcg is not None
    lead = quality.ndcg - quality.popularity_ndcg
    assert lead != pytest.approx(total.ndcg - total.popularity_ndcg)
    assert lead != 0
    assert trainer.observe()[-1] == np.float32(lead)


def test_evictions_and_alarms_are_taken_over_from_those_who_count_them() -> None:
    trainer = new_trainer()
    run(trainer, sort(trainer, stream(50)), 0, 40)
    trainer.recommender.evict(USER, 2)
    trainer.recommender.evict(ITEM, 3)
    trainer.evaluation.num_alarms = 4
    for _ in range(2):
        trainer.take_stock()
        counts = trainer.account.counts()
        assert (counts.evicted_users, counts.evicted_items, counts.evictions, counts.drift_alarms) == (2, 3, 5, 4)


# State


@slow
@given(cut=st.integers(0, 140), closes=st.integers(0, 140), with_rejections=st.booleans())
def test_a_restored_trainer_ends_with_the_same_bits_as_one_that_never_stopped(
    cut: int, closes: int, with_rejections: bool
) -> None:
    events = stream(200)
    # Far in the future: whoever has forgotten what came before takes the first of them at its word.
    events.timestamp_ms[4::5] += 10**12
    unbroken, stopped, restored = new_trainer(), new_trainer(), new_trainer(seed=2)
    batch = sort(unbroken, events)
    closes = min(closes, cut)

    def run_with_a_window(trainer: Trainer, batch: Batch, end: int) -> None:
        trainer.decision = SizeDecision(0.3, Curve("powerlaw", 0.5), Curve("groups", (8.0, 4.0, 4.0, 2.0, 1.0)))
        run(trainer, batch, 0, closes)
        trainer.check_ledger()
        trainer.open_window()
        run(trainer, batch, closes, end)

    run_with_a_window(unbroken, batch, batch.events.num_events)
    batch = sort(stopped, events)
    run_with_a_window(stopped, batch, cut)
    position = batch.position_before(cut) if with_rejections else batch.position_after(cut)
    restored.restore(*frozen(stopped, batch, position))
    rest = sort(restored, events.cut(position.get(0, 0), events.num_events))
    run(restored, rest, 0, rest.events.num_events)
    assert_same(unbroken, restored)


# The budget


def test_a_ledger_over_the_budget_is_counted_each_time_it_is_found() -> None:
    trainer = new_trainer()
    run(trainer, sort(trainer, stream(50)), 0, 40)
    trainer.check_ledger()
    assert trainer.account.counts().violations == 0
    total = trainer.ledger().total_bytes
    assert trainer.peak_bytes == total <= 1 << 17
    trainer.budget_bytes = total
    trainer.check_ledger()
    assert trainer.account.counts().violations == 0
    trainer.budget_bytes = total - 1
    trainer.check_ledger()
    trainer.check_ledger()
    assert trainer.account.counts().violations == 2


def test_what_does_not_grow_is_listed_and_does_not_grow() -> None:
    trainer = new_trainer()
    before = trainer.fixed_costs()
    run(trainer, sort(trainer, stream(100)), 0, 80)
    assert trainer.fixed_costs() == before
    assert sum(array.nbytes for array in trainer.recommender.shared) in [line.bytes for line in before]
    assert len({line.name for line in before}) == 3
    assert all(line.bytes > 0 for line in before)


# Sizes


@quick
@given(st.lists(st.integers(0, 50), min_size=1, max_size=40))
def test_sizes_are_summed_up_as_numpy_does(num_of_size: list[int]) -> None:
    summary = summarise_sizes(np.array(num_of_size, np.int64))
    sizes = np.repeat(np.arange(len(num_of_size)), num_of_size)
    assert summary.histogram == num_of_size
    assert summary.num == len(sizes)
    assert list(summary.quantiles) == list(QUANTILES)
    if len(sizes):
        assert summary.mean == pytest.approx(sizes.mean())
        expected = np.quantile(sizes, list(QUANTILES.values()), method="inverted_cdf")
        assert list(summary.quantiles.values()) == expected.tolist()
    else:
        assert summary.mean == 0.0
        assert set(summary.quantiles.values()) == {0}


def test_the_sizes_of_a_side_are_those_in_the_table() -> None:
    trainer = new_trainer()
    run(trainer, sort(trainer, stream(100)), 0, 80)
    for side, num, largest in ((USER, trainer.recommender.num_users, 24), (ITEM, trainer.recommender.num_items, 32)):
        summary = trainer.sizes(side)
        assert summary.num == num == sum(summary.histogram)
        assert len(summary.histogram) == largest + 1
        assert summary.mean * num == trainer.recommender.memory.counters[memory.USER_WORDS + side]
