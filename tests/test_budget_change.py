"""Another budget while the loop runs: in force within a window, kept over restarts, the same however often one dies."""

import json
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.faults import Crash, Steps, StillHost
from simulators.nowhere import Silence
from simulators.synthetic import open_world
from stream.__main__ import main
from stream.adapters.budgets import RequestedBudgets
from stream.adapters.checkpoint import CheckpointFolder, newest_file, read_header
from stream.adapters.checkpoint_writer import CheckpointWriter
from stream.assembly import build_trainer
from stream.commands.assembly import build_policy
from stream.config import make_settings
from stream.core.event import Origin, Poll
from stream.core.stats import Report
from stream.core.trainer import Trainer
from stream.errors import BudgetError, StorageError
from stream.pipeline import Pace, Pipeline, Ports
from tests.doubles import (
    TIGHT,
    Case,
    HastyDisk,
    Letters,
    Outcome,
    newest_checkpoint,
    open_clicks,
    outcome,
    read_report,
    replay,
    write_clicks,
)
from tests.test_live_loop import NOTHING, Clock, Scene, first, forever, refusing

KIB = 1024
PLAN = {60: 60 * KIB, 120: 31 * KIB, 180: 1 << 17, 240: 30 * KIB}
WINDOW = {"windows__close_after": "90events", "windows__learn_late": True}

Told = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    clicks = write_clicks(tmp_path_factory.mktemp("clicks") / "clicks.csv", 320)
    return Case(lambda: open_clicks(clicks), TIGHT).under(**WINDOW)


# In force


def test_a_budget_asked_for_is_in_force_at_the_end_of_the_window(case: Case, tmp_path: Path) -> None:
    report = replay(case, tmp_path, plan=PLAN)
    assert [window.budget_bytes for window in report.windows] == [60 * KIB, 1 << 17, 30 * KIB, 30 * KIB]
    assert [window.counts.budget_changes for window in report.windows] == [1, 2, 1, 0]
    assert report.counts.budget_changes == 4
    assert report.counts.violations == 0
    assert report.counts.events == report.counts.learnt + report.counts.dead_letters == 320 + 2
    for part in (report, *report.windows):
        assert part.budget_bytes * 0.99 < part.peak_bytes <= part.budget_bytes
    assert sum(line.bytes for line in report.ledger) <= 30 * KIB
    # Up: room at once. Down: only what there is room for.
    entities = [window.num_users + window.num_items for window in report.windows]
    assert entities[1] > entities[0]
    assert entities[2] < entities[1]


def test_to_ask_for_the_budget_in_force_is_no_change() -> None:
    scene = Scene([first(40)])
    scene.clock.budgets = [30 * KIB, 30 * KIB]
    assert scene.run().counts.budget_changes == 0
    assert scene.clock.answers == [None]


def test_a_budget_too_small_is_told_of_and_the_old_one_stays() -> None:
    scene = Scene([first(10, begin=10 * i) for i in range(7)])
    scene.clock.budgets = [1000, 40 * KIB, 2000]
    report = scene.run()
    too_small = "budget of {} bytes is too small: give at least --budget "
    assert len(scene.reporter.warnings) == 2
    assert scene.reporter.warnings[0].startswith("the budget stays at 30,720 bytes: " + too_small.format("1,000"))
    assert scene.reporter.warnings[1].startswith("the budget stays at 40,960 bytes: " + too_small.format("2,000"))
    assert [str(answer).partition(" is too")[0] for answer in scene.clock.answers] == [
        *("budget of 1,000 bytes", "None", "budget of 2,000 bytes")
    ]
    assert report.budget_bytes == 40 * KIB
    assert report.counts.learnt == 70
    assert report.counts.budget_changes == 1


def new_trainer(**changes: Any) -> Trainer:
    return build_trainer(make_settings({**TIGHT, **{name.replace("__", "."): changes[name] for name in changes}}))


def learn(trainer: Trainer, num: int) -> None:
    poll = open_world("churn", 2, num).poll()
    assert poll is not None
    batch = trainer.sort(poll, lambda *_: Origin(""))
    at = 0
    while at < batch.events.num_events:
        step = trainer.learn(batch, at, batch.events.num_events)
        trainer.note_learnt(batch, at, step.reached)
        if step.resize_due:
            trainer.resize_within_window()
        at = step.reached


@pytest.mark.parametrize("budget_bytes", [29 * KIB, 35_234, 1 << 20])
def test_the_ledger_is_under_the_new_budget_at_once(budget_bytes: int) -> None:
    trainer = new_trainer(memory__budget_bytes=1 << 17)
    learn(trainer, 400)
    trainer.change_budget(budget_bytes)
    assert trainer.budget_bytes == trainer.ledger().budget_bytes == budget_bytes
    assert budget_bytes - 64 < trainer.ledger().total_bytes == trainer.peak_bytes <= budget_bytes
    assert trainer.account.counts().violations == 0
    assert trainer.account.counts().budget_changes == 1
    learn(trainer, 400)
    trainer.check_ledger()
    assert trainer.account.counts().violations == 0


