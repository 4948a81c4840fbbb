"""What is learnt, tested and rejected depends on the events alone: not on polls, not on restarts between two events."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.core.event import NO_EVENTS, EventBatch, Gap, Origin, Poll, Rejection
from stream.core.intake import Batch, Intake, drop_known

quick = settings(derandomize=True, deadline=None, max_examples=100)
FAR, LATE, UNREADABLE = "timestamp far in the future", "late event", "no event"
NOTHING_DEAD: Mapping[tuple[int, int], str] = {}
CONFIRMATIONS = 100
"""So many events in a row, far ahead, are believed."""


class Record(NamedTuple):
    """One record of a stream; without a time it cannot be read."""

    partition: int
    offset: int
    time: int | None


class Restart(NamedTuple):
    """A restart after so many of the events that a poll gives to learn, with or without the rejections behind them."""

    cut: int
    with_rejections: bool


class Rules(NamedTuple):
    """How an intake sorts."""

    lateness: int = 0
    learn_late: bool = False
    max_jump: int = 10**6
    share: float = 1.0
    seed: int = 1

    def intake(self) -> Intake:
        return Intake(self.lateness, self.learn_late, self.max_jump, self.share, self.seed)


class Outcome(NamedTuple):
    """All that comes of a stream, each list in the order in which it came, rejections by partition."""

    learnt: list[tuple[int, int]]
    late: list[tuple[int, int]]
    tested: list[tuple[int, int]]
    rejected: dict[int, list[tuple[int, str]]]


def poll_of(records: list[Record]) -> Poll:
    events = [record for record in records if record.time is not None]
    n = len(events)
    batch = EventBatch(
        user=np.arange(n, dtype=np.uint64),
        item=np.arange(n, dtype=np.uint64),
        timestamp_ms=np.array([record.time for record in events], np.int64),
        weight=np.ones(n, np.float32),
        partition=np.array([record.partition for record in events], np.int32),
        offset=np.array([record.offset for record in events], np.int64),
        number=np.array([record.offset + 1 for record in events], np.int64),
        item_start=np.zeros(n, np.int64),
        item_length=np.zeros(n, np.int32),
        item_data=np.zeros(0, np.uint8),
    )
    unreadable = [Rejection(r.partition, r.offset, Origin(""), UNREADABLE, "") for r in records if r.time is None]
    return Poll(batch, unreadable)


def sort(rules: Rules, records: list[Record], dead: Mapping[tuple[int, int], str] = NOTHING_DEAD) -> Batch:
    return rules.intake().sort(poll_of(records), origin, dead)


def origin(partition: int, number: int) -> Origin:
    return Origin(f"partition {partition}, line {number}")


def names(events: EventBatch) -> list[tuple[int, int]]:
    return list(zip(events.partition.tolist(), events.offset.tolist(), strict=True))


# The stream as the loop drives it, and as a reader with a pencil sorts it


def drive(rules: Rules, records: list[Record], sizes: list[int], restarts: list[Restart]) -> Outcome:
    """Poll by ``sizes``, over and over; restart in each of the first polls as ``restarts`` say."""
    outcome = Outcome([], [], [], {record.partition: [] for record in records})
    intake, position, turn = rules.intake(), dict.fromkeys(outcome.rejected, 0), 0
    while rest := [record for record in records if record.offset >= position[record.partition]]:
        batch = intake.sort(poll_of(rest[: sizes[turn % len(sizes)]]), origin, {})
        cut, with_rejections = restarts[turn] if turn < len(restarts) else (batch.events.num_events, True)
        cut = min(cut, batch.events.num_events)
        learnt = batch.events.cut(0, cut)
        outcome.learnt.extend(names(learnt))
        outcome.late.extend(names(learnt.take(np.flatnonzero(batch.late[:cut]))))
        outcome.tested.extend(names(learnt.take(batch.tested[batch.tested < cut])))
        before = position
        position = before | (batch.position_before(cut) if with_rejections else batch.position_after(cut))
        for rejection in batch.rejections:
            if before[rejection.partition] <= rejection.offset < position[rejection.partition]:
                outcome.rejected[rejection.partition].append((rejection.offset, rejection.reason))
        if turn < len(restarts):
            state = json.loads(json.dumps(intake.state(batch, position)))
            intake = rules.intake()
            intake.restore(state)
        turn += 1
    return outcome


def naive_reasons(rules: Rules, records: list[tuple[int, int]]) -> Iterator[str]:
    """What is wrong with each event, "" for nothing: one event at a time."""
    guarded: int | None = None
    newest: dict[int, int] = {}
    ahead: list[int] = []
    for partition, time in records:
        guarded = time if guarded is None else guarded
        if time > guarded + rules.max_jump:
            ahead.append(time)
            if len(ahead) == CONFIRMATIONS:
                guarded = min(ahead)
        if time > guarded + rules.max_jump:
            ahead = [] if len(ahead) == CONFIRMATIONS else ahead
            yield FAR
            continue
        ahead, guarded = [], max(guarded, time)
        yield LATE if time < newest.get(partition, time) - rules.lateness else ""
        newest[partition] = max(newest.get(partition, time), time)


def naive_outcome(rules: Rules, records: list[Record]) -> Outcome:
    outcome = Outcome([], [], [], {record.partition: [] for record in records})
    reasons = naive_reasons(rules, [(record.partition, record.time) for record in records if record.time is not None])
    for partition, offset, time in records:
        reason = UNREADABLE if time is None else next(reasons)
        if reason == "" or (reason == LATE and rules.learn_late):
            outcome.learnt.append((partition, offset))
            outcome.tested.append((partition, offset))
            if reason:
                outcome.late.append((partition, offset))
        else:
            outcome.rejected[partition].append((offset, reason))
    return outcome


def numbered(stretches: list[tuple[list[int | None], list[int], int]]) -> list[Record]:
    """Records of times and partitions that go round, so many a stretch; offsets count up in each partition."""
    records: list[Record] = []
    next_offset: dict[int, int] = {}
    for times, partitions, num in stretches:
        for i in range(num):
            partition = partitions[i % len(partitions)]
            records.append(Record(partition, next_offset.get(partition, 0), times[i % len(times)]))
            next_offset[partition] = records[-1].offset + 1
    return records


near = st.integers(-30, 30)
moments = st.lists(st.none() | near | st.sampled_from([1000, 2000, 2001]), min_size=1, max_size=6)
ways = st.lists(st.integers(0, 2), min_size=1, max_size=4)
streams = st.lists(st.tuples(moments, ways, st.integers(1, 130)), max_size=4).map(numbered)
rules = st.builds(
    Rules, st.integers(0, 40), st.booleans(), st.sampled_from([0, 20, 500, 1500, 10**6]), st.just(1.0), st.just(1)
)
restarts = st.builds(Restart, st.integers(0, 60), st.booleans())
polls = st.lists(st.integers(1, 90), min_size=1, max_size=6)


@quick
@given(rules, streams, polls)
def test_events_are_sorted_out_as_if_they_came_one_by_one(
    rules: Rules, records: list[Record], sizes: list[int]
) -> None:
    assert drive(rules, records, sizes, restarts=[]) == naive_outcome(rules, records)


@quick
@given(rules, streams, polls, st.lists(restarts, max_size=8))
def test_a_restart_between_any_two_events_changes_nothing(
    rules: Rules, records: list[Record], sizes: list[int], restarts: list[Restart]
) -> None:
    assert drive(rules, records, sizes, restarts) == naive_outcome(rules, records)


@pytest.mark.parametrize("with_rejections", [False, True])
@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_a_restart_leaves_events_far_ahead_on_their_way_to_being_believed(cut: int, with_rejections: bool) -> None:
    # Of partition 1 nothing is learnt until the hundredth of the row; of partition 0 before it and behind it.
    ahead = [Record(1, offset, 5000) for offset in range(CONFIRMATIONS + 5)]
    records = [Record(0, 0, 0), Record(0, 1, 1), *ahead, Record(0, 2, 5001)]
    outcome = drive(Rules(max_jump=1000), records, [len(records)], [Restart(cut, with_rejections)])
    assert outcome.learnt == [(0, 0), (0, 1), *[(1, offset) for offset in range(99, 105)], (0, 2)]
    assert outcome.rejected[1] == [(offset, FAR) for offset in range(99)]


def test_late_events_are_learnt_or_rejected_as_asked() -> None:
    records = numbered([([100, 50, 99, 100], [0], 4)])
    rejecting, learning = Rules(lateness=10), Rules(lateness=10, learn_late=True)
    assert drive(rejecting, records, [9], []).learnt == [(0, 0), (0, 2), (0, 3)]
    assert drive(rejecting, records, [9], []).rejected == {0: [(1, LATE)]}
    assert drive(learning, records, [9], []) == Outcome(
        learnt=[(0, 0), (0, 1), (0, 2), (0, 3)],
        late=[(0, 1)],
        tested=[(0, 0), (0, 1), (0, 2), (0, 3)],
        rejected={0: []},
    )


def test_an_event_far_in_the_future_is_not_learnt_even_where_late_ones_are() -> None:
    year_2200, day = 7_258_118_400_000, 86_400_000
    records = numbered([([0, year_2200, 1000], [0], 3)])
    batch = sort(Rules(learn_late=True, max_jump=day), records)
    assert names(batch.events) == [(0, 0), (0, 2)]
    assert not batch.late.any()
    assert batch.rejections == [
        Rejection(0, 1, Origin("partition 0, line 2"), FAR, "event time 2200-01-01T00:00:00.000Z")
    ]


def test_rejections_come_in_the_order_of_the_source() -> None:
    records = numbered([([None, 100, 5, None, 10**9, 7], [0], 6)])
    rejections = sort(Rules(max_jump=1000), records).rejections
    assert [(r.offset, r.reason) for r in rejections] == [
        *[(0, UNREADABLE), (2, LATE), (3, UNREADABLE)],
        *[(4, FAR), (5, LATE)],
    ]


def test_a_batch_without_rejections_moves_no_events() -> None:
    batch = sort(Rules(), numbered([([1], [0, 1], 50)]))
    assert batch.events is batch.raw


# Dead letters of a life before this one


@quick
@given(rules, streams, polls, st.sets(st.tuples(st.integers(0, 2), st.integers(0, 40)), max_size=20))
def test_a_dead_letter_stays_dead_with_its_reason_and_changes_nothing_for_others(
    rules: Rules, records: list[Record], sizes: list[int], letters: set[tuple[int, int]]
) -> None:
    dead = {letter: f"reason {number}" for number, letter in enumerate(sorted(letters))}
    alive, outcome = naive_outcome(rules, records), Outcome([], [], [], {record.partition: [] for record in records})
    intake, turn = rules.intake(), 0
    while records:
        poll, records = records[: sizes[turn % len(sizes)]], records[sizes[turn % len(sizes)] :]
        batch = intake.sort(poll_of(poll), origin, dead)
        outcome.learnt.extend(names(batch.events))
        outcome.late.extend(names(batch.events.take(np.flatnonzero(batch.late))))
        outcome.tested.extend(names(batch.events.take(batch.tested)))
        for rejection in batch.rejections:
            outcome.rejected[rejection.partition].append((rejection.offset, rejection.reason))
        turn += 1
    for kept, all_of_them in zip(outcome[:3], alive[:3], strict=True):
        assert kept == [name for name in all_of_them if name not in dead]
    for partition, rejected in alive.rejected.items():
        # What cannot be read has a reason of its own, now as then.
        reasons = {
            offset: dead[name]
            for name in alive.learnt
            if name in dead and (offset := name[1]) is not None and name[0] == partition
        }
        reasons |= {
            offset: reason if reason == UNREADABLE else dead.get((partition, offset), reason)
            for offset, reason in rejected
        }
        assert outcome.rejected[partition] == sorted(reasons.items())


def test_a_late_event_that_is_a_letter_already_is_not_learnt_when_it_comes_first() -> None:
    records = [Record(0, 0, 50), Record(1, 0, 40), Record(0, 1, 60)]
    batch = sort(Rules(), records, {(1, 0): LATE})
    assert names(batch.events) == [(0, 0), (0, 1)]
    whence = Origin("partition 1, line 1")
    assert batch.rejections == [Rejection(1, 0, whence, LATE, "event time 1970-01-01T00:00:00.040Z")]
    assert names(sort(Rules(), records).events) == [(0, 0), (1, 0), (0, 1)]


# Records that are given again


@quick
@given(streams, st.dictionaries(st.integers(0, 3), st.integers(0, 200)))
def test_records_before_the_position_are_dropped_and_counted(records: list[Record], position: dict[int, int]) -> None:
    poll = poll_of(records)
    kept, num_known = drop_known(poll, position)
    new = [record for record in records if record.offset >= position.get(record.partition, 0)]
    assert num_known == len(records) - len(new)
    assert names(kept.events) == [(p, offset) for p, offset, time in new if time is not None]
    assert kept.rejections == [r for r in poll.rejections if r.offset >= position.get(r.partition, 0)]
    assert kept.events.timestamp_ms.tolist() == [record.time for record in new if record.time is not None]


def test_what_a_poll_says_beside_its_records_is_never_dropped() -> None:
    poll = poll_of([Record(0, 3, 1)])._replace(gaps=(Gap(1, 0, 9),), is_to_be_saved=True)
    assert drop_known(poll, {0: 3}) == (poll, 0)
    kept, num_known = drop_known(poll, {0: 4, 1: 20})
    assert (kept.gaps, kept.is_to_be_saved, kept.events.num_events, num_known) == ((Gap(1, 0, 9),), True, 0, 1)


# Positions


def test_a_gap_moves_the_position_of_its_partition() -> None:
    intake = Rules().intake()
    batch = intake.sort(Poll(NO_EVENTS, [], (Gap(0, 3, 7), Gap(2, 5, 5))), origin, {})
    assert batch.gaps == (Gap(0, 3, 7), Gap(2, 5, 5))
    assert batch.position_before(0) == {0: 7, 2: 5}
    assert batch.position_after(0) == {}


def test_a_gap_lies_before_the_events_of_its_poll() -> None:
    poll = poll_of([Record(0, 7, 1), Record(0, 8, 2), Record(1, 4, None)])._replace(gaps=(Gap(0, 3, 7), Gap(1, 2, 4)))
    batch = Rules().intake().sort(poll, origin, {})
    assert [batch.position_before(cut) for cut in range(3)] == [{0: 7, 1: 5}, {0: 8, 1: 5}, {0: 9, 1: 5}]
    assert [batch.position_after(cut) for cut in range(3)] == [{}, {0: 8}, {0: 9}]


@quick
@given(rules, streams)
def test_a_position_is_of_one_instant_in_every_partition(rules: Rules, records: list[Record]) -> None:
    batch = sort(rules, records)
    learnt = names(batch.events)
    events = [(record.partition, record.offset) for record in records if record.time is not None]
    end = {record.partition: record.offset + 1 for record in records}
    for cut in range(len(learnt) + 1):
        rest = events[events.index(learnt[cut]) :] if cut < len(learnt) else []
        assert batch.position_before(cut) == end | dict(reversed(rest))
        passed = events[: events.index(learnt[cut - 1]) + 1] if cut else []
        assert batch.position_after(cut) == {partition: offset + 1 for partition, offset in passed}


def test_without_rejections_a_position_is_the_first_offset_not_learnt_of_each_partition() -> None:
    batch = sort(Rules(), [Record(0, 10, 1), Record(3, 7, 1), Record(0, 11, 2), Record(0, 14, 2), Record(3, 8, 3)])
    before = [{0: 10, 3: 7}, {0: 11, 3: 7}, {0: 11, 3: 8}, {0: 14, 3: 8}, {0: 15, 3: 8}, {0: 15, 3: 9}]
    assert [batch.position_before(cut) for cut in range(6)] == before
    after = [{}, {0: 11}, {0: 11, 3: 8}, {0: 12, 3: 8}, {0: 15, 3: 8}, {0: 15, 3: 9}]
    assert [batch.position_after(cut) for cut in range(6)] == after


def test_a_poll_of_nothing_but_rejections_moves_the_position_too() -> None:
    batch = sort(Rules(), [Record(2, 4, None), Record(2, 5, None), Record(1, 0, None)])
    assert batch.position_before(0) == {1: 1, 2: 6}
    assert batch.position_after(0) == {}
    assert batch.events.num_events == 0
    assert len(batch.tested) == 0


# Tests


def chosen(share: float, seed: int, partition: int, num: int = 20_000, first: int = 0) -> set[int]:
    records = [Record(partition, first + i, 0) for i in range(num)]
    batch = sort(Rules(share=share, seed=seed), records)
    assert (np.diff(batch.tested) > 0).all()
    return set(batch.events.offset[batch.tested].tolist())


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
@pytest.mark.parametrize(("seed", "partition"), [(0, 0), (1, 0), (1, 7), (2**63 - 1, 2**31 - 1)])
def test_about_the_share_asked_for_is_tested(share: float, seed: int, partition: int) -> None:
    deviation = math.sqrt(20_000 * share * (1 - share))
    assert abs(len(chosen(share, seed, partition)) - 20_000 * share) < 4 * deviation


def test_all_or_none_are_tested_at_the_ends_of_the_scale() -> None:
    assert len(chosen(1.0, seed=1, partition=0)) == 20_000
    assert chosen(0.0, seed=1, partition=0) == set()


def test_which_events_are_tested_depends_on_the_seed_and_on_the_partition() -> None:
    # Independent choices of a half have a quarter of all in common.
    base = chosen(0.5, seed=1, partition=0)
    for other in (chosen(0.5, seed=2, partition=0), chosen(0.5, seed=1, partition=1)):
        assert abs(len(base & other) - 5_000) < 250


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    assert chosen(0.1, seed=1, partition=0) < chosen(0.3, seed=1, partition=0)


@quick
@given(streams, polls, st.lists(restarts, max_size=8))
def test_neither_time_nor_place_in_a_poll_decides_what_is_tested(
    records: list[Record], sizes: list[int], restarts: list[Restart]
) -> None:
    rules = Rules(learn_late=True, share=0.3)
    alike = [record._replace(time=0) for record in records]
    expected = set(drive(rules, alike, [len(records)], []).tested)
    outcome = drive(rules._replace(max_jump=20), records, sizes, restarts)
    assert outcome.tested == [name for name in outcome.learnt if name in expected]
