"""The service when the world around it fails: brokers, disks, clocks, and other services."""

import errno
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stream.adapters.checkpoint import Disk, newest_file
from stream.commands.run import Part, serve
from stream.errors import StorageError
from stream.service_settings import CLIENTS
from stream.settings_file import load_service
from tests.doubles import Silence
from tests.integration.broker import Broker
from tests.kill_matrix.feeder import Feeder
from tests.kill_matrix.findings import NOTHING, compare, look_at_checkpoint, look_at_end
from tests.kill_matrix.launcher import Launcher, Living
from tests.kill_matrix.life import Life
from tests.kill_matrix.service import Service, set_up
from tests.kill_matrix.trouble import MAX_RECORD_BYTES, Trouble

OUTAGE_S = float(os.environ.get("SCALL_OUTAGE_S", "1"))
"""How long a broker is away."""
PATIENCE_S = 40 + OUTAGE_S
STOP_S = 5


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
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


def stop(living: Living) -> float:
    """Ask a life to stop; return how many seconds it took."""
    begin_s = time.monotonic()
    living.send(signal.SIGTERM)
    assert living.wait(PATIENCE_S) == 0
    return time.monotonic() - begin_s


# Brokers


def stop_and_start(broker: Broker) -> None:
    broker.stop()
    time.sleep(OUTAGE_S)
    broker.start()


def kill_and_start(broker: Broker) -> None:
    broker.kill()
    time.sleep(OUTAGE_S)
    broker.start()


def pause_and_resume(broker: Broker) -> None:
    broker.pause()
    time.sleep(OUTAGE_S)
    broker.resume()


@pytest.mark.parametrize("outage", [stop_and_start, kill_and_start, pause_and_resume])
def test_a_broker_that_was_away_is_waited_for(scene: Scene, outage: Callable[[Broker], None]) -> None:
    services = [scene.service(client, kafka={"client": client}) for client in CLIENTS]
    living = [scene.start(service) for service in services]
    for service in services:
        wait_until(lambda: scene.has_caught_up(service), service)  # noqa: B023 - it is called at once
    scene.feeder.feed(200)
    outage(scene.broker)
    scene.feeder.feed(200)
    for service, life in zip(services, living, strict=True):
        wait_until(lambda: scene.has_caught_up(service), service)  # noqa: B023
        assert stop(life) < STOP_S
        assert scene.is_well(service)


def test_a_service_killed_while_the_broker_hangs_doubles_nothing(scene: Scene) -> None:
    service = scene.service(checkpoints={"every_s": 100})
    living = scene.start(service)
    wait_until(lambda: bool(service.position()), service)
    scene.feeder.feed(30)
    scene.broker.pause()
    try:
        time.sleep(0.3)
        living.send(signal.SIGKILL)
        again = scene.start(service)
        time.sleep(0.5)
    finally:
        scene.broker.resume()
    wait_until(lambda: "owns every partition" in service.told(), service)
    stop(again)
    assert scene.ends_well(service)


def test_records_deleted_before_they_were_learnt_stop_the_service(scene: Scene) -> None:
    service = scene.service()
    assert scene.ends_well(service)
    begin = service.position()[0]
    scene.feeder.feed(100)
    scene.broker.delete_records(scene.feeder.topic, 0, begin + 50)
    living = scene.start(service)
    assert living.wait(PATIENCE_S) == 2
    told = f"records {begin} to {begin + 49} of {scene.feeder.topic}-0 were deleted before they were learnt"
    assert f'scall: {told}; set kafka.on_gap = "earliest"' in service.told()
    assert service.position() == {0: begin}


