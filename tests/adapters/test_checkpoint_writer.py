"""A checkpoint in the background is that of the instant it was asked for, whatever becomes of the model meanwhile."""

import errno
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, get_ident
from typing import Any, BinaryIO

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.adapters.checkpoint import CheckpointFolder, Disk
from stream.adapters.checkpoint_writer import CheckpointWriter
from stream.errors import StorageError
from stream.ports import Checkpoint

PATIENCE_S = 20


class SlowDisk(Disk):
    """A disk that writes as soon as it may, is full if so told, and knows who wrote."""

    def __init__(self) -> None:
        self.may_write = Event()
        self.may_write.set()
        self.was_asked = Event()
        self.is_full = False
        self.writers: set[int] = set()

    def create(self, path: Path) -> BinaryIO:
        self.was_asked.set()
        self.writers.add(get_ident())
        assert self.may_write.wait(PATIENCE_S)
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().create(path)


@pytest.fixture
def disk() -> Iterator[SlowDisk]:
    disk = SlowDisk()
    yield disk
    disk.may_write.set()


@pytest.fixture
def folder(tmp_path: Path, disk: SlowDisk) -> Iterator[CheckpointFolder]:
    with CheckpointFolder(tmp_path / "checkpoints", filesystem=disk) as folder:
        yield folder


class Seen:
    """A folder that keeps what it is given to save, as it is given."""

    def __init__(self) -> None:
        self.saved: list[Checkpoint] = []

    def save(self, checkpoint: Checkpoint) -> int:
        self.saved.append(checkpoint)
        return 7


def some_arrays(seed: int = 0) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(seed)
    slots = np.zeros(50, np.dtype([("key", "u8"), ("count", "f4"), ("kind", "u1")]))
    slots["key"] = random.integers(0, 2**60, 50)
    slots["count"] = random.random(50)
    return {
        "slots": slots,
        "words": random.random((30, 7), np.float32),
        "every second": random.integers(0, 99, 40)[::2],
        "turned": random.integers(0, 99, (4, 6)).T,
        "one": np.array(random.integers(0, 99)),
        "none": np.zeros((0, 3), np.int16),
    }


def as_bytes(arrays: Any) -> dict[str, tuple[Any, tuple[int, ...], bytes]]:
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()}


def spoil(arrays: dict[str, NDArray[Any]]) -> None:
    for array in arrays.values():
        array[...] = np.zeros((), array.dtype)


def test_arrays_may_change_as_soon_as_a_save_in_the_background_returns(
    folder: CheckpointFolder, disk: SlowDisk
) -> None:
    arrays = some_arrays()
    before = as_bytes(arrays)
    disk.may_write.clear()
    with CheckpointWriter(folder, background=True) as writer:
        future = writer.save(Checkpoint(arrays, {"position": {"0": 7}}))
        spoil(arrays)
        assert disk.was_asked.wait(PATIENCE_S)
        assert not future.done()
        disk.may_write.set()
        num_bytes = future.result(PATIENCE_S)
    loaded = folder.load()
    assert loaded is not None
    assert as_bytes(loaded.arrays) == before
    assert loaded.meta == {"position": {"0": 7}}
    assert loaded.num_bytes == num_bytes


@pytest.mark.parametrize("background", [False, True])
def test_what_is_saved_is_loaded(folder: CheckpointFolder, background: bool) -> None:
    with CheckpointWriter(folder, background=background) as writer:
        assert writer.load() is None
        for seed in range(4):
            writer.save(Checkpoint(some_arrays(seed), {"seed": seed})).result(PATIENCE_S)
            loaded = writer.load()
            assert loaded is not None
            assert as_bytes(loaded.arrays) == as_bytes(some_arrays(seed))
            assert loaded.meta == {"seed": seed}
        writer.clear()
        assert writer.load() is None


def test_only_in_the_background_another_thread_writes(folder: CheckpointFolder, disk: SlowDisk) -> None:
    with CheckpointWriter(folder, background=False) as writer:
        assert writer.save(Checkpoint(some_arrays(), {})).done()
    assert disk.writers == {get_ident()}
    disk.writers.clear()
    with CheckpointWriter(folder, background=True) as writer:
        writer.save(Checkpoint(some_arrays(), {})).result(PATIENCE_S)
    assert len(disk.writers - {get_ident()}) == len(disk.writers) == 1


