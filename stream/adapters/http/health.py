"""Is the service alive, and does it keep up? Each check with its figure, its limit and its verdict."""

import time

import msgspec

from stream.adapters.http.view import View
from stream.core.status import Status
from stream.service_settings import Http


class Check(msgspec.Struct, frozen=True):
    """One thing looked at."""

    name: str
    ok: bool
    value: float | None
    """None where it is not known."""
    limit: float
    unit: str
    detail: str
    """What it means, in one line."""


class Health(msgspec.Struct, frozen=True):
    """All that was looked at."""

    ok: bool
    """All checks are passed."""
    checks: list[Check]


def judge_live(view: View, http: Http, up_s: float) -> Health:
    """Return whether the learner moves. ``up_s`` is how long this process runs: so long it may take to begin with."""
    silence_s = view.silence_s()
    quiet_s = up_s if silence_s is None else silence_s
    is_good = quiet_s <= http.live_within_s
    text = "the learner gives signs of life" if is_good else "the learner gives no sign of life: look at its log"
    return _health([Check("learner", is_good, quiet_s, http.live_within_s, "s since its last sign", text)])


def judge_ready(view: View, http: Http, up_s: float, now_s: float | None = None) -> Health:
    """Return whether the service keeps up: it lives, has partitions, few records wait, and its checkpoint is good."""
    checks = judge_live(view, http, up_s).checks
    status = view.status()
    if status is None:
        text = "nothing is known of the learner yet: it is starting"
        return _health([*checks, Check("status", False, 0, 1, "statuses", text)])
    now_s = time.time() if now_s is None else now_s
    return _health([*checks, _snapshot(view), _assigned(status), _lag(status, http), _checkpoint(status, http, now_s)])


def _health(checks: list[Check]) -> Health:
    return Health(all(check.ok for check in checks), checks)


def _snapshot(view: View) -> Check:
    with view.hold() as snapshot:
        num = int(snapshot is not None)
    text = "requests are answered" if num else "there is nothing to answer requests from yet"
    return Check("snapshot", bool(num), num, 1, "snapshots, at least", text)


def _assigned(status: Status) -> Check:
    num = len(status.partitions)
    text = "partitions are assigned" if num else "no partition is assigned: is another member in the group?"
    return Check("assigned", num > 0, num, 1, "partitions, at least", text)


def _lag(status: Status, http: Http) -> Check:
    is_good = status.lag <= http.max_lag
    text = "it keeps up" if is_good else "it lags behind, or catches up: watch whether the lag falls"
    return Check("lag", is_good, status.lag, http.max_lag, "records waiting", text)


def _checkpoint(status: Status, http: Http, now_s: float) -> Check:
    checkpoint, limit_s = status.checkpoint, http.checkpoint_within_s
    if checkpoint is None:
        return Check("checkpoint", False, None, limit_s, "s old", "there is no checkpoint yet")
    age_s = max(0.0, now_s - checkpoint.at_s)
    # Where nothing comes there is nothing new to save.
    is_good = age_s <= limit_s or status.events_per_second == 0
    text = "the last checkpoint is good" if is_good else "the last checkpoint is too old: look at the disk and the log"
    return Check("checkpoint", is_good, age_s, limit_s, "s old", text)
