"""The service when brokers go and come back, records and partitions too, other members, and when it has to stop."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream.errors import StorageError
from stream.service_settings import CLIENTS
from tests.integration.broker import Broker
from tests.integration.scenes import PATIENCE_S, Running, Scene, kill, open_scene, stop, wait_until
from tests.kill_matrix.findings import NOTHING, look_at_checkpoint, look_at_end
from tests.kill_matrix.launcher import Launcher
from tests.kill_matrix.service import Service

OUTAGE_S = float(os.environ.get("SCALL_OUTAGE_S", "1"))
"""How long a broker is away."""
STOP_S = 5


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
        kill(living)
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


class NeverCommits:
    """A client that was always killed just before."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def commit(self, offsets: object, timeout_s: float | None = None) -> None: ...


def test_what_one_life_has_saved_and_not_committed_the_next_one_commits(scene: Scene) -> None:
    service = scene.service()
    with Running(service, lambda name, original: NeverCommits(original) if name == "client" else original):
        wait_until(lambda: scene.has_caught_up(service), service)
    assert scene.broker.committed(service.group) == {}
    living = scene.start(service)
    expected = {(scene.feeder.topic, 0): service.position()[0]}
    wait_until(lambda: scene.broker.committed(service.group) == expected, service, 10)
    stop(living)
    assert scene.is_well(service)


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
