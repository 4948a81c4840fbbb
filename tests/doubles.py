"""Small replays made to be killed: the loop as the command line composes it, over streams with all kinds of trouble."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import numpy as np

from simulators.faults import Crash, Steps, StillHost, watched
from simulators.nowhere import NoCheckpoints, Silence
from simulators.ties import TieShuffled
from stream.adapters.budgets import PlannedBudgets
from stream.adapters.checkpoint import CheckpointFolder, Disk
from stream.adapters.checkpoint_writer import CheckpointWriter
from stream.adapters.dead_letters import DeadLetterFile
from stream.adapters.files import FileSource
from stream.adapters.report import report_fields
from stream.assembly import build_trainer
from stream.commands.assembly import build_policy
from stream.config import make_settings
from stream.core.event import ITEM, USER, EventBatch, Origin, Poll, Rejection, hash_id
from stream.core.stats import Report
from stream.pipeline import Pipeline, Ports
from stream.ports import Position, Reporter, Source

FIRST_SECOND = 1_700_000_000
TIGHT: Mapping[str, Any] = {
    "memory.budget_bytes": 30 * 1024,
    "sizes.resize_every_events": 60,
    "evaluation.sample": 0.7,
    "windows.allowed_lateness_s": 60,
}
"""Settings under which a few hundred events evict and compact."""
NO_PLAN: Mapping[int, int] = {}
DISK_STEPS = ("create", "write", "flush", "fsync", "rename", "fsync_folder", "remove")
UNLIKE = {
    *("resumed", "wall_seconds", "train_seconds", "eval_seconds", "resize_seconds", "checkpoint_seconds"),
    *("events_per_second", "peak_rss_bytes", "checkpoint_bytes"),
}
"""Figures of a report in which two runs of one command may differ. (A checkpoint holds times as text of any length.)"""


def write_clicks(path: Path, num_rows: int) -> Path:
    """Write a CSV file of ids without end, with ties, and with rows that are bad, late or far in the future."""
    rng = np.random.default_rng(5)
    now, lines = FIRST_SECOND, ["user,item,timestamp,weight"]
    for row in range(num_rows):
        # Ties come in runs, and many are of one user.
        now += int(rng.integers(0, 20)) if rng.random() < 0.5 else 0
        user = row // 4 if rng.random() < 0.5 else row // 2 + int(rng.integers(0, 9))
        item = row // 3 + int(rng.integers(0, 9))
        trouble = rng.random()
        if trouble < 0.04:
            lines.append(f",i{item},{now},1")
        elif trouble < 0.08:
            lines.append(f"u{user},i{item},{now - 500},1")
        elif trouble < 0.1:
            lines.append(f"u{user},i{item},{now + 10**9},1")
        else:
            lines.append(f"u{user},i{item},{now},{1 + row % 3}")
    # What ends a stream is not always an event.
    path.write_text("\n".join([*lines, ",nobody,1,1", "u1,i1,yesterday,1", ""]))
    return path


def open_clicks(path: Path, chunk_rows: int = 64) -> Source:
    return TieShuffled(FileSource(path, chunk_rows=chunk_rows), seed=1)


Record = tuple[str, str, int] | None
"""User, item and event time in ms; None is a record that cannot be read."""


class Listed:
    """A source of records at offsets 0, 1, 2..., given in polls of these lengths (the last one as long as it takes)."""

    name = "a list"

    def __init__(self, records: Sequence[Record], lengths: Sequence[int] = ()) -> None:
        self.num_records: int | None = len(records)
        self._records = records
        ends = np.minimum(np.cumsum([0, *lengths, len(records)]), len(records)).tolist()
        self._spans = [span for span in pairwise(ends) if span[0] < span[1]]
        self._next = 0

    def poll(self) -> Poll | None:
        begin, end = next(((max(b, self._next), e) for b, e in self._spans if e > self._next), (0, 0))
        if begin == end:
            return None
        self._next = end
        bad = [i for i in range(begin, end) if self._records[i] is None]
        good = [(i, *record) for i in range(begin, end) if (record := self._records[i])]
        return Poll(_events(good), [Rejection(0, i, self.origin(0, i), "unreadable", "") for i in bad])

    def seek(self, position: Position) -> None:
        self._next = position.get(0, 0)

    def origin(self, partition: int, number: int) -> Origin:  # noqa: ARG002
        return Origin(f"record {number}")

    def partitions(self, position: Position) -> None: ...

    def commit(self, position: Position) -> None: ...
    def close(self) -> None: ...


def _events(rows: list[tuple[int, str, str, int]]) -> EventBatch:
    ids = [item.encode() for _, _, item, _ in rows]
    offset = np.array([row[0] for row in rows], np.int64)
    length = np.array([len(name) for name in ids], np.int32)
    return EventBatch(
        user=np.array([hash_id(user, USER) for _, user, _, _ in rows], np.uint64),
        item=np.array([hash_id(item, ITEM) for _, _, item, _ in rows], np.uint64),
        timestamp_ms=np.array([row[3] for row in rows], np.int64),
        weight=np.ones(len(rows), np.float32),
        partition=np.zeros(len(rows), np.int32),
        offset=offset,
        number=offset,
        item_start=np.cumsum(length, dtype=np.int64) - length,
        item_length=length,
        item_data=np.frombuffer(bytearray(b"".join(ids)), np.uint8),
    )


class HastyDisk(Disk):
    """A disk that does not wait: the death of a process, unlike a power cut, loses nothing that was handed over."""

    def fsync(self, file: BinaryIO) -> None: ...
    def fsync_folder(self, folder: Path) -> None: ...


class ForgetfulFile(DeadLetterFile):
    """A file of dead letters that loses what was not made durable when it is not closed in good order."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.durable = path.stat().st_size

    def mark(self) -> Position:
        mark = super().mark()
        self.durable = mark[0]
        return mark

    def rewind(self, mark: Position) -> dict[tuple[int, int], str]:
        self.durable = min(self.durable, mark.get(0, 0))
        return super().rewind(mark)

    def lose(self) -> None:
        self.close()
        os.truncate(self.path, self.durable)


