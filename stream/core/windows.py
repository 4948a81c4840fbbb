"""When windows close, which events are late, and which come from a clock that jumped.

Time here is event time, and it only moves with the events: the *running maximum* is the highest event time
seen, and the *watermark* is the running maximum less the allowed lateness (Akidau et al., "The Dataflow
Model", VLDB 2015). Nothing looks at a wall clock, so a replay closes its windows where the live stream did.
"""

import re
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.errors import UsageError

NO_EVENT_TIME: Final = -(2**63)
"""The running maximum before the first event."""
UNLIMITED: Final = 2**62
"""What remains to a limit that does not apply."""

_LATEST: Final = 2**63 - 1
_MS: Final = {"d": 86_400_000, "h": 3_600_000, "min": 60_000, "s": 1000}
_FORM: Final = re.compile(r"growth:([0-9]{1,15})|([0-9]{1,15})(events|d|h|min|s)?")
_LARGEST_AMOUNT: Final = 10**15
"""More milliseconds or events than any stream has, and few enough for sums of them to stay within int64."""


class WindowRule(NamedTuple):
    """When a window closes: after how much of what."""

    kind: str
    """``"events"``, ``"time"`` or ``"growth"``: also the reason that a window report gives."""
    amount: int
    """Events learnt, milliseconds of event time, or new entities (users and items)."""


def parse_window(text: str) -> WindowRule:
    """Return the rule that ``text`` stands for; raises :class:`UsageError` if it stands for none.

    >>> parse_window("50000events") == parse_window("50000")
    True
    >>> parse_window("30min")
    WindowRule(kind='time', amount=1800000)
    >>> parse_window("growth:15000")
    WindowRule(kind='growth', amount=15000)
    """
    match = _FORM.fullmatch(text)
    if match:
        growth, amount, unit = match.groups()
        if growth:
            rule = WindowRule("growth", int(growth))
        elif unit in _MS:
            rule = WindowRule("time", int(amount) * _MS[unit])
        else:
            rule = WindowRule("events", int(amount))
        if 1 <= rule.amount <= _LARGEST_AMOUNT:
            return rule
    forms = "50000events (or 50000), 90s, 30min, 6h, 1d (event time), growth:15000 (new users and items)"
    raise UsageError(f"window {text[:40]!r} is not understood: write one of {forms}, for example --window 1d")