def test_records_deleted_before_they_were_learnt_are_counted_where_that_is_wanted(scene: Scene) -> None:
    service = scene.service(kafka={"on_gap": "earliest"})
    assert scene.ends_well(service)
    begin = service.position()[0]
    scene.feeder.feed(100)
    scene.broker.delete_records(scene.feeder.topic, 0, begin + 50)
    for place in [place for place in scene.feeder.reasons if begin <= place[1] < begin + 50]:
        del scene.feeder.reasons[place]
    living = scene.start(service, until_end=True)
    assert living.wait(PATIENCE_S) == 0, service.told()
    found = look_at_end(service, scene.feeder, scene.broker, scene.letters)
    assert (found.lost, found.doubled) == (0, 0)
    assert found.complaints == [f"at {service.position()}: 50 lost"]
    assert "were deleted before they were learnt" in service.told()


def test_partitions_that_a_topic_gains_are_read_from_their_first_record(scene: Scene) -> None:
    service = scene.service()
    living = scene.start(service)
    wait_until(lambda: scene.has_caught_up(service), service)
    scene.broker.add_partitions(scene.feeder.topic, 3)
    scene.feeder.use_partitions(3)
    scene.feeder.feed(300)
    wait_until(lambda: scene.has_caught_up(service), service)
    assert sorted(service.position()) == [0, 1, 2]
    stop(living)
    assert scene.is_well(service)


# The end


def test_a_service_that_is_asked_to_stop_leaves_everything_in_good_order(scene: Scene) -> None:
    service = scene.service(checkpoints={"every_s": 100})
    living = scene.start(service)
    wait_until(lambda: bool(service.position()), service)
    assert scene.broker.members(service.group) == 1
    scene.feeder.feed(50)
    assert stop(living) < STOP_S
    assert scene.broker.members(service.group) == 0
    assert scene.broker.committed(service.group) == {(scene.feeder.topic, 0): service.position()[0]}
    assert look_at_checkpoint(service, scene.feeder) == NOTHING
    assert scene.ends_well(service)


def test_a_service_that_is_asked_to_stop_while_the_broker_hangs_ends_all_the_same(scene: Scene) -> None:
    service = scene.service()
    living = scene.start(service)
    wait_until(lambda: scene.has_caught_up(service), service)
    scene.broker.pause()
    try:
        begin_s = time.monotonic()
        living.send(signal.SIGTERM)
        status = living.wait(PATIENCE_S)
    finally:
        scene.broker.resume()
    assert time.monotonic() - begin_s < 2 * STOP_S
    assert status == 0, service.told()
    assert "stays in group" in service.told()
    assert f"no broker answers at {scene.broker.bootstrap}" in service.told()
    scene.feeder.feed(50)
    assert scene.ends_well(service)


class HangingLetters:
    """Dead letters before the ``number``-th writing of which the broker begins to hang."""

    def __init__(self, letters: Any, broker: Broker, number: int) -> None:
        self._letters = letters
        self._broker = broker
        self._number = number
        self.is_hanging = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._letters, name)

    def write(self, rejections: Any) -> None:
        self._number -= 1
        if self._number == 0:
            self._broker.pause()
            self.is_hanging.set()
        self._letters.write(rejections)


@pytest.mark.parametrize("number", [1, 2])
def test_dead_letters_that_the_broker_does_not_take_before_the_end_are_repeated(scene: Scene, number: int) -> None:
    service = scene.service()
    letters: list[HangingLetters] = []

    def part(name: str, original: Any) -> Any:
        if name == "dead_letters":
            letters.append(HangingLetters(original, scene.broker, number))
        return letters[0] if name == "dead_letters" else original

    try:
        with Running(service, part) as running:
            wait_until(lambda: bool(letters) and letters[0].is_hanging.is_set(), service)
            begin_s = time.monotonic()
        assert time.monotonic() - begin_s < 2 * STOP_S
    finally:
        scene.broker.resume()
    assert isinstance(running.error, StorageError)
    assert "the broker does not acknowledge" in str(running.error)
    assert scene.ends_well(service)


# Checkpoints


