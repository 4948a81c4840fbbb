"""The process that answers requests, as the learner sees it: started, told things, started again if it dies."""

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, Self

from stream.adapters.http.copies import Arrays, Copies
from stream.adapters.http.wire import Lent, Listening, Logged, Message, Refused, Returned, Setup, Wire
from stream.errors import UsageError

_ROOT: Final = Path(__file__).parents[3]
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_LONG_S: Final = 60.0
"""Whoever lived longer than this is started again without a longer pause."""
_START_S: Final = 60.0
_DRAIN_S: Final = 5.0
_LOOK_S: Final = 0.05

_log: Final = logging.getLogger("scall.http")


class Process(Protocol):
    """What is asked of a child process, as :class:`subprocess.Popen` has it."""

    pid: int

    def poll(self) -> int | None:
        """Return its exit status, None while it lives."""

    def kill(self) -> None:
        """End it at once."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return its exit status."""


def start_process(end: socket.socket) -> Process:
    """Start the process that answers requests, with an end of the wire to this one."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "stream.adapters.http", str(end.fileno())],
        pass_fds=[end.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        # The very code that this process runs, wherever it was started.
        env=os.environ | {"PYTHONPATH": path},
        # Ctrl-C is for this process, which ends the other in good order.
        process_group=0,
    )


class Answerer:
    """A child process that answers requests, and what it has borrowed. But for starting and closing it, nothing waits.

    It ends by itself when this process does, whatever that dies of, for then its wire is closed.
    """

    def __init__(
        self,
        setup: Setup,
        spawn: Callable[[socket.socket], Process] = start_process,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.num_starts = 0
        """How often it was started; each time it knows nothing."""
        self.port: int | None = None
        """Where it listens, once it does."""
        self._setup = setup
        self._spawn = spawn
        self._clock = clock
        self._copies = Copies()
        self._process: Process | None = None
        self._wire: Wire | None = None
        self._refusal: str | None = None
        self._started_s = self._start_at_s = 0.0
        self._pause_s = _FIRST_PAUSE_S / 2

    @property
    def copies_bytes(self) -> int:
        """Memory of the copies that it borrows."""
        return self._copies.num_bytes

    @property
    def pid(self) -> int | None:
        """Its process id, None while there is none."""
        return self._process.pid if self._process else None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it; does not wait until it listens."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = self._spawn(theirs)
        self.num_starts += 1
        self._started_s = self._clock()
        self.port = self._refusal = None
        self._wire = Wire(ours)
        self._wire.send(self._setup)

    def wait_until_listening(self, is_over: Callable[[], bool]) -> None:
        """Wait until it listens, or ``is_over``.

        Raises:
            UsageError: it cannot listen; says why.

        """
        until_s = time.monotonic() + _START_S
        while self.port is None and not is_over():
            process, wire = self._process, self._wire
            if process is None or wire is None or time.monotonic() > until_s:
                raise UsageError(
                    self._refusal or f"http.port {self._setup.http.port}: nothing listens there; see what went before"
                )
            wire.wait(_LOOK_S)
            self.attend()

    def attend(self) -> bool:
        """Hear what it says and see that it lives, else start it again; return whether it takes messages now."""
        if self._process is None:
            if self._clock() >= self._start_at_s:
                self.start()
            return False
        wire = self._wire
        if wire is not None:
            for message, _ in wire.receive():
                self._heed(message)
            if not wire.is_closed:
                return wire.flush()
            wire.close()
            self._wire = None
            self._process.kill()
        if (status := self._process.poll()) is not None:
            self._note_end(status)
        return False

    def _heed(self, message: Message) -> None:
        match message:
            case Listening(port):
                self.port = port
                host = self._setup.http.host
                _log.info("answers on http://%s:%d", f"[{host}]" if ":" in host else host, port)
            case Refused(text):
                self._refusal = text
            case Returned(number):
                self._copies.take_back(number)
            case Logged(level, text):
                _log.log(level, "%s", text)

    def _note_end(self, status: int) -> None:
        self._process = None
        self._copies.take_all_back()
        has_lived = self._clock() - self._started_s > _LONG_S
        self._pause_s = _FIRST_PAUSE_S if has_lived else min(2 * self._pause_s, _LONGEST_PAUSE_S)
        self._start_at_s = self._clock() + self._pause_s
        if self.num_starts == 1 and self.port is None:
            # Whoever waits for it to listen tells.
            return
        why = self._refusal or f"it ended with status {status}"
        _log.warning("requests are not answered: %s; starting it again in %g s", why, self._pause_s)

    def tell(self, message: Message) -> bool:
        """Send it a message; return whether it takes more."""
        return self._wire is not None and self._wire.send(message)

    def reserve(self, arrays: Arrays) -> None:
        """Make room for the copies that it will borrow.

        Raises:
            OSError: the machine does not give the memory.

        """
        self._copies.reserve(arrays)

    def lend(self, arrays: Arrays, taken_s: float, watermark_ms: int | None) -> bool:
        """Lend it a copy of the model to answer from; return whether there was one to lend.

        Raises:
            OSError: the machine does not give the memory.

        """
        if self._wire is None or (lent := self._copies.lend(arrays)) is None:
            return False
        number, copy = lent
        self._wire.send(Lent(number, copy.plan, taken_s, watermark_ms), copy.file)
        return True

    def close(self) -> None:
        """Let it answer what it is asked already, for a few seconds at most, and end it."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        if self._process is not None:
            try:
                self._process.wait(_DRAIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._copies.close()