def save_all(writer: CheckpointWriter, num: int) -> None:
    for seed in range(num):
        assert writer.save(Checkpoint(some_arrays(seed), {})).result(PATIENCE_S) == 7


@pytest.mark.parametrize("reserves", [False, True])
def test_memory_for_the_copy_is_allocated_once(reserves: bool) -> None:
    folder = Seen()
    with CheckpointWriter(folder, background=True) as writer:  # type: ignore[arg-type]
        assert writer.staging_bytes == 0
        if reserves:
            writer.reserve(some_arrays())
            assert writer.staging_bytes == sum(array.nbytes for array in some_arrays().values())
        save_all(writer, 3)
        assert writer.staging_bytes == sum(array.nbytes for array in some_arrays().values())
    first, *others = (checkpoint.arrays for checkpoint in folder.saved)
    assert all(other[name] is array for other in others for name, array in first.items())


def test_without_a_thread_no_memory_is_taken() -> None:
    folder, arrays = Seen(), some_arrays()
    with CheckpointWriter(folder, background=False) as writer:  # type: ignore[arg-type]
        writer.reserve(arrays)
        assert writer.save(Checkpoint(arrays, {})).result() == 7
        assert writer.staging_bytes == 0
    assert all(folder.saved[0].arrays[name] is array for name, array in arrays.items())


def test_checkpoints_are_written_in_the_order_of_the_saves(folder: CheckpointFolder) -> None:
    with CheckpointWriter(folder, background=True) as writer:
        for number in range(5):
            writer.save(Checkpoint(some_arrays(), {"number": number})).result(PATIENCE_S)
    names = sorted(path.name for path in folder.path.glob("*.scall"))
    assert names == ["checkpoint-000000004.scall", "checkpoint-000000005.scall"]
    loaded = folder.load()
    assert loaded is not None
    assert loaded.meta == {"number": 4}


@pytest.mark.parametrize("background", [False, True])
def test_a_disk_that_refuses_leaves_the_checkpoint_before_and_can_be_tried_again(
    folder: CheckpointFolder, disk: SlowDisk, background: bool
) -> None:
    with CheckpointWriter(folder, background=background) as writer:
        writer.save(Checkpoint(some_arrays(1), {"number": 1})).result(PATIENCE_S)
        disk.is_full = True
        failed = writer.save(Checkpoint(some_arrays(2), {"number": 2}))
        with pytest.raises(StorageError, match=r"No space left on device; .*checkpoints already there stay good"):
            failed.result(PATIENCE_S)
        loaded = writer.load()
        assert loaded is not None
        assert loaded.meta == {"number": 1}
        assert as_bytes(loaded.arrays) == as_bytes(some_arrays(1))
        disk.is_full = False
        writer.save(Checkpoint(some_arrays(3), {"number": 3})).result(PATIENCE_S)
        loaded = writer.load()
        assert loaded is not None
        assert as_bytes(loaded.arrays) == as_bytes(some_arrays(3))


@pytest.mark.parametrize("background", [False, True])
def test_a_bug_is_told_to_whoever_waits_for_the_checkpoint(folder: CheckpointFolder, background: bool) -> None:
    with CheckpointWriter(folder, background=background) as writer, pytest.raises(TypeError):
        writer.save(Checkpoint({}, {"not for JSON": object()})).result(PATIENCE_S)


def test_closing_waits_for_what_is_being_written(folder: CheckpointFolder, disk: SlowDisk) -> None:
    disk.may_write.clear()
    writer = CheckpointWriter(folder, background=True)
    future = writer.save(Checkpoint(some_arrays(), {}))
    assert disk.was_asked.wait(PATIENCE_S)
    with ThreadPoolExecutor(1) as other:
        closing = other.submit(writer.close)
        with pytest.raises(TimeoutError):
            closing.result(0.05)
        assert not future.done()
        disk.may_write.set()
        closing.result(PATIENCE_S)
    assert future.done()
    assert folder.load() is not None


def test_closing_is_free_where_nothing_is_written(folder: CheckpointFolder) -> None:
    for background in (False, True):
        writer = CheckpointWriter(folder, background=background)
        writer.close()
        writer.close()
    assert folder.load() is None
