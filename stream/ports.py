"""The seams to the outside: one Protocol per outside thing, so that a test double is a few lines."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from stream.core.event import Poll, Rejection
from stream.core.sizes import SizeDecision
from stream.core.stats import Report, WindowReport

Position = dict[int, int]
"""Partition -> offset of the next record to read."""


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

        Offsets increase within a partition; what comes from one poll was not given before.
        """

    def seek(self, position: Position) -> None:
        """Go on from ``position``: the next poll gives the records from there, bit for bit as the first time."""

    def close(self) -> None:
        """Release files and connections."""


class DeadLetters(Protocol):
    """Where records go that could not be used."""

    def write(self, rejections: Sequence[Rejection]) -> None:
        """Append the rejections, in their order."""

    def mark(self) -> int:
        """Make all that was written durable and return a mark of this instant."""

    def rewind(self, mark: int) -> None:
        """Forget what was written after ``mark``: it will be written again."""


class Checkpoint(NamedTuple):
    """Durable state of one instant: flat arrays by name, and a JSON-able description."""

    arrays: Mapping[str, NDArray[Any]]
    meta: Mapping[str, Any]


class CheckpointStore(Protocol):
    """Keeps the newest good checkpoint."""

    def save(self, checkpoint: Checkpoint) -> int:
        """Write aside, fsync, rename; return the number of bytes written. The previous one stays good till then."""

    def load(self) -> Checkpoint | None:
        """Return the newest good checkpoint, None where there is none; refuse a torn or foreign one by name."""


class Clock(Protocol):
    """Time as the loop may see it."""

    def elapsed_s(self) -> float:
        """Seconds on a clock that never goes backwards, from an arbitrary start."""


class SizePolicy(Protocol):
    """Decides how the bytes are shared out, once a window."""

    @property
    def name(self) -> str:
        """The name it is asked for by."""

    def decide(self, observation: NDArray[np.float32]) -> SizeDecision:
        """Return the size decision for the coming window, from a fixed-length observation."""


class Reporter(Protocol):
    """Watches the loop; never changes it."""

    def progress(self, num_records: int, learnt: int, hit_rate: float | None, ledger_bytes: int) -> None:
        """Note that ``num_records`` have been read so far (called often)."""

    def window(self, report: WindowReport) -> None:
        """Note a closed window."""

    def finish(self, report: Report) -> None:
        """Note the end of the stream."""