def test_a_damaged_checkpoint_gives_way_to_the_one_before_and_nothing_is_doubled(scene: Scene) -> None:
    service = scene.service()
    living = scene.start(service)
    wait_until(lambda: scene.has_caught_up(service), service)
    living.send(signal.SIGKILL)
    scene.feeder.feed(100)
    newest = newest_file(service.checkpoints)
    newest.write_bytes(newest.read_bytes()[:-100])
    assert scene.ends_well(service)
    assert f"scall: warning: {service.checkpoints}: {newest.name} is torn" in service.told()
    assert "is used instead" in service.told()


def test_a_second_service_on_a_folder_is_refused_in_one_line(scene: Scene) -> None:
    service = scene.service()
    living = scene.start(service)
    wait_until(lambda: scene.has_caught_up(service), service)
    second = service._replace(log=scene.folder / "second.log")
    assert scene.start(second).wait(PATIENCE_S) == 2
    remedy = "stop that one, or name another folder"
    told = f"scall: checkpoint folder {service.checkpoints} is in use by another process: {remedy}\n"
    assert second.told() == told
    stop(living)
    assert scene.is_well(service)


def test_a_service_that_stands_by_takes_over_when_the_first_is_killed(scene: Scene) -> None:
    service = scene.service()
    first = scene.start(service)
    wait_until(lambda: scene.has_caught_up(service), service)
    second = service._replace(log=scene.folder / "second.log")
    waiting = scene.start(second, standby=True)
    wait_until(lambda: "standing by" in second.told(), second)
    scene.feeder.feed(60)
    first.send(signal.SIGKILL)
    scene.feeder.feed(60)
    wait_until(lambda: scene.has_caught_up(service), second)
    stop(waiting)
    assert scene.is_well(service)


# Another member


def test_a_member_with_another_folder_gets_partitions_and_each_model_learns_what_it_has_once(
    broker: Broker, launcher: Launcher, tmp_path: Path
) -> None:
    with open_scene(broker, launcher, tmp_path, partitions=4) as scene:
        first, second = scene.service("first", "both"), scene.service("second", "both")
        living = scene.start(first)
        wait_until(lambda: scene.has_caught_up(first), first)
        other = scene.start(second)
        scene.feeder.feed(400)
        wait_until(lambda: len(second.position()) == 2, second)
        assert "owns 2 of 4 partitions" in first.told()
        assert "another member of group both has the rest, this model sees only a part" in second.told()
        scene.feeder.feed(400)
        wait_until(lambda: is_at_end(scene, second, list(second.position())), second)
        assert look_at_checkpoint(second, scene.feeder) == NOTHING
        stop(other)
        wait_until(lambda: scene.has_caught_up(first), first)
        stop(living)
        assert look_at_checkpoint(first, scene.feeder) == NOTHING


def is_at_end(scene: Scene, service: Service, partitions: list[int]) -> bool:
    ends = scene.feeder.ends()
    return all(service.position()[partition] == ends[partition] for partition in partitions)


# Within this process: disks, clocks and stalls


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

    def __enter__(self) -> "Running":
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


class FullDisk(Disk):
    """A disk that takes nothing while it is full."""

    def __init__(self) -> None:
        self.is_full = False

    def write(self, file: Any, data: Any) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write(file, data)


def full_disk(disk: FullDisk) -> Part:
    return lambda name, original: disk if name == "disk" else original


