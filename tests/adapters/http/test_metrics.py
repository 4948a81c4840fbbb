"""What Prometheus scrapes is what the service knows, named as the table says and as Prometheus likes it."""

import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse

from stream.adapters.http.metrics import Metrics
from stream.commands.assembly import versions
from stream.core.status import Durations, Sums
from tests.adapters.http.views import DEAD, ReplayedView
from tests.integration.debian import program_or_skip

TABLE = Path(__file__).parents[3] / "docker/README.md"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def changed(**fields: Any) -> ReplayedView:
    """Return a view of which some fields of the status are others."""
    view = ReplayedView()
    assert view.current is not None
    view.current = msgspec.structs.replace(view.current, **fields)
    return view


def values(view: ReplayedView) -> dict[str, float]:
    """Return every sample as it is written, name and labels together."""
    text = Metrics(view).exposition()[0].decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def families(metrics: Metrics) -> list[Any]:
    return list(parse(metrics.exposition()[0].decode()))


def samples(found: list[Any]) -> dict[tuple[Any, ...], float]:
    """Return values by name and labels, but for those of this process, which change on the way."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in found
        for sample in family.samples
        if not sample.name.startswith("scall_http_process")
    }


def test_the_metrics_are_what_the_status_says() -> None:
    view = ReplayedView()
    status, sides, found = view.current, view.sides(), values(view)
    assert status is not None
    assert sides is not None
    ledger = {name: value for name, value in found.items() if name.startswith("scall_ledger_bytes{")}
    assert sum(ledger.values()) == status.ledger_bytes <= found["scall_budget_bytes"] == status.budget_bytes
    assert len(ledger) == len(status.ledger)
    assert found["scall_budget_violations_total"] == 0
    assert found["scall_arena_bytes"] == 4 * status.arena_words
    assert found["scall_slots"] == len(view.life.trainer.recommender.memory.slots)
    assert found['scall_entities{side="users"}'] == status.num_users
    assert found['scall_entities{side="items"}'] == status.num_items
    assert found['scall_evictions_total{side="users"}'] == status.counts.evicted_users > 0
    assert found['scall_evictions_total{side="items"}'] == status.counts.evicted_items > 0
    assert found["scall_events_read_total"] == status.counts.events
    assert found["scall_events_learnt_total"] == status.counts.learnt
    for reason, num in DEAD.items():
        assert found[f'scall_dead_letters_total{{reason="{reason}"}}'] == num
    assert found['scall_partition_offset{partition="0",topic="clicks"}'] == status.partitions[0].offset
    assert status.watermark_ms is not None
    assert found["scall_watermark_timestamp_seconds"] == pytest.approx(status.watermark_ms / 1000)
    quality = status.quality
    assert quality is not None
    assert found['scall_window_ndcg{recommender="model"}'] == quality.ndcg
    assert found['scall_window_ndcg{recommender="popularity"}'] == quality.popularity_ndcg
    assert found['scall_window_recall{recommender="popularity"}'] == quality.popularity_recall
    assert found['scall_policy_shape{family="powerlaw",group="0",side="items"}'] == 1
    assert found['scall_policy_guard_trips_total{reason="out of range"}'] == 1
    for name, side in zip(("users", "items"), sides, strict=True):
        assert found[f'scall_embedding_size_words{{percentile="50",side="{name}"}}'] == side.sizes.quantiles["p50"]
        assert found[f'scall_embedding_size_words{{percentile="100",side="{name}"}}'] == side.sizes.quantiles["max"]
        assert found[f'scall_embedding_size_mean_words{{side="{name}"}}'] == side.sizes.mean
    assert status.checkpoint is not None
    assert found["scall_last_checkpoint_timestamp_seconds"] == status.checkpoint.at_s
    assert found["scall_start_time_seconds"] == status.started_s
    assert found["scall_status_age_seconds"] == view.silence_s()


def test_counters_begin_with_the_process_though_the_stream_is_older() -> None:
    view = ReplayedView()
    assert view.current is not None
    before = view.current.counts
    later = msgspec.structs.replace(
        before, learnt=before.learnt + 5, events=before.events + 7, dead_letters=before.dead_letters + 2
    )
    found = values(
        changed(
            counts=later,
            dead_letter_reasons=DEAD | {"late event": 2},
            resumed=Sums(before, DEAD, view.current.guard_trips),
        )
    )
    assert (found["scall_events_read_total"], found["scall_events_learnt_total"]) == (7, 5)
    assert found['scall_evictions_total{side="items"}'] == 0
    assert found['scall_dead_letters_total{reason="malformed row"}'] == 0
    assert found['scall_dead_letters_total{reason="late event"}'] == 2
    assert found['scall_policy_guard_trips_total{reason="out of range"}'] == 0


def test_before_the_learner_has_said_anything_only_what_is_known_is_told() -> None:
    metrics = Metrics(ReplayedView.before_the_first())
    metrics.requests.observe("/metrics", "GET", 200, 0.001)
    known = {family.name for family in families(metrics) if family.samples}
    assert "scall_http_requests" in known
    assert all(name.startswith("scall_http_") for name in known)


def test_what_is_not_known_yet_is_left_out() -> None:
    known = values(changed(checkpoint=None, quality=None, watermark_ms=None, hit_rate=None, reward=None, partitions=[]))
    gone = (
        "scall_last_checkpoint",
        "scall_window_",
        "scall_watermark",
        "scall_recent",
        "scall_policy_reward",
        "scall_partition_lag",
    )
    assert [name for name in known if name.startswith(gone)] == []
    assert known["scall_partitions"] == 0


def test_a_curve_of_several_levels_has_a_shape_for_each() -> None:
    curve = {"family": "groups", "shape": [4.0, 2.0, 1.0]}
    found = values(changed(decision={"users_share": 0.3, "users": {"family": "uniform", "shape": 1.0}, "items": curve}))
    assert found['scall_policy_shape{family="groups",group="1",side="items"}'] == 2
    assert found['scall_policy_shape{family="uniform",group="0",side="users"}'] == 1
    assert found["scall_policy_users_share"] == 0.3


def test_the_buckets_of_a_histogram_hold_all_that_took_no_longer() -> None:
    found = values(changed(durations={"batch": Durations((0.01, 0.1), (5, 3, 2), 1.5)}))
    buckets = {name: value for name, value in found.items() if name.startswith("scall_batch_duration_seconds")}
    assert buckets == {
        'scall_batch_duration_seconds_bucket{le="0.01"}': 5,
        'scall_batch_duration_seconds_bucket{le="0.1"}': 8,
        'scall_batch_duration_seconds_bucket{le="+Inf"}': 10,
        "scall_batch_duration_seconds_count": 10,
        "scall_batch_duration_seconds_sum": 1.5,
    }
    assert not any(name.startswith("scall_resize_duration") for name in found)


def test_what_clients_make_up_makes_no_new_series() -> None:
    metrics = Metrics(ReplayedView())
    for number in range(50):
        metrics.requests.observe(None, f"METHOD{number}", 404, 0.001)
    metrics.requests.observe("/v1/state", "GET", 200, 0.02)
    found = {family.name: family.samples for family in families(metrics)}
    assert [(sample.labels, sample.value) for sample in found["scall_http_requests"]] == [
        ({"route": "none", "method": "other", "status": "404"}, 50),
        ({"route": "/v1/state", "method": "GET", "status": "200"}, 1),
    ]
    slow = [
        s.value
        for s in found["scall_http_request_duration_seconds"]
        if s.labels == {"route": "/v1/state", "le": "0.01"}
    ]
    assert slow == [0]


def test_open_metrics_says_the_same_as_text() -> None:
    metrics = Metrics(ReplayedView())
    body, content_type = metrics.exposition(OPEN_METRICS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    read = list(open_metrics.text_string_to_metric_families(body.decode()))
    assert samples(read) == samples(families(metrics))
    assert metrics.exposition("text/plain;version=0.0.4")[1] == "text/plain; version=0.0.4; charset=utf-8"


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    st.text(max_size=40)
    | st.from_regex(r"(application/openmetrics-text|text/plain|\*/\*)(;(version|escaping)=[0-9.a-z]{0,5}){0,3}")
)
def test_whatever_a_client_accepts_it_gets_one_of_both(accept: str) -> None:
    body, content_type = Metrics(ReplayedView.before_the_first()).exposition(accept)
    assert content_type.split(";")[0] in ("text/plain", "application/openmetrics-text")
    assert b"scall_http_process" in body


def test_promtool_finds_nothing_wrong() -> None:
    program = program_or_skip("promtool", "prometheus")
    metrics = Metrics(changed(versions=versions()))
    metrics.requests.observe("/v1/state", "GET", 200, 0.02)
    for accept in (None, "text/plain"):
        body, _ = metrics.exposition(accept)
        result = subprocess.run([program, "check", "metrics"], input=body, capture_output=True, timeout=60, check=False)
        assert (result.returncode, result.stderr) == (0, b"")


def test_the_table_lists_every_metric_and_no_other() -> None:
    metrics = Metrics(changed(versions=versions()))
    metrics.requests.observe("/v1/state", "GET", 200, 0.02)
    served = {
        (
            family.name + ("_total" if family.type == "counter" else ""),
            family.type,
            ", ".join(sorted({label for sample in family.samples for label in sample.labels} - {"le"})),
            family.documentation,
        )
        for family in families(metrics)
    }
    rows = re.findall(r"^\| `(scall_\w+)` \| (\w+) \|(?: (.*))? \| (.+) \|$", TABLE.read_text(), re.MULTILINE)
    assert len(rows) == len(set(rows)) > 50
    assert set(rows) == served
