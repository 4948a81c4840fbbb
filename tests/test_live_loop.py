"""The loop on a live stream: whatever dies, fails, comes twice or is lost, each record is learnt or dead once."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.broker import SimulatedBroker, SimulatedConsumer
from simulators.faults import Crash, Death, Steps, StillHost, watched
from simulators.nowhere import Silence
from stream.adapters.checkpoint import CheckpointFolder, newest_file, read_header
from stream.adapters.checkpoint_writer import CheckpointWriter
from stream.adapters.kafka import reader, source
from stream.adapters.kafka.client import TopicPartition
from stream.adapters.kafka.records import RecordDecoder
from stream.adapters.kafka.source import KafkaSource
from stream.assembly import build_trainer
from stream.commands.assembly import build_policy
from stream.config import make_settings
from stream.core.event import NO_EVENTS, Gap, Origin, Poll, Rejection, digest_of
from stream.core.stats import Counts, PartitionStatus, Progress, Report
from stream.errors import StorageError
from stream.pipeline import Pace, Pipeline, Ports
from stream.ports import Checkpoint, CheckpointStore, DeadLetters, Position, Reporter, Source
from stream.service_settings import Kafka, Schema
from tests.contracts.reader import Reader
from tests.core.twins import events_of
from tests.doubles import DISK_STEPS, HastyDisk, Letters

SETTINGS: Mapping[str, Any] = {
    "memory.budget_bytes": 30 * 1024,
    "sizes.resize_every_events": 60,
    "evaluation.sample": 0.2,
    "windows.allowed_lateness_s": 5,
    "windows.max_future_jump_s": 20,
    "windows.close_after": "30events",
}
Place = tuple[int, int]
"""Partition and offset."""
Stream = list[list[int | None]]
"""By partition, the event times in seconds; None is a record that cannot be read."""


def event_ms(second: int) -> int:
    return 1_700_000_000_000 + 1000 * second


def poll_of(rows: Sequence[tuple[int, int, int | None]], gaps: tuple[Gap, ...] = (), *, saves: bool = False) -> Poll:
    """Return a poll of records: partition, offset, second."""
    good = [(p, offset, second) for p, offset, second in rows if second is not None]
    partition, offset, second = np.array(good, np.int64).reshape(-1, 3).T.copy()
    events = events_of([f"u{p}{o % 9}" for p, o, _ in good], [f"i{o % 7}" for _, o, _ in good])._replace(
        timestamp_ms=event_ms(0) + 1000 * second, partition=partition.astype(np.int32), offset=offset, number=offset
    )
    bad = [Rejection(p, o, Origin(f"{p}@{o}"), "unreadable", "") for p, o, second in rows if second is None]
    return Poll(events, bad, gaps, saves)


def first(num: int, partition: int = 0, begin: int = 0) -> Poll:
    return poll_of([(partition, offset, offset) for offset in range(begin, begin + num)])


NOTHING = Poll(NO_EVENTS, [])
TO_BE_SAVED = Poll(NO_EVENTS, [], (), is_to_be_saved=True)


def digest(places: set[Place]) -> str:
    partition, offset = np.array(sorted(places), np.int64).reshape(-1, 2).T.copy()
    return f"{digest_of(partition.astype(np.int32), offset):016x}"


class Clock(StillHost):
    """A host whose clock is set, and which asks for an end when it is told to."""

    now_s = 0.0
    has_stopped = False

    def elapsed_s(self) -> float:
        return self.now_s

    def stop_requested(self) -> bool:
        return self.has_stopped or super().stop_requested()


class Told(Silence):
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.shown: list[Progress] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def progress(self, progress: Progress) -> None:
        self.shown.append(progress)


class Saved(NamedTuple):
    """A checkpoint that will outlive the process."""

    arrays: Mapping[str, np.ndarray[Any, Any]]
    meta: dict[str, Any]

    @property
    def position(self) -> Position:
        return {int(partition): offset for partition, offset in self.meta["position"].items()}


def a_copy(checkpoint: Checkpoint) -> Saved:
    arrays = {name: array.copy() for name, array in checkpoint.arrays.items()}
    return Saved(arrays, json.loads(json.dumps(checkpoint.meta)))


class Late(Future[int]):
    """A future that is done once it is waited for, or was asked for so many times."""

    def __init__(self, finish: Callable[[], int], patience: int) -> None:
        super().__init__()
        self._finish = finish
        self._patience = patience

    def done(self) -> bool:
        self._patience -= 1
        if self._patience < 0:
            self.finish()
        return super().done()

    def result(self, timeout: float | None = None) -> int:
        self.finish()
        return super().result(timeout)

    def finish(self) -> None:
        if not super().done():
            try:
                self.set_result(self._finish())
            except StorageError as error:
                self.set_exception(error)


class Shelf:
    """A checkpoint store in memory; how long a save takes, and which are refused, is told beforehand."""

    def __init__(self, saved: list[Saved], patience: Iterator[int], refusals: Iterator[str], log: list[Any]) -> None:
        self.staging_bytes = 0
        self._saved = saved
        self._patience = patience
        self._refusals = refusals
        self._log = log
        self.late: Late | None = None

    def save(self, checkpoint: Checkpoint) -> "Future[int]":
        assert self.late is None or Future.done(self.late), "a save before the last one is done"
        copy, refusal = a_copy(checkpoint), next(self._refusals)
        self._log.append(("save", copy.position))

        def finish() -> int:
            if refusal:
                raise StorageError(refusal)
            self._saved.append(copy)
            self._log.append(("durable", copy.position))
            return 1000 + len(self._saved)

        if refusal == "at once":
            raise StorageError(refusal)
        self.late = Late(finish, next(self._patience))
        return self.late

    def load(self) -> Checkpoint | None:
        if not self._saved:
            return None
        arrays, meta = self._saved[-1]
        return Checkpoint({name: array.copy() for name, array in arrays.items()}, json.loads(json.dumps(meta)))

    def clear(self) -> None:
        self._saved.clear()

    def reserve(self, arrays: Any) -> None: ...


def forever(value: Any) -> Iterator[Any]:
    while True:
        yield value


class Scripted:
    """A source that gives these polls, one a second, and then None."""

    name = "a script"
    num_records = None

    def __init__(self, polls: Sequence[Poll], clock: Clock, log: list[Any]) -> None:
        self._polls = iter(polls)
        self._clock = clock
        self._log = log
        self.waiting = 0

    def poll(self) -> Poll | None:
        self._clock.now_s += 1
        self._log.append("poll")
        return next(self._polls, None)

    def seek(self, position: Position) -> None: ...

    def origin(self, partition: int, number: int) -> Origin:
        return Origin(f"{partition}@{number}")

    def partitions(self, position: Position) -> list[PartitionStatus]:
        return [PartitionStatus("clicks", 0, position.get(0, 0), self.waiting)]

    def commit(self, position: Position) -> None:
        self._log.append(("commit", position))

    def close(self) -> None: ...


class Scene:
    """A loop over scripted polls, and all that can be seen of it."""

    def __init__(
        self,
        polls: Sequence[Poll],
        pace: Pace = Pace(),  # noqa: B008 - it is immutable
        *,
        patience: Iterator[int] | None = None,
        refusals: Iterator[str] | None = None,
        letters: DeadLetters | None = None,
        before: "Scene | None" = None,
        **changes: Any,
    ) -> None:
        self.log: list[Any] = []
        self.clock, self.reporter = Clock(), Told()
        self.letters = Letters() if letters is None else letters
        self.saved: list[Saved] = before.saved if before else []
        self.source = Scripted(polls, self.clock, self.log)
        self.shelf = Shelf(self.saved, patience or forever(0), refusals or forever(""), self.log)
        made = make_settings({**SETTINGS, **{name.replace("__", "."): changes[name] for name in changes}})
        policy = build_policy(made)
        ports = Ports(self.source, self.letters, self.shelf, policy, self.reporter, self.clock)
        self.pipeline = Pipeline(ports, build_trainer(made), msgspec.to_builtins(made), {}, pace)
        if not self.pipeline.resume():
            self.pipeline.start_afresh()

    def run(self) -> Report:
        return self.pipeline.run()

    def logged(self, kind: str) -> list[Position]:
        return [entry[1] for entry in self.log if entry[0] == kind]


# When it saves


def test_checkpoints_are_made_by_time_where_there_is_something_new() -> None:
    polls = [first(1, begin=i) for i in range(8)] + [NOTHING] * 20 + [first(1, begin=8)] + [NOTHING] * 20
    scene = Scene(polls, Pace(checkpoint_every_s=3), windows__close_after="1000events")
    scene.run()
    # The last is that of the window which the end of the stream closes.
    assert scene.logged("save") == [{0: 3}, {0: 6}, {0: 8}, {0: 9}, {0: 9}]
    assert scene.logged("commit") == scene.logged("save")


def test_without_a_pace_checkpoints_are_made_at_the_ends_of_windows_alone() -> None:
    scene = Scene([first(10, begin=10 * i) for i in range(7)])
    report = scene.run()
    assert scene.logged("save") == [{0: 30}, {0: 60}, {0: 70}]
    assert [window.checkpoint_bytes for window in report.windows] == [1001, 1002, 1003]


def test_a_clock_that_goes_backwards_does_not_put_checkpoints_off() -> None:
    class Backwards(Scripted):
        def poll(self) -> Poll | None:
            self._clock.now_s -= 100
            return super().poll()

    scene = Scene([first(1, begin=i) for i in range(4)], Pace(checkpoint_every_s=30), windows__close_after="99events")
    scene.source.__class__ = Backwards
    scene.run()
    assert scene.logged("save") == [{0: 1}, {0: 2}, {0: 3}, {0: 4}, {0: 4}]


def test_a_window_that_closes_is_saved_even_right_after_another_checkpoint() -> None:
    scene = Scene([first(29), first(1, begin=29), first(1, begin=30)], Pace(checkpoint_every_s=1))
    scene.run()
    assert scene.logged("save") == [{0: 29}, {0: 30}, {0: 31}, {0: 31}]


def test_learning_goes_on_while_a_checkpoint_is_written_and_its_position_is_that_of_the_save() -> None:
    polls = [first(1, begin=i) for i in range(9)]
    scene = Scene(polls, Pace(checkpoint_every_s=4), patience=forever(3), windows__close_after="1000events")
    scene.run()
    save, poll = [("save", {0: 4})], ["poll"]
    assert scene.log[: 4 + 1 + 3 + 2] == [*poll * 4, *save, *poll * 3, ("durable", {0: 4}), ("commit", {0: 4})]


def test_a_checkpoint_waits_until_the_one_before_is_safe() -> None:
    polls = [first(1, begin=i) for i in range(5)]
    scene = Scene(polls, Pace(checkpoint_every_s=1), patience=forever(10**6), windows__close_after="1000events")
    scene.run()
    kinds = [entry[0] for entry in scene.log if entry != "poll"]
    assert kinds == ["save", "durable", "commit"] * 6


def test_the_last_checkpoint_is_waited_for() -> None:
    scene = Scene([first(40)], patience=forever(10**6))
    report = scene.run()
    assert scene.logged("commit") == [{0: 30}, {0: 40}]
    assert report.windows[-1].checkpoint_bytes == 1002


@pytest.mark.parametrize("patience", [0, 10**6])
def test_a_source_that_waits_for_a_checkpoint_gets_it_before_it_is_polled_again(patience: int) -> None:
    polls = [first(3), TO_BE_SAVED, first(2, begin=3), poll_of([(1, 7, 1)], saves=True), NOTHING]
    scene = Scene(polls, patience=forever(patience))
    scene.run()
    asked = [("save", {0: 3}), ("durable", {0: 3}), ("commit", {0: 3})]
    again = [(kind, {0: 5, 1: 8}) for kind in ("save", "durable", "commit")]
    assert scene.log[:11] == ["poll", "poll", *asked, "poll", "poll", *again, "poll"]


def test_a_request_to_stop_saves_what_is_learnt_and_commits_it() -> None:
    scene = Scene([first(3), first(4, begin=3)] + [NOTHING] * 99, patience=forever(10**6))

    class Stopping(Scripted):
        def poll(self) -> Poll | None:
            self._clock.has_stopped = self._clock.now_s >= 5
            return super().poll()

    scene.source.__class__ = Stopping
    report = scene.run()
    assert not report.finished
    assert [window.reason for window in report.windows] == ["interrupted"]
    assert scene.logged("commit") == [{0: 7}]
    assert report.digest == digest({(0, offset) for offset in range(7)})


# Disks that refuse

REFUSED = ["at once", "later"]


def refusing(kinds: Sequence[str]) -> Iterator[str]:
    return chain(kinds, forever(""))


@pytest.mark.parametrize("refusal", REFUSED)
def test_a_disk_that_refuses_stops_the_run_and_the_checkpoint_before_stays(refusal: str) -> None:
    scene = Scene([first(40), first(40, begin=40)], refusals=refusing(["", refusal]))
    with pytest.raises(StorageError, match=refusal):
        scene.run()
    assert scene.logged("commit") == [{0: 30}]
    assert [saved.position for saved in scene.saved] == [{0: 30}]


@pytest.mark.parametrize("refusal", REFUSED)
def test_where_it_may_go_on_without_it_says_so_and_tries_again(refusal: str) -> None:
    pace = Pace(checkpoint_every_s=2, survives_disk_errors=True)
    polls = [first(2, begin=2 * i) for i in range(9)]
    scene = Scene(polls, pace, refusals=refusing(["", refusal, refusal]), windows__close_after="1000events")
    report = scene.run()
    assert scene.reporter.warnings == [f"no checkpoint was made, learning goes on: {refusal}"] * 2
    assert scene.logged("save") == [{0: 4}, {0: 8}, {0: 12}, {0: 16}, {0: 18}]
    assert scene.logged("commit") == scene.logged("durable") == [{0: 4}, {0: 16}, {0: 18}]
    assert report.counts.failed_checkpoints == sum(w.counts.failed_checkpoints for w in report.windows) == 2
    assert report.counts.learnt == 18


def test_nothing_new_is_saved_again_where_the_last_checkpoint_failed() -> None:
    pace = Pace(checkpoint_every_s=2, survives_disk_errors=True)
    for refusal in REFUSED:
        scene = Scene([first(2)] + [NOTHING] * 9, pace, refusals=refusing([refusal]))
        scene.run()
        assert scene.logged("save") == [{0: 2}] * 3
        assert scene.logged("commit") == [{0: 2}] * 2


@pytest.mark.parametrize("survives", [False, True])
def test_dead_letters_that_cannot_be_made_durable_forbid_a_checkpoint(survives: bool) -> None:
    class Unsure(Letters):
        num_marks = 0

        def mark(self) -> Position:
            self.num_marks += 1
            if self.num_marks == 2:
                raise StorageError("the letters are not safe")
            return super().mark()

    polls = [poll_of([(0, 2 * i, None), (0, 2 * i + 1, i)]) for i in range(4)]
    pace = Pace(checkpoint_every_s=1, survives_disk_errors=survives)
    scene = Scene(polls, pace, letters=Unsure(), windows__close_after="1000events")
    if survives:
        report = scene.run()
        assert report.counts.failed_checkpoints == 1
        assert scene.logged("commit") == [{0: 2}, {0: 6}, {0: 8}, {0: 8}]
    else:
        with pytest.raises(StorageError, match="not safe"):
            scene.run()
        assert scene.logged("commit") == [{0: 2}]
    assert len(scene.reporter.warnings) == survives


def test_a_source_that_waits_for_a_checkpoint_is_told_nothing_where_there_is_none() -> None:
    polls = [first(3), TO_BE_SAVED, first(1, begin=3)]
    scene = Scene(polls, Pace(None, survives_disk_errors=True), refusals=refusing(["later"]))
    scene.run()
    assert scene.logged("save") == [{0: 3}, {0: 4}]
    assert scene.logged("commit") == [{0: 4}]


# What it keeps and counts


def test_the_report_and_the_checkpoints_hold_the_newest_windows_only() -> None:
    pace = Pace(max_windows=3)
    scene = Scene([first(30, begin=30 * i) for i in range(7)], pace)
    report = scene.run()
    assert [window.index for window in report.windows] == [4, 5, 6]
    assert max(len(saved.meta["windows"]) for saved in scene.saved) == 3
    assert report.counts.learnt == 210
    again = Scene([first(30, begin=210 + 30 * i) for i in range(2)], pace, before=scene)
    report = again.run()
    assert [window.index for window in report.windows] == [6, 7, 8]
    assert report.counts.learnt == 270
    assert report.resumed


def test_records_that_come_twice_are_dropped_and_counted() -> None:
    rows = [(0, offset, None if offset == 4 else offset) for offset in range(8)]
    scene = Scene([poll_of(rows[:6]), poll_of(rows[3:]), poll_of(rows), poll_of([(1, 0, 3)])])
    report = scene.run()
    assert report.counts == Counts(events=9, learnt=8, dead_letters=1, duplicates=3 + 8)
    assert report.digest == digest({(0, offset) for offset in (0, 1, 2, 3, 5, 6, 7)} | {(1, 0)})
    assert [letter.offset for letter in scene.letters] == [4]


def test_records_that_come_twice_over_a_restart_are_dropped_too() -> None:
    scene = Scene([first(7)])
    scene.run()
    report = Scene([first(5, begin=4)], before=scene).run()
    assert (report.counts.learnt, report.counts.duplicates) == (9, 3)


def test_what_the_source_lost_is_counted_and_passed() -> None:
    gaps = (Gap(0, 2, 5), Gap(1, 0, 9), Gap(2, 6, 6))
    scene = Scene([first(2), Poll(NO_EVENTS, [], gaps), first(2, begin=5), TO_BE_SAVED])
    report = scene.run()
    assert report.counts == Counts(events=4, learnt=4, lost=12)
    assert scene.logged("commit")[0] == {0: 7, 1: 9, 2: 6}


def test_a_loss_told_again_after_a_crash_is_counted_once() -> None:
    lost = Poll(NO_EVENTS, [], (Gap(0, 2, 5),))
    crashed = Scene([])
    polls = iter([first(2), TO_BE_SAVED, lost])
    crashed.source.poll = polls.__next__  # type: ignore[method-assign]
    with pytest.raises(StopIteration):
        crashed.run()
    assert [saved.position for saved in crashed.saved] == [{0: 2}]
    scene = Scene([lost, TO_BE_SAVED], before=crashed)
    assert scene.run().counts.lost == 3
    assert Scene([lost, first(1, begin=5)], before=scene).run().counts.lost == 3


def test_while_nothing_comes_progress_is_shown_and_nothing_changes() -> None:
    scene = Scene([first(3), *[NOTHING] * 5], Pace(checkpoint_every_s=1))
    scene.source.waiting = 12
    report = scene.run()
    shown = scene.reporter.shown
    assert len(shown) >= 6
    assert {progress.lag for progress in shown} == {12}
    assert [progress.counts for progress in shown[1:6]] == [Counts(events=3, learnt=3)] * 5
    assert report.counts == Counts(events=3, learnt=3)


def test_the_copy_for_checkpoints_is_among_the_fixed_costs() -> None:
    scene = Scene([first(3)])
    assert not any("copy" in line.name for line in scene.run().fixed)
    scene = Scene([first(3)])
    scene.shelf.staging_bytes = 12_345
    assert [line.bytes for line in scene.run().fixed if "copy" in line.name] == [12_345]


mixed = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=12)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(turns=mixed, saves=st.integers(1, 5))
def test_the_digest_is_the_sum_over_what_was_learnt_however_partitions_are_mixed(
    turns: list[tuple[int, int]], saves: int
) -> None:
    given: Counter[int] = Counter()
    polls = []
    for partition, num in turns:
        polls.append(first(num, partition, given[partition]))
        given[partition] += num
    report = Scene(polls, Pace(checkpoint_every_s=saves), windows__allowed_lateness_s=99).run()
    assert report.digest == digest({(partition, offset) for partition in given for offset in range(given[partition])})
    assert report.counts.learnt == given.total()


# Worlds in which processes die


def trouble(num: int, num_partitions: int, seed: int = 5) -> Stream:
    """Return partitions with records that are unreadable, late or far in the future."""
    random, now = Random(seed), 0
    stream: Stream = [[] for _ in range(num_partitions)]
    for _ in range(num):
        now += random.randrange(4)
        kind = random.random()
        second = None if kind < 0.08 else now - 300 if kind < 0.16 else now + 10**9 if kind < 0.2 else now
        random.choice(stream).append(second)
    return stream


class World:
    """What outlives a process: the stream, checkpoints, dead letters, and what was committed."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.begin = [0] * len(stream)
        """Records before are deleted."""
        self.lost: set[Place] = set()
        self.saved: list[Saved] = []
        self.letters: list[Rejection] = []

    @property
    def places(self) -> set[Place]:
        return {(partition, offset) for partition, records in enumerate(self.stream) for offset in range(len(records))}

    def delete(self, partition: int, before: int) -> None:
        """Delete the first records of a partition."""
        self.begin[partition] = max(self.begin[partition], min(before, len(self.stream[partition])))

    def newest(self) -> Position:
        """Return the position of the checkpoint that the next life would begin with."""
        return self.saved[-1].position


