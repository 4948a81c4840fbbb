"""A small endless stream of events with every kind of trouble, of which it is known what is to become of each."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

FIRST_MS = 1_700_000_000_000
SOUND_AT_FIRST = 20
"""Records that are good before the first trouble: what is late, or far ahead, is so of something."""
MAX_RECORD_BYTES = 2_000
LATENESS_S = 60
SHARE_OF_TROUBLE = 0.25
TOMBSTONE, LATE, FAR = "tombstone", "late event", "timestamp far in the future"


class Row(NamedTuple):
    """A record to be written, and the reason for which it becomes a dead letter; None where it is to be learnt."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    reason: str | None = None


Event = dict[str, Any]


def _without(name: str) -> Callable[[Event], bytes]:
    return lambda event: _json({key: value for key, value in event.items() if key != name})


def _with(**fields: Any) -> Callable[[Event], bytes]:
    return lambda event: _json(event | fields)


def _json(event: Event) -> bytes:
    return json.dumps(event).encode()


# What makes a record unusable whatever stands around it, by the reason it is to be given.
FAULTS: tuple[tuple[str, Callable[[Event], bytes | None]], ...] = (
    ("malformed row", lambda event: _json(event)[:-4]),
    ("malformed row", lambda event: b""),  # noqa: ARG005
    ("malformed row", lambda event: b"\x00\x01\x02not JSON"),  # noqa: ARG005
    ("invalid UTF-8", lambda event: _json(event).replace(b': "i', b': "\xff', 1)),
    (TOMBSTONE, lambda event: None),  # noqa: ARG005
    ("wrong schema", lambda event: b"[1, 2]"),  # noqa: ARG005
    ("wrong schema", _with(user={"name": "u1"})),
    ("missing user id", _without("user")),
    ("missing user id", _with(user="")),
    ("missing item id", _with(item=None)),
    ("missing timestamp", _without("timestamp")),
    ("id too long", _with(item="i" * 253)),
    ("unparseable timestamp", _with(timestamp="yesterday")),
    ("weight not positive", _with(weight=0)),
    ("record too large", _with(note="x" * MAX_RECORD_BYTES)),
    ("absurd timestamp", _with(timestamp=86_400)),
)


class Trouble:
    """An endless stream of rows, the same for the same seed: ids without end, ties, and every kind of trouble.

    ``late`` is what becomes of late events: a reason, or None where they are learnt.
    """

    def __init__(self, seed: int, late: str | None = LATE) -> None:
        self._late = late
        self._rng = np.random.default_rng(seed)
        self._row = 0
        self._now_s = FIRST_MS // 1000

    def take(self, num: int) -> list[Row]:
        return [self._next() for _ in range(num)]

    def _next(self) -> Row:
        rng, row = self._rng, self._row
        self._row += 1
        # Ties come in runs, and many are of one user.
        self._now_s += int(rng.integers(0, 20)) if rng.random() < 0.5 else 0
        user = row // 4 if rng.random() < 0.5 else row // 2 + int(rng.integers(0, 9))
        item = row // 3 + int(rng.integers(0, 9))
        event = {"user": f"u{user}", "item": f"i{item}", "timestamp": self._now_s, "weight": 1 + row % 3}
        now_ms = 1000 * self._now_s
        is_sound = row < SOUND_AT_FIRST or rng.random() > SHARE_OF_TROUBLE
        kind = int(rng.integers(0, len(FAULTS) + 3))
        key = f"u{user}".encode() if rng.random() < 0.9 else None
        if is_sound:
            return Row(key, _json(event), now_ms)
        if kind < len(FAULTS):
            reason, spoil = FAULTS[kind]
            return Row(key if reason != TOMBSTONE else b"u", spoil(event), now_ms, reason)
        if kind == len(FAULTS):
            # Stamped so as well, for otherwise its distance from the record's own time gives it away.
            ahead_s = self._now_s + 10**9
            return Row(key, _json(event | {"timestamp": ahead_s}), 1000 * ahead_s, FAR)
        # Far behind what any partition has come to.
        return Row(key, _json(event | {"timestamp": self._now_s - 100 * LATENESS_S}), now_ms, self._late)


REASONS = frozenset(reason for reason, _ in FAULTS) | {FAR, LATE}

SETTINGS: Mapping[str, Any] = {
    "memory": {"budget_bytes": 30 * 1024},
    "sizes": {"resize_every_events": 60},
    "evaluation": {"sample": 0.3},
    "windows": {"close_after": "90events", "allowed_lateness_s": LATENESS_S},
}
"""The model's settings, under which a few hundred events evict, compact and close windows."""
