"""What the HTTP side sees of a learner, without one: a view of a model that has learnt a small world, to its end."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from typing import Any, NamedTuple

import msgspec

from simulators.faults import StillHost
from simulators.nowhere import NoCheckpoints, Silence
from simulators.synthetic import open_world
from stream.assembly import build_trainer
from stream.commands.assembly import build_policy
from stream.config import make_settings
from stream.core.arena import item_id
from stream.core.event import ITEM, USER, Origin, Rejection
from stream.core.snapshot import Snapshot
from stream.core.stats import PartitionStatus, Report, WindowReport
from stream.core.status import CheckpointStatus, Durations, SideStatus, Status
from stream.core.trainer import Trainer
from stream.pipeline import Pipeline, Ports
from tests.doubles import Letters

NUM_EVENTS = 12_000
SETTINGS: dict[str, Any] = {
    "memory.budget_bytes": 96 * 1024,
    "windows.close_after": "2000events",
    "evaluation.sample": 0.2,
    "policy": "powerlaw",
    "sizes.item_min": 0,
    "sizes.user_min": 0,
}
"""So little memory that users and items are evicted, and some have no words of their own."""
DEAD = {"malformed row": 7, "missing user id": 2}


class Life(NamedTuple):
    """What came of a replay."""

    trainer: Trainer
    report: Report
    windows: list[WindowReport]


class _Windows(Silence):
    def __init__(self) -> None:
        self.reports: list[WindowReport] = []

    def window(self, report: WindowReport) -> None:
        self.reports.append(report)


@cache
def replay_world(world: str = "churn", num_events: int = NUM_EVENTS, exclude_seen: bool = False) -> Life:
    """Replay a synthetic world once for all tests; nobody may change what comes of it."""
    settings = make_settings(SETTINGS | {"exclude_seen": exclude_seen})
    trainer, windows = build_trainer(settings), _Windows()
    for reason, num in DEAD.items():
        for offset in range(num):
            trainer.account.reject(Rejection(0, offset, Origin(f"row {offset}"), reason, ""))
    with closing(open_world(world, 1, num_events)) as source:
        ports = Ports(source, Letters(), NoCheckpoints(), build_policy(settings), windows, StillHost())
        report = Pipeline(ports, trainer, msgspec.to_builtins(settings), {"scall-stream": "0.1.0"}).run()
    return Life(trainer, report, windows.reports)


def snapshot_of(trainer: Trainer, taken_s: float | None = None) -> Snapshot:
    """Return a snapshot of a copy of a trainer's state, taken now unless it is said when."""
    arrays = {name: array.copy() for name, array in trainer.recommender.state().items()}
    watermark_ms = trainer.clock.running_max_ms
    taken_s = time.time() if taken_s is None else taken_s
    return Snapshot(arrays, trainer.recommender.hyper, watermark_ms=watermark_ms, taken_s=taken_s)


def item_ids(snapshot: Snapshot) -> list[str]:
    """Return the ids of all items in a snapshot."""
    slots = snapshot.memory.slots[: snapshot.memory.counters[3]]
    return [item_id(snapshot.memory, int(slot)) for slot in slots["alive"].nonzero()[0]]


def status_of(life: Life) -> Status:
    """Return how a service would stand that had just learnt this and nothing waits."""
    trainer, report, last = life.trainer, life.report, life.windows[-1]
    now_s, durations = (
        time.time(),
        {name: Durations((0.01, 0.1, 1.0), (5, 3, 1, 0), 0.41) for name in ("batch", "resize")},
    )
    return Status(
        written_s=now_s,
        started_s=now_s - 60,
        source="clicks",
        policy=report.policy,
        seed=report.seed,
        versions=report.versions,
        counts=report.counts,
        dead_letter_reasons=report.dead_letter_reasons,
        partitions=[PartitionStatus("clicks", 0, report.counts.events, 0), PartitionStatus("clicks", 1, 0, 0)],
        watermark_ms=trainer.clock.running_max_ms,
        events_per_second=1234.5,
        num_windows=len(life.windows),
        hit_rate=trainer.evaluation.hit_rate(),
        quality=last.quality,
        top_k=report.top_k,
        budget_bytes=report.budget_bytes,
        peak_bytes=report.peak_bytes,
        ledger=report.ledger,
        fixed=report.fixed,
        arena_words=last.arena_words,
        arena_used_words=last.arena_used_words,
        num_users=report.num_users,
        num_items=report.num_items,
        decision=last.decision,
        reward=0.01,
        guard_trips={"not finite": 0, "out of range": 1},
        durations=durations | {"checkpoint": Durations((0.01, 0.1, 1.0), (0, 1, 0, 0), 0.05)},
        checkpoint=CheckpointStatus(now_s - 5, 110_000),
        resident_bytes=150 * 2**20,
        peak_resident_bytes=160 * 2**20,
    )


class ReplayedView:
    """A :class:`stream.adapters.http.view.View` of a finished replay; tests set its parts to whatever they need."""

    def __init__(self, life: Life | None = None) -> None:
        life = life or replay_world()
        self.life = life
        self.current: Status | None = status_of(life)
        self.silent_s: float | None = 0.2
        self.closed: Sequence[WindowReport] = life.windows
        self.snapshot: Snapshot | None = snapshot_of(life.trainer)
        self.num_holds = 0
        """How many hold the snapshot now."""

    @classmethod
    def before_the_first(cls) -> "ReplayedView":
        """Return a view of a learner of which nothing has come yet."""
        view = cls()
        view.current = view.silent_s = view.snapshot = None
        view.closed = []
        return view

    def status(self) -> Status | None:
        return self.current

    def silence_s(self) -> float | None:
        return self.silent_s

    def windows(self) -> Sequence[WindowReport]:
        return self.closed

    def sides(self) -> tuple[SideStatus, SideStatus] | None:
        return None if self.snapshot is None else (self.snapshot.side(USER), self.snapshot.side(ITEM))

    @contextmanager
    def hold(self) -> Iterator[Snapshot | None]:
        self.num_holds += 1
        try:
            yield self.snapshot
        finally:
            self.num_holds -= 1
