"""What the curves of memory are made of."""

from typing import Any

import numpy as np
import pytest

from simulators.blocks import BLOCK
from tests.benchmarks import memory
from tests.benchmarks.memory import BUDGET_BYTES, Numbered, Refitted, curve_of, live, summary_of
from tests.benchmarks.peers.learner import Work
from tests.benchmarks.streams import events_of


class Recorder:
    """A peer that writes down what it is given."""

    num_bytes = 7

    def __init__(self) -> None:
        self.learnt: list[Work] = []
        self.room: list[tuple[int, int]] = []

    def prepare(self, work: Work) -> Work:
        return work

    def learn(self, prepared: Work) -> None:
        self.learnt.append(prepared)

    def make_room(self, num_users: int, num_items: int) -> None:
        self.room.append((num_users, num_items))


def test_ours_learns_every_event_and_stays_under_its_budget() -> None:
    samples = list(live(memory.OURS, 40_000, 600))
    # A world is polled in blocks, which are longer than a twentieth of this one.
    assert [sample["events"] for sample in samples] == [0, *range(BLOCK, 40_000, BLOCK), 40_000]
    assert {sample["model_bytes"] for sample in samples} == {samples[0]["model_bytes"]}
    assert 0.99 * BUDGET_BYTES < samples[0]["model_bytes"] <= BUDGET_BYTES
    assert min(sample["resident_bytes"] for sample in samples) > BUDGET_BYTES


def test_a_dict_gives_ids_rows_in_the_order_of_arrival_and_tables_have_room_for_them() -> None:
    recorder: Any = Recorder()
    feed, events = Numbered(recorder), events_of("synthetic:churn", 3_000)
    feed.learn(events.cut(0, 2_000))
    feed.learn(events.cut(2_000, 3_000))
    user, item, negative = (np.concatenate(column) for column in zip(*recorder.learnt, strict=True))
    assert len(user) == 3_000
    assert recorder.room[-1] == (user.max() + 1, item.max() + 1)
    for rows, keys in ((user, events.user), (item, events.item)):
        assert (np.diff(np.maximum.accumulate(rows)) <= 1).all()
        assert len({*zip(rows.tolist(), keys.tolist(), strict=True)}) == len(np.unique(keys)) == rows.max() + 1
    assert set(negative.tolist()) <= set(item.tolist())


def test_what_is_refitted_sees_all_events_so_far() -> None:
    recorder: Any = Recorder()
    feed, events = Refitted(recorder), events_of("synthetic:churn", 3_000)
    for begin in range(0, 3_000, 1_000):
        feed.learn(events.cut(begin, begin + 1_000))
    assert [work.num_events for work in recorder.learnt] == [1_000, 2_000, 3_000]


def test_who_takes_too_long_is_stopped_and_says_so() -> None:
    samples = list(live(memory.OURS, 50_000, 0))
    assert [sample["events"] for sample in samples] == [0]
    assert summary_of(samples, 50_000, 0)["stopped"] == "by its limit of 0 s of processor time"


def test_what_is_allocated_once_early_is_no_late_growth() -> None:
    resident = [100, 150, 200, 207, 214]
    samples = [{"events": n * 10**6, "resident_bytes": resident[n], "model_bytes": 3} for n in range(5)]
    summary = summary_of(samples, 4 * 10**6, 1)
    assert summary["stopped"] is None
    assert (summary["resident_growth_bytes"], summary["late_growth_bytes_per_million_events"]) == (64, 7)


def test_a_learner_that_fails_or_is_missing_is_a_row_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "status 1" in curve_of(memory.OURS, 0, 1)["missing"]
    monkeypatch.setattr(memory, "missing", lambda name: f"{name} is not there")
    assert curve_of("River BiasedMF", 10, 1) == {"name": "River BiasedMF", "missing": "River BiasedMF is not there"}
