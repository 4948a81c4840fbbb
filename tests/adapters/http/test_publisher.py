"""The process that answers requests hears how the service stands and reads what was lent, and never holds it up."""

import gc
import json
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as quick
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulators.faults import StillHost
from simulators.nowhere import NoCheckpoints, Silence
from simulators.synthetic import open_world
from stream.adapters.figures import Figures
from stream.adapters.http.answerer import Answerer
from stream.adapters.http.learner import Learner
from stream.adapters.http.view import NUM_WINDOWS
from stream.adapters.http.wire import Closed, Message, Setup, Standing
from stream.adapters.publisher import Publisher
from stream.adapters.reporters import Together
from stream.assembly import build_trainer
from stream.commands.assembly import build_policy
from stream.config import make_settings
from stream.core.memory import NUM_LEARNT
from stream.core.snapshot import Snapshot
from stream.core.stats import LedgerLine, PartitionStatus, Progress, Report, WindowReport
from stream.core.status import Status
from stream.core.trainer import Trainer
from stream.errors import UsageError
from stream.pipeline import Pace, Pipeline, Ports
from stream.ports import Checkpoint
from stream.service_settings import Http
from tests.adapters.http.children import Deaf, Knowing, Refusing, wait_until
from tests.doubles import Letters

SETTINGS: dict[str, Any] = {
    "memory.budget_bytes": 64 * 1024,
    "windows.close_after": "500events",
    "evaluation.sample": 0.05,
    "sizes.resize_every_events": 100,
    "policy": "powerlaw",
}
Arrays = dict[str, NDArray[Any]]


class Clock:
    """Goes on by so many seconds whenever it is looked at."""

    def __init__(self, step_s: float) -> None:
        self.now_s = 0.0
        self.step_s = step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


class Watcher(Silence):
    """Calls back whenever the loop shows its progress."""

    def __init__(self, look: Callable[[Progress], None]) -> None:
        self._look = look

    def progress(self, progress: Progress) -> None:
        self._look(progress)


class Lending(Answerer):
    """Remembers what it lends and tells."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lent: list[dict[str, bytes]] = []
        self.told: list[Message] = []

    def tell(self, message: Message) -> bool:
        self.told.append(message)
        return super().tell(message)

    def lend(self, arrays: Any, taken_s: float, watermark_ms: int | None) -> bool:
        is_lent = super().lend(arrays, taken_s, watermark_ms)
        if is_lent:
            self.lent.append(digest(arrays))
        return is_lent


class Scene:
    """A loop over a small world whose state is published to a child."""

    def __init__(
        self,
        spawn: Any = Knowing,
        step_s: float = 1.0,
        host: StillHost | None = None,
        world: str = "churn",
        **more: Any,
    ) -> None:
        self.children: list[Any] = []
        self.settings = make_settings(SETTINGS | {name.replace("__", "."): more[name] for name in more})
        self.trainer: Trainer = build_trainer(self.settings)
        self.clock = Clock(step_s)
        self.answerer = Lending(Setup(self.settings, Http(port=0), "nowhere"), self._spawn(spawn), self.clock)
        self._host = host or StillHost()
        self._world = world
        self.pace = Pace()

    def _spawn(self, spawn: Any) -> Any:
        def start(end: Any) -> Any:
            self.children.append(spawn(end))
            return self.children[-1]

        return start

    @property
    def learner(self) -> Learner:
        learner = self.children[-1].learner
        assert learner is not None
        return learner

    def run(self, num_events: int, look: Callable[[Progress], None] = lambda _: None, before: Any = None) -> Report:
        """Learn so many events of a world, with a ``look`` each time after the publisher has had its turn."""
        with closing(open_world(self._world, 1, num_events)) as source, self.answerer:
            ports = self._ports(source, before)
            figures = Figures(ports, self.trainer, self.settings.seed, {"numpy": "2"})
            self.publisher = Publisher(self.answerer, self.trainer, figures, self.clock)
            self._put_together(ports._replace(reporter=Together((self.publisher, Watcher(look)))))
            if before is not None:
                self.pipeline.resume()
            self.publisher.open(self.pipeline.windows, None, lambda: False)
            return self.pipeline.run()

    def run_alone(self, num_events: int) -> Report:
        with closing(open_world(self._world, 1, num_events)) as source:
            self._put_together(self._ports(source, None))
            return self.pipeline.run()

    def _ports(self, source: Any, before: Checkpoint | None) -> Ports:
        return Ports(source, Letters(), NoCheckpoints(before), build_policy(self.settings), Silence(), self._host)

    def _put_together(self, ports: Ports) -> None:
        self.pipeline = Pipeline(ports, self.trainer, msgspec.to_builtins(self.settings), {}, self.pace)


def arrays_of(snapshot: Snapshot) -> Arrays:
    memory, shared = snapshot.memory._asdict(), snapshot.shared._asdict()
    del memory["words"], memory["scratch"]
    return {f"memory.{n}": memory[n] for n in memory} | {f"shared.{n}": shared[n] for n in shared}


def digest(arrays: Arrays) -> dict[str, bytes]:
    return {name: np.ascontiguousarray(array).tobytes() for name, array in arrays.items()}


class Reader:
    """Holds snapshots for a while, and lets go of them; each has to be what was lent, for as long as it is held."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.num_seen = self.num_outdated = 0
        self.shapes: set[int] = set()
        self._scene = scene
        self._random = Random(seed)
        self._held: list[tuple[ExitStack, Snapshot, dict[str, bytes]]] = []

    def look(self, _: Progress) -> None:
        if self._random.random() < 0.3:
            stack = ExitStack()
            snapshot = stack.enter_context(self._scene.learner.hold())
            if snapshot is not None:
                seen = digest(arrays_of(snapshot))
                assert seen in self._scene.answerer.lent
                self.num_seen += 1
                self.shapes.add(len(snapshot.memory.words))
                self._held.append((stack, snapshot, seen))
        if self._held and self._random.random() < 0.25:
            self.check()
            self._held.pop(self._random.randrange(len(self._held)))[0].close()

    def check(self) -> None:
        for _, snapshot, seen in self._held:
            assert digest(arrays_of(snapshot)) == seen
            self.num_outdated += snapshot.num_learnt < self._scene.trainer.recommender.num_learnt

    def close(self) -> None:
        while self._held:
            self._held.pop()[0].close()


