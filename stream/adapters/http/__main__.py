"""The process that answers requests: ``python -m stream.adapters.http DESCRIPTOR``, started by the one that learns.

The descriptor is its end of a :class:`~stream.adapters.http.wire.Wire`, over which everything else comes.
"""

import logging
import os
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from threading import Event, Thread, Timer
from typing import Final

from stream.adapters.budgets import request_budget
from stream.adapters.http.app import build_app
from stream.adapters.http.learner import Learner
from stream.adapters.http.server import serve
from stream.adapters.http.wire import Listening, Logged, Refused, Setup, Wire
from stream.errors import ScallError

_BUDGET_WAIT_S: Final = 5.0
_DRAIN_S: Final = 3.0
"""How long requests under way may take once the learner is gone."""
_LOOK_S: Final = 1.0


class _ToLearner(logging.Handler):
    """Has the learner log what is logged here; what does not go at once is left out."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def emit(self, record: logging.LogRecord) -> None:
        if self._wire.flush():
            self._wire.send(Logged(record.levelno, record.getMessage()))


def main() -> None:
    """Answer requests until the learner is gone, or ends it by closing the wire."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    wire = Wire(socket.socket(fileno=int(sys.argv[1])))
    setup = _hear_setup(wire)
    if setup is None:
        return
    logger = logging.getLogger("scall")
    logger.setLevel(logging.INFO)
    logger.addHandler(_ToLearner(wire))
    learner, is_over = Learner(wire, setup.settings.hyper()), Event()
    Thread(target=_listen, args=(learner, is_over), name="learner", daemon=True).start()
    app = build_app(learner, setup.http, partial(request_budget, Path(setup.folder), wait_s=_BUDGET_WAIT_S))
    try:
        serve(app, setup.http, lambda port: wire.send(Listening(port)), is_over)
    except ScallError as error:
        wire.send(Refused(str(error)))
        sys.exit(2)


def _hear_setup(wire: Wire) -> Setup | None:
    while not wire.is_closed:
        wire.wait(_LOOK_S)
        for message, _ in wire.receive():
            assert isinstance(message, Setup), message
            return message
    return None


def _listen(learner: Learner, is_over: Event) -> None:
    try:
        learner.listen()
    finally:
        is_over.set()
        # Whatever still holds the process up.
        timer = Timer(_DRAIN_S, os._exit, [0])
        timer.daemon = True
        timer.start()


if __name__ == "__main__":
    main()
