"""How a service stands at one instant: what its trainer tells the process that answers requests."""

from typing import Any

import msgspec

from stream.core.stats import Counts, LedgerLine, PartitionStatus, Quality, SizeSummary


class Durations(msgspec.Struct, frozen=True):
    """How long an activity took, as a histogram since the process started."""

    bounds_s: tuple[float, ...]
    """Upper ends of the buckets, inclusive; one more bucket has no upper end."""
    counts: tuple[int, ...]
    """Of each bucket alone, len(bounds_s) + 1 of them."""
    total_s: float


class CheckpointStatus(msgspec.Struct, frozen=True):
    """The newest checkpoint that is durable."""

    at_s: float
    """When its state was taken, seconds since the epoch."""
    bytes: int


class SideStatus(msgspec.Struct, frozen=True):
    """Users, or items, of one instant."""

    sizes: SizeSummary
    size_by_rank: list[float]
    """Mean embedding size, in words, of up to 64 groups of equally many entities, the most frequent first."""
    frequency_by_rank: list[float]
    """Mean decayed frequency, in events, of the same groups."""


class Sums(msgspec.Struct, frozen=True):
    """What is summed up since the start of the stream."""

    counts: Counts = Counts()
    dead_letter_reasons: dict[str, int] = {}
    guard_trips: dict[str, int] = {}


class Status(msgspec.Struct, frozen=True):
    """How the service stands. Sums are since the start of the stream, unless told otherwise; checkpoints carry them."""

    written_s: float
    """When this was written, seconds since the epoch."""
    started_s: float
    """When the process started, likewise."""
    source: str
    policy: str
    seed: int
    versions: dict[str, str]
    counts: Counts
    dead_letter_reasons: dict[str, int]
    partitions: list[PartitionStatus]
    """Empty while none is assigned."""
    watermark_ms: int | None
    """Event time of the newest event learnt, milliseconds since the epoch; None before the first."""
    events_per_second: float
    """Events learnt over the last few seconds of wall time."""
    num_windows: int
    """Windows closed."""
    hit_rate: float | None
    """Prequential recall, lately."""
    quality: Quality | None
    """Of the last window closed; None before the first."""
    top_k: int
    budget_bytes: int
    peak_bytes: int
    """The most that the ledger came to under this budget."""
    ledger: list[LedgerLine]
    fixed: list[LedgerLine]
    """What does not grow with users, items or events."""
    arena_words: int
    arena_used_words: int
    num_users: int
    num_items: int
    decision: dict[str, Any]
    """The size decision in force: users_share, users and items, each a family and a shape."""
    reward: float | None
    """Of the last window closed: the lead over popularity in NDCG, as the policy sees it; None before the first."""
    guard_trips: dict[str, int]
    durations: dict[str, Durations]
    """By activity: "batch" (a poll's events tested and learnt), "resize", "checkpoint" (learning stands still)."""
    checkpoint: CheckpointStatus | None
    resident_bytes: int
    """Resident memory of the learning process now."""
    peak_resident_bytes: int
    resumed: Sums = Sums()
    """What the process began with. A crash takes sums back to the last checkpoint: only what came on top grows."""

    @property
    def ledger_bytes(self) -> int:
        """Sum of the ledger."""
        return sum(line.bytes for line in self.ledger)

    @property
    def lag(self) -> int:
        """Records known to wait."""
        return sum(partition.lag for partition in self.partitions)
