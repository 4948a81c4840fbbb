"""Checkpoints as the loop makes them: when one is due, one at a time, told to the source once it is durable."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from stream.budget_changes import BudgetChanges
from stream.core.account import Account
from stream.errors import StorageError
from stream.ports import Checkpoint, Ports, Position


class Pace(NamedTuple):
    """How a run that has no end keeps itself safe and small."""

    checkpoint_every_s: float | None = None
    """Besides at the end of each window; None: only then."""
    survives_disk_errors: bool = False
    """Go on where a checkpoint cannot be written, and try again at the next."""
    max_windows: int | None = None
    """How many windows a report holds, the newest; None: all."""
    saves: bool = True
    """Checkpoints are made at all."""


class _UnderWay(NamedTuple):
    """A checkpoint begun and not known to be durable."""

    future: "Future[int]"
    position: Position
    window: int | None
    """Index of the window whose end it is."""
    begun_s: float


class Saving:
    """Makes a loop's checkpoints.

    ``note_bytes`` is told the index of a window and what the checkpoint at its end takes. Where the disk refuses, the
    loop ends or goes on, as its pace says.
    """

    def __init__(
        self,
        ports: Ports,
        pace: Pace,
        account: Account,
        budget: BudgetChanges,
        note_bytes: Callable[[int, int], None],
    ) -> None:
        self._ports = ports
        self._pace = pace
        self._account = account
        self._budget = budget
        self._note_bytes = note_bytes
        self._position: Position = {}
        """Of the last checkpoint begun, or resumed."""
        self._begun_s = ports.host.elapsed_s()
        self._under_way: _UnderWay | None = None

    def note_resumed(self, position: Position) -> None:
        """Note that the loop goes on from a checkpoint at ``position``."""
        self._position = position

    def is_due(self, position: Position) -> bool:
        """Return whether a checkpoint is to be made now, with the loop at ``position``."""
        every_s, since_s = self._pace.checkpoint_every_s, self._ports.host.elapsed_s() - self._begun_s
        is_time = every_s is not None and not 0 <= since_s < every_s and position != self._position
        return is_time or self._budget.is_pressing

    def begin(self, take: Callable[[], Checkpoint], position: Position, window: int | None) -> None:
        """Begin a checkpoint as soon as the one before is safe; ``take`` returns all of this instant."""
        self.acknowledge(wait=True)
        self._begun_s = self._ports.host.elapsed_s()
        self._budget.note_save()
        try:
            future = self._ports.checkpoints.save(take())
        except StorageError as error:
            self._survive(error)
            return
        self._under_way = _UnderWay(future, position, window, self._begun_s)
        self._position = position

    def acknowledge(self, *, wait: bool) -> None:
        """Once the checkpoint under way is safe, tell the source; only then."""
        done = self._under_way
        if done is None or not (wait or done.future.done()):
            return
        self._under_way = None
        try:
            num_bytes = done.future.result()
        except StorageError as error:
            self._position = {}
            self._survive(error)
            return
        self._ports.source.commit(done.position)
        self._budget.note_durable()
        self._ports.reporter.saved(self._ports.host.elapsed_s() - done.begun_s, num_bytes)
        if done.window is not None:
            self._note_bytes(done.window, num_bytes)

    def _survive(self, error: StorageError) -> None:
        if not self._pace.survives_disk_errors:
            raise error
        self._account.count("failed_checkpoints", 1)
        self._ports.reporter.warn(f"no checkpoint was made, learning goes on: {error}")
