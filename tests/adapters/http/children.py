"""Processes that answer requests, without being processes: the other end of the wire in a thread, or nobody there."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

from stream.adapters.http.learner import Learner
from stream.adapters.http.wire import Listening, Refused, Setup, Wire

PATIENCE_S = 60


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


class Deaf:
    """A child (:class:`~stream.adapters.http.answerer.Process`) that says it listens, and never reads."""

    pid = 1

    def __init__(self, end: socket.socket) -> None:
        # Whoever starts a child closes its end of the wire on this side.
        self._end = end.dup()
        self.wire = Wire(self._end)
        self.status: int | None = None
        self.begin()

    def begin(self) -> None:
        self.wire.send(Listening(1))

    def poll(self) -> int | None:
        return self.status

    def kill(self) -> None:
        if self.status is None:
            self.status = -9
            with suppress(OSError):
                self._end.shutdown(socket.SHUT_RDWR)
            self.end()
            self.wire.close()

    def wait(self, timeout: float | None = None) -> int:  # noqa: ARG002
        self.kill()
        return -9

    def end(self) -> None: ...


class Refusing(Deaf):
    """A child that cannot listen."""

    def begin(self) -> None:
        self.wire.send(Refused("http.port 80: taken"))
        self.kill()


class Knowing(Deaf):
    """A child that knows the learner, but answers no requests."""

    learner: Learner | None = None

    def begin(self) -> None:
        self._thread = Thread(target=self._live)
        self._thread.start()

    def end(self) -> None:
        self._thread.join()

    def _live(self) -> None:
        while self.learner is None and not self.wire.is_closed:
            self.wire.wait(0.01)
            for setup, _ in self.wire.receive():
                assert isinstance(setup, Setup)
                self.learner = Learner(self.wire, setup.settings.hyper())
                self.wire.send(Listening(8080))
                self.learner.listen()
                break
