"""Checkpoints on disk: written aside, fsynced, renamed; the newest good one is the truth at restart."""

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, Protocol, Self

from stream.adapters.checkpoint_file import (
    Header,
    RefusedError,
    read_checkpoint,
    read_header,
    write_checkpoint,
)
from stream.core.status import CheckpointStatus
from stream.errors import CheckpointError, StorageError
from stream.ports import Checkpoint

__all__ = ["DISK", "CheckpointFolder", "Disk", "FileSystem", "FolderInUseError", "Header", "newest_file", "read_header"]

_FILE_NAME: Final = re.compile(r"checkpoint-([0-9]{9,})\.scall")


class FileSystem(Protocol):
    """The steps of a save that touch the disk, so that a test can fail or stop at each of them."""

    def create(self, path: Path) -> BinaryIO:
        """Open a new file for writing."""

    def write(self, file: BinaryIO, data: bytes | memoryview) -> None:
        """Append ``data``."""

    def flush(self, file: BinaryIO) -> None:
        """Hand everything written to the operating system."""

    def fsync(self, file: BinaryIO) -> None:
        """Return once everything flushed is on the disk."""

    def rename(self, source: Path, target: Path) -> None:
        """Give a file its final name, in one step."""

    def fsync_folder(self, folder: Path) -> None:
        """Return once the names in ``folder`` are on the disk."""

    def remove(self, path: Path) -> None:
        """Remove a file."""