@given(seed=st.integers(0, 10**6))
@quick(derandomize=True, deadline=None, max_examples=5)
def test_what_is_held_is_the_state_of_one_instant_whatever_is_learnt_meanwhile(seed: int) -> None:
    scene = Scene()
    reader = Reader(scene, seed)
    scene.run(3000, reader.look)
    reader.close()
    assert reader.num_seen > 0
    assert reader.num_outdated > 0
    assert len(scene.answerer.lent) > 1


def mapped_copies() -> int:
    """Return how many copies this process sees in its memory."""
    return len({line.split()[4] for line in Path("/proc/self/maps").read_text().splitlines() if "scall-model" in line})


def test_changes_of_the_budget_change_the_copies_under_their_readers() -> None:
    class Asking(StillHost):
        def budget_requested(self) -> int | None:
            self.num_asked += 1
            return self.budgets.pop(0) if self.budgets and self.num_asked % 4 == 0 else None

    # Nothing but reference counts gives the memory of this one up.
    gc.collect()
    before = mapped_copies()
    scene = Scene(host=Asking(budgets=[2**18, 2**16, 2**20, 2**15 + 2**14, 2**17]))
    reader, lines = Reader(scene, 1), list[LedgerLine]()

    def look(progress: Progress) -> None:
        reader.look(progress)
        lines.extend(scene.publisher.fixed_costs())

    report = scene.run(6000, look)
    assert mapped_copies() > before + 1
    reader.close()
    # Only what the learner's view holds, the newest, and nothing of the writer's.
    assert mapped_copies() == before + 1
    assert report.counts.budget_changes == 5
    assert len(reader.shapes) > 1
    assert len({line.bytes for line in lines}) > 3
    [line] = [line for line in report.fixed if "answering" in line.name]
    assert line.bytes == pytest.approx(2 * (2**17 + 30_000), rel=0.3)


# What is told


def statuses(scene: Scene) -> list[Status]:
    return [message.status for message in scene.answerer.told if isinstance(message, Standing)]


def windows(scene: Scene) -> list[WindowReport]:
    return [message.window for message in scene.answerer.told if isinstance(message, Closed)]


def test_windows_and_figures_are_those_of_the_run() -> None:
    scene = Scene()
    report = scene.run(4000)
    told, told_windows = statuses(scene), windows(scene)
    closed = [msgspec.structs.replace(window, checkpoint_bytes=0) for window in report.windows]
    assert len(told) > 5
    assert 5 < len(told_windows) <= len(closed)
    assert told_windows == closed[: len(told_windows)]
    num_learnt = [status.counts.learnt for status in told]
    assert num_learnt == sorted(num_learnt)
    assert (told[0].quality, told[0].reward, told[0].num_windows) == (None, None, 0)
    last = told[-1]
    window = closed[last.num_windows - 1]
    assert (last.quality, last.reward) == (window.quality, window.quality.reward)
    assert last.decision == window.decision
    assert last.budget_bytes == 64 * 1024 >= last.peak_bytes >= last.ledger_bytes
    assert last.counts.evictions == last.counts.evicted_users + last.counts.evicted_items > 0
    assert last.watermark_ms is not None
    assert window.last_event_ms <= last.watermark_ms <= closed[-1].last_event_ms
    assert sum(last.durations["resize"].counts) > 30
    assert sum(line.bytes for line in last.fixed) == sum(line.bytes for line in report.fixed)
    assert last.resumed.counts.learnt == 0


