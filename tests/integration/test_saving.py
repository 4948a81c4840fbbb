"""The service when disks are full or damaged, clocks jump, it is held up, or another one wants its folder."""

import errno
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from stream.adapters.checkpoint import Disk, newest_file
from stream.commands.run import Part
from stream.errors import StorageError
from stream.service_settings import CLIENTS
from tests.integration.broker import Broker
from tests.integration.scenes import PATIENCE_S, Running, Scene, kill, open_scene, stop, wait_until
from tests.kill_matrix.findings import NOTHING, compare, look_at_checkpoint, look_at_end
from tests.kill_matrix.launcher import Launcher
from tests.kill_matrix.trouble import Trouble


def test_a_damaged_checkpoint_gives_way_to_the_one_before_and_nothing_is_doubled(scene: Scene) -> None:
    service = scene.service()
    living = scene.start(service)
    wait_until(lambda: scene.has_caught_up(service), service)
    kill(living)
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
    kill(first)
    scene.feeder.feed(60)
    wait_until(lambda: scene.has_caught_up(service), second)
    stop(waiting)
    assert scene.is_well(service)


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
        kill(living)
        assert scene.ends_well(service)
        assert scene.ends_well(whole)
        assert compare(service.checkpoints, whole.checkpoints) == []
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