class Disk:
    """The real :class:`FileSystem`."""

    def create(self, path: Path) -> BinaryIO:
        """Open a new file for writing."""
        return path.open("wb")

    def write(self, file: BinaryIO, data: bytes | memoryview) -> None:
        """Append ``data``; a large array goes to the operating system as it lies, without a copy."""
        file.write(data)

    def flush(self, file: BinaryIO) -> None:
        """Hand everything written to the operating system."""
        file.flush()

    def fsync(self, file: BinaryIO) -> None:
        """Return once everything flushed is on the disk."""
        os.fsync(file.fileno())

    def rename(self, source: Path, target: Path) -> None:
        """Give a file its final name, in one step."""
        source.rename(target)

    def fsync_folder(self, folder: Path) -> None:
        """Return once the names in ``folder`` are on the disk."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()


DISK: Final = Disk()


class FolderInUseError(CheckpointError):
    """Another process has the folder."""


class CheckpointFolder:
    """Keeps the newest ``keep`` checkpoints in a folder of its own; a :class:`stream.ports.CheckpointStore`.

    Files are named ``checkpoint-000000042.scall``, with rising numbers. The folder is made if it is missing,
    and locked (``flock`` on the file ``lock`` in it) until :meth:`close`, so that two processes never write
    to it at once. Use it in a ``with`` statement.

    Raises :class:`FolderInUseError` if another process holds the folder, :class:`StorageError` if the disk
    refuses.

    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as path, CheckpointFolder(Path(path)) as folder:
    ...     num_bytes = folder.save(Checkpoint({"size": np.array([3, 1], np.uint8)}, {"windows": 7}))
    ...     checkpoint = folder.load()
    >>> checkpoint.arrays["size"].tolist(), checkpoint.meta["windows"]
    ([3, 1], 7)
    """

    def __init__(self, path: Path, keep: int = 2, filesystem: FileSystem = DISK) -> None:
        assert keep >= 1, "a folder that keeps nothing loses every checkpoint"
        self.path = path
        self.warnings: list[str] = []
        """What the last load or save came across, one line each; empty when all was well."""
        self._keep = keep
        self._disk = filesystem
        self._refused: set[Path] = set()
        with self._disk_errors_told():
            _make_folder(path, filesystem)
            self._lock: int | None = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self.close()
                if not isinstance(error, BlockingIOError):
                    raise
                remedy = "stop that one, or name another folder"
                raise FolderInUseError(f"checkpoint folder {path} is in use by another process: {remedy}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the folder to other processes; closing twice does no harm."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def instance(self) -> str:
        """Return the name of this folder among all folders, letters and digits; made when first asked for.

        Raises :class:`StorageError` if the disk refuses.
        """
        path = self.path / "instance"
        with self._disk_errors_told():
            if not path.exists():
                aside = path.with_suffix(".tmp")
                with self._disk.create(aside) as file:
                    self._disk.write(file, secrets.token_hex(8).encode())
                    self._disk.flush(file)
                    self._disk.fsync(file)
                self._disk.rename(aside, path)
                self._disk.fsync_folder(self.path)
            return path.read_text()

    def save(self, checkpoint: Checkpoint) -> int:
        """Write a checkpoint durably, then remove those beyond the newest ``keep``; return the bytes written.

        Files that :meth:`load` refused stay, for a person to look at, and do not count among the ``keep``.
        What may be in a checkpoint: see :func:`~stream.adapters.checkpoint_file.write_checkpoint`.

        Raises :class:`StorageError` if the disk refuses; the checkpoints that were there stay good.
        """
        assert self._lock is not None, "the folder has been closed"
        self.warnings = []
        with self._disk_errors_told():
            self._remove_unfinished()
            newest = max(map(_number_of, self._files()), default=0)
            target = self.path / f"checkpoint-{newest + 1:09d}.scall"
            aside = target.with_name(f"{target.name}.tmp")
            try:
                num_bytes = self._write(aside, checkpoint)
                self._disk.rename(aside, target)
                self._disk.fsync_folder(self.path)
            except OSError:
                with suppress(OSError):
                    self._disk.remove(aside)
                raise
            self._remove_superseded()
        return num_bytes

    def load(self) -> Checkpoint | None:
        """Return the newest good checkpoint, its arrays fresh and writable; None if the folder holds none.

        A file that is torn, damaged, foreign or of another version is passed over for the one before it, and
        :attr:`warnings` says so.

        Raises :class:`CheckpointError` naming each file and what is wrong with it if there are files but no
        good one.
        """
        assert self._lock is not None, "the folder has been closed"
        self.warnings = []
        with self._disk_errors_told():
            self._remove_unfinished()
            files = self._files()
        reasons: list[str] = []
        for path in files:
            try:
                checkpoint = read_checkpoint(path)
            except RefusedError as refusal:
                self._refused.add(path)
                reasons.append(f"{path.name} {refusal}")
            else:
                self.warnings = [f"{self.path}: {reason}; {path.name} is used instead" for reason in reasons]
                return checkpoint
        if reasons:
            remedy = "put a good copy back, or start afresh in an empty folder"
            raise CheckpointError(f"no good checkpoint in {self.path}: {', '.join(reasons)}; {remedy}")
        return None

    def newest(self) -> CheckpointStatus | None:
        """Return when the newest checkpoint not known to be bad was written, and its bytes; None if there is none."""
        with self._disk_errors_told():
            good = [path.stat() for path in self._files() if path not in self._refused]
        return CheckpointStatus(good[0].st_mtime, good[0].st_size) if good else None

    def clear(self) -> None:
        """Remove every checkpoint: a run that starts afresh leaves none of another behind to be resumed.

        Raises :class:`StorageError` if the disk refuses.
        """
        with self._disk_errors_told():
            self._remove_unfinished()
            for path in self._files():
                self._disk.remove(path)

    def _files(self) -> list[Path]:
        """Return the checkpoints by name, newest first."""
        named = (path for path in self.path.iterdir() if _FILE_NAME.fullmatch(path.name))
        return sorted(named, key=_number_of, reverse=True)

    def _write(self, path: Path, checkpoint: Checkpoint) -> int:
        with self._disk.create(path) as file:
            write_checkpoint(lambda data: self._disk.write(file, data), checkpoint)
            self._disk.flush(file)
            self._disk.fsync(file)
            return file.tell()

    def _remove_unfinished(self) -> None:
        for path in self.path.glob("*.tmp"):
            self._disk.remove(path)

    def _remove_superseded(self) -> None:
        good = [path for path in self._files() if path not in self._refused]
        for path in good[self._keep :]:
            try:
                self._disk.remove(path)
            except OSError as error:
                # The new checkpoint is safe, so this is no reason to fail; the next save tries again.
                self.warnings.append(f"cannot remove the superseded {path}: {error.strerror or error}")

    @contextmanager
    def _disk_errors_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            remedy = "free some space, mend its permissions, or name another folder"
            raise StorageError(
                f"cannot use checkpoint folder {self.path}: {error.strerror or error}; {remedy} "
                "(checkpoints already there stay good)"
            ) from error


def is_in_use(folder: Path) -> bool:
    """Return whether a process has a folder of checkpoints."""
    try:
        lock = os.open(folder / "lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def newest_file(folder: Path) -> Path:
    """Return the newest checkpoint in a folder, good or not; the folder is not locked.

    Raises :class:`CheckpointError` where there is none.
    """
    named = [path for path in folder.iterdir() if _FILE_NAME.fullmatch(path.name)]
    if not named:
        raise CheckpointError(f"no checkpoint in {folder}; name a folder that a run or a service has written to")
    return max(named, key=_number_of)


def _number_of(path: Path) -> int:
    return int(path.name.removeprefix("checkpoint-").removesuffix(".scall"))


def _make_folder(path: Path, disk: FileSystem) -> None:
    # A new folder's name is lost in a power cut, and all that is in it, unless the folder above is fsynced.
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        disk.fsync_folder(folder.parent)
