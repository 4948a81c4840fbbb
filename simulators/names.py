"""Ids of synthetic users and items: a letter and a number, made as columns."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core.event import hash_spans


class Names(NamedTuple):
    """Ids as text, laid out as :class:`EventBatch` wants them, and their keys."""

    key: NDArray[np.uint64]
    start: NDArray[np.int64]
    length: NDArray[np.int32]
    data: NDArray[np.uint8]


def name_all(letter: str, numbers: NDArray[np.int64], side: int) -> Names:
    """Return the ids ``letter`` + decimal number, one per number >= 0."""
    most_digits = len(str(numbers.max()))
    num_digits = np.searchsorted(10 ** np.arange(1, most_digits), numbers, side="right") + 1
    data = np.empty((len(numbers), most_digits + 1), np.uint8)
    rest = numbers
    for column in range(most_digits, 0, -1):
        whole, rest = rest, rest // 10
        data[:, column] = whole - 10 * rest + ord("0")
    # Leading zeros stay outside: an id starts where its letter overwrites the last of them.
    flat = data.ravel()
    start = np.arange(1, len(numbers) + 1) * (most_digits + 1) - num_digits - 1
    flat[start], length = ord(letter), (num_digits + 1).astype(np.int32)
    return Names(hash_spans(flat, start, length, side), start, length, flat)