class WindowClock:
    """Tells where the open window closes, and counts the windows closed.

    * ``events``: after exactly ``amount`` learnt events.
    * ``time``: windows are aligned to multiples of ``amount`` ms since the epoch (UTC), and a window closes
      before the first event that takes the watermark to its end or past it; that event opens the window in
      which it leaves the watermark, and those skipped do not exist.
    * ``growth``: after the event that takes the number of new entities to ``amount`` or past it. Only the
      learner knows which those are, so it is told how many remain, and tells how many there were.

    Where windows close does not depend on how the stream is cut into batches. The loop, over n events::

        while begin < n:
            end, closes = clock.events_before_close(timestamp_ms, begin)
            num_learnt, num_new = learn(begin, end, clock.remaining_growth)
            clock.note_learnt(timestamp_ms[begin : begin + num_learnt])
            clock.note_new_entities(num_new)
            begin += num_learnt
            if closes or clock.remaining_growth == 0:
                clock.close()

    >>> clock = WindowClock(parse_window("1s"))
    >>> timestamp_ms = np.array([100, 900, 700, 5200])
    >>> clock.events_before_close(timestamp_ms)
    (3, True)
    """

    def __init__(self, rule: WindowRule, allowed_lateness_ms: int = 0) -> None:
        assert rule.kind in ("events", "time", "growth"), rule
        assert rule.amount >= 1, rule
        assert allowed_lateness_ms >= 0, allowed_lateness_ms
        self.rule = rule
        self.allowed_lateness_ms = allowed_lateness_ms
        self.index = 0
        """Index of the open window: how many have been closed."""
        self.num_learnt = 0
        """Events learnt in the open window."""
        self.num_new_entities = 0
        """Users and items that were new in the open window."""
        self.running_max_ms = NO_EVENT_TIME
        """Highest event time learnt."""

    @property
    def remaining_growth(self) -> int:
        """New entities left to the open window, 0 when it must close; :data:`UNLIMITED` by other rules."""
        return max(self.rule.amount - self.num_new_entities, 0) if self.rule.kind == "growth" else UNLIMITED

    def events_before_close(self, timestamp_ms: NDArray[np.int64], begin: int = 0) -> tuple[int, bool]:
        """Return where the open window's share of the events from ``begin`` on ends, and if it closes there.

        ``timestamp_ms`` int64[n] are the event times of a batch of which ``begin`` events are learnt already.
        The end may be ``begin`` itself, but not for a window without events, so that the loop always moves
        on. By growth the answer is always ``(n, False)``: the learner finds the place.
        """
        n = len(timestamp_ms)
        if self.rule.kind == "events":
            end = begin + max(self.rule.amount - self.num_learnt, 0)
            return min(end, n), end <= n
        if self.rule.kind == "time" and begin < n:
            return self._end_by_time(timestamp_ms, begin)
        return n, False

    def _end_by_time(self, timestamp_ms: NDArray[np.int64], begin: int) -> tuple[int, bool]:
        running_max_ms = self.running_max_ms
        if self.num_learnt == 0:
            # The first event of a window is always in it, and says which window it is.
            running_max_ms = max(running_max_ms, int(timestamp_ms[begin]))
        number = (running_max_ms - self.allowed_lateness_ms) // self.rule.amount
        past_end = timestamp_ms[begin:] >= (number + 1) * self.rule.amount + self.allowed_lateness_ms
        if past_end.any():
            return begin + int(past_end.argmax()), True
        return len(timestamp_ms), False

    def note_learnt(self, timestamp_ms: NDArray[np.int64]) -> None:
        """Note that these events, int64[k] event times, have been learnt in the open window."""
        if len(timestamp_ms):
            self.num_learnt += len(timestamp_ms)
            self.running_max_ms = max(self.running_max_ms, int(timestamp_ms.max()))

    def note_new_entities(self, num: int) -> None:
        """Note that ``num`` users and items were new."""
        self.num_new_entities += num

    def close(self) -> None:
        """Close the window and open the next; also at the end of a stream, wherever that falls."""
        self.index += 1
        self.num_learnt = 0
        self.num_new_entities = 0

    def state(self) -> dict[str, int]:
        """Return what :meth:`restore` needs to go on from here; the rule is not part of it."""
        return {
            "index": self.index,
            "num_learnt": self.num_learnt,
            "num_new_entities": self.num_new_entities,
            "running_max_ms": self.running_max_ms,
        }

    def restore(self, state: dict[str, int]) -> None:
        """Go on from ``state``."""
        self.index = state["index"]
        self.num_learnt = state["num_learnt"]
        self.num_new_entities = state["num_new_entities"]
        self.running_max_ms = state["running_max_ms"]


def split_late(
    timestamp_ms: NDArray[np.int64], running_max_ms: int, allowed_lateness_ms: int
) -> tuple[NDArray[np.bool_], int]:
    """Return which events are late, bool[n], and the running maximum after them.

    ``timestamp_ms`` int64[n] are event times, ``running_max_ms`` the running maximum before them
    (:data:`NO_EVENT_TIME` at the start). An event is late when it lies before the watermark that the events
    before it left, those of the same batch included. A late event never moves the running maximum.

    >>> late, running_max_ms = split_late(np.array([100, 300, 150, 250]), NO_EVENT_TIME, 100)
    >>> late.tolist(), running_max_ms
    ([False, False, True, False], 300)
    """
    assert allowed_lateness_ms >= 0, allowed_lateness_ms
    if len(timestamp_ms) == 0:
        return np.zeros(0, np.bool_), running_max_ms
    running = np.maximum(np.maximum.accumulate(timestamp_ms), running_max_ms)
    # Raised first, so that the difference cannot pass below the lowest int64 and come out at the top.
    watermark_ms = np.maximum(running, NO_EVENT_TIME + allowed_lateness_ms) - allowed_lateness_ms
    return timestamp_ms < watermark_ms, int(running[-1])


