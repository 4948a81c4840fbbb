"""Tables and plots of peers, from figures made up: what was measured is told, what misses a goal is bold."""

from typing import Any

from tests.benchmarks.made_up import rows_of
from tests.benchmarks.peer_results import COMPARED, MEMORY, PROTOCOL, RATIOS, SIZES, SPEEDS
from tests.benchmarks.plots import memory

MIB = 2**20


def test_a_peers_speed_is_told_with_its_spread_and_one_that_is_missing_says_why() -> None:
    ours = [
        {
            "name": "ours",
            "version": "0.1",
            "k": k,
            "batch": 1,
            "events_per_s": 2_000_000 // k,
            "low": 9000,
            "high": 300_000,
        }
        for k in SIZES
    ]
    theirs = [{"name": "theirs", "k": k, "batch": 64, "missing": "no wheel"} for k in SIZES]
    assert rows_of(SPEEDS, {"rows": ours + theirs, "ratios": []}) == [
        ("ours 0.1", "1", "250 k (9 k-300 k)", "125 k (9 k-300 k)", "31.2 k (9 k-300 k)"),
        ("theirs", "64", "no wheel", "no wheel", "no wheel"),
    ]


def test_a_ratio_below_its_goal_is_bold() -> None:
    def ratio(plain: float | None) -> dict[str, Any]:
        return {"goal": 2} | dict.fromkeys(COMPARED, 0.5) | {"ours, plain, uniform": plain}

    figures = {
        "rows": [],
        "ratios": [{"k": k, "theirs at 1": ratio(plain)} for k, plain in zip(SIZES, (3, 1, None), strict=True)],
    }
    first, *others = rows_of(RATIOS, figures)
    assert first == ("ours, plain, uniform, over theirs at 1", "2 x", "3 x", "**1 x**", "not installed")
    assert others == [(f"{ours}, over theirs at 1", "2 x", *["**0.5 x**"] * 3) for ours in COMPARED[1:]]


def memory_row(name: str, stopped: str | None) -> dict[str, Any]:
    samples = [{"events": k * 1000, "resident_bytes": (k + 1) * MIB, "model_bytes": MIB} for k in range(21)]
    return {
        "name": name,
        "version": "1",
        "events_learnt": 20_000,
        "stopped": stopped,
        "model_bytes": MIB,
        "resident_bytes": 21 * MIB,
        "late_growth_bytes_per_million_events": -MIB,
        "samples": samples,
    }


def test_memory_under_churn_is_told_and_drawn_with_what_was_stopped() -> None:
    figures = {"rows": [memory_row("ours", None), memory_row("theirs", "by its limit"), {"name": "x", "missing": "y"}]}
    assert rows_of(MEMORY, figures) == [
        ("ours 1", "20 k", "1 MiB", "21 MiB", "-1.0 MiB"),
        ("theirs 1", "20 k, stopped by its limit", "1 MiB", "21 MiB", "-1.0 MiB"),
        ("x", "y", "", "", ""),
    ]
    svg = memory(figures)
    assert svg is not None
    # Twenty places are too many to mark.
    assert ">10k<" in svg
    assert ">7k<" not in svg
    assert memory({"rows": []}) is None


def test_under_their_protocol_a_plan_that_is_worse_than_their_code_or_too_slow_is_bold() -> None:
    def row(model: str, recall: float, seconds: float) -> dict[str, Any]:
        return {"model": model, "recall_at_20": [recall, 0.2, 0.3], "ndcg_at_20": [0.1, 0.1, 0.1], "seconds": seconds}

    figures = {"rows": [row("scall", 0.25, 3.0), row("scall uniform", 0.22, 3.0), row("popularity", 0.2, 3.0)]}
    assert rows_of(PROTOCOL, figures)[:4] == [
        ("ours", "0.2500 ± 0.0500", "0.1000 ± 0.0000", "3.0 s"),
        ("ours, uniform", "**0.2200 ± 0.0500**", "**0.1000 ± 0.0000**", "**3.0 s**"),
        ("popularity", "0.2000 ± 0.0500", "0.1000 ± 0.0000", "3.0 s"),
        ("SCALL's released code, stopped early by the test part", "0.2236", "0.0981", "2,461 s"),
    ]
    assert rows_of(PROTOCOL, {"rows": [row("scall", 0.25, 26.0)]})[0][3] == "**26.0 s**"
