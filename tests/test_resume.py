"""A run that is killed or interrupted, however often and wherever, ends as one that went through at once."""

import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.faults import Crash, Steps, StillHost
from simulators.synthetic import open_world
from stream.adapters.checkpoint_file import read_checkpoint
from stream.core.memory import COMPACTIONS, EVICTED_ITEMS, EVICTED_USERS, NUM_LEARNT
from stream.core.stats import Report
from stream.errors import CheckpointError
from tests.doubles import (
    TIGHT,
    Case,
    Listed,
    Outcome,
    Record,
    newest_checkpoint,
    open_clicks,
    outcome,
    replay,
    write_clicks,
)

EVENTS, TIME, GROWTH, CURVED, WORLD = "by events", "by time", "by growth", "with curves and a filter", "of a world"


class Whole(NamedTuple):
    """A case, and what becomes of it without any trouble."""

    case: Case
    outcome: Outcome
    report: Report
    steps: list[str]
    num_asked: int
    """How often the host is asked whether to stop."""


class Wholes(dict[str, Whole]):
    """By the case's name."""

    def __repr__(self) -> str:
        return f"<{', '.join(self)}>"


Life = tuple[str, int]
"""``crash`` at this step, or ``stop`` once asked this often; numbers go round where there are fewer."""


def cases(clicks: Path) -> dict[str, Case]:
    file = Case(lambda: open_clicks(clicks), TIGHT)
    curves = {"policy": "powerlaw:0.5", "exclude_seen": True, "windows__learn_late": True}
    return {
        EVENTS: file.under(windows__close_after="90events"),
        TIME: file.under(windows__close_after="7min"),
        # With so rare resizes that newcomers, tested already, have to wait for room.
        GROWTH: file.under(windows__close_after="growth:88", evaluation__sample=1, sizes__resize_every_events=1000),
        CURVED: file.under(windows__close_after="growth:90", memory__budget_bytes=30 * 1024, **curves),
        WORLD: Case(lambda: open_world("churn", 3, 1000), {**TIGHT, "policy": "frequency"}).under(
            windows__close_after="300events"
        ),
    }


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> Wholes:
    """Replay every case once without any trouble."""
    clicks = write_clicks(tmp_path_factory.mktemp("clicks") / "clicks.csv", 240)
    found = Wholes()
    for name, case in cases(clicks).items():
        folder, steps, host = tmp_path_factory.mktemp("whole"), Steps(), StillHost()
        report = replay(case, folder, steps=steps, host=host)
        found[name] = Whole(case, outcome(report, folder), report, steps.taken, host.num_asked)
    return found


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    """Return new folders, as many as are asked for."""

    def made() -> Iterator[Path]:
        for number in count():
            (folder := tmp_path / str(number)).mkdir()
            yield folder

    return made()


def live(whole: Whole, life: Life, folder: Path) -> Report | None:
    """Go on in ``folder`` until the life ends: return None where it crashes."""
    kind, number = life
    if kind == "stop":
        return replay(whole.case, folder, resume=True, host=StillHost(number % whole.num_asked))
    try:
        return replay(whole.case, folder, resume=True, steps=Steps(number % len(whole.steps)))
    except Crash:
        return None


def ends_the_same(whole: Whole, lives: list[Life], folder: Path) -> bool:
    for life in lives:
        live(whole, life, folder)
    return outcome(replay(whole.case, folder, resume=True), folder) == whole.outcome


def test_the_cases_have_every_kind_of_trouble(wholes: Wholes, tmp_path: Path) -> None:
    for whole in wholes.values():
        (tmp_path / "copy.scall").write_bytes(whole.outcome.checkpoint)
        counters = read_checkpoint(tmp_path / "copy.scall").arrays["memory.counters"]
        assert min(counters[[EVICTED_USERS, EVICTED_ITEMS, COMPACTIONS]]) > 0
        assert len(whole.report.windows) >= 3
        assert whole.report.quality.evaluated > 100
    reasons = {"late event", "missing user id", "timestamp far in the future", "unparseable timestamp"}
    assert wholes[EVENTS].report.dead_letter_reasons.keys() == reasons
    assert wholes[CURVED].report.counts.late > 0
    assert wholes[CURVED].report.dead_letter_reasons.keys() == reasons - {"late event"}
    taken = set(wholes[EVENTS].steps)
    assert taken >= {"poll", "origin", "commit", "mark", "decide", "window", "finish", "rename", "fsync", "remove"}


def test_a_run_killed_at_any_step_ends_the_same(wholes: Wholes, folders: Iterator[Path]) -> None:
    whole = wholes[EVENTS]
    crashes = [("crash", step) for step in range(len(whole.steps))]
    unlike = [whole.steps[step] for _, step in crashes if not ends_the_same(whole, [("crash", step)], next(folders))]
    assert unlike == []


def test_a_run_interrupted_anywhere_ends_the_same(wholes: Wholes, folders: Iterator[Path]) -> None:
    whole = wholes[GROWTH]
    unlike = [n for n in range(whole.num_asked) if not ends_the_same(whole, [("stop", n)], next(folders))]
    assert unlike == []


