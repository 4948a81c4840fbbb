"""A process that learns a world without end and has its requests answered: made to be killed.

``python -m tests.adapters.http.learning FOLDER [PORT]`` prints the port and the child's process id, once a line each
time the child listens anew.
"""

import logging
import sys
from contextlib import closing
from pathlib import Path

import msgspec

from simulators.nowhere import NoCheckpoints, NoLetters, Silence
from simulators.synthetic import open_world
from stream.adapters.figures import Figures
from stream.adapters.http.answerer import Answerer
from stream.adapters.http.wire import Setup
from stream.adapters.process import ThisProcess
from stream.adapters.publisher import Publisher
from stream.adapters.reporters import Together
from stream.assembly import build_trainer
from stream.commands.assembly import build_policy
from stream.config import make_settings
from stream.core.stats import Progress
from stream.errors import ScallError
from stream.pipeline import Pace, Pipeline, Ports
from stream.service_settings import Http

SETTINGS = {"memory.budget_bytes": 2**20, "evaluation.sample": 0.01, "windows.close_after": "20000events"}


class Told(Silence):
    """Prints where requests are answered, whenever that changes."""

    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self._told: tuple[int | None, int | None] = (None, None)

    def progress(self, progress: Progress) -> None:  # noqa: ARG002
        now = (self._answerer.port, self._answerer.pid)
        if now != self._told and now[0] is not None and now[1] is not None:
            self._told = now
            print(*now, flush=True)


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = make_settings(SETTINGS)
    trainer = build_trainer(settings)
    setup = Setup(settings, Http(port=port), str(folder))
    with ThisProcess() as host, Answerer(setup) as answerer, closing(open_world("churn", 1, 10**9)) as source:
        ports = Ports(source, NoLetters(), NoCheckpoints(), build_policy(settings), Silence(), host)
        publisher = Publisher(answerer, trainer, Figures(ports, trainer, settings.seed, {}))
        ports = ports._replace(reporter=Together((publisher, Told(answerer))))
        pipeline = Pipeline(ports, trainer, msgspec.to_builtins(settings), {}, Pace(max_windows=10))
        publisher.open([], None, host.stop_requested)
        pipeline.run()


if __name__ == "__main__":
    try:
        main()
    except ScallError as error:
        sys.exit(f"scall: {error}")
