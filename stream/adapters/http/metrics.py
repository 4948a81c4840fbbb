"""What Prometheus scrapes: the service's last status as metrics, and how requests were answered.

Everything comes from the status that the learner published last, so a scrape costs it nothing. Counters begin at 0 with
the learner's process, as Prometheus expects of them; sums since the start of the stream are in ``/v1/state``.
"""

import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from stream.adapters.http.view import View
from stream.core.memory import SLOT
from stream.core.stats import Counts, LedgerLine, Quality
from stream.core.status import Durations, SideStatus, Status

# The time at which each counter was made is a metric of its own otherwise, of no use here.
disable_created_metrics()  # type: ignore[no-untyped-call]

WORD_BYTES: Final = 4
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5)
_OPEN_METRICS: Final = "application/openmetrics-text"
_PERCENTILES: Final = {"min": "0", "max": "100"}

Values = Mapping[tuple[str, ...], float | None]
"""A family's values by its labels' values; a value that is not known is left out."""


class _Family(NamedTuple):
    """One metric: what it is called, and how a status tells it."""

    kind: Literal["gauge", "counter"]
    name: str
    help: str
    values: Callable[[Status], Values]
    labels: tuple[str, ...] = ()

    def metric(self, status: Status) -> Metric:
        """Return the metric of this instant."""
        kind = GaugeMetricFamily if self.kind == "gauge" else CounterMetricFamily
        metric = kind(self.name, self.help, labels=self.labels)
        for labels, value in self.values(status).items():
            if value is not None:
                metric.add_metric(labels, value)
        return metric


def _gauge(name: str, help_text: str, value: Callable[[Status], float | None]) -> _Family:
    return _Family("gauge", name, help_text, lambda status: {(): value(status)})


def _counter(name: str, help_text: str, value: Callable[[Counts], int]) -> _Family:
    return _Family("counter", name, help_text, lambda status: {(): _grown(status, value)})


def _grown(status: Status, value: Callable[[Counts], int]) -> int:
    """Return by how much a count has grown since the process started."""
    return value(status.counts) - value(status.resumed.counts)


def _grown_by_reason(now: Mapping[str, int], before: Mapping[str, int]) -> Values:
    return {(reason,): num - before.get(reason, 0) for reason, num in now.items()}


def _by_line(lines: Iterable[LedgerLine]) -> Values:
    """Return bytes by line, under the first words of its name: what explains it is too long for a label."""
    return {(re.split(r"[:(]", line.name)[0].strip(),): line.bytes for line in lines}


def _slots(status: Status) -> int | None:
    held = [line.bytes for line in status.ledger if line.name.startswith("slots")]
    return sum(held) // SLOT.itemsize if held else None


def _by_recommender(figure: Callable[[Quality], tuple[float | None, float | None]]) -> Callable[[Status], Values]:
    def values(status: Status) -> Values:
        if status.quality is None:
            return {}
        return dict(zip((("model",), ("popularity",)), figure(status.quality), strict=True))

    return values


def _shapes(status: Status) -> Values:
    """Return the shapes of both curves: one number, or one for each group of ranks."""
    values: dict[tuple[str, ...], float | None] = {}
    for side in ("users", "items"):
        curve: Any = status.decision.get(side) or {}
        shape = curve.get("shape")
        numbers = list(shape) if isinstance(shape, list | tuple) else [shape]
        for group, number in enumerate(numbers):
            values[side, str(curve.get("family")), str(group)] = number
    return values


def _users_share(status: Status) -> float | None:
    share: Any = status.decision.get("users_share")
    return None if share is None else float(share)


