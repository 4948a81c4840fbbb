"""Scenes for tests of the whole service: a topic that is fed, and services that are watched while they learn."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from simulators.nowhere import Silence
from stream.commands.run import Part, serve
from stream.settings_file import load_service
from tests.integration.broker import Broker
from tests.kill_matrix.feeder import Feeder
from tests.kill_matrix.findings import NOTHING, look_at_end
from tests.kill_matrix.launcher import Launcher, Living
from tests.kill_matrix.life import Life
from tests.kill_matrix.service import Service, set_up
from tests.kill_matrix.trouble import MAX_RECORD_BYTES, Trouble

PATIENCE_S = 60


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    """One launcher for all tests: it takes seconds to load everything."""
    with Launcher() as launcher:
        yield launcher


class Scene(NamedTuple):
    """A fed topic, and services that learn from it."""

    broker: Broker
    launcher: Launcher
    feeder: Feeder
    folder: Path

    def service(self, name: str = "service", group: str | None = None, **more: Mapping[str, Any]) -> Service:
        topic = self.feeder.topic
        more["kafka"] = {"max_record_bytes": MAX_RECORD_BYTES, **more.get("kafka", {})}
        more["dead_letters"] = {"topic": self.letters}
        return set_up(self.folder / name, self.broker, topic, group or f"{topic}-{name}", **more)

    @property
    def letters(self) -> str:
        return f"{self.feeder.topic}.dead-letters"

    def start(self, service: Service, **more: Any) -> Living:
        return self.launcher.start(Life(service.config, service.log, **more))

    def has_caught_up(self, service: Service) -> bool:
        return service.position() == self.feeder.ends()

    def ends_well(self, service: Service) -> bool:
        """Let the service come to the end, and return whether everything is there once."""
        living = self.start(service, until_end=True)
        assert living.wait(PATIENCE_S) == 0, service.told()
        return self.is_well(service)

    def is_well(self, service: Service) -> bool:
        found = look_at_end(service, self.feeder, self.broker, self.letters)
        assert found == NOTHING, (found, service.told())
        return True


@pytest.fixture
def scene(broker: Broker, launcher: Launcher, tmp_path: Path) -> Iterator[Scene]:
    with open_scene(broker, launcher, tmp_path) as scene:
        yield scene


@contextmanager
def open_scene(
    broker: Broker, launcher: Launcher, folder: Path, partitions: int = 1, trouble: Trouble | None = None
) -> Iterator[Scene]:
    topic = f"clicks-{random.randrange(10**9)}"
    with Feeder(broker, topic, partitions, seed=5, trouble=trouble) as feeder:
        feeder.feed(300)
        yield Scene(broker, launcher, feeder, folder)


def wait_until(is_so: Callable[[], bool], service: Service, seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, service.told()
        time.sleep(0.05)


def kill(living: Living) -> None:
    """Kill a life, and wait until it is gone and its folder free."""
    living.send(signal.SIGKILL)
    assert living.wait(PATIENCE_S) == -signal.SIGKILL


def stop(living: Living) -> float:
    """Ask a life to stop; return how many seconds it took."""
    begin_s = time.monotonic()
    living.send(signal.SIGTERM)
    assert living.wait(PATIENCE_S) == 0
    return time.monotonic() - begin_s


class Steered:
    """A host whose clock can be set, and that can be asked to stop."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.is_over = threading.Event()

    def elapsed_s(self) -> float:
        return time.monotonic() + self.ahead_s

    def peak_rss_bytes(self) -> int:
        return 0

    def stop_requested(self) -> bool:
        return self.is_over.is_set()


class Warnings(Silence):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def warn(self, text: str) -> None:
        self.texts.append(text)


class Running:
    """A service in a thread; in a ``with`` statement, at whose end it is asked to stop."""

    def __init__(self, service: Service, part: Part = lambda _, original: original) -> None:
        self.host = Steered()
        self.warnings = Warnings()
        self.error: BaseException | None = None
        settings = load_service(service.config, os.environ)
        self._run = lambda: serve(settings, self.host, self.warnings, part=part)
        self._thread = threading.Thread(target=self._live)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.host.is_over.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _live(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.error = error