@pytest.mark.parametrize("background", [True, False])
def test_a_full_disk_is_told_and_outlived_where_that_is_wanted(scene: Scene, background: bool) -> None:
    service = scene.service(checkpoints={"on_disk_error": "continue", "background": background})
    disk = FullDisk()
    with Running(service, full_disk(disk)) as running:
        wait_until(lambda: scene.has_caught_up(service), service)
        before, disk.is_full = service.position(), True
        scene.feeder.feed(100)
        wait_until(lambda: bool(running.warnings.texts), service)
        assert "no checkpoint was made, learning goes on" in running.warnings.texts[0]
        assert "No space left on device" in running.warnings.texts[0]
        assert service.position() == before
        assert look_at_checkpoint(service, scene.feeder) == NOTHING
        disk.is_full = False
        wait_until(lambda: scene.has_caught_up(service), service)
    assert running.error is None
    found = look_at_end(service, scene.feeder, scene.broker, scene.letters)
    assert (found.lost, found.doubled) == (0, 0)
    header = service.saved()
    assert header is not None
    failed = header.meta["trainer"]["account"]["counts"]["failed_checkpoints"]
    assert failed == len(running.warnings.texts)
    assert found.complaints == [f"at {service.position()}: {failed} failed_checkpoints"]


@pytest.mark.parametrize("background", [True, False])
def test_a_full_disk_stops_the_service_otherwise_and_the_checkpoint_before_stays_good(
    scene: Scene, background: bool
) -> None:
    service = scene.service(checkpoints={"background": background})
    disk = FullDisk()
    with Running(service, full_disk(disk)) as running:
        wait_until(lambda: scene.has_caught_up(service), service)
        disk.is_full = True
        scene.feeder.feed(100)
        wait_until(lambda: running.error is not None, service)
    assert isinstance(running.error, StorageError)
    assert "No space left on device" in str(running.error)
    assert "checkpoints already there stay good" in str(running.error)
    assert look_at_checkpoint(service, scene.feeder) == NOTHING
    assert scene.ends_well(service)


def test_a_host_clock_that_jumps_back_holds_up_no_checkpoint(scene: Scene) -> None:
    service = scene.service(windows={"close_after": "1000000events"})
    with Running(service) as running:
        wait_until(lambda: scene.has_caught_up(service), service)
        for ahead_s in (-86_400.0, 86_400.0, -1.0):
            running.host.ahead_s = ahead_s
            scene.feeder.feed(30)
            wait_until(lambda: scene.has_caught_up(service), service)
    assert running.error is None
    assert scene.is_well(service)


def test_events_of_a_clock_that_jumped_back_are_learnt_where_late_ones_are(
    broker: Broker, launcher: Launcher, tmp_path: Path
) -> None:
    with open_scene(broker, launcher, tmp_path, trouble=Trouble(5, late=None)) as scene:
        windows = {"learn_late": True, "close_after": "7min"}
        service, whole = (scene.service(name, windows=windows) for name in ("killed", "uninterrupted"))
        living = scene.start(service)
        wait_until(lambda: bool(service.position()), service)
        living.send(signal.SIGKILL)
        assert scene.ends_well(service)
        assert scene.ends_well(whole)
        assert compare(service, whole) == []
        header = service.saved()
        assert header is not None
        assert header.meta["trainer"]["account"]["counts"]["late"] > 0


class Stalled:
    """A policy that thinks for so long, once."""

    def __init__(self, policy: Any, seconds: float) -> None:
        self._policy = policy
        self._seconds = [seconds]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def decide(self, observation: Any) -> Any:
        while self._seconds:
            time.sleep(self._seconds.pop())
        return self._policy.decide(observation)


def test_a_pause_longer_than_the_session_does_not_lose_the_group(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    services = [scene.service(client, kafka={"client": client, "session_timeout_s": 6.0}) for client in CLIENTS]
    caplog.set_level("INFO", "scall")
    with ExitStack() as stack:
        running = [stack.enter_context(Running(service, stalled)) for service in services]
        for service in services:
            wait_until(lambda: scene.has_caught_up(service), service)  # noqa: B023
    assert [each.error for each in running] == [None, None]
    told = f"owns every partition of {scene.feeder.topic} (1)"
    assert [record.message for record in caplog.records if record.name == "scall.kafka"] == [told, told]
    assert all(map(scene.is_well, services))


def stalled(name: str, original: Any) -> Any:
    return Stalled(original, 8) if name == "policy" else original
