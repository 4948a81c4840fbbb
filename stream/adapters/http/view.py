"""What the HTTP side knows of the learning process: its last status, the windows it closed, a snapshot of its model."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

from stream.core.snapshot import Snapshot
from stream.core.stats import WindowReport
from stream.core.status import SideStatus, Status

NUM_WINDOWS: Final = 100
"""Windows that are known outside the learner, the newest."""


class View(Protocol):
    """The learning process as seen from outside. Nothing here ever waits for it."""

    def status(self) -> Status | None:
        """Return its last status; None before the first."""

    def silence_s(self) -> float | None:
        """Return for how long nothing has come from it, in seconds; None before the first status."""

    def windows(self) -> Sequence[WindowReport]:
        """Return the windows closed, oldest first, NUM_WINDOWS at most."""

    def sides(self) -> tuple[SideStatus, SideStatus] | None:
        """Return users and items of the newest snapshot; None before the first. Remembered, so cheap to ask for."""

    def hold(self) -> AbstractContextManager[Snapshot | None]:
        """Hold the newest snapshot, at most a second old, which does not change meanwhile; None before the first."""
