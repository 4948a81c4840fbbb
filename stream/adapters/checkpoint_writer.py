"""Checkpoints written while learning goes on: a copy is made at once, the disk takes its time."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stream.adapters.checkpoint import CheckpointFolder
from stream.adapters.checkpoint_file import bytes_of
from stream.errors import StorageError
from stream.ports import Checkpoint


class CheckpointWriter:
    """A folder of checkpoints as a :class:`stream.ports.CheckpointStore`.

    In the background, a save only copies the arrays, into memory kept for that (:meth:`reserve`, or else the first
    save); a thread writes them. Otherwise it writes them at once, from where they lie, and takes no memory.
    """

    def __init__(self, folder: CheckpointFolder, *, background: bool) -> None:
        self._folder = folder
        self._staged: dict[str, NDArray[Any]] = {}
        self._thread = ThreadPoolExecutor(1, "checkpoint") if background else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def staging_bytes(self) -> int:
        """Bytes of the copy."""
        return sum(array.nbytes for array in self._staged.values())

    def save(self, checkpoint: Checkpoint) -> "Future[int]":
        """Save in the background or at once; the result is the number of bytes written, or a :class:`StorageError`."""
        if self._thread is not None:
            return self._thread.submit(self._folder.save, self._copied(checkpoint))
        done: Future[int] = Future()
        try:
            done.set_result(self._folder.save(checkpoint))
        except StorageError as error:
            done.set_exception(error)
        return done

    def reserve(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Allocate the memory for copies of such arrays now, all its pages, so that the first save is no slower."""
        if self._thread is not None:
            self._staged = {name: array.copy() for name, array in arrays.items()}

    def _copied(self, checkpoint: Checkpoint) -> Checkpoint:
        if any(self._shape(name) != array.shape for name, array in checkpoint.arrays.items()):
            # The old copy goes first: a changed budget may not take both.
            self._staged = {}
            self.reserve(checkpoint.arrays)
        for name, array in checkpoint.arrays.items():
            # As bytes: numpy copies records field by field, twenty times slower.
            np.copyto(bytes_of(self._staged[name]), bytes_of(array))
        return checkpoint._replace(arrays=self._staged)

    def _shape(self, name: str) -> tuple[int, ...] | None:
        return self._staged[name].shape if name in self._staged else None

    def load(self) -> Checkpoint | None:
        """Return the newest good checkpoint of the folder; raises :class:`~stream.errors.CheckpointError`."""
        return self._folder.load()

    def clear(self) -> None:
        """Remove every checkpoint of the folder."""
        self._folder.clear()

    def close(self) -> None:
        """Wait for what is being written."""
        if self._thread is not None:
            self._thread.shutdown()
