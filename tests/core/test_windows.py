"""Windows close where a reader with a pencil would close them, however the stream is cut into batches."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.core.windows import (
    NO_EVENT_TIME,
    UNLIMITED,
    FutureGuard,
    WindowClock,
    WindowRule,
    parse_window,
    split_late,
)
from stream.errors import UsageError

Window = tuple[int, ...]

quick = settings(derandomize=True, deadline=None, max_examples=100)
times = st.lists(st.integers(-300, 300), max_size=40)
cut_sizes = st.lists(st.integers(1, 7), min_size=1, max_size=10)


def batches(timestamp_ms: list[int], cuts: list[int]) -> Iterator[NDArray[np.int64]]:
    """Cut a stream into batches of the sizes in ``cuts``, over and over."""
    begin, turn = 0, 0
    while begin < len(timestamp_ms):
        yield np.array(timestamp_ms[begin : begin + cuts[turn % len(cuts)]], np.int64)
        begin += cuts[turn % len(cuts)]
        turn += 1


def run(clock: WindowClock, stream: list[int], cuts: list[int], growth: list[int] | None = None) -> list[Window]:
    """Drive the clock as the loop does; return the ordinals of each window's events, the open one last.

    ``growth[i]`` is the number of new entities of event i. A fresh clock takes over after each batch.
    """
    windows: list[list[int]] = [[]]
    ordinal = 0
    for batch in batches(stream, cuts):
        begin = 0
        while begin < len(batch):
            end, closes = clock.events_before_close(batch, begin)
            num_learnt = num_new = 0
            while num_learnt < end - begin and num_new < clock.remaining_growth:
                windows[-1].append(ordinal)
                num_new += growth[ordinal] if growth else 0
                num_learnt += 1
                ordinal += 1
            clock.note_learnt(batch[begin : begin + num_learnt])
            clock.note_new_entities(num_new)
            begin += num_learnt
            if closes or clock.remaining_growth == 0:
                clock.close()
                windows.append([])
        restored = WindowClock(clock.rule, clock.allowed_lateness_ms)
        restored.restore(clock.state())
        clock = restored
    assert clock.index == len(windows) - 1
    assert clock.num_learnt == len(windows[-1])
    return [tuple(window) for window in windows]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("50000events", WindowRule("events", 50_000)),
        ("50000", WindowRule("events", 50_000)),
        ("1d", WindowRule("time", 86_400_000)),
        ("6h", WindowRule("time", 21_600_000)),
        ("30min", WindowRule("time", 1_800_000)),
        ("90s", WindowRule("time", 90_000)),
        ("growth:15000", WindowRule("growth", 15_000)),
    ],
)
def test_a_window_is_written_as_events_time_or_growth(text: str, rule: WindowRule) -> None:
    assert parse_window(text) == rule


NO_WINDOWS = [
    "",
    "0",
    "0s",
    "-5",
    "1.5h",
    "1m",
    "d",
    "1 d",
    "growth:",
    "growth:0",
    "events",
    "٣d",
    "99999999d",
]


@pytest.mark.parametrize("text", [*NO_WINDOWS, pytest.param("9" * 5000, id="long")])
def test_anything_else_is_a_usage_error_of_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"not understood: .*50000events.*1d.*growth:15000.*--window 1d") as error:
        parse_window(text)
    assert repr(text[:40]) in str(error.value)
    assert "\n" not in str(error.value)


@given(stream=times, amount=st.integers(1, 12), cuts=cut_sizes)
@quick
def test_a_window_by_count_closes_after_exactly_its_number_of_events(
    stream: list[int], amount: int, cuts: list[int]
) -> None:
    everything = range(len(stream))
    expected = [tuple(everything[begin : begin + amount]) for begin in range(0, len(stream) + 1, amount)]
    assert run(WindowClock(WindowRule("events", amount)), stream, cuts) == expected


@given(stream=times, amount=st.integers(1, 150), lateness=st.integers(0, 200), cuts=cut_sizes)
@quick
def test_a_window_by_time_closes_before_the_event_that_takes_the_watermark_past_its_end(
    stream: list[int], amount: int, lateness: int, cuts: list[int]
) -> None:
    expected: list[list[int]] = [[]]
    for ordinal, time in enumerate(stream):
        before = max(stream[:ordinal], default=time)
        if (max(before, time) - lateness) // amount != (before - lateness) // amount:
            expected.append([])
        expected[-1].append(ordinal)
    clock = WindowClock(WindowRule("time", amount), lateness)
    assert run(clock, stream, cuts) == [tuple(window) for window in expected]


@given(stream=st.lists(st.integers(0, 2), max_size=60), amount=st.integers(1, 9), cuts=cut_sizes)
@quick
def test_a_window_by_growth_closes_after_the_event_that_brought_enough_new_entities(
    stream: list[int], amount: int, cuts: list[int]
) -> None:
    expected: list[list[int]] = [[]]
    num_new = 0
    for ordinal, grown in enumerate(stream):
        expected[-1].append(ordinal)
        num_new += grown
        if num_new >= amount:
            expected.append([])
            num_new = 0
    clock = WindowClock(WindowRule("growth", amount))
    assert run(clock, [0] * len(stream), cuts, growth=stream) == [tuple(window) for window in expected]


def test_days_begin_at_midnight_utc_and_days_without_events_are_not_counted() -> None:
    day = 86_400_000
    clock = WindowClock(parse_window("1d"))
    stream = [5 * day - 1, 5 * day, 6 * day - 1, 9 * day + 7, 9 * day + 8]
    assert run(clock, stream, [2]) == [(0,), (1, 2), (3, 4)]


def test_a_window_closed_early_is_followed_by_one_for_the_rest_of_the_same_time() -> None:
    clock = WindowClock(WindowRule("time", 100))
    clock.note_learnt(np.array([10, 20]))
    clock.close()
    assert clock.events_before_close(np.array([30, 99, 100])) == (2, True)


def test_only_growth_limits_the_new_entities() -> None:
    clock = WindowClock(WindowRule("growth", 10))
    clock.note_new_entities(4)
    assert clock.remaining_growth == 6
    clock.note_new_entities(7)
    assert clock.remaining_growth == 0
    clock.close()
    assert clock.remaining_growth == 10
    assert WindowClock(WindowRule("events", 10)).remaining_growth == UNLIMITED


@given(stream=times, lateness=st.integers(0, 200), cuts=cut_sizes)
@quick
def test_an_event_is_late_when_it_lies_before_the_watermark_left_by_those_before_it(
    stream: list[int], lateness: int, cuts: list[int]
) -> None:
    expected = [any(time < earlier - lateness for earlier in stream[:i]) for i, time in enumerate(stream)]
    late: list[bool] = []
    running_max = NO_EVENT_TIME
    for batch in batches(stream, cuts):
        mask, running_max = split_late(batch, running_max, lateness)
        late += mask.tolist()
    assert late == expected
    assert running_max == max(stream, default=NO_EVENT_TIME)


def test_no_event_leaves_the_running_maximum_as_it_was() -> None:
    late, running_max = split_late(np.zeros(0, np.int64), 17, 5)
    assert len(late) == 0
    assert running_max == 17


def test_lateness_holds_at_the_ends_of_time() -> None:
    lowest, highest = -(2**63), 2**63 - 1
    stream = np.array([lowest, lowest + 3, lowest, highest, lowest], np.int64)
    late, running_max = split_late(stream, NO_EVENT_TIME, 10)
    assert late.tolist() == [False, False, False, False, True]
    assert running_max == highest
    clock = WindowClock(parse_window("1d"), allowed_lateness_ms=1000)
    assert clock.events_before_close(stream) == (3, True)
    clock.note_learnt(stream[3:])
    assert clock.events_before_close(stream) == (5, False)


def naive_far(stream: list[int], max_jump: int, confirmations: int) -> list[bool]:
    """Return which events are far in the future: the guard's rule, event by event with lists."""
    far: list[bool] = []
    running_max: int | None = None
    ahead: list[int] = []
    for time in stream:
        if running_max is None:
            running_max = time
        ahead = [*ahead, time] if time > running_max + max_jump else []
        if len(ahead) == confirmations:
            running_max = min(ahead)
            far.append(time > running_max + max_jump)
            ahead = []
        else:
            far.append(bool(ahead))
        if not far[-1]:
            running_max = max(running_max, time)
    return far