@given(
    name=st.sampled_from([TIME, GROWTH, CURVED, WORLD]),
    lives=st.lists(st.tuples(st.sampled_from(["crash", "stop"]), st.integers(0, 2000)), min_size=1, max_size=4),
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_a_run_of_many_lives_ends_as_one_that_went_through(wholes: Wholes, name: str, lives: list[Life]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert ends_the_same(wholes[name], lives, Path(folder))


def test_a_clock_that_jumped_is_told_the_same_after_a_crash(folders: Iterator[Path]) -> None:
    # In one poll: what is known of the end of a batch must not be known in the checkpoints made on the way there.
    times = [*range(25), *range(10**9, 10**9 + 120)]
    records: list[Record] = [(f"u{second % 9}", f"i{second % 7}", 1000 * second) for second in times]
    case = Case(lambda: Listed(records), {**TIGHT, "windows.close_after": "10events"})
    folder, steps = next(folders), Steps()
    report = replay(case, folder, steps=steps)
    assert report.counts.dead_letters == 99
    whole = Whole(case, outcome(report, folder), report, steps.taken, 0)
    commits = [step for step, name in enumerate(steps.taken) if name == "commit"]
    assert len(commits) == 5
    assert all(ends_the_same(whole, [("crash", step)], next(folders)) for step in commits)


def test_an_interrupted_run_says_so(wholes: Wholes, tmp_path: Path) -> None:
    whole = wholes[EVENTS]
    report = replay(whole.case, tmp_path, host=StillHost(whole.num_asked // 2))
    assert not report.finished
    assert [window.reason for window in report.windows] == ["events", "interrupted"]
    assert 0 < report.windows[-1].counts.learnt < 90
    assert sum(window.counts.events for window in report.windows) == report.counts.events
    counters = read_checkpoint(newest_checkpoint(tmp_path)).arrays["memory.counters"]
    assert counters[NUM_LEARNT] == report.counts.learnt
    again = replay(whole.case, tmp_path, resume=True)
    assert again.finished
    assert again.resumed
    assert [window.reason for window in again.windows] == ["events", "events", "end of stream"]


def test_a_run_asked_to_stop_at_once_still_reports(wholes: Wholes, tmp_path: Path) -> None:
    report = replay(wholes[EVENTS].case, tmp_path, host=StillHost(0))
    assert [(window.reason, window.counts.events) for window in report.windows] == [("interrupted", 0)]
    assert ends_the_same(wholes[EVENTS], [], tmp_path)


def test_a_finished_run_resumed_has_nothing_left_to_do(wholes: Wholes, tmp_path: Path) -> None:
    whole = wholes[EVENTS]
    replay(whole.case, tmp_path)
    steps = Steps()
    replay(whole.case, tmp_path, resume=True, steps=steps)
    assert steps.taken == ["restore", "rewind", "seek", "poll", "finish"]
    assert ends_the_same(whole, [], tmp_path)


def test_nothing_to_resume_is_a_fresh_start(wholes: Wholes, tmp_path: Path) -> None:
    assert not replay(wholes[EVENTS].case, tmp_path, resume=True).resumed
    assert ends_the_same(wholes[EVENTS], [], tmp_path)


def test_a_fresh_run_forgets_what_is_in_its_folder(wholes: Wholes, tmp_path: Path) -> None:
    replay(wholes[TIME].case, tmp_path)
    report = replay(wholes[EVENTS].case, tmp_path)
    assert not report.resumed
    assert outcome(report, tmp_path) == wholes[EVENTS].outcome
    with pytest.raises(Crash):
        replay(wholes[EVENTS].case, tmp_path, steps=Steps(wholes[EVENTS].steps.index("create")))
    assert not list((tmp_path / "checkpoints").glob("*.scall"))


def test_a_damaged_checkpoint_gives_way_to_the_one_before(wholes: Wholes, tmp_path: Path) -> None:
    whole = wholes[EVENTS]
    replay(whole.case, tmp_path)
    newest = newest_checkpoint(tmp_path)
    newest.write_bytes(newest.read_bytes()[:-100])
    assert ends_the_same(whole, [], tmp_path)
    assert newest_checkpoint(tmp_path) > newest


def test_where_all_checkpoints_are_damaged_the_run_is_refused(wholes: Wholes, tmp_path: Path) -> None:
    replay(wholes[EVENTS].case, tmp_path)
    for path in (tmp_path / "checkpoints").glob("*.scall"):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no good checkpoint in .*start afresh"):
        replay(wholes[EVENTS].case, tmp_path, resume=True)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("seed", 2, "seed = 1, not 2"),
        ("policy", "pareto", "policy = 'uniform/powerlaw:1@0.3', not 'pareto'"),
        ("memory__words_per_entity", 13, "memory.words_per_entity = 12, not 13"),
        ("windows__close_after", "91events", "windows.close_after = '90events', not '91events'"),
        ("model__history", 4, "model.history = 8, not 4"),
        ("evaluation__sample", 0.5, "evaluation.sample = 0.7, not 0.5"),
    ],
)
def test_a_run_is_not_resumed_under_other_settings(
    wholes: Wholes, tmp_path: Path, name: str, value: object, told: str
) -> None:
    replay(wholes[EVENTS].case, tmp_path)
    before = newest_checkpoint(tmp_path).read_bytes()
    with pytest.raises(CheckpointError, match=f"made with {told}: give the same options to resume"):
        replay(wholes[EVENTS].case.under(**{name: value}), tmp_path, resume=True)
    assert newest_checkpoint(tmp_path).read_bytes() == before