def test_a_window_resized_shows_the_evictions_of_this_instant_and_leaves_the_account_as_it_is() -> None:
    scene = Scene(windows__close_after="100000events")
    states: list[Any] = []
    scene.run(3000, lambda _: states.append(scene.trainer.account.state()["counts"]["evicted_users"]))
    assert statuses(scene)[-1].counts.evicted_users > 0
    assert set(states) == {0}


def test_the_rate_is_that_of_the_last_seconds() -> None:
    scene = Scene()
    scene.run(4000)
    figures, rates = scene.publisher._figures, list[float]()
    for now_s in (1000.0, 1002.0, 1004.0, 1006.0, 1008.0):
        scene.trainer.recommender.memory.counters[NUM_LEARNT] += 100
        rates.append(figures.status(now_s, [], None, []).events_per_second)
    assert rates == [0.0, 50.0, 50.0, 50.0, 50.0]
    assert figures.status(1100.0, [], None, []).events_per_second == 0.0


def test_what_the_child_knows_is_what_was_told() -> None:
    scene = Scene()
    seen: list[tuple[Learner, Any]] = []

    def look(_: Progress) -> None:
        told = scene.answerer.told
        if len(told) > 12 and isinstance(told[-1], Standing) and not seen:
            learner, status = scene.learner, told[-1].status
            wait_until(lambda: learner.status() == status)
            assert list(learner.windows()) == windows(scene)
            silence_s, sides = learner.silence_s(), learner.sides()
            assert silence_s is not None
            assert silence_s >= 0
            assert sides is not None
            assert learner.sides() is sides
            seen.append((learner, sides))

    scene.run(4000, look)
    [(_, sides)] = seen
    assert [side.sizes.num for side in sides] > [0, 0]


def test_before_the_first_message_nothing_is_known() -> None:
    scene = Scene()
    with scene.answerer:
        scene.answerer.wait_until_listening(lambda: False)
        learner = scene.learner
        assert (learner.status(), learner.silence_s(), learner.sides(), learner.windows()) == (None, None, None, ())
        with learner.hold() as snapshot:
            assert snapshot is None


def test_the_windows_of_a_life_before_are_told_first() -> None:
    before = Scene()
    before.run(2600)
    checkpoint = before.pipeline.snapshot()
    after = Scene()
    after.run(4000, before=Checkpoint(checkpoint.arrays, json.loads(json.dumps(checkpoint.meta))))
    told = windows(after)
    assert [window.index for window in told] == list(range(len(told)))
    assert len(told) > 6
    assert statuses(after)[-1].resumed.counts == before.trainer.account.counts()


def test_a_quiet_stream_is_told_of_and_its_copy_stays_fresh_without_another() -> None:
    scene = Scene()
    quiet: list[float] = []

    def look(progress: Progress) -> None:
        if scene.trainer.recommender.num_learnt < 2000 or quiet:
            return

        def is_copied() -> bool:
            scene.publisher.progress(progress)
            return [message.is_copied for message in scene.answerer.told if isinstance(message, Standing)][-1:] == [
                True
            ]

        # Until then both copies may be on their way.
        wait_until(is_copied)
        num_lent, num_told = len(scene.answerer.lent), len(scene.answerer.told)
        for _ in range(20):
            scene.publisher.progress(progress)
        told = scene.answerer.told[num_told:]
        assert len(told) > 15
        assert all(isinstance(message, Standing) and message.is_copied for message in told)
        assert len(scene.answerer.lent) == num_lent
        last = statuses(scene)[-1].written_s
        wait_until(lambda: (status := scene.learner.status()) and status.written_s == last)
        with scene.learner.hold() as snapshot:
            assert snapshot is not None
            quiet.append(snapshot.taken_s)
        assert quiet == [last]

    scene.run(3000, look)
    assert quiet


def test_partitions_are_told_as_the_source_has_them() -> None:
    scene = Scene()

    def look(progress: Progress) -> None:
        partitions = [PartitionStatus("clicks", 3, progress.counts.learnt, 7)]
        scene.publisher.progress(msgspec.structs.replace(progress, partitions=partitions))

    scene.run(2000, look)
    assert [p.lag for status in statuses(scene) for p in status.partitions][-1] == 7
    assert statuses(scene)[-1].lag in (0, 7)


