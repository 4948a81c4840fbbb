"""What a run has done so far, as named sums: since the start, and since the open window began."""

from typing import Any

from stream.core.event import Rejection
from stream.core.stats import Counts

_COUNTS = (
    *("events", "learnt", "late", "dead_letters", "violations", "resizes"),
    *("evicted_users", "evicted_items", "drift_alarms"),
    *("lost", "duplicates", "failed_checkpoints", "budget_changes"),
)
_SECONDS = ("read", "train", "eval", "resize", "checkpoint")


class Account:
    """Sums of counts and of seconds by activity.

    >>> account = Account()
    >>> account.count("learnt", 3)
    >>> account.open_window()
    >>> account.count("learnt", 2)
    >>> account.counts().learnt, account.window_counts().learnt
    (5, 2)
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = dict.fromkeys(_COUNTS, 0)
        self._seconds: dict[str, float] = dict.fromkeys(_SECONDS, 0.0)
        self._counts_before = dict(self._counts)
        self._seconds_before = dict(self._seconds)
        self.reasons: dict[str, int] = {}
        """Dead letters by reason."""

    def count(self, name: str, num: int) -> None:
        """Add ``num`` to a count."""
        self._counts[name] += num

    def note(self, name: str, total: int) -> None:
        """Set a count that is kept elsewhere to its total since the start."""
        self._counts[name] = total

    def spend(self, activity: str, seconds: float) -> None:
        """Add time spent on an activity."""
        self._seconds[activity] += seconds

    def reject(self, rejection: Rejection) -> None:
        """Count a dead letter."""
        self.reasons[rejection.reason] = self.reasons.get(rejection.reason, 0) + 1
        self._counts["events"] += 1
        self._counts["dead_letters"] += 1

    def open_window(self) -> None:
        """Start a new window here."""
        self._counts_before = dict(self._counts)
        self._seconds_before = dict(self._seconds)

    def counts(self) -> Counts:
        """Return the counts since the start."""
        return _as_counts(self._counts)

    def window_counts(self) -> Counts:
        """Return the counts of the open window."""
        return _as_counts({name: num - self._counts_before[name] for name, num in self._counts.items()})

    def window_count(self, name: str) -> int:
        """Return one count of the open window."""
        return self._counts[name] - self._counts_before[name]

    def seconds(self, activity: str) -> float:
        """Return the time spent on an activity since the start."""
        return self._seconds[activity]

    def window_seconds(self, activity: str) -> float:
        """Return the time spent on an activity in the open window."""
        return self._seconds[activity] - self._seconds_before[activity]

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` needs, fit for JSON."""
        return {
            "counts": dict(self._counts),
            "counts_before": dict(self._counts_before),
            "seconds": dict(self._seconds),
            "seconds_before": dict(self._seconds_before),
            "reasons": dict(self.reasons),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._counts = dict(state["counts"])
        self._counts_before = dict(state["counts_before"])
        self._seconds = dict(state["seconds"])
        self._seconds_before = dict(state["seconds_before"])
        self.reasons = dict(state["reasons"])


def _as_counts(counts: dict[str, int]) -> Counts:
    return Counts(
        events=counts["events"],
        learnt=counts["learnt"],
        late=counts["late"],
        dead_letters=counts["dead_letters"],
        evictions=counts["evicted_users"] + counts["evicted_items"],
        evicted_users=counts["evicted_users"],
        evicted_items=counts["evicted_items"],
        violations=counts["violations"],
        drift_alarms=counts["drift_alarms"],
        lost=counts["lost"],
        duplicates=counts["duplicates"],
        failed_checkpoints=counts["failed_checkpoints"],
        budget_changes=counts["budget_changes"],
    )
