"""Tells the process that answers requests how the service stands, and lends it copies of the model."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from stream.adapters.figures import Figures
from stream.adapters.http.answerer import Answerer
from stream.adapters.http.view import NUM_WINDOWS
from stream.adapters.http.wire import Closed, Standing
from stream.core.stats import LedgerLine, PartitionStatus, Progress, Report, WindowReport
from stream.core.status import CheckpointStatus
from stream.core.trainer import Trainer
from stream.core.windows import NO_EVENT_TIME

_TURN_S: Final = 0.1
"""How often at most it is attended to."""
_STATUS_S: Final = 0.5
_COPY_S: Final = 0.7
_PAUSE_S: Final = 10.0
"""After the machine gave no memory for a copy."""

_log: Final = logging.getLogger("scall.http")


class Publisher:
    """A :class:`stream.ports.Reporter` that passes on what it is told.

    That is a status twice a second, each window, and at most each 0.7 s, if anything was learnt, a copy of the model.
    Nothing here waits for the other process, and nothing piles up where it does not listen: statuses and copies are
    left out then, and the newest windows kept for it.
    """

    def __init__(
        self, answerer: Answerer, trainer: Trainer, figures: Figures, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._answerer = answerer
        self._trainer = trainer
        self._figures = figures
        self._clock = clock
        self._windows: deque[WindowReport] = deque(maxlen=NUM_WINDOWS)
        self._untold: deque[WindowReport] = deque(maxlen=NUM_WINDOWS)
        self._partitions: list[PartitionStatus] = []
        self._start = 0
        """The start of the other process that knows what was told."""
        self._copied: int | None = None
        """Events learnt when the last copy was made; None where the model has changed otherwise."""
        self._turn_at_s = self._status_at_s = self._copy_at_s = clock()

    def open(
        self, windows: Iterable[WindowReport], newest: CheckpointStatus | None, is_over: Callable[[], bool]
    ) -> None:
        """Wait until requests are answered, or ``is_over``.

        ``windows`` and the ``newest`` checkpoint are those of a life before this one.

        Raises:
            UsageError: the port cannot be listened at.

        """
        self._figures.begin(newest)
        self._windows.extend(windows)
        try:
            self._answerer.reserve(self._trainer.recommender.state())
        except OSError as error:
            self._tell_of_no_memory(error)
        self._answerer.wait_until_listening(is_over)

    def progress(self, progress: Progress) -> None:
        """Attend to the other process, at most ten times a second."""
        now_s = self._clock()
        if now_s >= self._turn_at_s:
            self._turn_at_s = now_s + _TURN_S
            self._partitions = progress.partitions or []
            self._take_turn(now_s)

    def warn(self, text: str) -> None:
        """Do nothing: warnings are for the log."""

    def window(self, report: WindowReport) -> None:
        """Have a window told."""
        self._windows.append(report)
        self._untold.append(report)

    def spent(self, activity: str, seconds: float) -> None:
        """Count how long something took."""
        self._figures.spent(activity, seconds)
        if activity == "resize":
            self._copied = None

    def saved(self, age_s: float, num_bytes: int) -> None:
        """Have the newest checkpoint told."""
        self._figures.saved(age_s, num_bytes)

    def finish(self, report: Report) -> None:
        """Do nothing: requests under way are answered all the same."""

    def fixed_costs(self) -> list[LedgerLine]:
        """List the copies."""
        num_bytes = self._answerer.copies_bytes
        return [LedgerLine("two copies of the model for answering requests", num_bytes)] if num_bytes else []

    def _take_turn(self, now_s: float) -> None:
        answerer = self._answerer
        is_free = answerer.attend()
        if answerer.num_starts != self._start:
            # It knows nothing.
            self._start, self._copied = answerer.num_starts, None
            self._untold = self._windows.copy()
            self._copy_at_s = self._status_at_s = now_s
        while is_free and self._untold:
            is_free = answerer.tell(Closed(self._untold.popleft()))
        is_copied = self._copied == self._trainer.recommender.num_learnt
        if is_free and not is_copied and now_s >= self._copy_at_s:
            is_copied = self._lend(now_s)
            is_free = answerer.attend()
        if is_free and now_s >= self._status_at_s:
            self._status_at_s = now_s + _STATUS_S
            last = self._windows[-1] if self._windows else None
            status = self._figures.status(now_s, self._partitions, last, self.fixed_costs())
            answerer.tell(Standing(status, is_copied))

    def _lend(self, now_s: float) -> bool:
        """Lend a copy of the model as it is; return whether there was one to lend."""
        recommender, newest_ms = self._trainer.recommender, self._trainer.clock.running_max_ms
        watermark_ms = newest_ms if newest_ms != NO_EVENT_TIME else None
        try:
            is_lent = self._answerer.lend(recommender.state(), time.time(), watermark_ms)
        except OSError as error:
            self._tell_of_no_memory(error)
            self._copy_at_s = now_s + _PAUSE_S
            return False
        if is_lent:
            self._copied = recommender.num_learnt
            self._copy_at_s = now_s + _COPY_S
        return is_lent

    def _tell_of_no_memory(self, error: OSError) -> None:
        _log.warning("no copy of the model to answer requests from: %s; free some memory", error.strerror or error)