class FutureGuard:
    """Rejects events from a clock that jumped, before they drag the watermark along and make all others late.

    An event more than ``max_jump_ms`` ahead of the running maximum is far in the future, and so is rejected.
    If ``confirmations`` events in a row are, then it was the stream that moved (it had been quiet, or its
    consumer away): the running maximum goes to the least of their times, and events are accepted from there
    on. A few broken devices among sound ones never come to a row; a real gap costs ``confirmations - 1`` dead
    letters.

    The first event ever is taken at its word. Only event times count, so a replay rejects what the live
    stream rejected. Meant for live topics; a file with honest gaps is better read without it.

    >>> guard = FutureGuard(max_jump_ms=1000, confirmations=3)
    >>> guard.split(np.array([100, 7_258_118_400_000, 200])).tolist()
    [False, True, False]
    >>> guard.split(np.array([50_000, 50_010, 50_020, 50_030])).tolist()
    [True, True, False, False]
    """

    def __init__(self, max_jump_ms: int, confirmations: int = 100) -> None:
        assert 0 <= max_jump_ms <= _LATEST, max_jump_ms
        assert confirmations >= 1, confirmations
        self.max_jump_ms = max_jump_ms
        self.confirmations = confirmations
        self._running_max_ms = NO_EVENT_TIME
        self._num_ahead = 0
        self._least_ahead_ms = NO_EVENT_TIME

    def split(self, timestamp_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of the next events, int64[n] event times, are far in the future, bool[n]."""
        far = np.empty(len(timestamp_ms), np.bool_)
        self._running_max_ms, self._num_ahead, self._least_ahead_ms = _find_far(
            timestamp_ms,
            self.max_jump_ms,
            self.confirmations,
            (self._running_max_ms, self._num_ahead, self._least_ahead_ms),
            far,
        )
        return far

    def state(self) -> dict[str, int]:
        """Return what :meth:`restore` needs to go on from here."""
        return {
            "running_max_ms": self._running_max_ms,
            "num_ahead": self._num_ahead,
            "least_ahead_ms": self._least_ahead_ms,
        }

    def restore(self, state: dict[str, int]) -> None:
        """Go on from ``state``."""
        self._running_max_ms = state["running_max_ms"]
        self._num_ahead = state["num_ahead"]
        self._least_ahead_ms = state["least_ahead_ms"]


@njit(cache=True, nogil=True)
def _find_far(timestamp_ms: Any, max_jump_ms: int, confirmations: int, state: Any, far: Any) -> Any:
    running_max_ms, num_ahead, least_ahead_ms = state
    highest_start = _LATEST - max_jump_ms
    for i in range(len(timestamp_ms)):
        time = timestamp_ms[i]
        if running_max_ms == NO_EVENT_TIME:
            running_max_ms = time
        far[i] = time > min(running_max_ms, highest_start) + max_jump_ms
        if far[i]:
            least_ahead_ms = time if num_ahead == 0 else min(least_ahead_ms, time)
            num_ahead += 1
            if num_ahead == confirmations:
                running_max_ms = least_ahead_ms
                far[i] = time > min(running_max_ms, highest_start) + max_jump_ms
                num_ahead = 0
        else:
            num_ahead = 0
        if not far[i]:
            running_max_ms = max(running_max_ms, time)
    return running_max_ms, num_ahead, least_ahead_ms
