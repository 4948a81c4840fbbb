"""Checkpoints: what is saved comes back, and what is damaged, torn or cut short never does."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.adapters.checkpoint import CheckpointFolder, Disk, read_header
from stream.adapters.checkpoint_file import FORMAT_VERSION, MAGIC
from stream.errors import CheckpointError, StorageError
from stream.ports import Checkpoint

ROW = np.dtype([("key", "<u8"), ("start", "<i4"), ("size", "u1"), ("frequency", "<f4")])
DTYPES = [
    *map(np.dtype, ["<f4", "<f8", "<u8", ">i4", "u1", "?", "S3", "<U2", "<M8[ms]"]),
    ROW,
    np.dtype(ROW.descr, align=True),
    np.dtype([("position", "<f4", (2, 3)), ("inner", [("a", "u1"), ("b", "<i8")])]),
]


def sample(window: int) -> Checkpoint:
    """Return a small checkpoint that differs in every part from those of other windows."""
    rows = np.zeros(3, ROW)
    rows["key"] = window
    arrays: dict[str, NDArray[Any]] = {
        "rows": rows,
        "words": np.arange(40, dtype=np.float32) + window,
        "none": np.empty((0, 4), np.int64),
    }
    return Checkpoint(arrays, {"window": window, "position": {"0": window * 100}})


def assert_same(actual: Checkpoint | None, expected: Checkpoint) -> None:
    assert actual is not None
    assert actual.meta == expected.meta
    assert list(actual.arrays) == list(expected.arrays)
    for name, array in expected.arrays.items():
        loaded = actual.arrays[name]
        assert loaded.dtype == array.dtype
        assert loaded.dtype.isalignedstruct == array.dtype.isalignedstruct
        assert loaded.shape == array.shape
        assert loaded.tobytes() == array.tobytes()


def files_of(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir() if file.name != "lock")


def alter(path: Path, change: Callable[[bytearray], None]) -> None:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[CheckpointFolder]:
    with CheckpointFolder(tmp_path) as opened:
        yield opened


@given(
    arrays=st.dictionaries(
        st.text(max_size=5),
        st.sampled_from(DTYPES).flatmap(
            lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
        ),
        max_size=4,
    ),
    meta=st.dictionaries(st.text(max_size=3), st.integers() | st.none() | st.lists(st.text(max_size=3)), max_size=3),
)
@settings(derandomize=True, deadline=None, max_examples=40)
def test_a_checkpoint_comes_back_as_it_was_saved(arrays: dict[str, NDArray[Any]], meta: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as path, CheckpointFolder(Path(path)) as folder:
        num_bytes = folder.save(Checkpoint(arrays, meta))
        assert_same(folder.load(), Checkpoint(arrays, meta))
        assert num_bytes == (Path(path) / "checkpoint-000000001.scall").stat().st_size


def test_loaded_arrays_are_fresh_and_writable(folder: CheckpointFolder) -> None:
    folder.save(sample(1))
    loaded = folder.load()
    assert loaded is not None
    assert all(array.flags.owndata and array.flags.writeable for array in loaded.arrays.values())


def test_neither_saving_nor_loading_needs_a_second_copy(folder: CheckpointFolder) -> None:
    words = np.ones(2**22, np.float32)
    peaks = []
    for step in (lambda: folder.save(Checkpoint({"words": words}, {})), folder.load):
        tracemalloc.start()
        step()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < 2**20
    assert words.nbytes < peaks[1] < words.nbytes + 2**20


def test_arrays_that_are_not_contiguous_are_saved_in_their_own_order(folder: CheckpointFolder) -> None:
    grid = np.arange(12).reshape(3, 4)
    folder.save(Checkpoint({"turned": grid.T, "every_other": grid[0, ::2]}, {}))
    loaded = folder.load()
    assert loaded is not None
    np.testing.assert_array_equal(loaded.arrays["turned"], grid.T)
    np.testing.assert_array_equal(loaded.arrays["every_other"], [0, 2])


def test_arrays_start_at_multiples_of_64_bytes(folder: CheckpointFolder, tmp_path: Path) -> None:
    folder.save(sample(1))
    path = tmp_path / "checkpoint-000000001.scall"
    start = path.read_bytes().index(sample(1).arrays["words"].tobytes())
    assert start % 64 == 0
    assert [entry.offset % 64 for entry in read_header(path).arrays] == [0, 0, 0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), (1, 2), {1: 2}], ids=repr)
def test_meta_that_json_would_alter_is_a_programmers_error(folder: CheckpointFolder, value: object) -> None:
    with pytest.raises(AssertionError, match="reward"):
        folder.save(Checkpoint({}, {"reward": value}))


def test_references_are_never_saved(folder: CheckpointFolder) -> None:
    with pytest.raises(AssertionError, match="names: object holds references"):
        folder.save(Checkpoint({"names": np.array(["a", None], object)}, {}))


def test_the_header_is_read_without_the_arrays(folder: CheckpointFolder, tmp_path: Path) -> None:
    folder.save(sample(7))
    path = tmp_path / "checkpoint-000000001.scall"
    alter(path, lambda content: content.__setitem__(-100, content[-100] ^ 1))
    header = read_header(path)
    assert header.meta["window"] == 7
    table = [(entry.name, entry.shape, entry.num_bytes) for entry in header.arrays]
    assert table == [("rows", (3,), 51), ("words", (40,), 160), ("none", (0, 4), 0)]


def test_a_missing_file_has_no_header(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.scall cannot be read \(No such file or directory\)"):
        read_header(tmp_path / "gone.scall")


def test_an_empty_folder_holds_no_checkpoint(tmp_path: Path) -> None:
    with CheckpointFolder(tmp_path / "made" / "as" / "needed") as folder:
        assert folder.load() is None
        assert folder.warnings == []


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    with CheckpointFolder(tmp_path, keep=3) as folder:
        for window in range(5):
            folder.save(sample(window))
        assert_same(folder.load(), sample(4))
    assert files_of(tmp_path) == [f"checkpoint-00000000{number}.scall" for number in (3, 4, 5)]


def test_numbers_go_on_rising_beyond_nine_digits_and_across_restarts(tmp_path: Path) -> None:
    with CheckpointFolder(tmp_path) as folder:
        folder.save(sample(1))
    (tmp_path / "checkpoint-000000001.scall").rename(tmp_path / "checkpoint-999999999.scall")
    for window in (2, 3):
        with CheckpointFolder(tmp_path) as folder:
            folder.save(sample(window))
            assert_same(folder.load(), sample(window))
    assert files_of(tmp_path) == ["checkpoint-1000000000.scall", "checkpoint-1000000001.scall"]


def test_every_damaged_byte_is_found(folder: CheckpointFolder, tmp_path: Path) -> None:
    size = folder.save(sample(1))
    path = tmp_path / "checkpoint-000000001.scall"
    content = np.fromfile(path, np.uint8)
    for position, flip in enumerate(np.random.default_rng(1).integers(1, 256, size).astype(np.uint8)):
        damaged = content.copy()
        damaged[position] ^= flip
        damaged.tofile(path)
        with pytest.raises(CheckpointError, match=path.name):
            folder.load()
    content.tofile(path)
    assert_same(folder.load(), sample(1))


def test_every_truncation_is_found(folder: CheckpointFolder, tmp_path: Path) -> None:
    size = folder.save(sample(1))
    path = tmp_path / "checkpoint-000000001.scall"
    content = path.read_bytes()
    for length in range(size):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="is torn"):
            folder.load()
    path.write_bytes(content)
    assert_same(folder.load(), sample(1))


def test_bytes_after_the_end_are_found(folder: CheckpointFolder, tmp_path: Path) -> None:
    folder.save(sample(1))
    alter(tmp_path / "checkpoint-000000001.scall", lambda content: content.extend(content[-4:]))
    with pytest.raises(CheckpointError, match="is torn"):
        folder.load()


def test_a_torn_newest_falls_back_to_the_one_before_and_says_so(folder: CheckpointFolder, tmp_path: Path) -> None:
    for window in (1, 2):
        folder.save(sample(window))
    alter(tmp_path / "checkpoint-000000002.scall", lambda content: content.__delitem__(slice(200, None)))
    assert_same(folder.load(), sample(1))
    assert len(folder.warnings) == 1
    assert "checkpoint-000000002.scall is torn" in folder.warnings[0]
    assert "checkpoint-000000001.scall is used instead" in folder.warnings[0]
    folder.save(sample(3))
    assert folder.warnings == []
    assert_same(folder.load(), sample(3))


def test_a_refused_file_does_not_push_out_a_good_one(folder: CheckpointFolder, tmp_path: Path) -> None:
    for window in (1, 2):
        folder.save(sample(window))
    alter(tmp_path / "checkpoint-000000002.scall", bytearray.clear)
    folder.load()
    folder.save(sample(3))
    alter(tmp_path / "checkpoint-000000003.scall", bytearray.clear)
    assert_same(folder.load(), sample(1))


def write_version(content: bytearray) -> None:
    content[len(MAGIC)] += 1


def write_text(content: bytearray) -> None:
    content[:] = b"user,item,timestamp\n"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (write_version, f"has format version {FORMAT_VERSION + 1}, expected {FORMAT_VERSION}"),
        (write_text, "is no scall checkpoint"),
    ],
)
def test_a_foreign_file_is_named_with_what_is_wrong(
    folder: CheckpointFolder, tmp_path: Path, change: Callable[[bytearray], None], reason: str
) -> None:
    folder.save(sample(1))
    path = tmp_path / "checkpoint-000000001.scall"
    alter(path, change)
    with pytest.raises(CheckpointError, match=f"{path.name} {reason}.*start afresh") as refused:
        folder.load()
    with pytest.raises(CheckpointError, match=f"{path} {reason}"):
        read_header(path)
    assert "\n" not in str(refused.value)
    folder.save(sample(2))
    assert_same(folder.load(), sample(2))


def test_a_checkpoint_that_cannot_be_opened_is_passed_over(folder: CheckpointFolder, tmp_path: Path) -> None:
    folder.save(sample(1))
    (tmp_path / "checkpoint-000000002.scall").mkdir()
    assert_same(folder.load(), sample(1))
    assert "cannot be read (Is a directory)" in folder.warnings[0]


def test_unfinished_files_are_removed_and_others_left_alone(folder: CheckpointFolder, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for step in (folder.load, lambda: folder.save(sample(1))):
        (tmp_path / "checkpoint-000000009.scall.tmp").touch()
        step()
    assert files_of(tmp_path) == ["checkpoint-000000001.scall", "notes.txt"]


def test_a_second_process_is_refused_until_the_first_has_closed(tmp_path: Path) -> None:
    with CheckpointFolder(tmp_path), pytest.raises(CheckpointError, match="in use by another process: stop"):
        CheckpointFolder(tmp_path)
    with CheckpointFolder(tmp_path) as folder:
        assert folder.load() is None


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"checkpoint folder .*/file: File exists; .*name another folder"):
        CheckpointFolder(tmp_path / "file")


class PowerCut(BaseException):
    """The machine stops: no handler of ours may run on."""


class Failing(Disk):
    """A disk that counts its steps and does ``failure`` before one of them, once."""

    def __init__(self, failing_step: int | None, failure: Callable[[], None] = lambda: None) -> None:
        self.steps: list[str] = []
        self._failing_step = failing_step
        self._failure = failure

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if len(self.steps) - 1 == self._failing_step:
            self._failure()

    def create(self, path: Path) -> BinaryIO:
        self._step("create")
        return super().create(path)

    def write(self, file: BinaryIO, data: bytes | memoryview) -> None:
        self._step("write")
        super().write(file, data)

    def flush(self, file: BinaryIO) -> None:
        self._step("flush")
        super().flush(file)

    def fsync(self, file: BinaryIO) -> None:
        self._step("fsync")
        super().fsync(file)

    def rename(self, source: Path, target: Path) -> None:
        self._step("rename")
        super().rename(source, target)

    def fsync_folder(self, folder: Path) -> None:
        self._step("fsync_folder")
        super().fsync_folder(folder)

    def remove(self, path: Path) -> None:
        self._step("remove")
        super().remove(path)


class Forgetful(Failing):
    """A disk that can lose what was not fsynced, as a power cut does: file contents, and new names."""

    def __init__(self, failing_step: int | None, failure: Callable[[], None] = lambda: None) -> None:
        super().__init__(failing_step, failure)
        self._contents: set[Path] = set()
        self._names: list[tuple[Path, Path]] = []

    def create(self, path: Path) -> BinaryIO:
        file = super().create(path)
        self._contents.add(path)
        return file

    def fsync(self, file: BinaryIO) -> None:
        super().fsync(file)
        self._contents.discard(Path(file.name))

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self._names.append((source, target))
        if source in self._contents:
            self._contents.remove(source)
            self._contents.add(target)

    def fsync_folder(self, folder: Path) -> None:
        super().fsync_folder(folder)
        self._names.clear()

    def lose_contents(self) -> None:
        for path in self._contents:
            os.truncate(path, path.stat().st_size // 2)

    def lose_names(self) -> None:
        for source, target in reversed(self._names):
            target.rename(source)


def cut_power() -> None:
    raise PowerCut


def fill_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def steps_of_a_save(path: Path) -> list[str]:
    """Return the steps of the third save into an existing folder, which removes the first."""
    save_two(path)
    disk = Failing(None)
    with CheckpointFolder(path, filesystem=disk) as folder:
        folder.save(sample(3))
    return disk.steps


def save_two(path: Path) -> None:
    with CheckpointFolder(path) as folder:
        for window in (1, 2):
            folder.save(sample(window))


def test_a_name_is_given_only_to_what_is_on_the_disk(tmp_path: Path) -> None:
    steps = steps_of_a_save(tmp_path)
    assert steps[0] == "create"
    assert [step for step in steps[1:] if step != "write"] == [
        "flush",
        "fsync",
        "rename",
        "fsync_folder",
        "remove",
    ]


def test_a_new_folder_is_made_durably(tmp_path: Path) -> None:
    disk = Failing(None)
    CheckpointFolder(tmp_path / "a" / "b", filesystem=disk).close()
    CheckpointFolder(tmp_path / "a" / "b", filesystem=disk).close()
    assert disk.steps == ["fsync_folder", "fsync_folder"]


@pytest.mark.parametrize("lost", [(), ("contents",), ("names",), ("contents", "names")], ids="+".join)
def test_a_power_cut_at_any_step_leaves_the_old_checkpoint_or_the_new(tmp_path: Path, lost: tuple[str, ...]) -> None:
    outcomes = []
    steps = steps_of_a_save(tmp_path / "whole")
    for step in range(len(steps)):
        path = tmp_path / str(step)
        save_two(path)
        disk = Forgetful(step, cut_power)
        with CheckpointFolder(path, filesystem=disk) as folder, pytest.raises(PowerCut):
            folder.save(sample(3))
        for what in lost:
            {"contents": disk.lose_contents, "names": disk.lose_names}[what]()
        with CheckpointFolder(path) as folder:
            loaded = folder.load()
            assert folder.warnings == []
            assert loaded is not None
            outcomes.append(loaded.meta["window"])
            assert_same(loaded, sample(outcomes[-1]))
            folder.save(sample(4))
            assert_same(folder.load(), sample(4))
    durable = steps.index("fsync_folder") + ("names" in lost)
    assert outcomes == [2] * durable + [3] * (len(steps) - durable)


def test_a_save_that_has_returned_survives_a_power_cut(tmp_path: Path) -> None:
    disk = Forgetful(None)
    with CheckpointFolder(tmp_path, filesystem=disk) as folder:
        folder.save(sample(1))
    disk.lose_contents()
    disk.lose_names()
    with CheckpointFolder(tmp_path) as folder:
        assert_same(folder.load(), sample(1))


def test_a_full_disk_costs_the_new_checkpoint_only(tmp_path: Path) -> None:
    steps = steps_of_a_save(tmp_path / "whole")
    for step in range(steps.index("fsync_folder")):
        path = tmp_path / str(step)
        save_two(path)
        with CheckpointFolder(path, filesystem=Failing(step, fill_disk)) as folder:
            with pytest.raises(StorageError, match=f"{path}: No space left on device; free some space") as full:
                folder.save(sample(3))
            assert full.value.retriable
            assert files_of(path) == ["checkpoint-000000001.scall", "checkpoint-000000002.scall"]
            assert_same(folder.load(), sample(2))
            folder.save(sample(3))
            assert_same(folder.load(), sample(3))


def test_an_old_checkpoint_that_cannot_be_removed_is_no_failure(tmp_path: Path) -> None:
    steps = steps_of_a_save(tmp_path / "whole")
    save_two(tmp_path / "stuck")
    with CheckpointFolder(tmp_path / "stuck", filesystem=Failing(steps.index("remove"), fill_disk)) as folder:
        folder.save(sample(3))
        assert "cannot remove the superseded" in folder.warnings[0]
        folder.save(sample(4))
        assert folder.warnings == []
    assert files_of(tmp_path / "stuck") == ["checkpoint-000000003.scall", "checkpoint-000000004.scall"]


def save_and_be_killed(path: Path) -> None:
    """Save again and again, each time in a child that kills itself one step later, and print what loads."""
    step, status = 0, -1
    while status != 0:
        process = os.fork()
        if process == 0:
            disk = Failing(step, lambda: os.kill(os.getpid(), signal.SIGKILL))
            with CheckpointFolder(path, filesystem=disk) as folder:
                folder.save(sample(step))
            os._exit(0)
        _, status = os.waitpid(process, 0)
        with CheckpointFolder(path) as folder:
            loaded = folder.load()
        if loaded is not None:
            assert_same(loaded, sample(loaded.meta["window"]))
        print(-1 if loaded is None else loaded.meta["window"])
        step += 1


def test_a_process_killed_at_any_step_leaves_the_old_checkpoint_or_the_new(tmp_path: Path) -> None:
    # In a process of its own, because a test runner with threads is not safe to fork.
    command = [sys.executable, "-m", "tests.adapters.test_checkpoint", str(tmp_path / "killed")]
    (tmp_path / "killed").mkdir()
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    before = steps_of_a_save(tmp_path / "whole").index("rename") + 1
    assert [int(window) for window in done.stdout.split()] == [-1] * before + [before, before + 1]


if __name__ == "__main__":
    save_and_be_killed(Path(sys.argv[1]))