class Mixed:
    """Gives a world's partitions in polls that a seed mixes and cuts: empty ones, some to be saved, some twice."""

    name = "a world"
    num_records = None

    def __init__(self, world: World, random: Random, clock: Clock, *, is_patient: bool) -> None:
        self._world = world
        self._random = random
        self._clock = clock
        self._is_patient = is_patient
        self._next = dict.fromkeys(range(len(world.stream)), 0)
        self._to_be_saved: Position = {}
        self._committed: Position = {}

    def poll(self) -> Poll | None:
        self._clock.now_s += 1
        if self._is_patient:
            assert all(self._committed.get(p, 0) >= offset for p, offset in self._to_be_saved.items())
        self._to_be_saved = {}
        gaps = tuple(Gap(p, offset, self._world.begin[p]) for p, offset in self._next.items() if self._is_lost(p))
        if gaps:
            for gap in gaps:
                self._world.lost |= {(gap.partition, offset) for offset in range(gap.begin, gap.end)}
                self._next[gap.partition] = gap.end
            return Poll(NO_EVENTS, [], gaps)
        kind = self._random.random()
        if kind < 0.1:
            return NOTHING
        if kind < 0.2:
            self._to_be_saved = {p: offset for p, offset in self._next.items() if offset}
            return TO_BE_SAVED
        return self._some_records(self._random.randrange(1, 15))

    def _is_lost(self, partition: int) -> bool:
        return self._next[partition] < self._world.begin[partition]

    def _some_records(self, num: int) -> Poll | None:
        stream = self._world.stream
        if all(offset == len(stream[p]) for p, offset in self._next.items()):
            return None
        if self._random.random() < 0.25:
            partition = self._random.choice(list(self._next))
            self._next[partition] = max(self._world.begin[partition], self._next[partition] - 5)
        rows = []
        for _ in range(num):
            left = [p for p, offset in self._next.items() if offset < len(stream[p])]
            if left:
                partition = self._random.choice(left)
                offset = self._next[partition]
                rows.append((partition, offset, stream[partition][offset]))
                self._next[partition] += 1
        return poll_of(rows)

    def seek(self, position: Position) -> None:
        self._next |= position

    def origin(self, partition: int, number: int) -> Origin:
        return Origin(f"{partition}@{number}")

    def partitions(self, position: Position) -> list[PartitionStatus]:  # noqa: ARG002
        return []

    def commit(self, position: Position) -> None:
        # Only once a checkpoint of it will be found at the next start.
        assert self._world.newest() == position
        self._committed = position

    def close(self) -> None: ...


