"""The seams to the outside: one Protocol per outside thing, so that a test double is a few lines."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from stream.core.event import Origin, Poll, Rejection
from stream.core.sizes import SizeDecision
from stream.core.stats import LedgerLine, PartitionStatus, Progress, Report, WindowReport

Position = dict[int, int]
"""Partition -> offset of the next record to read, or to write."""


class Source(Protocol):
    """Where events come from, replayable from any position it has given."""

    @property
    def name(self) -> str:
        """What a person calls it: a path, a world, a topic."""

    @property
    def num_records(self) -> int | None:
        """How many records it holds, where that is known beforehand."""

    def poll(self) -> Poll | None:
        """Return the next events and rejections, or None at the end of the stream.

        A live stream has no end: where nothing comes for a moment, it gives a poll without anything in it. Offsets
        increase within a partition.
        """

    def seek(self, position: Position) -> None:
        """Go on from ``position``: the next poll gives the records from there, bit for bit as the first time."""

    def origin(self, partition: int, number: int) -> Origin:
        """Return where the event with this :attr:`~stream.core.event.EventBatch.number`, of the last poll, is from."""

    def partitions(self, position: Position) -> list[PartitionStatus] | None:
        """Return the partitions owned and what is known to wait there from ``position`` on, as last heard.

        None where nothing ever waits.
        """

    def commit(self, position: Position) -> None:
        """Tell the outside how far a durable checkpoint has come. Nothing here ever relies on it."""

    def close(self) -> None:
        """Release files and connections."""


class DeadLetters(Protocol):
    """Where records go that could not be used."""

    def write(self, rejections: Sequence[Rejection]) -> None:
        """Append the rejections, in their order."""

    def mark(self) -> Position:
        """Make all that was written durable and return a mark of this instant."""

    def rewind(self, mark: Position) -> dict[tuple[int, int], str]:
        """Forget what was written after ``mark``, for it will be written again; an empty mark is the beginning.

        Return what cannot be forgotten, (partition, offset) -> reason: these are dead letters for good.
        """


class Checkpoint(NamedTuple):
    """Durable state of one instant: flat arrays by name, and a JSON-able description."""

    arrays: Mapping[str, NDArray[Any]]
    meta: Mapping[str, Any]
    num_bytes: int = 0
    """What it takes in the store, once it comes from there."""


class CheckpointStore(Protocol):
    """Keeps the newest good checkpoint."""

    @property
    def staging_bytes(self) -> int:
        """Memory that it keeps for itself, for as long as it lives."""

    def save(self, checkpoint: Checkpoint) -> "Future[int]":
        """Write aside, fsync, rename; the result is the number of bytes written, or a :class:`StorageError`.

        The previous checkpoint stays good till then. The arrays may change as soon as this returns, while the future
        may be done later; nothing else may be saved before it is.
        """

    def clear(self) -> None:
        """Forget every checkpoint."""

    def load(self) -> Checkpoint | None:
        """Return the newest good checkpoint, None where there is none; refuse a torn or foreign one by name."""


class Host(Protocol):
    """What the loop may know of the machine it runs on. Nothing of it enters the model."""

    def elapsed_s(self) -> float:
        """Seconds on a clock that never goes backwards, from an arbitrary start."""

    def peak_rss_bytes(self) -> int:
        """Return the most resident memory that the process has had."""

    def stop_requested(self) -> bool:
        """Return whether someone asked for an orderly end."""

    def budget_requested(self) -> int | None:
        """Return the memory budget in bytes that someone asks for; each request once, None where there is none."""

    def answer_budget(self, refusal: str | None) -> None:
        """Note that the last request is met and in a durable checkpoint, or else in one line why it is refused."""


class SizePolicy(Protocol):
    """Decides how the bytes are shared out, once a window."""

    @property
    def name(self) -> str:
        """The name it is asked for by."""

    @property
    def trips(self) -> dict[str, int]:
        """How often a guard stepped in since the start of the stream, by reason; empty where it has none."""

    def decide(self, observation: NDArray[np.float32]) -> SizeDecision:
        """Return the size decision for the coming window, from a fixed-length observation."""

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` needs, fit for JSON: part of every checkpoint."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""


class Reporter(Protocol):
    """Watches the loop; never changes it."""

    def progress(self, progress: Progress) -> None:
        """Note how far the run is (called often)."""

    def warn(self, text: str) -> None:
        """Note something that a person should know, in one line; the run goes on."""

    def window(self, report: WindowReport) -> None:
        """Note a closed window."""

    def spent(self, activity: str, seconds: float) -> None:
        """Note how long something took: a "batch" (a poll's events tested and learnt), a "resize", a "checkpoint"."""

    def saved(self, age_s: float, num_bytes: int) -> None:
        """Note that a checkpoint is durable which holds the state of ``age_s`` seconds ago."""

    def finish(self, report: Report) -> None:
        """Note the end of the stream."""

    def fixed_costs(self) -> list[LedgerLine]:
        """List the memory that it keeps for itself, for as long as it lives."""


class Ports(NamedTuple):
    """Everything outside that the loop talks to."""

    source: Source
    dead_letters: DeadLetters
    checkpoints: CheckpointStore
    policy: SizePolicy
    reporter: Reporter
    host: Host


def staging_of(checkpoints: CheckpointStore) -> list[LedgerLine]:
    """List the memory that a store keeps for itself, as fixed costs."""
    num_bytes = checkpoints.staging_bytes
    return [LedgerLine("copy of the model for the checkpoint being written", num_bytes)] if num_bytes else []