@given(stream=times, max_jump=st.integers(0, 100), confirmations=st.integers(1, 4), cuts=cut_sizes)
@quick
def test_the_guard_agrees_with_its_rule_event_by_event(
    stream: list[int], max_jump: int, confirmations: int, cuts: list[int]
) -> None:
    guard = FutureGuard(max_jump, confirmations)
    far: list[bool] = []
    for batch in batches(stream, cuts):
        far += guard.split(batch).tolist()
        restored = FutureGuard(max_jump, confirmations)
        restored.restore(guard.state())
        guard = restored
    assert far == naive_far(stream, max_jump, confirmations)


def test_one_event_of_the_year_2200_makes_no_other_late() -> None:
    year_2200, day = 7_258_118_400_000, 86_400_000
    stream = np.array([0, 1000, year_2200, 2000, 3000, year_2200, 4000])
    far = FutureGuard(max_jump_ms=day).split(stream)
    assert stream[far].tolist() == [year_2200, year_2200]
    late, running_max = split_late(stream[~far], NO_EVENT_TIME, 0)
    assert not late.any()
    assert running_max == 4000


def test_a_stream_that_was_quiet_for_long_goes_on_after_a_few_rejections() -> None:
    day = 86_400_000
    stream = np.concatenate([np.arange(50), 30 * day + np.arange(50)])
    far = FutureGuard(max_jump_ms=day, confirmations=10).split(stream)
    assert np.flatnonzero(far).tolist() == list(range(50, 59))


def test_the_guard_holds_at_the_ends_of_time() -> None:
    lowest, highest = -(2**63), 2**63 - 1
    stream = np.array([lowest + 1, highest - 20, highest - 15, highest, highest - 5], np.int64)
    assert FutureGuard(10, confirmations=2).split(stream).tolist() == [False, True, False, True, False]
    assert not FutureGuard(highest).split(np.array([0, highest], np.int64)).any()


def test_the_states_are_plain_integers_by_name() -> None:
    clock = WindowClock(parse_window("90s"))
    guard = FutureGuard(1000)
    stream = np.array([5, 4, 90_000], np.int64)
    clock.note_learnt(stream)
    guard.split(stream)
    for state in (clock.state(), guard.state()):
        assert {type(value) for value in state.values()} == {int}
    assert clock.state() == {"index": 0, "num_learnt": 3, "num_new_entities": 0, "running_max_ms": 90_000}


def test_windows_by_count_follow_each_other_without_a_gap() -> None:
    windows = run(WindowClock(WindowRule("events", 3)), list(range(11)), [4])
    assert all(after[0] == before[-1] + 1 for before, after in pairwise(windows))