class LetterTopic:
    """Dead letters as in a topic: what stands there stays, and what was not made durable may stand there."""

    def __init__(self, letters: list[Rejection]) -> None:
        self._letters = letters
        self.under_way: list[Rejection] = []

    def write(self, rejections: Sequence[Rejection]) -> None:
        self.under_way.extend(rejections)

    def mark(self) -> Position:
        self._letters.extend(self.under_way)
        self.under_way.clear()
        return {0: len(self._letters)}

    def rewind(self, mark: Position) -> dict[Place, str]:
        return {(letter.partition, letter.offset): letter.reason for letter in self._letters[mark.get(0, 0) :]}


def live(world: World, seed: int, *, steps: Steps | None = None, stop_after: int | None = None) -> Report:
    """Live one life, to the end of the stream, until it is asked to stop, or until it dies."""
    random, clock, steps = Random(seed), Clock(stop_after), steps or Steps()
    is_patient = random.random() < 0.5
    refusals = forever("") if is_patient else iter(lambda: random.choice(["", "", "at once", "later"]), None)
    shelf = Shelf(world.saved, iter(lambda: random.randrange(8), None), refusals, [])
    source = Mixed(world, random, clock, is_patient=is_patient)
    pace = Pace(random.choice([None, 1, 3]), survives_disk_errors=True, max_windows=2)
    try:
        return live_with(world, source, shelf, clock, steps, pace, random)
    except Crash:
        # What was under way may have come to its end, or not.
        if shelf.late is not None and random.random() < 0.5:
            shelf.late.finish()
        raise