def test_a_budget_that_is_refused_leaves_a_trainer_as_it_is() -> None:
    trainer = new_trainer()
    learn(trainer, 200)
    arrays, meta = trainer.state(None, {})
    before = {name: array.tobytes() for name, array in arrays.items()}
    with pytest.raises(BudgetError, match="too small"):
        trainer.change_budget(1000)
    arrays, after = trainer.state(None, {})
    assert {name: array.tobytes() for name, array in arrays.items()} == before
    assert after == meta


def test_entities_asked_for_by_number_grow_and_shrink_with_the_budget() -> None:
    made = make_settings({"memory.budget_bytes": 1 << 20, "memory.max_entities": 1000})
    assert made.layout() == made.layout(1 << 20)
    assert made.layout(1 << 21).num_slots == 2000
    assert made.layout(1 << 19).num_slots == 500
    assert made.layout(40 * KIB).num_slots == 64
    assert make_settings({}).layout(1 << 20) == make_settings({"memory.budget_bytes": 1 << 20}).layout()


def test_a_checkpoint_tells_its_budget(case: Case, tmp_path: Path, capsys: Told) -> None:
    replay(case, tmp_path, plan={60: 60 * KIB})
    assert main(["inspect", str(tmp_path / "checkpoints")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["budget_bytes"] == 60 * KIB
    assert told["settings"]["memory"]["budget_bytes"] == 30 * KIB


# Durable


def budget_saved(scene: Scene) -> list[int]:
    return [saved.meta["trainer"]["budget_bytes"] for saved in scene.saved]


class Counting(Clock):
    """A host that says when it was answered, in the log of a scene."""

    log: list[Any]

    def answer_budget(self, refusal: str | None) -> None:
        super().answer_budget(refusal)
        self.log.append("answer")


def answered_scene(polls: Sequence[Poll], pace: Pace, **circumstances: Any) -> Scene:
    scene = Scene(polls, pace, windows__close_after="1000events", **circumstances)
    scene.clock.__class__ = Counting
    vars(scene.clock)["log"] = scene.log
    return scene


@pytest.mark.parametrize("patience", [0, 3])
def test_a_request_is_saved_at_once_and_answered_when_that_is_durable(patience: int) -> None:
    polls = [first(1, begin=i) for i in range(2)] + [NOTHING] * 6
    scene = answered_scene(polls, Pace(checkpoint_every_s=1000), patience=forever(patience))
    scene.clock.budgets = [40 * KIB]
    scene.run()
    save, durable, commit = (scene.log.index((kind, {0: 1})) for kind in ("save", "durable", "commit"))
    assert scene.log[:save] == ["poll"]
    assert scene.log[commit + 1] == "answer"
    assert save < durable < commit
    assert scene.log[save + 1 : durable] == ["poll"] * patience
    assert set(budget_saved(scene)) == {40 * KIB}


@pytest.mark.parametrize("refusal", ["at once", "later"])
def test_a_request_that_cannot_be_saved_is_answered_after_the_next_checkpoint(refusal: str) -> None:
    pace = Pace(checkpoint_every_s=3, survives_disk_errors=True)
    scene = answered_scene([first(1, begin=i) for i in range(8)], pace, refusals=refusing([refusal]))
    scene.clock.budgets = [40 * KIB]
    scene.run()
    assert scene.logged("save")[:2] == [{0: 1}, {0: 4}], "not at every poll"
    assert scene.log.count("answer") == 1
    assert scene.log.index("answer") > scene.log.index(("durable", {0: 4}))


def test_of_two_requests_the_last_is_answered_when_it_is_durable() -> None:
    polls = [first(1, begin=i) for i in range(9)]
    scene = answered_scene(polls, Pace(checkpoint_every_s=1000), patience=forever(3))
    scene.clock.budgets = [40 * KIB, 50 * KIB]
    scene.run()
    assert scene.log.count("answer") == 1
    assert budget_saved(scene) == [40 * KIB, 50 * KIB, 50 * KIB]
    assert scene.log.index("answer") > scene.log.index(("durable", scene.logged("save")[1]))


def test_a_loop_that_saves_nothing_answers_at_once() -> None:
    scene = Scene([first(3)], Pace(saves=False))
    scene.clock.budgets = [40 * KIB]
    assert scene.run().budget_bytes == 40 * KIB
    assert scene.clock.answers == [None]
    assert scene.saved == []


def test_a_disk_that_refuses_still_stops_the_run() -> None:
    scene = Scene([first(3)], refusals=refusing(["at once"]))
    scene.clock.budgets = [40 * KIB]
    with pytest.raises(StorageError):
        scene.run()
    assert scene.clock.answers == []


# After a restart


def test_a_changed_budget_stands_until_the_settings_are_changed() -> None:
    scene = Scene([first(40)])
    scene.clock.budgets = [40 * KIB]
    scene.run()
    again = Scene([first(40, begin=40)], before=scene)
    assert again.run().budget_bytes == 40 * KIB
    configured = Scene([first(40, begin=80)], before=again, memory__budget_bytes=33 * KIB)
    report = configured.run()
    assert report.budget_bytes == 33 * KIB
    assert report.counts.budget_changes == 2
    assert report.counts.learnt == 120
    assert report.counts.violations == 0
    stays = Scene([first(40, begin=120)], before=configured, memory__budget_bytes=33 * KIB)
    assert stays.run().budget_bytes == 33 * KIB
    back = Scene([first(1, begin=160)], before=stays)
    assert back.run().budget_bytes == 30 * KIB


def test_a_run_is_resumed_under_another_budget(case: Case, tmp_path: Path) -> None:
    replay(case, tmp_path, host=StillHost(80))
    report = replay(case.under(memory__budget_bytes=60 * KIB), tmp_path, resume=True)
    assert report.resumed
    assert report.windows[-1].budget_bytes == report.budget_bytes == 60 * KIB
    assert report.counts.violations == 0


@pytest.fixture(scope="module")
def whole(case: Case, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, int, int]:
    """What becomes of the case and its plan without trouble, its steps, and how often it may be stopped."""
    folder, steps, host = tmp_path_factory.mktemp("whole"), Steps(), StillHost()
    report = replay(case, folder, steps=steps, host=host, plan=PLAN)
    return outcome(report, folder), len(steps.taken), host.num_asked


@given(lives=st.lists(st.tuples(st.booleans(), st.integers(0, 2000)), min_size=1, max_size=4))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_however_often_a_run_dies_it_ends_with_the_same_bits(
    case: Case, whole: tuple[Outcome, int, int], lives: list[tuple[bool, int]]
) -> None:
    expected, num_steps, num_asked = whole
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for dies, number in lives:
            try:
                steps = Steps(number % num_steps) if dies else Steps()
                host = StillHost() if dies else StillHost(number % num_asked)
                replay(case, folder, resume=True, steps=steps, host=host, plan=PLAN)
            except Crash:
                pass
        assert outcome(replay(case, folder, resume=True, plan=PLAN), folder) == expected


# The command line


def test_a_replay_changes_its_budget_by_plan(tmp_path: Path, capsys: Told) -> None:
    options = ["synthetic:churn", "--limit", "9000", "--budget", "256KiB", "--window", "3000", "--eval-sample", "0.1"]
    plan = ["--budget-change", "3001:128KiB", "--budget-change", "6000:1MiB"]
    for name in ("one", "other"):
        assert main(["replay", *options, *plan, "--out", str(tmp_path / name), "--quiet"]) == 0
    report = read_report(tmp_path / "one")
    # Sizes are assigned anew every 2,000 events.
    assert [window["budget_bytes"] for window in report["windows"]] == [256 * KIB, 1 << 20, 1 << 20]
    assert [window["budget_changes"] for window in report["windows"]] == [0, 2, 0]
    assert report["settings"]["budget_changes"] == ["3001:128KiB", "6000:1MiB"]
    assert report["violations"] == 0
    one, other = (newest_checkpoint(tmp_path / name) for name in ("one", "other"))
    assert [entry.checksum for entry in read_header(one).arrays] == [
        entry.checksum for entry in read_header(other).arrays
    ]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("4MiB", "--budget-change '4MiB': write it as EVENTS:SIZE, such as 200000:4MiB"),
        ("0:4MiB", "write it as EVENTS:SIZE"),
        ("9:", "write it as EVENTS:SIZE"),
        ("9:much", "--budget-change 'much' is not a size: write bytes"),
        ("9:1KiB", "budget of 1,024 bytes is too small: give at least"),
    ],
)
def test_a_plan_that_is_none_is_refused(tmp_path: Path, capsys: Told, change: str, told: str) -> None:
    assert main(["replay", "synthetic:churn", "--budget-change", change, "--out", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "service.toml"
    path.write_text(
        'kafka.bootstrap_servers = ["localhost:9092"]\nkafka.topics = ["clicks"]\nkafka.group = "scall"\n'
        'checkpoints.folder = "saved"\nmemory.budget_bytes = "30KiB"\n'
    )
    return path


class Endless:
    """A world that goes on, slowly, once it is over."""

    def __init__(self) -> None:
        self._world = open_world("churn", 1, 500)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def poll(self) -> Poll:
        time.sleep(0.005)
        return self._world.poll() or NOTHING


class Stoppable(StillHost):
    """A host with a real clock and a switch."""

    def __init__(self) -> None:
        super().__init__()
        self.is_over = threading.Event()

    def elapsed_s(self) -> float:
        return time.monotonic()

    def stop_requested(self) -> bool:
        return self.is_over.is_set()


class Running:
    """The loop of a service on a folder, in a thread, over a stream without end."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.host = Stoppable()
        self._settings = make_settings({**TIGHT, "windows.learn_late": True} | changes)
        self.reports: list[Report] = []
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(folder,))

    def _run(self, folder: Path) -> None:
        made = self._settings
        with ExitStack() as stack:
            checkpoints = stack.enter_context(CheckpointFolder(folder, filesystem=HastyDisk()))
            writer = stack.enter_context(CheckpointWriter(checkpoints, background=True))
            trainer = build_trainer(made)
            writer.reserve(trainer.recommender.state())
            # Twenty times as often as in service, not to keep a test waiting.
            host = RequestedBudgets(self.host, folder, clock=lambda: 20 * time.monotonic())
            ports = Ports(Endless(), Letters(), writer, build_policy(made), Silence(), host)
            pipeline = Pipeline(ports, trainer, msgspec.to_builtins(made), {}, Pace(checkpoint_every_s=1000))
            if not pipeline.resume():
                pipeline.start_afresh()
            self._is_up.set()
            self.reports.append(pipeline.run())

    def __enter__(self) -> "Running":
        self._thread.start()
        assert self._is_up.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.host.is_over.set()
        self._thread.join()


@pytest.fixture
def running(config: Path) -> Iterator[Running]:
    with Running(config.parent / "saved") as service:
        yield service


def saved_budget(folder: Path) -> int:
    budget: int = read_header(newest_file(folder)).meta["trainer"]["budget_bytes"]
    return budget


def test_a_running_service_is_given_another_budget_up_and_down(running: Running, config: Path, capsys: Told) -> None:
    folder = config.parent / "saved"
    for size, num_bytes in (("1MiB", 1 << 20), ("40KiB", 40 * KIB)):
        assert main(["budget", size, "--config", str(config)]) == 0
        told = capsys.readouterr()
        assert told.out == f"{folder}: the budget is now {size[:-3]} {size[-3:]}\n"
        assert saved_budget(folder) == num_bytes
        assert not list(folder.glob("budget-*"))
    running.stop()
    (report,) = running.reports
    assert report.budget_bytes == 40 * KIB
    assert report.counts.budget_changes == 2
    staged = {line.name: line.bytes for line in report.fixed}["copy of the model for the checkpoint being written"]
    assert staged < 40 * KIB + 50_000
    with Running(folder) as again:
        pass
    assert again.reports[0].budget_bytes == 40 * KIB


def refusal(capsys: Told, *arguments: str) -> str:
    assert main(["budget", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    return told.err.removeprefix("scall: ").rstrip()


def test_where_no_service_runs_it_says_so(config: Path, capsys: Told) -> None:
    folder = config.parent / "saved"
    told = f"no service runs on {folder}: start one, or change memory.budget_bytes in its settings"
    assert refusal(capsys, "1MiB", "--config", str(config)) == told
    with Running(folder):
        pass
    assert refusal(capsys, "1MiB", "--config", str(config)) == told
    assert not list(folder.glob("budget-*"))


def test_a_size_that_is_none_or_too_small_is_refused(config: Path, capsys: Told) -> None:
    assert refusal(capsys, "much", "--config", str(config)).startswith("budget 'much' is not a size: write bytes")
    assert refusal(capsys, "1KiB", "--config", str(config)).startswith("budget of 1,024 bytes is too small: give")
    assert refusal(capsys, "1MiB", "--config", str(config), "--wait", "long").startswith("--wait 'long'")


def test_what_the_service_refuses_is_told(config: Path, capsys: Told) -> None:
    folder = config.parent / "saved"
    # By the file there would be room: it was changed after the service had read it.
    with Running(folder, **{"memory.seen_share": 0.3, "memory.budget_bytes": 40 * KIB}) as service:
        told = refusal(capsys, "30KiB", "--config", str(config))
        assert told.startswith(f"the service on {folder} keeps its budget: budget of 30,720 bytes is too small: give ")
    assert service.reports[0].budget_bytes == 40 * KIB


def test_a_service_that_does_not_answer_in_time_takes_the_request_up_later(config: Path, capsys: Told) -> None:
    folder = config.parent / "saved"
    with CheckpointFolder(folder):
        told = refusal(capsys, "40KiB", "--config", str(config), "--wait", "0.2s")
    assert told == f"the service on {folder} has not answered within 0.2 s: it takes the request up when it comes to it"
    with Running(folder) as service:
        while (folder / "budget-request").exists():
            time.sleep(0.01)
    assert service.reports[0].budget_bytes == 40 * KIB
