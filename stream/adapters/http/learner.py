"""The learning process as its child knows it: what came over the wire last."""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from stream.adapters.http.copies import open_copy
from stream.adapters.http.view import NUM_WINDOWS
from stream.adapters.http.wire import Closed, Lent, Message, Returned, Standing, Wire
from stream.core.event import ITEM, USER
from stream.core.model import Hyper
from stream.core.snapshot import Snapshot
from stream.core.stats import WindowReport
from stream.core.status import SideStatus, Status

_LOOK_S: Final = 0.2
_NICENESS: Final = 10


class _Borrowed:
    """A copy of the model, while it is read."""

    def __init__(self, number: int, snapshot: Snapshot) -> None:
        self.number = number
        self.snapshot = snapshot
        self.num_holders = 1
        """Those who read it, and one as long as it is the newest."""
        self.asking = threading.Lock()
        self.sides: tuple[SideStatus, SideStatus] | None = None


class Learner:
    """What is known of the learner; a :class:`stream.adapters.http.view.View`.

    One thread listens (:meth:`listen`), any number ask. A copy of the model goes back as soon as there is a newer one
    and nobody reads it any more.
    """

    def __init__(self, wire: Wire, hyper: Hyper) -> None:
        self._wire = wire
        self._hyper = hyper
        self._status: Status | None = None
        self._heard_s = 0.0
        self._windows: deque[WindowReport] = deque(maxlen=NUM_WINDOWS)
        self._newest: _Borrowed | None = None
        self._counting = threading.Lock()

    def listen(self) -> None:
        """Take in what comes, until the learner is gone."""
        if sys.platform == "linux":
            # A copy is prepared for requests while others are answered, which comes first. Elsewhere threads have no
            # priority of their own.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while not self._wire.is_closed:
            self._wire.wait(_LOOK_S)
            self._wire.flush()
            for message, descriptor in self._wire.receive():
                self._take_in(message, descriptor)

    def _take_in(self, message: Message, descriptor: int | None) -> None:
        match message:
            case Standing(status, is_copied):
                newest = self._newest
                if is_copied and newest is not None:
                    # However long ago it was made, there has been nothing to add.
                    newest.snapshot.taken_s = status.written_s
                self._status, self._heard_s = status, time.monotonic()
            case Closed(window):
                self._windows.append(window)
            case Lent() if descriptor is not None:
                try:
                    arrays = open_copy(descriptor, message.plan)
                finally:
                    os.close(descriptor)
                snapshot = Snapshot(arrays, self._hyper, watermark_ms=message.watermark_ms, taken_s=message.taken_s)
                snapshot.prepare()
                if self._newest is None:
                    # It takes a second or two to load kernels from their cache, and no request is to wait.
                    snapshot.answer_nobody()
                with self._counting:
                    before, self._newest = self._newest, _Borrowed(message.number, snapshot)
                if before is not None:
                    self._release(before)

    def _release(self, borrowed: _Borrowed) -> None:
        with self._counting:
            borrowed.num_holders -= 1
            is_last = borrowed.num_holders == 0
        if is_last:
            self._wire.send(Returned(borrowed.number))

    @contextmanager
    def _hold(self) -> Iterator[_Borrowed | None]:
        with self._counting:
            borrowed = self._newest
            if borrowed is not None:
                borrowed.num_holders += 1
        try:
            yield borrowed
        finally:
            if borrowed is not None:
                self._release(borrowed)

    @contextmanager
    def hold(self) -> Iterator[Snapshot | None]:
        """Hold the newest snapshot, which does not change meanwhile; None before the first."""
        with self._hold() as borrowed:
            yield None if borrowed is None else borrowed.snapshot

    def status(self) -> Status | None:
        """Return the last status; None before the first."""
        return self._status

    def silence_s(self) -> float | None:
        """Return how many seconds ago the last status came; None before the first."""
        return None if self._status is None else time.monotonic() - self._heard_s

    def windows(self) -> Sequence[WindowReport]:
        """Return the newest windows, oldest first."""
        return tuple(self._windows)

    def sides(self) -> tuple[SideStatus, SideStatus] | None:
        """Return users and items of the newest snapshot; None before the first. Worked out once for each snapshot."""
        with self._hold() as borrowed:
            if borrowed is None:
                return None
            with borrowed.asking:
                if borrowed.sides is None:
                    borrowed.sides = borrowed.snapshot.side(USER), borrowed.snapshot.side(ITEM)
                return borrowed.sides