def live_with(
    world: World,
    source: Source,
    checkpoints: CheckpointStore,
    clock: Clock,
    steps: Steps,
    pace: Pace,
    random: Random,
    reporter: Reporter | None = None,
) -> Report:
    letters = LetterTopic(world.letters)
    made = make_settings(dict(SETTINGS))
    ports = Ports(
        watched(source, steps, "poll", "seek", "commit"),
        watched(letters, steps, "write", "mark", "rewind"),
        watched(checkpoints, steps, "load", "clear", "save"),
        watched(build_policy(made), steps, "decide", "restore"),
        watched(reporter or Silence(), steps, "window", "finish"),
        clock,
    )
    try:
        pipeline = Pipeline(ports, build_trainer(made), msgspec.to_builtins(made), {}, pace)
        if not pipeline.resume():
            pipeline.start_afresh()
        return pipeline.run()
    except Crash:
        world.letters.extend(letters.under_way[: random.randrange(len(letters.under_way) + 1)])
        raise


def complaints(world: World, report: Report) -> list[str]:
    """Return what is wrong with the end of a world."""
    standing = Counter((letter.partition, letter.offset) for letter in world.letters)
    dead = standing.keys() - world.lost
    learnt = world.places - world.lost - dead
    checks = {
        "a letter stands there twice": not standing or max(standing.values()) == 1,
        "letters of nothing": standing.keys() <= world.places,
        "other records were learnt": report.digest == digest(learnt),
        "learnt": report.counts.learnt == len(learnt),
        "dead letters": report.counts.dead_letters == len(dead) == sum(report.dead_letter_reasons.values()),
        "lost": report.counts.lost == len(world.lost),
        "events": report.counts.events == len(learnt) + len(dead),
        "violations": report.counts.violations == 0,
    }
    return [name for name, is_fine in checks.items() if not is_fine]


