"""Events as the rows of text that a file would hold."""

import numpy as np
from numpy.typing import NDArray

from simulators.names import Names
from stream.adapters.columns import MISSING, TextColumns

Indices = NDArray[np.int64]


def as_rows(
    users: Names, user: Indices, items: Names, item: Indices, timestamp_ms: Indices, number: Indices
) -> TextColumns:
    """Return one row an event, without a weight; ``user`` and ``item`` say which of the names an event has.

    >>> from simulators.names import name_all
    >>> names = name_all("u", np.array([7, 11]), side=0)
    >>> rows = as_rows(names, np.array([1, 0]), names, np.array([0, 0]), np.array([1000, -2000]), np.array([0, 1]))
    >>> [[rows.text(field, row) for field in range(4)] for row in range(2)]
    [['u11', 'u7', '1000', ''], ['u7', 'u7', '-2000', '']]
    """
    num_rows, digits = len(number), timestamp_ms.astype(np.bytes_)
    pieces = users.data, items.data, digits.view(np.uint8)
    first_item, first_digit = np.cumsum([len(piece) for piece in pieces[:2]])
    start = [
        users.start[user],
        first_item + items.start[item],
        first_digit + digits.itemsize * np.arange(num_rows),
        np.zeros(num_rows, np.int64),
    ]
    length = [
        users.length[user],
        items.length[item],
        np.char.str_len(digits).astype(np.int32),
        np.full(num_rows, MISSING, np.int32),
    ]
    return TextColumns(np.concatenate(pieces), np.stack(start), np.stack(length), number, np.zeros(num_rows, np.uint8))