def test_checkpoints_and_durations_are_told() -> None:
    scene = Scene()
    told: list[tuple[float, Status]] = []

    def look(progress: Progress) -> None:
        if not told:
            before_s = time.time()
            scene.publisher.saved(10.0, 12_345)
            for seconds in (0.0005, 0.001, 0.3, 99.0):
                scene.publisher.spent("batch", seconds)
            scene.publisher.progress(progress)
            told.append((before_s, statuses(scene)[-1]))

    scene.run(2000, look)
    [(before_s, status)] = told
    assert status.checkpoint is not None
    assert status.checkpoint.bytes == 12_345
    assert before_s - 10 <= status.checkpoint.at_s <= status.written_s - 10
    batch = status.durations["batch"]
    assert (batch.counts[0], sum(batch.counts[1:-1]), batch.counts[-1]) == (2, 1, 1)
    assert batch.total_s == 99.3015
    assert sum(statuses(scene)[-1].durations["checkpoint"].counts) > 2


# What goes wrong


def test_a_child_that_never_reads_holds_nothing_up_and_nothing_piles_up() -> None:
    scene = Scene(Deaf, windows__close_after="10events")
    scene.pace = Pace(saves=False)
    pending: list[int] = []

    def look(_: Progress) -> None:
        pending.append(len(scene.children[0].wire._outgoing) + len(scene.answerer._wire._outgoing))

    report = scene.run(2400, look)
    assert len(report.windows) == 240
    assert 0 < len(windows(scene)) < 240 - NUM_WINDOWS
    assert max(pending) == 1
    assert len(scene.answerer.lent) <= 2
    assert len(scene.publisher._untold) == NUM_WINDOWS


def test_a_child_that_dies_is_started_again_and_told_everything(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    deaths: list[int] = []

    def look(_: Progress) -> None:
        num_learnt = scene.trainer.recommender.num_learnt
        if num_learnt > 2000 * (len(deaths) + 1) and len(deaths) < 2 and scene.answerer.port and windows(scene):
            deaths.append(len(scene.answerer.told))
            scene.children[-1].kill()

    with caplog.at_level(logging.INFO, "scall"):
        report = scene.run(8000, look)
    assert report.counts.learnt == 8000
    assert len(scene.children) == 3
    closed = [window.index for window in windows(scene)]
    assert closed.count(0) == 3
    assert closed[-1] > 10
    starts = [message for message in caplog.messages if "answers on" in message]
    warnings = [message for message in caplog.messages if "starting it again" in message]
    assert starts == ["answers on http://127.0.0.1:8080"] * 3
    assert len(warnings) == 2


def test_a_child_that_dies_at_once_is_started_less_and_less_often() -> None:
    class Dying(Knowing):
        def begin(self) -> None:
            super().begin()
            if len(scene.children) > 0:
                self.kill()

    scene = Scene(Dying, step_s=0.5)
    times: list[float] = []

    def look(_: Progress) -> None:
        if len(scene.children) == 1:
            scene.children[0].kill()
        if len(scene.children) > len(times):
            times.append(scene.clock.now_s)

    scene.run(12_000, look)
    pauses = np.diff(times)
    assert len(pauses) > 6
    assert (np.diff(pauses[1:5]) > 0).all()
    assert pauses[-1] == pytest.approx(30, abs=4)


def test_a_child_that_cannot_listen_is_the_users_mistake() -> None:
    scene = Scene(Refusing)
    with pytest.raises(UsageError, match=r"http\.port 80: taken"):
        scene.run(100)
    assert scene.trainer.recommender.num_learnt == 0


def test_without_memory_for_a_copy_learning_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("stream.adapters.http.copies.os.posix_fallocate", refuse)
    scene = Scene(step_s=0.2)
    report = scene.run(4000)
    assert report.counts.learnt == 4000
    assert statuses(scene)
    refusals = [message for message in caplog.messages if "no copy" in message]
    assert refusals
    assert len(refusals) < len(statuses(scene)) / 5


@pytest.mark.parametrize("world", ["churn", "drift"])
def test_the_model_is_the_same_to_the_last_bit_with_and_without(world: str) -> None:
    def live(*, publishes: bool) -> tuple[dict[str, bytes], Any]:
        scene = Scene(world=world)
        if publishes:
            scene.run(5000)
        else:
            scene.run_alone(5000)
        checkpoint = scene.pipeline.snapshot()
        trainer = checkpoint.meta["trainer"]
        del trainer["account"]["seconds"], trainer["account"]["seconds_before"]
        return digest(checkpoint.arrays), trainer | {"policy": checkpoint.meta["policy"]}

    assert live(publishes=True) == live(publishes=False)
