"""The summary's rows, from figures made up: each says what it is held against, and is bold where that is better."""

from typing import Any

import pytest

from tests.benchmarks.entries import Entry
from tests.benchmarks.peer_results import COMPARED
from tests.benchmarks.registry import BENCHMARKS
from tests.benchmarks.summary import SUMMARY

MIB = 2**20


def rows_of(benchmark: str, figures: Any) -> list[tuple[str, ...]]:
    goals = dict(BENCHMARKS[benchmark].goals)
    rows = list(SUMMARY.rows({benchmark: Entry(figures=figures, goals=goals, measured_at="2026-11-22")}))
    assert all(len(row) == len(SUMMARY.header) for row in rows)
    return [row for row in rows if row[1] != "not measured"]


def test_what_was_not_measured_says_so() -> None:
    assert {row[1] for row in SUMMARY.rows({})} == {"not measured"}
    failed = Entry(figures=None, why="no broker", measured_at="2026-11-22")
    assert ("`kafka`", "not measured: no broker", "") in list(SUMMARY.rows({"kafka": failed}))


@pytest.mark.parametrize(("times", "rate"), [(1.2, "4 M"), (0.9, "**4 M**")])
def test_a_learner_slower_than_a_peer_is_bold(times: float, rate: str) -> None:
    row = {"k": 16, "batch": 1, "events_per_s": 4_000_000}
    ratios = {"k": 16, "A at 1024": dict.fromkeys(COMPARED, times), "B at one at a time": dict.fromkeys(COMPARED)}
    figures = {"rows": [{**row, "name": name} for name in COMPARED], "ratios": [ratios]}
    told = f"{times:g} x A in batches of 1024, B not installed"
    assert [cells[1:] for cells in rows_of("learning_peers", figures)] == [(rate, told)] * 2


def test_memory_that_grows_more_than_a_peers_is_bold() -> None:
    def row(name: str, mib: int) -> dict[str, Any]:
        return {"name": name, "late_growth_bytes_per_million_events": mib * MIB}

    missing = {"name": "C", "missing": "no wheel"}
    figures = {"events": 5_000_000, "rows": [row("ours", 1), row("A", 30), row("B", 200), missing]}
    assert rows_of("memory_under_churn", figures)[0][1:] == ("+1.0 MiB", "+30.0 MiB A, +200.0 MiB B")
    figures["rows"][1] = row("A", 0)
    assert rows_of("memory_under_churn", figures)[0][1] == "**+1.0 MiB**"


def test_quality_is_told_in_the_best_peers_bytes() -> None:
    def row(model: str, recall: float, mib: int) -> dict[str, Any]:
        return {"model": model, "recall_at_20": [recall, recall, recall], "bytes": mib * MIB}

    ours = {"als": row("scall in 5 MiB", 0.08, 5)}
    figures = {
        "globo": {"rows": [row("als", 0.05, 5), row("popularity", 0.04, 1)], "in_peers_bytes": ours},
        "drift": {"rows": [row("als", 0.09, 5), row("oracle", 0.9, 0)], "in_peers_bytes": ours},
        "churn": {"rows": [row("popularity", 0.05, 1)], "in_peers_bytes": {}},
    }
    assert rows_of("equal_bytes", figures) == [
        ("Recall@20, news, in 5 MiB", ".080", ".050, als, the best peer"),
        ("Recall@20, `drift`, in 5 MiB", "**.080**", ".090, als, the best peer"),
        ("Recall@20, `churn`, in 1 MiB", "**no budget so small**", ".050, popularity, the best peer"),
    ]


def test_what_was_lost_and_what_is_too_slow_is_bold() -> None:
    kills = {"kills": 60, "lost": 0, "doubled": 1, "complaints": []}
    letters = {reason: {"written": 10, "lost": 0, "doubled": 0} for reason in ("tombstone", "malformed row")}
    assert rows_of("reliability", {"kills": kills, "dead_letters": letters}) == [
        ("events after 60 kill -9", "**0 lost, 1 doubled**", "goal 0"),
        ("20 records that cannot be used, meanwhile", "0 lost, 0 doubled", "goal 0"),
    ]
    figures = {
        "kafka_python": {"service_per_s": 80_000, "bare_poll_per_s": 160_000, "ratio": 0.5},
        "librdkafka": {"service_per_s": 190_000, "file_per_s": 200_000, "ratio": 0.95},
        "freshness": {"p99_ms": 20.4},
    }
    assert [row[1:] for row in rows_of("kafka", figures)] == [
        ("**80 k, 50 %**", "a bare poll loop: 160 k; goal 80 %"),
        ("190 k, 95 %", "a replay from a file: 200 k; goal 90 %"),
        ("20 ms", "goal 250 ms"),
    ]


def test_their_protocol_and_many_entities_have_a_row_each() -> None:
    plan = {"model": "scall uniform/powerlaw:1@0.3", "recall_at_20": [0.28], "ndcg_at_20": [0.09], "seconds": 3.0}
    assert rows_of("scall_protocol", {"rows": [plan]})[0][1:] == (
        "**0.2800 / 0.0900 in 3.0 s**",
        "their released code 0.2236 / 0.0981 in 2,461 s",
    )
    points = [{"entities": 10**k, "event_s": 1e-6 * k, "bytes_per_entity": 140} for k in (4, 7)]
    assert rows_of("scaling", {"points": points, "exponents": {"event_s": 0.08}}) == [
        (
            "an event, with 10 k entities and with 10 M",
            "4 us, 7 us",
            "exponent 0.08; 140 and 140 bytes an entity",
        )
    ]