_FAMILIES: Final = (
    _gauge("scall_budget_bytes", "Memory budget in force.", lambda s: s.budget_bytes),
    _Family("gauge", "scall_ledger_bytes", "What is held under the budget.", lambda s: _by_line(s.ledger), ("line",)),
    _gauge("scall_ledger_peak_bytes", "The most that the ledger came to under this budget.", lambda s: s.peak_bytes),
    _counter(
        "scall_budget_violations_total",
        "Times that the ledger was found over the budget: 0 unless there is a bug.",
        lambda c: c.violations,
    ),
    _counter("scall_budget_changes_total", "Times that another budget was put in force.", lambda c: c.budget_changes),
    _Family(
        "gauge", "scall_fixed_bytes", "What does not grow with the stream.", lambda s: _by_line(s.fixed), ("line",)
    ),
    _gauge("scall_arena_bytes", "Room for embeddings, histories and ids.", lambda s: WORD_BYTES * s.arena_words),
    _gauge("scall_arena_used_bytes", "Part of the arena that has an owner.", lambda s: WORD_BYTES * s.arena_used_words),
    _gauge("scall_slots", "Users and items that there is room for, together.", _slots),
    _Family(
        "gauge",
        "scall_entities",
        "Users and items in the index.",
        lambda s: {("users",): s.num_users, ("items",): s.num_items},
        ("side",),
    ),
    _Family(
        "counter",
        "scall_evictions_total",
        "Users and items that made room for others.",
        lambda s: {
            ("users",): _grown(s, lambda c: c.evicted_users),
            ("items",): _grown(s, lambda c: c.evicted_items),
        },
        ("side",),
    ),
    _counter("scall_events_read_total", "Records read: learnt or dead letters.", lambda c: c.events),
    _counter("scall_events_learnt_total", "Events learnt.", lambda c: c.learnt),
    _counter("scall_events_late_total", "Events behind the watermark, learnt or not.", lambda c: c.late),
    _counter("scall_events_lost_total", "Records that were deleted before they were read.", lambda c: c.lost),
    _counter("scall_events_duplicate_total", "Records given again, and dropped.", lambda c: c.duplicates),
    _Family(
        "counter",
        "scall_dead_letters_total",
        "Records that could not be used.",
        lambda s: _grown_by_reason(s.dead_letter_reasons, s.resumed.dead_letter_reasons),
        ("reason",),
    ),
    _Family(
        "gauge",
        "scall_partition_lag_records",
        "Records known to wait in a partition.",
        lambda s: {(p.topic, str(p.partition)): p.lag for p in s.partitions},
        ("topic", "partition"),
    ),
    _Family(
        "gauge",
        "scall_partition_offset",
        "Offset of the next record to learn.",
        lambda s: {(p.topic, str(p.partition)): p.offset for p in s.partitions},
        ("topic", "partition"),
    ),
    _gauge("scall_partitions", "Partitions that the service owns.", lambda s: len(s.partitions)),
    _gauge(
        "scall_watermark_timestamp_seconds",
        "Event time of the newest event learnt.",
        lambda s: None if s.watermark_ms is None else s.watermark_ms / 1000,
    ),
    _gauge("scall_windows", "Windows closed since the start of the stream.", lambda s: s.num_windows),
    _gauge("scall_recent_recall", "Prequential recall of the last tests.", lambda s: s.hit_rate),
    _Family(
        "gauge",
        "scall_window_recall",
        "Prequential recall in the last window.",
        _by_recommender(lambda q: (q.recall, q.popularity_recall)),
        ("recommender",),
    ),
    _Family(
        "gauge",
        "scall_window_ndcg",
        "Prequential NDCG in the last window.",
        _by_recommender(lambda q: (q.ndcg, q.popularity_ndcg)),
        ("recommender",),
    ),
    _Family(
        "gauge",
        "scall_window_mrr",
        "Prequential mean reciprocal rank in the last window.",
        _by_recommender(lambda q: (q.mrr, q.popularity_mrr)),
        ("recommender",),
    ),
    _gauge(
        "scall_window_tested_events",
        "Events tested in the last window.",
        lambda s: None if s.quality is None else s.quality.evaluated,
    ),
    _counter("scall_drift_alarms_total", "Times that quality fell all at once.", lambda c: c.drift_alarms),
    _gauge("scall_policy_users_share", "Share of the words that users get.", _users_share),
    _Family(
        "gauge",
        "scall_policy_shape",
        "Shape of the curve by which sizes fall with rank; one for each group where a curve has several.",
        _shapes,
        ("side", "family", "group"),
    ),
    _gauge("scall_policy_reward", "Reward of the last window: NDCG over popularity's.", lambda s: s.reward),
    _Family(
        "counter",
        "scall_policy_guard_trips_total",
        "Times that the policy's guard stepped in.",
        lambda s: _grown_by_reason(s.guard_trips, s.resumed.guard_trips),
        ("reason",),
    ),
    _counter(
        "scall_checkpoint_failures_total", "Checkpoints that could not be written.", lambda c: c.failed_checkpoints
    ),
    _gauge(
        "scall_last_checkpoint_timestamp_seconds",
        "When the state of the newest durable checkpoint was taken.",
        lambda s: None if s.checkpoint is None else s.checkpoint.at_s,
    ),
    _gauge(
        "scall_last_checkpoint_bytes",
        "Size of the newest durable checkpoint.",
        lambda s: None if s.checkpoint is None else s.checkpoint.bytes,
    ),
    _gauge("scall_resident_memory_bytes", "Resident memory of the learner.", lambda s: s.resident_bytes),
    _gauge("scall_peak_resident_memory_bytes", "The most it has had.", lambda s: s.peak_resident_bytes),
    _gauge("scall_start_time_seconds", "When the learner was started.", lambda s: s.started_s),
)
_DURATIONS: Final = {
    "batch": "Time to test and learn what one poll gave.",
    "resize": "Time to give everyone the size of a new plan.",
    "checkpoint": "Time that learning stood still for a checkpoint.",
}


