"""Small streams for peers, and what must come out of them, worked out one by one."""

from collections.abc import Sequence

import numpy as np

from simulators.peers.events import Interactions, Stream, gather
from stream.assembly import build_trainer
from stream.config import Settings, make_settings
from tests.doubles import Listed, Record

Rows = Sequence[tuple[int, int]]
"""User and item of each event."""


def some_rows(num: int, seed: int = 1, num_users: int = 12, num_items: int = 30) -> list[tuple[int, int]]:
    """Return events in which some items are popular, and which go on having new ones."""
    rng = np.random.default_rng(seed)
    newest = 5 + np.arange(num) * num_items // num
    item = np.maximum(0, newest - rng.exponential(num_items / 4, num).astype(np.int64))
    return list(zip(rng.integers(0, num_users, num).tolist(), item.tolist(), strict=True))


def stream_of(rows: Rows, settings: Settings | None = None) -> Stream:
    """Return the stream of these events, one a second; every one is tested unless the settings say otherwise."""
    records: list[Record] = [(f"u{user}", f"i{item}", 1_000_000 + 1000 * i) for i, (user, item) in enumerate(rows)]
    return gather(Listed(records, [7] * (len(records) // 7)), build_trainer(settings or make_settings({})).sort)


def columns(rows: Rows) -> Interactions:
    """Return events whose users and items have numbers already."""
    user, item = np.array(rows, np.int64).reshape(-1, 2).T
    return Interactions(user, item)
