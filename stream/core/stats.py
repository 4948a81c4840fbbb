"""Plain figures that the core fills and reporters show. No behaviour beyond sums and their flat form for a report."""

from typing import Any

import msgspec


class LedgerLine(msgspec.Struct, frozen=True):
    """One array, or one group of arrays, and what it takes."""

    name: str
    bytes: int


class Quality(msgspec.Struct, frozen=True):
    """Prequential quality over some events, each beside the popularity recommender's on the same events.

    All figures are means over the evaluated events, in [0, 1]; None where none was evaluated.
    """

    evaluated: int
    recall: float | None = None
    ndcg: float | None = None
    mrr: float | None = None
    popularity_recall: float | None = None
    popularity_ndcg: float | None = None
    popularity_mrr: float | None = None
    first_sight_share: float | None = None
    """Share of the evaluated events whose item had never been seen: always a miss."""

    @property
    def reward(self) -> float:
        """The lead over popularity in NDCG, 0 where nothing was evaluated: what a policy is to maximise."""
        return (self.ndcg or 0.0) - (self.popularity_ndcg or 0.0)

    def fields(self, k: int) -> dict[str, Any]:
        """Return the figures under their report names, ``recall_at_20`` and so on."""
        return {
            "evaluated": self.evaluated,
            f"recall_at_{k}": self.recall,
            f"ndcg_at_{k}": self.ndcg,
            "mrr": self.mrr,
            f"popularity_recall_at_{k}": self.popularity_recall,
            f"popularity_ndcg_at_{k}": self.popularity_ndcg,
            "popularity_mrr": self.popularity_mrr,
            "first_sight_share": self.first_sight_share,
        }


class SizeSummary(msgspec.Struct, frozen=True):
    """Embedding sizes of one side in words (float32), over the entities alive."""

    num: int
    mean: float
    quantiles: dict[str, int]
    """"min", "p10", "p25", "p50", "p75", "p90", "p99", "max"."""
    histogram: list[int]
    """histogram[s] = number of entities of size s."""


class Counts(msgspec.Struct, frozen=True):
    """Where the records went: ``events == learnt + dead_letters``, always."""

    events: int = 0
    """Records read."""
    learnt: int = 0
    late: int = 0
    """Events behind the watermark; dead-lettered or learnt, as configured."""
    dead_letters: int = 0
    evictions: int = 0
    evicted_users: int = 0
    evicted_items: int = 0
    violations: int = 0
    """How often the ledger was found over the budget: 0 unless there is a bug."""
    drift_alarms: int = 0
    lost: int = 0
    """Records that the source deleted before they were read; not among ``events``."""
    duplicates: int = 0
    """Records given again that were known already, and so dropped; not among ``events``."""
    failed_checkpoints: int = 0
    budget_changes: int = 0
    """How often another budget was put in force while the model lived."""


class PartitionStatus(msgspec.Struct, frozen=True):
    """A partition that the service owns."""

    topic: str
    partition: int
    offset: int
    """Of the next record to learn."""
    lag: int
    """Records known to wait from there on."""


class Progress(msgspec.Struct, frozen=True):
    """How far a run is."""

    counts: Counts
    """Since the start of the stream."""
    hit_rate: float | None
    """Prequential recall, lately."""
    ledger_bytes: int
    partitions: list[PartitionStatus] | None
    """What the source owns; None where nothing ever waits there."""

    @property
    def lag(self) -> int | None:
        """Records known to wait at the source; None where none ever does."""
        return None if self.partitions is None else sum(partition.lag for partition in self.partitions)


class WindowReport(msgspec.Struct, frozen=True):
    """What happened in one window, and how things stood at its end."""

    index: int
    """0, 1, 2..."""
    reason: str
    """Why it closed: "events", "time", "growth", "end of stream", "interrupted"."""
    first_event_ms: int
    last_event_ms: int
    """Event times, milliseconds since the epoch."""
    counts: Counts
    """Of this window alone."""
    num_users: int
    num_items: int
    """Entities in the index at the window's end."""
    quality: Quality
    quality_by_gap: dict[str, Quality]
    """By time since the user's last event: "first", "under_1h", "over_1h"."""
    top_k: int
    budget_bytes: int
    ledger_bytes: int
    peak_bytes: int
    arena_words: int
    arena_used_words: int
    peak_rss_bytes: int
    user_sizes: SizeSummary
    item_sizes: SizeSummary
    decision: dict[str, Any]
    """The policy's decision: users_share, users, items."""
    guard_trips: dict[str, int]
    """How often the policy's guard stepped in since the start of the stream, by reason."""
    resizes: int
    """How often the sizes were assigned anew in this window (its close included)."""
    train_seconds: float
    eval_seconds: float
    resize_seconds: float
    checkpoint_seconds: float
    checkpoint_bytes: int
    events_per_second: float | None
    """Events learnt per second of learning alone."""


class Report(msgspec.Struct, frozen=True):
    """A whole run."""

    data: str
    policy: str
    guard_trips: dict[str, int]
    """How often the policy's guard stepped in since the start of the stream, by reason."""
    seed: int
    counts: Counts
    dead_letter_reasons: dict[str, int]
    num_users: int
    num_items: int
    quality: Quality
    quality_by_gap: dict[str, Quality]
    top_k: int
    budget_bytes: int
    peak_bytes: int
    ledger: list[LedgerLine]
    """Every array under the budget; sums to at most ``budget_bytes``."""
    fixed: list[LedgerLine]
    """What does not grow with users, items or events, listed beside the budget."""
    peak_rss_bytes: int
    train_seconds: float
    eval_seconds: float
    resize_seconds: float
    checkpoint_seconds: float
    wall_seconds: float
    events_per_second: float | None
    """Events learnt per second of learning alone."""
    finished: bool
    """False when it was interrupted; ``--resume`` goes on from there."""
    resumed: bool
    settings: dict[str, Any]
    versions: dict[str, str]
    digest: str
    """Of the records learnt, see :func:`stream.core.event.digest_of`."""
    windows: list[WindowReport]