def test_the_world_has_every_kind_of_trouble() -> None:
    stream, taken, reports = trouble(110, 3), set(), []
    for seed in range(8):
        steps = Steps()
        reports.append(live(World(stream), seed, steps=steps))
        taken |= {*steps.taken}
    reasons = {"unreadable", "late event", "timestamp far in the future"}
    assert all(report.dead_letter_reasons.keys() == reasons for report in reports)
    assert sum(report.counts.duplicates for report in reports) > 0
    assert sum(report.counts.failed_checkpoints for report in reports) > 0
    # Which events are far in the future depends on what was read before, of any partition.
    assert len({report.digest for report in reports}) > 1
    calls = {"load", "clear", "rewind", "poll", "write", "mark", "save", "commit", "decide", "window", "finish"}
    assert taken == calls


def test_killed_at_any_step_each_record_is_learnt_or_dead_once() -> None:
    stream, steps = trouble(80, 3), Steps()
    live(World(stream), seed=1, steps=steps)
    found = {}
    for step, name in enumerate(steps.taken):
        world = World(stream)
        with pytest.raises(Crash):
            live(world, seed=1, steps=Steps(step))
        found[step, name] = complaints(world, live(world, seed=step))
    assert {where: wrong for where, wrong in found.items() if wrong} == {}


