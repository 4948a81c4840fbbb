"""The loop: where windows close, where every record goes, and that nothing but settings and stream decides it."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.faults import Steps
from simulators.nowhere import Silence
from stream.config import PLAIN
from stream.core.model import LOSSES
from stream.core.sizes import FAMILIES
from stream.core.stats import Counts, Progress, Report, WindowReport
from stream.core.windows import WindowRule, parse_window
from tests.doubles import TIGHT, Case, Listed, Record, open_clicks, outcome, replay, replay_in_memory, write_clicks

NEVER = 10**12
"""A jump of the clock that none makes, in seconds."""


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clicks(tmp_path_factory.mktemp("clicks") / "clicks.csv", 240)


@pytest.fixture
def case(clicks: Path) -> Case:
    return Case(lambda: open_clicks(clicks), {**TIGHT, "windows.close_after": "60events"})


def listed(records: Sequence[Record], lengths: Sequence[int] = ()) -> Case:
    return Case(lambda: Listed(records, lengths), {"memory.budget_bytes": 1 << 17, "windows.close_after": "1000events"})


def at_seconds(*seconds: int) -> list[Record]:
    """Return an event of a user and an item of their own at each of these times."""
    return [(f"u{i}", f"i{i}", 1000 * second) for i, second in enumerate(seconds)]


# Where windows close


class Window(NamedTuple):
    reason: str
    events: int
    learnt: int
    late: int
    dead_letters: int


class Twin:
    """Counts one record after the other, as the rules say; an index without limits, a clock that never jumps."""

    def __init__(self, rule: WindowRule, lateness_ms: int, learn_late: bool) -> None:
        self.rule = rule
        self.lateness_ms = lateness_ms
        self.learn_late = learn_late
        self.windows: list[Window] = []
        self.learnt = self.late = self.dead_letters = self.num_known_before = 0
        self.newest: int | None = None
        self.number = 0
        self.known: set[str] = set()

    def close(self, reason: str) -> None:
        self.windows.append(Window(reason, self.learnt + self.dead_letters, self.learnt, self.late, self.dead_letters))
        self.learnt = self.late = self.dead_letters = 0
        self.num_known_before = len(self.known)

    def read(self, record: Record) -> None:
        if record is None:
            self.dead_letters += 1
            return
        user, item, ms = record
        is_late = self.newest is not None and ms < self.newest - self.lateness_ms
        if is_late and not self.learn_late:
            self.late += 1
            self.dead_letters += 1
            return
        self.newest = ms if self.newest is None else max(self.newest, ms)
        number = (self.newest - self.lateness_ms) // self.rule.amount
        if self.rule.kind == "time" and self.learnt and number > self.number:
            self.close("time")
        self.number = number
        self.learnt += 1
        self.late += is_late
        self.known |= {f"user {user}", f"item {item}"}
        is_full = {
            "events": self.learnt == self.rule.amount,
            "growth": len(self.known) - self.num_known_before >= self.rule.amount,
        }
        if is_full.get(self.rule.kind):
            self.close(self.rule.kind)

    def end(self) -> list[Window]:
        if self.learnt or self.dead_letters:
            self.close("end of stream")
        return self.windows


def windows_of(report: Report) -> list[Window]:
    return [
        Window(w.reason, w.counts.events, w.counts.learnt, w.counts.late, w.counts.dead_letters) for w in report.windows
    ]


ids = st.integers(0, 8).map(str)
records = st.lists(st.none() | st.tuples(ids, ids, st.integers(0, 30).map(lambda s: 1000 * s)), max_size=30)


@given(
    records=records,
    lengths=st.lists(st.integers(1, 6), max_size=20),
    rule=st.sampled_from(["1events", "4events", "5s", "10s", "growth:1", "growth:3"]),
    lateness_s=st.sampled_from([0, 3, 12]),
    learn_late=st.booleans(),
)
@settings(derandomize=True, deadline=None, max_examples=200)
def test_windows_close_where_a_twin_says_that_reads_one_record_at_a_time(
    records: list[Record], lengths: list[int], rule: str, lateness_s: int, learn_late: bool
) -> None:
    case = listed(records, lengths).under(
        windows__close_after=rule, windows__allowed_lateness_s=lateness_s, windows__learn_late=learn_late
    )
    report, _ = replay_in_memory(case)
    twin = Twin(parse_window(rule), 1000 * lateness_s, learn_late)
    for record in records:
        twin.read(record)
    assert windows_of(report) == twin.end()


def test_windows_are_numbered_and_together_hold_every_record(case: Case) -> None:
    for rule in ("60events", "3min", "growth:40"):
        report, _ = replay_in_memory(case.under(windows__close_after=rule))
        assert [window.index for window in report.windows] == list(range(len(report.windows)))
        assert {window.reason for window in report.windows[:-1]} == {parse_window(rule).kind}
        for name in Counts.__struct_fields__:
            assert sum(getattr(w.counts, name) for w in report.windows) == getattr(report.counts, name), name
        assert sum(window.quality.evaluated for window in report.windows) == report.quality.evaluated


def test_a_stream_that_ends_with_its_window_ends_in_no_empty_one() -> None:
    report, _ = replay_in_memory(listed(at_seconds(*range(6))).under(windows__close_after="3events"))
    assert [window.reason for window in report.windows] == ["events", "events"]


def test_a_stream_of_bad_records_alone_ends_in_a_window_too() -> None:
    report, letters = replay_in_memory(listed([None] * 3))
    assert windows_of(report) == [Window("end of stream", 3, 0, 0, 3)]
    assert len(letters) == report.counts.dead_letters == 3


def test_an_empty_stream_has_no_window() -> None:
    report, _ = replay_in_memory(listed([]))
    assert report.windows == []
    assert report.counts == Counts()
    assert report.finished


def test_a_window_closes_in_the_order_that_makes_a_checkpoint_one_instant(case: Case, tmp_path: Path) -> None:
    steps = Steps()
    replay(case, tmp_path, steps=steps)
    told = [name for name, _ in groupby(steps.taken) if name not in ("poll", "origin", "lag", "write")]
    window = ["decide", "mark", "state", "create", "flush", "fsync", "rename", "fsync_folder", "commit", "window"]
    assert told[-len(window) - 2 :] == [*window[:8], "remove", *window[8:], "finish"]


# Where the bytes go


def test_the_ledger_never_exceeds_the_budget(case: Case) -> None:
    for budget_bytes in (30 * 1024, 35_234, 1 << 16):
        report, _ = replay_in_memory(case.under(memory__budget_bytes=budget_bytes))
        assert sum(line.bytes for line in report.ledger) <= report.peak_bytes <= report.budget_bytes == budget_bytes
        assert report.counts.violations == 0
        for window in report.windows:
            assert window.ledger_bytes <= window.peak_bytes <= window.budget_bytes == budget_bytes
            assert window.arena_used_words <= window.arena_words
            users, items = window.user_sizes, window.item_sizes
            assert (users.num, items.num) == (window.num_users, window.num_items)
            assert users.num * users.mean + items.num * items.mean <= window.arena_used_words


@pytest.mark.parametrize("family", FAMILIES)
def test_every_policy_runs_within_the_budget(case: Case, family: str) -> None:
    report, _ = replay_in_memory(case.under(policy=family, users_share=0.3))
    assert report.policy == family
    for window in report.windows:
        assert window.decision["users"]["family"] == window.decision["items"]["family"] == family
        assert window.decision["users_share"] == 0.3
    assert report.counts.violations == 0
    assert report.counts.evictions > 0


def test_a_steep_policy_gives_unlike_sizes(case: Case) -> None:
    uniform, _ = replay_in_memory(case.under(policy="uniform"))
    steep, _ = replay_in_memory(case.under(policy="powerlaw:0.2"))
    even, uneven = (report.windows[-1].item_sizes.quantiles for report in (uniform, steep))
    assert uneven["min"] < even["min"] <= even["max"] < uneven["max"]


# Where the records go


def test_every_record_is_learnt_or_a_dead_letter(case: Case) -> None:
    for learn_late in (False, True):
        report, letters = replay_in_memory(case.under(windows__learn_late=learn_late))
        counts = report.counts
        assert counts.events == counts.learnt + counts.dead_letters == 242
        assert counts.dead_letters == len(letters) == sum(report.dead_letter_reasons.values())
        assert [letter.offset for letter in letters] == sorted({letter.offset for letter in letters})
        assert counts.late > 0
        assert report.dead_letter_reasons.get("late event", 0) == (0 if learn_late else counts.late)


def test_an_event_within_the_allowed_lateness_is_learnt() -> None:
    records = at_seconds(1000, 941, 940, 939)
    _, letters = replay_in_memory(listed(records).under(windows__allowed_lateness_s=60))
    assert [(letter.origin.place, letter.reason) for letter in letters] == [("record 3", "late event")]


def test_a_late_event_does_not_turn_the_clock_back() -> None:
    records = at_seconds(1000, 10, 900, 1000)
    _, letters = replay_in_memory(listed(records))
    assert [letter.offset for letter in letters] == [1, 2]


def test_an_event_far_in_the_future_does_not_make_the_others_late() -> None:
    records = at_seconds(1000, 1001, 10**10, 1002, 10**10, 1003)
    report, letters = replay_in_memory(listed(records))
    assert [(letter.offset, letter.reason) for letter in letters] == [
        (2, "timestamp far in the future"),
        (4, "timestamp far in the future"),
    ]
    assert "2286" in letters[0].detail
    assert (report.counts.learnt, report.counts.late) == (4, 0)


def test_a_stream_that_moved_for_good_is_followed() -> None:
    records = at_seconds(1000, *range(10**10, 10**10 + 150))
    report, _ = replay_in_memory(listed(records))
    assert (report.counts.learnt, report.counts.dead_letters) == (52, 99)


# What is tested


def test_every_event_is_tested_once_before_it_is_learnt(case: Case) -> None:
    # So rare resizes that newcomers have to wait for room, some of them at a window's end.
    tested = case.under(evaluation__sample=1, sizes__resize_every_events=1000)
    for rule in ("60events", "growth:1", *(f"growth:{amount}" for amount in range(30, 90, 3))):
        report, _ = replay_in_memory(tested.under(windows__close_after=rule))
        assert report.quality.evaluated == report.counts.learnt
        groups = report.quality_by_gap.values()
        assert sum(group.evaluated for group in groups) == report.quality.evaluated


def test_the_sample_says_how_many_events_are_tested(clicks: Path) -> None:
    case = Case(lambda: open_clicks(clicks), {"memory.budget_bytes": 1 << 17})
    shares = []
    for sample in (0, 0.25, 1):
        report, _ = replay_in_memory(case.under(evaluation__sample=sample))
        shares.append(report.quality.evaluated / report.counts.learnt)
        assert (report.quality.recall is None) == (sample == 0)
    assert shares[0] == 0
    assert 0.15 < shares[1] < 0.35
    assert shares[2] == 1


def test_an_item_that_was_taken_is_no_hit_again() -> None:
    loyal: list[Record] = [("u", f"i{min(i, 3)}", 1000 * i) for i in range(40)]
    shown, _ = replay_in_memory(listed(loyal))
    hidden, _ = replay_in_memory(listed(loyal).under(exclude_seen=True))
    assert shown.quality.recall == pytest.approx(36 / 40)
    assert hidden.quality.recall == 0
    assert hidden.quality.first_sight_share == shown.quality.first_sight_share == pytest.approx(4 / 40)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_control_learns_with_every_loss(case: Case, loss: str) -> None:
    plain = case.under(**{name.replace(".", "__"): value for name, value in PLAIN.items()})
    report, _ = replay_in_memory(plain.under(model__loss=loss))
    elastic, _ = replay_in_memory(case)
    assert report.counts.learnt == elastic.counts.learnt
    assert report.quality.evaluated == elastic.quality.evaluated
    assert report.quality.mrr != elastic.quality.mrr
    # Both are held against the same rival.
    assert report.quality.popularity_recall is not None


# What decides a run


def test_the_same_run_twice_leaves_the_same_bytes(case: Case, tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))
    for folder in (first, second):
        folder.mkdir()
    assert outcome(replay(case, first), first) == outcome(replay(case, second), second)


def test_another_seed_is_another_run(case: Case) -> None:
    one, other = (replay_in_memory(case.under(seed=seed))[0] for seed in (1, 2))
    assert one.counts.learnt == other.counts.learnt
    assert one.quality != other.quality


@given(
    chunk_rows=st.integers(1, 100),
    rule=st.sampled_from(["25events", "3min", "growth:20"]),
    learn_late=st.booleans(),
)
@settings(derandomize=True, deadline=None, max_examples=30)
def test_how_the_source_cuts_its_polls_changes_nothing(
    clicks: Path, chunk_rows: int, rule: str, learn_late: bool
) -> None:
    settings = {**TIGHT, "windows.close_after": rule, "windows.learn_late": learn_late}
    at_once, letters = replay_in_memory(Case(lambda: open_clicks(clicks, 1 << 16), settings))
    in_pieces, other_letters = replay_in_memory(Case(lambda: open_clicks(clicks, chunk_rows), settings))
    assert in_pieces == at_once
    assert other_letters == letters


# What a watcher is told


class Watcher(Silence):
    def __init__(self) -> None:
        self.told: list[int] = []
        self.windows: list[WindowReport] = []
        self.reports: list[Report] = []

    def progress(self, progress: Progress) -> None:
        self.told.append(progress.counts.events)

    def window(self, report: WindowReport) -> None:
        self.windows.append(report)

    def finish(self, report: Report) -> None:
        self.reports.append(report)


def test_a_watcher_is_told_of_every_window_and_of_the_end(case: Case) -> None:
    watcher = Watcher()
    report, _ = replay_in_memory(case, watcher)
    assert watcher.windows == report.windows
    assert watcher.reports == [report]
    assert watcher.told == sorted(watcher.told)
    assert watcher.told[-1] == report.counts.events
