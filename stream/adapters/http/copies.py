"""Copies of a model's arrays in memory that two processes share, each in the hands of one of them at a time."""

import mmap
import os
import tempfile
from collections.abc import Mapping
from math import prod
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.adapters.checkpoint_file import ALIGNMENT, bytes_of, describe_dtype, dtype_from

NUM_COPIES: Final = 2
"""One to answer from, one to write the next into."""

Arrays = Mapping[str, NDArray[Any]]


class ArrayPlace(msgspec.Struct, frozen=True):
    """Where one array lies in a copy."""

    name: str
    dtype: str | dict[str, Any]
    """As :func:`stream.adapters.checkpoint_file.describe_dtype` has it."""
    shape: tuple[int, ...]
    offset: int
    """In bytes, a multiple of ALIGNMENT."""

    @property
    def num_bytes(self) -> int:
        """Bytes of the array."""
        return prod(self.shape) * dtype_from(self.dtype).itemsize


Plan = tuple[ArrayPlace, ...]


def plan_of(arrays: Arrays) -> Plan:
    """Return where each of such arrays lies in a copy of them.

    >>> [place.offset for place in plan_of({"a": np.zeros(3), "b": np.zeros((2, 2), np.int32)})]
    [0, 64]
    """
    places, offset = [], 0
    for name, array in arrays.items():
        places.append(ArrayPlace(name, describe_dtype(array.dtype), array.shape, offset))
        offset += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    return tuple(places)


def length_of(plan: Plan) -> int:
    """Return how many bytes a copy takes."""
    return max((place.offset + max(place.num_bytes, 1) for place in plan), default=1)


def open_copy(file: int, plan: Plan) -> dict[str, NDArray[Any]]:
    """Return the arrays of a copy, read-only, from the descriptor of its memory, which may be closed then.

    They change when the writer writes; their memory is given up once none of them is left.
    """
    memory = mmap.mmap(file, length_of(plan), mmap.MAP_SHARED, mmap.PROT_READ)
    return {place.name: np.ndarray(place.shape, dtype_from(place.dtype), memory, place.offset) for place in plan}


class Copy:
    """Memory for a copy of arrays, all its pages, which :func:`open_copy` shows in another process.

    Raises:
        OSError: the machine does not give so much.

    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        num_bytes = length_of(plan)
        self.file = _anonymous_file()
        """Descriptor of its memory."""
        try:
            if hasattr(os, "posix_fallocate"):
                # A machine that has no more pages says so here, and does not kill the process later.
                os.posix_fallocate(self.file, 0, num_bytes)
            else:
                os.ftruncate(self.file, num_bytes)
            flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
            memory = mmap.mmap(self.file, num_bytes, flags, mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError:
            os.close(self.file)
            raise
        self._room = [np.frombuffer(memory, np.uint8, place.num_bytes, place.offset) for place in self.plan]

    def write(self, arrays: Arrays) -> None:
        """Copy arrays of which the plan is."""
        for room, array in zip(self._room, arrays.values(), strict=True):
            # As bytes: numpy copies records field by field, twenty times slower.
            np.copyto(room, bytes_of(array))

    def close(self) -> None:
        """Give the memory up, as far as it is this process that holds it."""
        self._room = []
        os.close(self.file)


class Copies:
    """The writer's side: NUM_COPIES of the model, each here or lent to the process that answers.

    Once the model has other shapes, the old ones go before new ones come: at no time there are more than NUM_COPIES.
    """

    def __init__(self) -> None:
        self._copies: dict[int, Copy] = {}
        self._lent: set[int] = set()
        self._num_made = 0
        self._plan: Plan = ()
        """Of the model as it was last."""

    @property
    def num_bytes(self) -> int:
        """Bytes of all copies, once all are made; 0 before the first."""
        return NUM_COPIES * length_of(self._plan) if self._plan else 0

    def reserve(self, arrays: Arrays) -> None:
        """Make all copies of such arrays now, so that the first to be lent are no slower; none may be there.

        Raises:
            OSError: the machine does not give the memory.

        """
        self._plan = plan_of(arrays)
        for _ in range(NUM_COPIES):
            self._make()

    def lend(self, arrays: Arrays) -> tuple[int, Copy] | None:
        """Write a copy that is here and count it as lent; return it with its number, or None where all are lent.

        Raises:
            OSError: the machine does not give the memory.

        """
        self._plan = plan_of(arrays)
        for number in self._copies.keys() - self._lent:
            self._give_up_if_stale(number)
        if not self._copies.keys() - self._lent:
            if len(self._copies) == NUM_COPIES:
                return None
            self._make()
        number = min(self._copies.keys() - self._lent)
        self._copies[number].write(arrays)
        self._lent.add(number)
        return number, self._copies[number]

    def take_back(self, number: int) -> None:
        """Note that a copy is no longer lent."""
        self._lent.discard(number)
        self._give_up_if_stale(number)

    def _make(self) -> None:
        copy = Copy(self._plan)
        self._num_made += 1
        self._copies[self._num_made] = copy

    def _give_up_if_stale(self, number: int) -> None:
        if self._copies[number].plan != self._plan:
            self._copies.pop(number).close()

    def take_all_back(self) -> None:
        """Note that the borrower is gone."""
        self._lent.clear()

    def close(self) -> None:
        """Give all memory up."""
        self.take_all_back()
        while self._copies:
            self._copies.popitem()[1].close()


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("scall-model", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
