"""Ports that keep and show nothing, for loops whose only outcome is a report or a number."""

from collections.abc import Sequence
from concurrent.futures import Future

from stream.core.event import Rejection
from stream.core.stats import LedgerLine, Progress, Report, WindowReport
from stream.ports import Checkpoint, Position


class NoLetters:
    """Dead letters (:class:`~stream.ports.DeadLetters`) that nobody reads; the loop counts them."""

    def write(self, rejections: Sequence[Rejection]) -> None:
        """Do nothing."""

    def mark(self) -> Position:
        """Return the mark of the beginning."""
        return {}

    def rewind(self, mark: Position) -> dict[tuple[int, int], str]:  # noqa: ARG002
        """Return that nothing stays written."""
        return {}


class NoCheckpoints:
    """A :class:`~stream.ports.CheckpointStore` that keeps nothing, but for the checkpoint that it is made with.

    >>> NoCheckpoints().save(Checkpoint({}, {})).result(), NoCheckpoints().load()
    (0, None)
    >>> NoCheckpoints(Checkpoint({}, {"events": 7})).load().meta
    {'events': 7}
    """

    staging_bytes = 0

    def __init__(self, checkpoint: Checkpoint | None = None) -> None:
        self._checkpoint = checkpoint

    def save(self, checkpoint: Checkpoint) -> "Future[int]":  # noqa: ARG002
        """Return at once that no bytes are written."""
        done: Future[int] = Future()
        done.set_result(0)
        return done

    def load(self) -> Checkpoint | None:
        """Return the checkpoint that the store is made with, None without one."""
        return self._checkpoint

    def clear(self) -> None:
        """Do nothing."""


class Silence:
    """A :class:`~stream.ports.Reporter` that shows nothing."""

    def progress(self, progress: Progress) -> None:
        """Do nothing."""

    def warn(self, text: str) -> None:
        """Do nothing."""

    def window(self, report: WindowReport) -> None:
        """Do nothing."""

    def spent(self, activity: str, seconds: float) -> None:
        """Do nothing."""

    def saved(self, age_s: float, num_bytes: int) -> None:
        """Do nothing."""

    def finish(self, report: Report) -> None:
        """Do nothing."""

    def fixed_costs(self) -> list[LedgerLine]:
        """Return that it keeps no memory."""
        return []
