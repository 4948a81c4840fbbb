"""Every peer that is measured keeps the contract, learns, and learns everything."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.benchmarks import peers_speed
from tests.benchmarks.peers import catalogue
from tests.benchmarks.peers.catalogue import PEERS, missing, open_peer, version_of
from tests.benchmarks.peers.learner import Learner, Work, count_untouched, work_of
from tests.benchmarks.peers_speed import GOALS, OURS, PLANS, time_peer
from tests.benchmarks.streams import events_of

NUM_USERS, NUM_ITEMS = 20, 16


def planted(num_events: int = 2_000, seed: int = 5) -> Work:
    """Two kinds of users, each with items of its own; negatives are the other kind's."""
    rng = np.random.default_rng(seed)
    user = rng.integers(0, NUM_USERS, num_events)
    item = 2 * rng.integers(0, NUM_ITEMS // 2, num_events) + user % 2
    return Work(user, item, item ^ 1)


def open_or_skip(name: str) -> Learner:
    if why := missing(name):
        pytest.skip(why)
    return open_peer(name, 8, NUM_USERS, NUM_ITEMS)


def margin(learner: Learner, work: Work) -> float:
    """By how much the positives' mean score is above the negatives'."""
    return float((learner.scores(work.user, work.item) - learner.scores(work.user, work.negative)).mean())


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_learns_who_likes_what_and_misses_no_event(name: str) -> None:
    learner, work = open_or_skip(name), planted()
    size = work.num_events if name.startswith("implicit") else 50
    # What goes over all events at once has several epochs.
    batches = [*work.in_batches(size)] if size == 50 else [work] * 20
    if name.startswith("Vowpal"):
        batches = [work.cut(0, 1_200), work.cut(1_200, 2_000)]
    before = margin(learner, work)
    for batch in batches:
        learner.learn(learner.prepare(batch))
    assert abs(before) < 0.1
    assert margin(learner, work) > before + 0.2
    assert learner.num_missed(work) == 0
    assert learner.num_bytes > 0


@pytest.mark.parametrize("name", PEERS)
def test_events_that_a_peer_was_not_given_are_missed(name: str) -> None:
    learner, work = open_or_skip(name), planted()
    extra = Work(*(np.array([number]) for number in (NUM_USERS - 1, NUM_ITEMS - 1, 0)))
    given = work.cut(0, 500)
    known = given.user < NUM_USERS - 1
    given = Work(*(column[known] for column in given))
    learner.learn(learner.prepare(given))
    assert learner.num_missed(given) == 0
    assert learner.num_missed(Work(*(np.append(*pair) for pair in zip(given, extra, strict=True)))) == 1


def test_tables_of_torch_keep_what_they_learnt_as_they_double() -> None:
    tables = pytest.importorskip("tests.benchmarks.peers.torch_tables")
    work = planted()
    for optimizer in tables.OPTIMIZERS:
        learner = tables.TorchTables(8, 2, 2, optimizer)
        learner.make_room(2, 2)
        small = learner.num_bytes
        learner.make_room(NUM_USERS, NUM_ITEMS)
        for batch in work.cut(0, 1_000).in_batches(50):
            learner.learn(learner.prepare(batch))
        scores, num_bytes = learner.scores(work.user, work.item), learner.num_bytes
        learner.make_room(2 * NUM_USERS, NUM_ITEMS)
        np.testing.assert_array_equal(learner.scores(work.user, work.item), scores)
        assert small < num_bytes < learner.num_bytes
        for batch in work.cut(1_000, 2_000).in_batches(50):
            learner.learn(learner.prepare(batch))
        assert learner.num_missed(work) == 0
        assert margin(learner, work) > 0.2


def test_the_gradients_by_hand_are_those_of_the_logistic_loss() -> None:
    torch = pytest.importorskip("torch")
    tables = importlib.import_module("tests.benchmarks.peers.torch_tables")
    rows = [torch.randn(7, 4, generator=torch.Generator().manual_seed(seed)).requires_grad_() for seed in range(3)]
    user, positive, negative = rows
    scores = torch.cat([(user * positive).sum(1), (user * negative).sum(1)])
    labels = torch.cat([torch.ones(7), torch.zeros(7)])
    torch.nn.functional.binary_cross_entropy_with_logits(scores, labels, reduction="sum").backward()
    for row, gradient in zip(rows, tables.logistic_gradients(*rows), strict=True):
        torch.testing.assert_close(row.grad, gradient)


def test_the_work_has_numbers_in_the_order_of_arrival_and_negatives_that_are_known() -> None:
    events = events_of("synthetic:drift", 3_000)
    work = work_of(events)
    known = np.maximum.accumulate(work.item) + 1
    assert (work.negative < known).all()
    assert (work.negative[known > 1] != work.item[known > 1]).all()
    for column, keys in ((work.user, events.user), (work.item, events.item)):
        assert column[0] == 0
        assert (np.diff(np.maximum.accumulate(column)) <= 1).all()
        assert len({*zip(column.tolist(), keys.tolist(), strict=True)}) == len(np.unique(keys)) == column.max() + 1
    assert sum(batch.num_events for batch in work.in_batches(64)) == work.num_events


def test_an_event_is_untouched_where_its_user_or_its_item_is() -> None:
    work = Work(*(np.array(column) for column in ([0, 0, 1, 1], [0, 1, 0, 1], [1, 0, 1, 0])))
    assert count_untouched(work, np.array([True, False]), np.array([True, True])) == 2
    assert count_untouched(work, np.array([True, False]), np.array([False, True])) == 3


def test_a_missing_library_is_a_row_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError(f"No module named {name!r}\nand more")

    monkeypatch.setattr(catalogue, "import_module", fail)
    monkeypatch.setattr(peers_speed, "FACTORS", (4,))
    figures = peers_speed.learning_peers(quick=True)
    missing_rows = [row for row in figures["rows"] if "missing" in row]
    assert [row["name"] for row in missing_rows] == [plan.name for plan in PLANS]
    for row in missing_rows:
        assert row["missing"].startswith(f"{PEERS[row['name']].library} does not load (No module named")
        assert "scall-stream[bench]" in row["missing"]
        assert "\n" not in row["missing"]
    ours = [row for row in figures["rows"] if "missing" not in row]
    assert [(row["events"], row["missed_events"]) for row in ours] == [(20_000, 0)] * 4
    assert figures["ratios"][0]["FBGEMM TBE at 1024"]["ours, plain, uniform"] is None


def test_ours_is_so_many_times_as_fast_run_by_run() -> None:
    def row(name: str, batch: int | str, *by_run: int) -> dict[str, Any]:
        return {"name": name, "batch": batch, "k": 4, "by_run": list(by_run), "resizing_share": 0.5}

    rows = [row(name, 1, 100, 40, 90) for name, *_ in OURS]
    rows += [row(name, batch or "all", 50, 10, 90) for name, batch, _ in GOALS]
    figures = peers_speed.ratios(rows, 4)
    assert figures.pop("k") == 4
    for told in figures.values():
        assert (told["ours, full, elastic"], told["ours, full, elastic, resizes apart"]) == (2.0, 4.0)


def test_every_peer_is_measured_on_all_that_it_is_given() -> None:
    assert {plan.name for plan in PLANS} == set(PEERS)
    plan = next(plan for plan in PLANS if missing(plan.name) is None)
    timing = time_peer(plan, planted(300), 8)
    assert timing.num_missed == 0
    assert min(timing.processor_s, timing.wall_s) > 0
    assert version_of(plan.name)
    assert Path(catalogue.__file__).with_name(f"{PEERS[plan.name].module}.py").exists()