def test_the_mark_moves_on_once_the_letters_of_a_life_before_are_passed() -> None:
    world = World([[None] * 40])
    bad = [poll_of([(0, offset, None)]) for offset in range(40)]
    life = LetterTopic(world.letters)
    crashed = Scene([*bad[:10], TO_BE_SAVED], letters=life)
    crashed.run()
    life.write([rejection for poll in bad[10:30] for rejection in poll.rejections])
    life.mark()
    marks: dict[int, int] = {}
    before = crashed
    for end in (15, 25, 31, 35):
        # Each of these lives comes a little further.
        scene = Scene([*bad[:end], TO_BE_SAVED], letters=LetterTopic(world.letters), before=before)
        scene.run()
        marks |= {saved.position[0]: saved.meta["dead_letters"]["0"] for saved in scene.saved}
        before = scene
    assert {end: marks[end] for end in (10, 15, 25, 31, 35)} == {10: 10, 15: 10, 25: 10, 31: 31, 35: 35}
    assert [letter.offset for letter in world.letters] == list(range(35))


lives = st.lists(
    st.tuples(st.sampled_from(["crash", "stop", "delete"]), st.integers(0, 60), st.integers(0, 10**6)),
    max_size=5,
)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(lives=lives, seed=st.integers(0, 10**6))
def test_after_any_number_of_lives_each_record_is_learnt_dead_or_lost_once(
    lives: list[tuple[str, int, int]], seed: int
) -> None:
    world = World(trouble(70, 3, seed))
    for kind, number, life in lives:
        if kind == "crash":
            with suppress(Crash):
                live(world, life, steps=Steps(number))
        elif kind == "stop":
            live(world, life, stop_after=number)
        else:
            world.delete(number % 3, before=number // 3)
    assert complaints(world, live(world, seed)) == []


# With the real parts around it


class WorldOnDisk(World):
    """Its checkpoints lie in a folder."""

    def __init__(self, stream: Stream, folder: Path) -> None:
        super().__init__(stream)
        self.folder = folder

    def newest(self) -> Position:
        position = read_header(newest_file(self.folder)).meta["position"]
        return {int(partition): offset for partition, offset in position.items()}


def live_on_disk(world: WorldOnDisk, seed: int, steps: Steps) -> Report:
    random, clock = Random(seed), Clock()
    disk = watched(HastyDisk(), steps, *DISK_STEPS)
    with (
        CheckpointFolder(world.folder, filesystem=disk) as folder,
        CheckpointWriter(folder, background=True) as writer,
    ):
        source = Mixed(world, random, clock, is_patient=True)
        return live_with(world, source, writer, clock, Steps(), Pace(1), random)


@pytest.mark.parametrize(
    "death",
    # Not after a file was created: nobody would have it to close it.
    [Death(step, when="before") for step in DISK_STEPS] + [Death(step, when="after") for step in DISK_STEPS[1:]],
    ids=str,
)
def test_killed_while_a_checkpoint_is_written_in_the_background(death: Death, tmp_path: Path) -> None:
    world = WorldOnDisk(trouble(80, 3), tmp_path)
    for number, seed in ((5, 1), (2, 2)):
        with pytest.raises(Crash, match=f"{death.when} {death.step}"):
            live_on_disk(world, seed, Steps(death=death._replace(number=number)))
    assert complaints(world, live_on_disk(world, 3, Steps())) == []


KAFKA = Kafka(bootstrap_servers=("simulated:9092",), topics=("clicks",), group="model")


@pytest.fixture
def _haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_POLL_S", 0.005)
    monkeypatch.setattr(reader, "_KEEP_ALIVE_S", 0.005)
    monkeypatch.setattr(source, "_WAIT_S", 0.005)


def broker_of(stream: Stream) -> SimulatedBroker:
    broker = SimulatedBroker()
    broker.create_topic("clicks", partitions=len(stream))
    for partition, seconds in enumerate(stream):
        for offset, second in enumerate(seconds):
            click = {"user": f"u{offset % 9}", "item": offset % 7, "timestamp": event_ms(second or 0)}
            value = b"no json" if second is None else msgspec.json.encode(click)
            broker.append("clicks", value, partition=partition, timestamp_ms=-1)
    return broker


class Guest(Silence):
    """A reporter that lets another member come and go again, and asks for the end once all records are read."""

    def __init__(self, broker: SimulatedBroker, world: World, clock: Clock, stay: tuple[int, int]) -> None:
        self._broker = broker
        self._world = world
        self._clock = clock
        self._stay = stay
        self._num_shown = 0
        self.member: Reader | None = None
        self.num_owned = 0

    def progress(self, progress: Progress) -> None:
        self._num_shown += 1
        if self._num_shown == self._stay[0]:
            self.member = Reader(SimulatedConsumer(self._broker, KAFKA.group), KAFKA.topics)
        elif self._num_shown == self._stay[1] and self.member:
            self.member.consumer.close(0)
            self.member = None
        if self.member:
            self.member.poll(0)
            self.num_owned = max(self.num_owned, len(self.member.owned))
        self._clock.has_stopped = progress.counts.events == len(self._world.places)


def live_on_kafka(
    broker: SimulatedBroker, world: World, steps: Steps, stay: tuple[int, int] = (0, 0)
) -> tuple[Report, Guest]:
    clock, random = Clock(), Random(1)
    client = SimulatedConsumer(broker, KAFKA.group, max_poll_records=7)
    decoder = RecordDecoder(Schema(max_ahead_s=1e12), KAFKA.max_record_bytes)
    guest = Guest(broker, world, clock, stay)
    shelf = Shelf(world.saved, iter(lambda: random.randrange(4), None), forever(""), [])
    try:
        with closing(KafkaSource(client, decoder, KAFKA)) as source:
            return live_with(world, source, shelf, clock, steps, Pace(None), random, guest), guest
    finally:
        if guest.member:
            guest.member.consumer.close(0)


@pytest.mark.usefixtures("_haste")
def test_a_service_that_is_killed_again_and_again_learns_a_topic_once() -> None:
    stream = trouble(120, 3)
    broker, world = broker_of(stream), World(stream)
    for crash_at in (3, 25, 0, 14, 9, 40, 22):
        with suppress(Crash):
            live_on_kafka(broker, world, Steps(crash_at))
    report, _ = live_on_kafka(broker, world, Steps())
    assert complaints(world, report) == []
    assert broker.committed("model") == {TopicPartition("clicks", p): len(stream[p]) for p in range(3)}


@pytest.mark.usefixtures("_haste")
@pytest.mark.parametrize("crash_at", [None, 12, 30])
def test_a_service_that_shares_its_topic_for_a_while_learns_it_once(crash_at: int | None) -> None:
    stream = trouble(200, 4)
    broker, world = broker_of(stream), World(stream)
    if crash_at is not None:
        with pytest.raises(Crash):
            live_on_kafka(broker, world, Steps(crash_at), stay=(3, 200))
    report, guest = live_on_kafka(broker, world, Steps(), stay=(4, 60))
    assert guest.num_owned == 2
    assert complaints(world, report) == []
    assert broker.committed("model") == {TopicPartition("clicks", p): len(stream[p]) for p in range(4)}