class Letters(list[Rejection]):
    """Dead letters in memory."""

    def write(self, rejections: Sequence[Rejection]) -> None:
        self.extend(rejections)

    def mark(self) -> Position:
        return {0: len(self)}

    def rewind(self, mark: Position) -> dict[tuple[int, int], str]:
        del self[mark.get(0, 0) :]
        return {}


class Case(NamedTuple):
    """A stream, and the settings to replay it under."""

    open_source: Callable[[], Source]
    settings: Mapping[str, Any]

    def under(self, **more: Any) -> "Case":
        """Return the case under other settings, with ``__`` for the dot."""
        return self._replace(settings={**self.settings, **{name.replace("__", "."): more[name] for name in more}})


def replay(
    case: Case,
    folder: Path,
    *,
    resume: bool = False,
    steps: Steps | None = None,
    host: StillHost | None = None,
    reporter: Reporter | None = None,
    plan: Mapping[int, int] = NO_PLAN,
) -> Report:
    """Live one life: run the loop over ``folder``, until the stream ends or the host asks to stop, or crash.

    ``plan`` has another budget from some numbers of events learnt on.
    """
    steps = Steps() if steps is None else steps
    settings = make_settings(dict(case.settings))
    trainer = build_trainer(settings)
    with ExitStack() as stack:
        source = stack.enter_context(closing(case.open_source()))
        letters = ForgetfulFile(folder / "dead_letters.jsonl")
        try:
            checkpoints = stack.enter_context(
                CheckpointFolder(folder / "checkpoints", filesystem=watched(HastyDisk(), steps, *DISK_STEPS))
            )
            ports = Ports(
                watched(source, steps, "poll", "seek", "origin", "commit"),
                watched(letters, steps, "write", "mark", "rewind"),
                CheckpointWriter(checkpoints, background=False),
                watched(build_policy(settings), steps, "decide", "state", "restore"),
                watched(Silence() if reporter is None else reporter, steps, "window", "finish"),
                PlannedBudgets(StillHost() if host is None else host, plan, lambda: trainer.recommender.num_learnt),
            )
            pipeline = Pipeline(ports, trainer, msgspec.to_builtins(settings), {})
            if not (resume and pipeline.resume()):
                pipeline.start_afresh()
            return pipeline.run()
        except Crash:
            letters.lose()
            raise
        finally:
            letters.close()


def replay_in_memory(case: Case, reporter: Reporter | None = None) -> tuple[Report, Letters]:
    """Replay a stream from end to end, and return the dead letters too."""
    settings, letters = make_settings(dict(case.settings)), Letters()
    policy = build_policy(settings)
    with closing(case.open_source()) as source:
        ports = Ports(source, letters, NoCheckpoints(), policy, reporter or Silence(), StillHost())
        return Pipeline(ports, build_trainer(settings), msgspec.to_builtins(settings), {}).run(), letters


class Outcome(NamedTuple):
    """All that a run leaves behind, but for what no two runs share."""

    report: dict[str, Any]
    checkpoint: bytes
    """The newest one's file, whole."""
    dead_letters: bytes


def outcome(report: Report, folder: Path) -> Outcome:
    newest = newest_checkpoint(folder)
    fields = report_fields(report)
    del fields["resumed"]
    return Outcome(fields, newest.read_bytes(), (folder / "dead_letters.jsonl").read_bytes())


def newest_checkpoint(folder: Path) -> Path:
    return max((folder / "checkpoints").glob("*.scall"))


def comparable(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what of a ``report.json`` is the same in every run of one command."""
    windows = [{name: value for name, value in window.items() if name not in UNLIKE} for window in fields["windows"]]
    return {name: value for name, value in fields.items() if name not in UNLIKE} | {"windows": windows}


def read_report(folder: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return fields


def by_model(fields: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the rows of a comparison by model."""
    return {row["model"]: row for row in fields["rows"]}


def repeatable(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a comparison without what was timed."""
    rows = [{name: row[name] for name in row if not name.endswith("_seconds")} for row in fields["rows"]]
    return fields | {"rows": rows}