class Requests:
    """How requests were answered: counts by route, method and status, times by route."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answered = Counter(
            "scall_http_requests_total", "Requests answered.", ("route", "method", "status"), registry=registry
        )
        self._seconds = Histogram(
            "scall_http_request_duration_seconds",
            "Time to answer a request.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )

    def observe(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """Note an answer; ``route`` is the route's pattern (``/v1/users/{id}/recommendations``), None where none fits.

        What a client makes up, a path or a method, is no label's value: there would be no end of them.
        """
        route = "none" if route is None else route
        self._answered.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self._seconds.labels(route).observe(seconds)


class Metrics:
    """The page that Prometheus scrapes.

    ``requests`` is for the application to note its answers in.
    """

    def __init__(self, view: View) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Learner(view))
        self.requests = Requests(self._registry)
        # Of the process that answers; the learner's own memory and start are in its status.
        ProcessCollector(namespace="scall_http", registry=self._registry)

    def exposition(self, accept: str | None = None) -> tuple[bytes, str]:
        """Return all metrics and their content type: OpenMetrics for a client whose Accept header asks for it, or text.

        Text is Prometheus' format 0.0.4.
        """
        # What else the header says is not worth the library's misunderstandings.
        encode, content_type = choose_encoder(_OPEN_METRICS if _OPEN_METRICS in (accept or "") else "")
        return encode(self._registry), content_type


class _Learner(Collector):
    """Collects from a view, at each scrape anew."""

    def __init__(self, view: View) -> None:
        self._view = view

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names are known, and need no scrape before the first."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric that is known by now."""
        silence = GaugeMetricFamily("scall_status_age_seconds", "Time since the learner last told how it stands.")
        if (silence_s := self._view.silence_s()) is not None:
            silence.add_metric((), silence_s)
        yield silence
        status = self._view.status()
        if status is not None:
            yield from (family.metric(status) for family in _FAMILIES)
            yield from (
                _histogram(f"scall_{activity}_duration_seconds", text, status.durations[activity])
                for activity, text in _DURATIONS.items()
                if activity in status.durations
            )
            yield from _infos(status)
        if (sides := self._view.sides()) is not None:
            yield from _sizes(sides)


def _histogram(name: str, text: str, durations: Durations) -> Metric:
    bounds = [*map(repr, durations.bounds_s), "+Inf"]
    buckets = list(zip(bounds, map(float, accumulate(durations.counts)), strict=True))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=durations.total_s)


def _infos(status: Status) -> Iterator[Metric]:
    versions = {"python": platform.python_version(), **status.versions}
    labels = {re.sub(r"\W", "_", name): version for name, version in versions.items()}
    yield InfoMetricFamily("scall_build", "Versions of what figures depend on.", labels)
    model = {"source": status.source, "policy": status.policy, "seed": str(status.seed)}
    yield InfoMetricFamily("scall_model", "What is learnt, and who decides the sizes.", model)


def _sizes(sides: tuple[SideStatus, SideStatus]) -> Iterator[Metric]:
    quantiles = GaugeMetricFamily(
        "scall_embedding_size_words", "Embedding size, words of 4 bytes.", labels=("side", "percentile")
    )
    means = GaugeMetricFamily("scall_embedding_size_mean_words", "Mean embedding size.", labels=("side",))
    for name, side in zip(("users", "items"), sides, strict=True):
        for quantile, size in side.sizes.quantiles.items():
            quantiles.add_metric((name, _PERCENTILES.get(quantile, quantile.removeprefix("p"))), size)
        means.add_metric((name,), side.sizes.mean)
    yield from (quantiles, means)
